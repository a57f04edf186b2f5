"""Takes the times of one stream from its events. Knows no engine and no page."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.types import Event, Retrying, TextDelta, ThinkingDelta, Timing, ToolCallDelta, Waiting


class Stopwatch:
    """Definitions stand at `Timing`. Waiting in a local queue, for a model to load or for a retry does not count into `ttft_s`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._sent = clock()
        self._first: float | None = None
        self._answer: float | None = None
        self._last: float | None = None

    def see(self, event: Event) -> None:
        match event:
            case Waiting(stage="queued" | "loading"):
                self._sent = self._clock()
            case Retrying():
                self._sent = self._clock() + event.wait_s
            case ThinkingDelta() | TextDelta() | ToolCallDelta():
                now = self._last = self._clock()
                self._first = now if self._first is None else self._first
                if self._answer is None and not isinstance(event, ThinkingDelta):
                    self._answer = now
            case _:
                pass

    def timing(self) -> Timing:
        """What is known so far; a part that never began is `None`."""
        total_s = self._clock() - self._sent
        if self._first is None or self._last is None:
            return Timing(total_s=total_s)
        thought = self._answer is None or self._answer > self._first
        return Timing(
            ttft_s=self._first - self._sent,
            thinking_s=(self._answer or self._last) - self._first if thought else None,
            answer_s=None if self._answer is None else self._last - self._answer,
            decode_s=self._last - self._first,
            total_s=total_s,
        )
