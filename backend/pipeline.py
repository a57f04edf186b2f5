"""What happens to every request, whatever the engine: check -> retry and regions -> limits -> measuring. A `Provider` itself.

Retries happen only before the first delta, so nothing is ever shown twice. Knows no wire format, page or database.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.answer_limits import AnswerLimits
from backend.catalogue import Capabilities
from backend.checking import check
from backend.errors import AuthError, BackendError, QuotaExhausted, StreamBroken
from backend.provider import Provider
from backend.stopwatch import Stopwatch
from backend.types import (
    ChatRequest,
    Event,
    Finished,
    Retrying,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenDetail,
    ToolCallDelta,
)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
TURN_EVERY = 32  # events, between two looks at the other tasks
LONGEST_RETRY_AFTER_S = 60.0  # a service that asks for more is better told to the user than waited for in silence


@dataclass(frozen=True, slots=True)
class Route:
    """One way to a model: a provider, the model's name there, and the region it stands in (for prices and hints)."""

    provider: Provider
    model: str
    region: str | None = None


def backoff_s(attempt: int, error: BackendError, jitter: Callable[[], float] = random.random) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1), `None` to give up.

    The service's own Retry-After where told, else 0.5 * 2^(n-1), at most 8 s, times 0.5..1 so that clients spread out.
    """
    if not error.retryable or attempt >= error.most_attempts:
        return None
    if error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= LONGEST_RETRY_AFTER_S else None
    return float(min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * (0.5 + jitter() / 2))


class Pipeline:
    """Wraps the routes to one model, tried in order. Region fail-over and retry end with the first delta. `admit` is asked once for each
    answer, and raises where there may be none."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = tuple(routes)
        self._admit = admit
        self._sleep = sleep
        self._clock = clock
        self.region = self._routes[0].region

    async def capabilities(self, model: str) -> Capabilities:
        return await self._routes[0].provider.capabilities(self._routes[0].model)

    async def aclose(self) -> None:
        """The providers belong to whoever built the routes."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        check(request, await self.capabilities(request.model), any_turn=True)
        if self._admit is not None:
            await self._admit()
        yield Started(model=request.model)
        attempt, place, count, watch, limits = 1, 0, 0, Stopwatch(self._clock), AnswerLimits()
        while True:
            route, said_something = self._routes[place], False
            self.region = route.region
            try:
                async with aclosing(route.provider.stream(replace(request, model=route.model))) as events:
                    async for event in events:
                        if isinstance(event, Started):
                            continue
                        event = limits.take(event)
                        watch.see(event)
                        said_something |= isinstance(event, ThinkingDelta | TextDelta | ToolCallDelta | TokenDetail)
                        if isinstance(event, Finished):
                            yield replace(event, timing=event.timing or watch.timing())  # a recording brings its own
                            return
                        yield event
                        if limits.over is not None:
                            raise limits.over
                        count += 1
                        if count % TURN_EVERY == 0:  # one frame may bring thousands
                            await asyncio.sleep(0)
                raise StreamBroken("The answer ended without a finish.", hint="What arrived is kept; regenerate to try again.")
            except BackendError as error:
                if said_something:
                    raise
                if place + 1 < len(self._routes) and (error.retryable or isinstance(error, AuthError | QuotaExhausted)):
                    place += 1
                    retry = Retrying(attempt + 1, 0.0, f"{error.message} Trying {self._routes[place].region}.")
                else:
                    wait_s = backoff_s(attempt, error)
                    if wait_s is None:
                        raise
                    retry = Retrying(attempt + 1, wait_s, error.message)
                watch.see(retry)
                yield retry
                await self._sleep(retry.wait_s)
                attempt += 1
