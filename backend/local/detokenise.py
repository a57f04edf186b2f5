"""Token ids to text as they come, and stop strings in that text. Knows no model, and of a tokenizer only `decode`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]

_BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, and for a character whose bytes are not all there
_MOST_HELD = 8  # tokens; a character has at most four bytes, so what is still broken after these is not going to mend


class Detokeniser:
    """Gives each character once it is whole. Decodes a short window of the last tokens, so a token costs the same at any length.

    The window begins one step before the text that is still open, because some decoders treat the first token of a text
    differently (they drop its leading space).
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._context = 0  # how many tokens of the window have been given out entirely
        self._given = 0  # how many characters of the window's text have been given out

    def push(self, token: int) -> str:
        """The text that is certain now; often empty in scripts whose characters take several tokens."""
        self._window.append(token)
        text = self._decode(self._window)
        whole = text.rstrip(_BROKEN)
        if len(whole) < len(text) and len(self._window) - self._context <= _MOST_HELD:
            new = whole[self._given :]
            self._given = max(self._given, len(whole))
            return new
        new = text[self._given :]
        self._window = self._window[self._context :]
        self._context, self._given = len(self._window), len(self._decode(self._window))
        return new

    def end(self) -> str:
        """What was held back, but for a character whose bytes are not all there: the answer was cut inside it."""
        new = self._decode(self._window)[self._given :].rstrip(_BROKEN)
        self._window, self._context, self._given = [], 0, 0
        return new


class StopStrings:
    """Lets text through up to the first stop string, which may come in pieces; nothing of it is let through."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(what may be shown, whether a stop string was met). What might be the beginning of one is held back."""
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        held = max((self._overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False

    def end(self) -> str:
        """What was held back: the text ended before it became a stop string."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """The length of the longest end of `text` that begins `stop`."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
