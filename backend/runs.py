"""Runs that belong to the server, not to a browser tab: each is driven by its own task, may be followed by any number of
page sessions from any point, and is saved as it streams.

The task that reads the engine never waits for a page: pages look at the run's present state when they are ready
(latest wins). A run whose page sessions have all gone is stopped after a short grace, which a page that is just being
reloaded prolongs; looking at another chat meanwhile does not end it. Knows nothing of the page or the database; `save` is
whatever writes a changed run down.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Literal

from backend.errors import BackendError, StorageError
from backend.provider import Provider
from backend.stopwatch import Stopwatch
from backend.types import (
    AnswerWasThinking,
    ChatRequest,
    Event,
    Finished,
    Retrying,
    Started,
    TextDelta,
    ThinkingDelta,
    Timing,
    TokenDetail,
    ToolCallDelta,
    Usage,
    Waiting,
)

log = logging.getLogger(__name__)

RunState = Literal["queued", "loading", "reading", "thinking", "answering", "done", "stopped", "error"]
SAVE_EVERY_S = 0.5
LEFT_GRACE_S = 1.0  # after the last page left: a closed tab must free the engine within 2 s
RETURN_GRACE_S = 20.0  # where the same visitor is loading the page again


class TextBuffer:
    """Text that grows by small pieces; joined only when somebody looks."""

    def __init__(self, text: str = "") -> None:
        self._text, self._pieces = text, list[str]()

    def append(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)

    @property
    def text(self) -> str:
        if self._pieces:
            self._text += "".join(self._pieces)
            self._pieces.clear()
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text or self._pieces)


@dataclass(eq=False)
class Run:
    """One answer in the making. `version` grows with every change; `log` keeps the events with their offset in seconds."""

    owner: str
    conversation_id: str
    node_id: str
    model: str
    request: ChatRequest
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    region: str | None = None
    state: RunState = "reading"
    thinking: TextBuffer = field(default_factory=TextBuffer)
    answer: TextBuffer = field(default_factory=TextBuffer)
    thinking_tokens: int | None = None
    waiting: Waiting | None = None
    retrying: Retrying | None = None
    usage: Usage = field(default_factory=Usage)
    timing: Timing | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    error: BackendError | None = None
    storage_error: StorageError | None = None
    started_s: float = field(default_factory=time.monotonic)
    thinking_from_s: float | None = None
    thinking_until_s: float | None = None
    log: list[tuple[float, Event]] = field(default_factory=list)
    version: int = 0
    watchers: set[str] = field(default_factory=set)
    unseen_since_s: float | None = None
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def ended(self) -> bool:
        return self.state in ("done", "stopped", "error")

    def thinking_s(self) -> float | None:
        """Seconds of thinking so far, by this machine's clock."""
        if self.thinking_from_s is None:
            return None
        return (self.thinking_until_s or time.monotonic()) - self.thinking_from_s

    def changed(self) -> None:
        self.version += 1
        if self.ended:
            self._over.set()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for_change(self, version: int, timeout_s: float) -> None:
        """Returns once the run is newer than `version`, or after `timeout_s`, whichever comes first."""
        if self.version != version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)

    async def wait_for_end(self, timeout_s: float) -> None:
        """Returns once the run has ended, or after `timeout_s`."""
        if not self.ended and timeout_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), timeout_s)

    def take(self, event: Event) -> None:
        """Takes one event of the stream into the run's state."""
        self.log.append((time.monotonic() - self.started_s, event))
        self._watch.see(event)
        match event:
            case Started():
                pass
            case Waiting():
                self.waiting, self.state = event, event.stage
            case Retrying():
                self.retrying = event
            case ThinkingDelta():
                self.thinking_from_s = self.thinking_from_s or time.monotonic()
                self.thinking.append(event.text)
                self.thinking_tokens, self.state = event.tokens, "thinking"
            case TextDelta():
                self._answering()
                self.answer.append(event.text)
            case AnswerWasThinking():
                self.thinking, self.answer = TextBuffer(self.thinking.text + self.answer.text), TextBuffer()
                self.thinking_from_s, self.thinking_until_s = self.started_s, time.monotonic()
            case ToolCallDelta() | TokenDetail():
                self._answering()
            case Finished():
                self._close_thinking()
                self.usage, self.timing = event.usage, event.timing
                self.finish_reason, self.request_id, self.state = event.reason, event.request_id, "done"
        self.changed()

    def _answering(self) -> None:
        self._close_thinking()
        self.state = "answering"

    def _close_thinking(self) -> None:
        if self.thinking_from_s is not None and self.thinking_until_s is None:
            self.thinking_until_s = time.monotonic()

    def end(self, state: Literal["stopped", "error"], error: BackendError | None = None) -> None:
        self._close_thinking()
        self.state, self.error, self.timing = state, error, self._watch.timing()
        if error is not None:
            self.request_id = error.request_id
        self.changed()


