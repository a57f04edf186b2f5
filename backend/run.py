"""One answer in the making: what has arrived of it, its state, times and end. Knows no task, page or database."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from backend.errors import BackendError
from backend.steps import Called, Step
from backend.stopwatch import Stopwatch
from backend.tool_calls import CallJoiner
from backend.tools.desk import Desk
from backend.types import (
    AnswerWasThinking,
    CallState,
    ChatRequest,
    Event,
    Finished,
    Retrying,
    Started,
    StepFinished,
    TextDelta,
    ThinkingDelta,
    Timing,
    TokenDetail,
    ToolCallDelta,
    ToolProgress,
    Usage,
    Waiting,
)

RunState = Literal["queued", "loading", "reading", "thinking", "answering", "calling", "asking", "done", "stopped", "error"]
NOT_RUN = "Not run: the answer ended here."


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
    address: str = ""  # where it was asked from, for limits
    region: str | None = None
    state: RunState = "reading"
    thinking: TextBuffer = field(default_factory=TextBuffer)
    answer: TextBuffer = field(default_factory=TextBuffer)
    calls: CallJoiner = field(default_factory=CallJoiner)
    steps: tuple[Step, ...] = ()  # turns of the model before this one
    answerers: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)  # who answers each tool
    desk: Desk | None = None  # where its calls wait for a person
    thinking_tokens: int | None = None
    output_tokens: int | None = None  # so far, where the engine tells
    waiting: Waiting | None = None
    retrying: Retrying | None = None
    usage: Usage = field(default_factory=Usage)
    timing: Timing | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    error: BackendError | None = None
    storage_error: BackendError | None = None  # why it is not saved as it is now
    unstorable: bool = False  # saving it is not tried any more
    clock: Callable[[], float] = time.monotonic
    started_s: float = field(init=False)
    thinking_from_s: float | None = None
    thinking_until_s: float | None = None
    log: list[tuple[float, Event]] = field(default_factory=list)
    storing: asyncio.Task[None] | None = None  # the first write, beside the answer, or the present try of it
    version: int = 0
    watchers: dict[str, float] = field(default_factory=dict)  # page sessions, with the time since when each is known to watch
    unseen_since_s: float | None = None
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)
    _listeners: list[Callable[[], None]] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _watch: Stopwatch = field(default_factory=Stopwatch)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    @property
    def ended(self) -> bool:
        return self.state in ("done", "stopped", "error")

    def thinking_s(self) -> float | None:
        """Seconds of thinking so far, by this machine's clock."""
        if self.thinking_from_s is None:
            return None
        return (self.thinking_until_s or self.clock()) - self.thinking_from_s

    def changed(self) -> None:
        self.version += 1
        if self.ended:
            self._over.set()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has `listener` called at every change, which must be quick; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def when_ended(self, then: Callable[[], None]) -> None:
        """Has `then` called once, when the run ends."""

        def look() -> None:
            if self.ended:
                stop()
                then()

        stop = self.listen(look)

    async def wait_for_change(self, version: int, timeout_s: float) -> None:
        """Returns once the run is newer than `version`, or after `timeout_s`, whichever comes first."""
        if self.version != version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)

    async def wait_for_text(self, timeout_s: float) -> None:
        """Returns once there is something to read, the run has ended, or after `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        while not (self.thinking or self.answer or self.ended) and (left_s := until_s - time.monotonic()) > 0:
            await self.wait_for_change(self.version, left_s)

    async def wait_for_end(self, timeout_s: float) -> None:
        """Returns once the run has ended, or after `timeout_s`."""
        if not self.ended and timeout_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._over.wait()

    async def storage_failure(self) -> BackendError | None:
        """Why this run is not in the database, once the try at work has ended; `None` where it is."""
        if self.storing is not None:
            await asyncio.wait([self.storing])
        return self.storage_error

    def take(self, event: Event) -> None:
        """Takes one event of the stream into the run's state."""
        self.log.append((self.clock() - self.started_s, event))
        self._watch.see(event)
        match event:
            case Started() | TokenDetail():
                pass
            case Waiting():
                self.waiting, self.state = event, event.stage
            case Retrying():
                self.retrying = event
            case ThinkingDelta():
                self.thinking_from_s = self.thinking_from_s or self.clock()
                self.thinking.append(event.text)
                self.thinking_tokens, self.state = event.tokens, "thinking"
                self.output_tokens = event.tokens
            case TextDelta():
                self._answering()
                self.answer.append(event.text)
                self.output_tokens = event.tokens
            case AnswerWasThinking():
                self.thinking, self.answer = TextBuffer(self.thinking.text + self.answer.text), TextBuffer()
                self.thinking_from_s, self.thinking_until_s = self.started_s, self.clock()
            case ToolCallDelta():
                self._answering()
                self.calls.add(event)
            case StepFinished():
                self._close_step("called", event.usage)
                self.state = "calling"
            case ToolProgress():
                self._progress(event)
            case Finished():
                self._close_open_calls()
                self._close_thinking()
                self.usage, self.timing = event.usage, event.timing
                self.finish_reason, self.request_id, self.state = event.reason, event.request_id, "done"
        self.changed()

    def _close_step(self, state: CallState, usage: Usage | None = None, result: str | None = None) -> None:
        """The model's turn becomes a step; the next begins empty."""
        self._close_thinking()
        answerers = {call.name: self.answerers.get(call.name, (None, None)) for call in self.calls.calls}
        calls = tuple(Called(c.id, c.name, c.arguments, state, result, None, *answerers[c.name]) for c in self.calls.calls)
        self.steps += (Step(calls, self.thinking.text, self.answer.text, self.thinking_s(), usage or Usage()),)
        self.thinking, self.answer, self.calls = TextBuffer(), TextBuffer(), CallJoiner()
        self.thinking_from_s = self.thinking_until_s = self.thinking_tokens = None

    def _close_open_calls(self) -> None:
        if self.calls:
            self._close_step("refused", result=NOT_RUN)

    def _progress(self, event: ToolProgress) -> None:
        *before, last = self.steps
        calls = tuple(_told(call, event) if call.id == event.id else call for call in last.calls)
        self.steps = (*before, replace(last, calls=calls))
        self.state = "asking" if any(call.state in ("asking", "waiting") for call in calls) else "calling"

    def _answering(self) -> None:
        self._close_thinking()
        self.state = "answering"

    def _close_thinking(self) -> None:
        if self.thinking_from_s is not None and self.thinking_until_s is None:
            self.thinking_until_s = self.clock()

    def end(self, state: Literal["stopped", "error"], error: BackendError | None = None) -> None:
        self._close_open_calls()
        self._close_thinking()
        if self.output_tokens is not None:  # no finish brought the counts
            told = Usage(output_tokens=self.output_tokens, reasoning_tokens=self.thinking_tokens or 0)
            counted = [step.usage for step in self.steps] + [told]  # an answer's figures are those of all its turns
            for name in ("output_tokens", "reasoning_tokens"):
                values = [getattr(usage, name) for usage in counted]
                self.usage = replace(self.usage, **{name: None if None in values else sum(values)})
        self.state, self.error, self.timing = state, error, self._timing()
        if error is not None:
            self.request_id = error.request_id
        self.changed()

    def _timing(self) -> Timing:
        """Of an answer that did not finish. Where turns lie between, with tools that ran, the time of the text alone is not known."""
        timing = self._watch.timing()
        if not self.steps:
            return timing
        thought = [seconds for seconds in (*(step.thinking_s for step in self.steps), self.thinking_s()) if seconds is not None]
        return replace(timing, thinking_s=sum(thought) if thought else None, answer_s=None, decode_s=None)


def _told(call: Called, progress: ToolProgress) -> Called:
    return replace(call, state=progress.state, result=progress.result, elapsed_s=progress.elapsed_s, problem=progress.problem)
