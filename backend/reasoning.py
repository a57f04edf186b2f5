"""Splits raw model text into thinking and answer while it arrives. Knows no wire format: text in, deltas out.

Qwen's thinking templates open `<think>` in the prompt, so the output holds only `</think>`; other models write both tags,
and a server with a reasoning parser writes neither. A tag may arrive in pieces: nothing that could still become one is let out.
"""

from __future__ import annotations

from typing import Literal

from backend.types import AnswerWasThinking, TextDelta, ThinkingDelta

OPEN, CLOSE = "<think>", "</think>"
MAX_BLANKS = 1000  # that are held back: each piece of text looks through them again
Delta = ThinkingDelta | TextDelta | AnswerWasThinking
_State = Literal["start", "opened", "thinking", "guess", "after", "answer"]


class ReasoningSplitter:
    """`starts_in_thinking`: True where the prompt opened the trace, False where the model never thinks, None where nobody knows.

    With None the text counts as answer until a `</think>` says otherwise (`AnswerWasThinking`), unless it begins with
    `<think>`. Tags after the first close are text, since answers quote them. White space around the trace and line breaks
    before the answer are dropped; an answer's own indentation stays.
    """

    def __init__(self, starts_in_thinking: bool | None) -> None:
        self._state: _State = "answer" if starts_in_thinking is False else "start"
        self._known = starts_in_thinking is True
        self._held = ""
        self._guessed = False

    @property
    def held_chars(self) -> int:
        """How much text waits for more of it."""
        return len(self._held)

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain after `text`."""
        if self._state == "answer":
            return [TextDelta(text)] if text else []
        self._held += text
        out: list[Delta] = []
        while self._step(out):
            pass
        return out

    def close(self) -> list[Delta]:
        """What was held back, at the end of the stream. A trace that never closed stays thinking."""
        held, self._held = self._held, ""
        if self._state in ("opened", "thinking") or (self._state == "start" and self._known):
            return [ThinkingDelta(trace)] if (trace := held.rstrip()) else []
        return [TextDelta(held)] if held else []

    def _step(self, out: list[Delta]) -> bool:
        """Moves on by one state; False when more text is needed."""
        match self._state:
            case "start":
                return self._at_start()
            case "opened":
                return self._skip_space("thinking")
            case "thinking":
                return self._before_close(out, ThinkingDelta)
            case "guess":
                return self._before_close(out, TextDelta)
            case "after":
                return self._skip_space("answer")
            case "answer":
                if self._held:
                    out.append(TextDelta(self._held))
                    self._held = ""
                return False

    def _skip_space(self, then: _State) -> bool:
        self._held = self._held.lstrip(None if then == "thinking" else "\r\n")
        if self._held:
            self._state = then
        return bool(self._held)

    def _at_start(self) -> bool:
        stripped = self._held.lstrip()
        if stripped.startswith(OPEN):
            self._held, self._state = stripped[len(OPEN) :], "opened"
            return True
        if (not stripped or OPEN.startswith(stripped)) and len(self._held) <= MAX_BLANKS:
            return False
        if self._known:
            self._held = stripped
        self._state = "thinking" if self._known else "guess"
        return True

    def _before_close(self, out: list[Delta], kind: type[ThinkingDelta] | type[TextDelta]) -> bool:
        """Up to the first closing tag, whatever the text counts as so far."""
        place = self._held.find(CLOSE)
        sure = _certain(self._held) if place < 0 else len(self._held[:place].rstrip())
        if sure:
            out.append(kind(self._held[:sure]))
            self._guessed = self._state == "guess"
        if place < 0:
            self._held = self._held[sure:]
            return False
        if self._guessed:
            out.append(AnswerWasThinking())
        self._held, self._state = self._held[place + len(CLOSE) :], "after"
        return True


def _certain(text: str) -> int:
    """Length of the part of `text` that can be neither the closing tag nor white space before it."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            text = text[:-length]
            break
    return max(len(text.rstrip()), len(text) - MAX_BLANKS)