Save = Callable[[Sequence[Run]], Awaitable[None]]


class Runs:
    """All runs of this process: starts, stops, finds and saves them. Ended runs are forgotten once saved and unwatched."""

    def __init__(self, save: Save, *, left_grace_s: float = LEFT_GRACE_S, return_grace_s: float = RETURN_GRACE_S) -> None:
        self._save = save
        self._left_grace_s, self._return_grace_s = left_grace_s, return_grace_s
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saved: dict[str, int] = {}
        self._expected_until_s: dict[str, float] = {}
        self._keeper: asyncio.Task[None] | None = None

    def start(self, run: Run, provider: Provider) -> Run:
        """Begins to drive `run`; returns at once."""
        self._runs[run.id], self._saved[run.id] = run, run.version
        run.unseen_since_s = time.monotonic()
        self._tasks[run.id] = asyncio.create_task(self._drive(run, provider), name=f"run {run.id}")
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="runs keeper")
        return run

    def get(self, run_id: str, owner: str) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    def of_conversation(self, conversation_id: str, owner: str) -> Run | None:
        """The newest run of a conversation that is still known, ended or not."""
        found = [r for r in self._runs.values() if r.conversation_id == conversation_id and r.owner == owner]
        return found[-1] if found else None

    def of_node(self, node_id: str, owner: str) -> Run | None:
        """The run that wrote an answer, while it is remembered."""
        return next((r for r in self._runs.values() if r.node_id == node_id and r.owner == owner), None)

    def active(self, owner: str) -> int:
        return sum(not r.ended and r.owner == owner for r in self._runs.values())

    async def stop(self, run: Run) -> None:
        """Ends the upstream work and returns when it has ended. What arrived stays."""
        task = self._tasks.get(run.id)
        if task is not None and not run.ended:
            task.cancel()
            await asyncio.wait([task])

    def expect(self, owner: str) -> None:
        """`owner` is loading the page: runs that just lost their page get the longer grace."""
        self._expected_until_s[owner] = time.monotonic() + self._return_grace_s

    def watch(self, run: Run, session: str) -> None:
        """A page session is interested in `run`, whether it shows it now or another chat."""
        run.watchers.add(session)
        run.unseen_since_s = None

    def leave(self, session: str) -> None:
        """A page session has gone (tab closed or reloaded)."""
        for run in self._runs.values():
            if session in run.watchers:
                run.watchers.discard(session)
                if not run.watchers:
                    run.unseen_since_s = time.monotonic()

    async def aclose(self) -> None:
        """Stops every run and writes the last state down."""
        tasks = [t for t in (*self._tasks.values(), self._keeper) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._save_changed()

    async def _drive(self, run: Run, provider: Provider) -> None:
        try:
            async with aclosing(provider.stream(run.request)) as events:
                async for event in events:
                    run.take(event)
        except asyncio.CancelledError:
            run.end("stopped")
        except BackendError as error:
            log.warning("run %s failed: %s code=%s request_id=%s", run.id, type(error).__name__, error.code, error.request_id)
            run.end("error", error)
        except Exception:
            log.exception("run %s failed in an unforeseen way", run.id)
            run.end("error", BackendError("Something went wrong inside the app.", hint="The log has the details. Try again."))
        finally:
            run.region = getattr(provider, "region", run.region)
        await self._write([run])

    async def _keep(self) -> None:
        saved_s = time.monotonic()
        while self._runs:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            for run in list(self._runs.values()):
                if not run.ended and self._abandoned(run, now):
                    log.info("run %s stopped: nobody is watching", run.id)
                    self._tasks[run.id].cancel()  # not awaited: a slow close must not hold up saving
            if now - saved_s >= SAVE_EVERY_S:
                await self._save_changed()
                saved_s = time.monotonic()

    def _abandoned(self, run: Run, now_s: float) -> bool:
        if run.watchers or run.unseen_since_s is None:
            return False
        if now_s < self._expected_until_s.get(run.owner, 0.0):
            return False
        return now_s - run.unseen_since_s >= self._left_grace_s

    async def _save_changed(self) -> None:
        changed = [r for r in self._runs.values() if r.version != self._saved.get(r.id)]
        if changed:
            await self._write(changed)
        for run in [r for r in self._runs.values() if r.ended and not r.watchers and self._saved.get(r.id) == r.version]:
            if run.unseen_since_s is not None and time.monotonic() - run.unseen_since_s > self._return_grace_s:
                for table in (self._runs, self._tasks, self._saved):
                    table.pop(run.id, None)

    async def _write(self, runs: Sequence[Run]) -> None:
        versions = {r.id: r.version for r in runs}
        try:
            await self._save(runs)
        except StorageError as error:  # the run goes on in memory; the page says that it is not being saved
            for run in runs:
                run.storage_error = error
            log.warning("history not written: %s", error.message)
        else:
            self._saved.update(versions)
