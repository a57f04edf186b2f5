"""How much a JSON text is before anything parses it: a megabyte of `[{},{},...]` becomes hundreds of megabytes of objects, and parsers and
checkers let nothing else run meanwhile."""

from __future__ import annotations

import re

from backend.errors import BadInput

MAX_DEPTH = 64  # objects and arrays inside one another; parsers and checkers of JSON are recursive
MAX_FILE_VALUES = 500_000  # of a file that a person brings: chats of 5 MB have 300,000 where their turns are short
_PIECE_CHARS = 4_096
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{},'))


class JsonShape:
    """How deep the JSON goes that is fed to it piece by piece, and of how many values it is; what is in quotes does not count. Knows no
    other rule of JSON."""

    def __init__(self, *, max_values: int, max_depth: int = MAX_DEPTH) -> None:
        self.deepest = self.values = 0
        self._max_values, self._max_depth = max_values, max_depth
        self._depth = 0
        self._quoted = False
        self._rest = b""  # a backslash whose letter is still to come

    def feed(self, piece: bytes) -> None:
        piece = _ESCAPED.sub(b"", self._rest + piece)
        self._rest = b"\\" if piece.endswith(b"\\") else b""
        for place, part in enumerate(piece.translate(None, _NOT_STRUCTURE).split(b'"')):
            self._quoted ^= place > 0
            if part and not self._quoted:
                self._count(part)

    def _count(self, signs: bytes) -> None:
        for sign in signs:
            if sign == b","[0]:
                self.values += 1
            elif sign in b"[{":
                self.values += 1
                self._depth += 1
                self.deepest = max(self.deepest, self._depth)
            else:
                self._depth -= 1

    def refusal(self) -> str | None:
        """Why it is too much, as the end of a sentence."""
        if self.deepest > self._max_depth:
            return f"is nested more than {self._max_depth} levels deep"
        if self.values > self._max_values:
            return f"holds more than {self._max_values:,} values"
        return None


def check_file(text: str, name: str, *, max_values: int = MAX_FILE_VALUES) -> None:
    """Raises `BadInput` where a file holds more than is parsed here. How deep it goes is for its reader to say, with the place."""
    shape, data = JsonShape(max_values=max_values, max_depth=len(text)), text.encode("utf-8", "replace")
    for start in range(0, len(data), _PIECE_CHARS):
        shape.feed(data[start : start + _PIECE_CHARS])
        if (why := shape.refusal()) is not None:
            raise BadInput(f"{name} {why}.", hint="Bring it in parts.")
