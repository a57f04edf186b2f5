"""Shared by all tests: no network but loopback, no settings of the person who runs them, a scripted provider."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path

import pytest
from pytest_timeout import Settings as Limit

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from backend.catalogue import Capabilities, catalogue
from backend.types import ChatRequest, Event

SLOW_LIMIT_S, AGAIN_AFTER_S = 600, 10


def pytest_configure(config: pytest.Config) -> None:
    config.__socket_allow_hosts__ = ["127.0.0.1", "localhost", "::1"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A clean environment with its own data folder, away from any `.env`."""
    for name in list(os.environ):
        if name.startswith(("DASHSCOPE_", "OPENAI_", "PLAYGROUND_")) or name == "SPACE_ID":
            monkeypatch.delenv(name)
    data = tmp_path / "data"
    monkeypatch.setenv("PLAYGROUND_DATA_DIR", str(data))
    return data


class ScriptedProvider:
    """A provider fed from a list of attempts: each is a list of events, exceptions to raise and callables to await."""

    def __init__(self, *attempts: Sequence[Event | Exception | Callable], model: str = "qwen3-next-80b-a3b-thinking") -> None:
        self.attempts = list(attempts)
        self.requests: list[ChatRequest] = []
        self.closed = 0
        self.model = model

    async def capabilities(self, model: str) -> Capabilities:
        return catalogue().capabilities("dashscope", self.model)

    async def aclose(self) -> None:
        pass

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        script = self.attempts.pop(0)
        try:
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if callable(item):
                    await item()
                else:
                    yield item
        finally:
            self.closed += 1


@pytest.fixture
def scripted() -> type[ScriptedProvider]:
    return ScriptedProvider


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright keeps an event loop running in this thread, beside which no async test can start one. Slow ones
    get a limit of their own."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_LIMIT_S))
    items.sort(key=lambda item: "browser" in Path(item.fspath).parts)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Limit) -> Generator[None, object, object]:
    """Again and again: a signal that meets a task of the event loop at work fails that task alone, and nobody may look at it."""
    done = yield
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_AFTER_S)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """A test that failed has no limit any more, and what it left behind may hang as it closes."""
    limit = Limit(float(item.config.getini("timeout")), "signal", func_only=False, disable_debugger_detection=False)
    item.config.hook.pytest_timeout_set_timer(item=item, settings=limit)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of an async test that ran out of time the stack shows its event loop alone: what each of its tasks waited for is told beside it."""
    report = yield
    if call.excinfo is not None and "from pytest-timeout" in str(call.excinfo.value):
        frames = (entry.frame.f_locals.get("self") for entry in call.excinfo.traceback)
        for loop in {each for each in frames if isinstance(each, asyncio.BaseEventLoop)}:
            told = io.StringIO()
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=told)
            report.sections.append(("tasks of the event loop", told.getvalue()))
    return report
