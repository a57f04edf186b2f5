"""Unicode composition (NFC and its like) of strangers' texts, in time that grows with their length only.

Python's own takes time that grows with the square of a run of combining marks, and holds the interpreter for all of it: 80 kB of them
stop every thread for five seconds. Here a text is composed in pieces; only a run of marks longer than a piece, which no language
has, may come out in another order than the standard's.
"""

from __future__ import annotations

import unicodedata
from typing import Literal

_PIECE_CHARS = 500
_LOOKED_AT = 100  # characters at the end of a piece, to find a place where nothing is joined


def composed(text: str, form: Literal["NFC", "NFKC", "NFKD"] = "NFC") -> str:
    """`text` in a normal form."""
    if text.isascii():
        return text
    pieces, start = [], 0
    while start < len(text):
        end = _cut(text, start + _PIECE_CHARS)
        pieces.append(unicodedata.normalize(form, text[start:end]))
        start = end
    return "".join(pieces)


def _cut(text: str, end: int) -> int:
    """The last place before `end` whose character stands alone: ASCII, or a letter that joins nothing before it."""
    if end >= len(text):
        return len(text)
    return next((place for place in range(end, end - _LOOKED_AT, -1) if _begins(text[place])), end)


def _begins(character: str) -> bool:
    return character.isascii() or not ("\u1160" <= character <= "\u11ff" or unicodedata.category(character)[0] == "M")
