"""What every request came to, whoever asked: one log line without a word of its text, and Prometheus figures. Knows no page, no HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from backend.catalogue import Capabilities
from backend.display import display_name
from backend.errors import BackendError
from backend.model_names import portable_name
from backend.pipeline import Pipeline
from backend.stopwatch import Stopwatch
from backend.types import ChatRequest, Event, Finished, Retrying, Timing, Usage

log = logging.getLogger("playground.audit")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(slots=True)
class Served:
    """One request that ended. `end` is "finished", "stopped" or the name of the error's class; `attempts` counts retries and regions."""

    model: str
    end: str = "stopped"
    attempts: int = 1
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    request_id: str | None = None

    @property
    def engine(self) -> str:
        return self.model.partition(":")[0]


class Audit:
    """One for the process. Labels are engines and ends, never models or callers, so that their number stays small."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._active = Gauge("playground_requests_active", "Requests being answered", registry=self._registry)
        self._requests = Counter("playground_requests", "Requests that ended", ["engine", "end"], registry=self._registry)
        self._retries = Counter("playground_retries", "Attempts after the first", ["engine"], registry=self._registry)
        self._tokens = Counter("playground_tokens", "Tokens as the engines counted them", ["engine", "kind"], registry=self._registry)
        self._first = Histogram(
            "playground_first_token_seconds", "To the first token", ["engine"], buckets=_SECONDS, registry=self._registry
        )
        self._total = Histogram("playground_answer_seconds", "To the end", ["engine"], buckets=_SECONDS, registry=self._registry)

    def begin(self, model: str) -> Served:
        self._active.inc()
        return Served(model)

    def end(self, served: Served) -> None:
        """Counts and logs it."""
        engine, usage, timing = served.engine, served.usage, served.timing
        self._active.dec()
        self._requests.labels(engine, served.end).inc()
        if served.attempts > 1:
            self._retries.labels(engine).inc(served.attempts - 1)
        counts = {"input": usage.input_tokens, "output": usage.output_tokens, "reasoning": usage.reasoning_tokens}
        for kind, tokens in counts.items():
            if tokens is not None:
                self._tokens.labels(engine, kind).inc(tokens)
        if timing.ttft_s is not None:
            self._first.labels(engine).observe(timing.ttft_s)
        if timing.total_s is not None:
            self._total.labels(engine).observe(timing.total_s)
        log.info(
            "%s %s attempts=%d in=%s out=%s ttft=%s total=%s id=%s",
            display_name(portable_name(served.model)), served.end, served.attempts, _shown(usage.input_tokens), _shown(usage.output_tokens),
            _shown(timing.ttft_s), _shown(timing.total_s), served.request_id or "-",
        )  # fmt: skip

    def watch(self, name: str, pipeline: Pipeline) -> Audited:
        """`pipeline` under its full name, with every request of it counted."""
        return Audited(name, pipeline, self)

    def prometheus(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self._registry)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


class Audited:
    """A pipeline whose requests are counted and logged as they end, however they end. A `Provider` itself."""

    def __init__(self, name: str, pipeline: Pipeline, audit: Audit) -> None:
        self._name, self._pipeline, self._audit = name, pipeline, audit

    @property
    def region(self) -> str | None:
        return self._pipeline.region

    async def capabilities(self, model: str) -> Capabilities:
        return await self._pipeline.capabilities(model)

    async def aclose(self) -> None:
        await self._pipeline.aclose()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        served, watch = self._audit.begin(self._name), Stopwatch()
        try:
            async with aclosing(self._pipeline.stream(request)) as events:
                async for event in events:
                    watch.see(event)
                    if isinstance(event, Retrying):
                        served.attempts = event.attempt
                    elif isinstance(event, Finished):
                        served.end, served.usage, served.request_id = "finished", event.usage, event.request_id
                    yield event
        except BackendError as error:
            served.end, served.request_id = type(error).__name__, error.request_id
            raise
        finally:
            served.timing = watch.timing()
            self._audit.end(served)
