"""How long one answer may be, whatever writes it: an engine without an end would fill this machine's memory. Knows no engine."""

from __future__ import annotations

from dataclasses import replace

from backend.errors import StreamBroken
from backend.types import Event, TextDelta, ThinkingDelta, ToolCallDelta

MAX_ANSWER_CHARS = 2_000_000  # thinking, text and calls together: 81,920 and 32,768 tokens are about 500,000
MAX_ANSWER_EVENTS = 600_000  # a token each, with its log-probabilities one more: 262,144 tokens, which is the longest context


class AnswerLimits:
    """Counts one answer. `take` gives an event back, a delta cut to what is left; `over` then says that this was the last."""

    def __init__(self) -> None:
        self._left_chars, self._left_events = MAX_ANSWER_CHARS, MAX_ANSWER_EVENTS
        self.over: StreamBroken | None = None

    def take(self, event: Event) -> Event:
        self._left_events -= 1
        if self._left_events < 0:
            self.over = _too_long(f"{MAX_ANSWER_EVENTS:,} pieces")
        match event:
            case ThinkingDelta() | TextDelta():
                text = event.text[: self._left_chars]
                self._count(len(event.text))
                return event if len(text) == len(event.text) else replace(event, text=text)
            case ToolCallDelta():
                self._count(len(event.id or "") + len(event.name or ""))
                text = event.arguments[: self._left_chars]
                self._count(len(event.arguments))
                return event if len(text) == len(event.arguments) else replace(event, arguments=text)
            case _:
                return event

    def _count(self, chars: int) -> None:
        self._left_chars -= chars
        if self._left_chars < 0:
            self._left_chars = 0
            self.over = _too_long(f"{MAX_ANSWER_CHARS:,} characters")


def _too_long(what: str) -> StreamBroken:
    return StreamBroken(f"The answer is longer than {what}, where it was ended.", hint="What arrived is kept. Set a token limit.")
