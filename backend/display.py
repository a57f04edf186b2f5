"""Names and sentences of strangers as they may be shown: of servers, files and tools. Changes no value that is sent back."""

from __future__ import annotations

import unicodedata

MAX_NAME_CHARS = 120
_JOINERS = "\u200c\u200d"  # parts of Persian words and of emoji


def display_name(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """One line of at most `limit` characters, free of what controls a terminal, turns the reading direction around or is not seen."""
    plain = "".join(map(_shown, text[: 20 * limit]))
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 1].rstrip() + "…"


def _shown(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Cs" | "Zl" | "Zp":
            return " "
        case "Cf":  # marks, embeddings, overrides and isolates of direction, tags, empty widths
            return character if character in _JOINERS else ""
        case _:
            return character
