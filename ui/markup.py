"""Texts and figures as HTML: escaped, with unknown ones as a dash. Markdown is handed to the page as it was written, which draws it."""

from __future__ import annotations

import html
import re

_FENCE = re.compile(r"^ {0,3}(?:`{3}|~{3})", re.MULTILINE)
_AT_ONCE_CHARS = 100_000  # a longer text is escaped in pieces: each holds the interpreter, and so everybody else


def esc(text: object) -> str:
    text = str(text)
    if len(text) <= _AT_ONCE_CHARS:
        return html.escape(text, quote=True)
    return "".join(html.escape(text[at : at + _AT_ONCE_CHARS], quote=True) for at in range(0, len(text), _AT_ONCE_CHARS))


def markdown(text: str) -> str:
    """An element that the page draws as Markdown (assets/page/drawing.js); until then, and without scripts, the text as it was written."""
    return f"<markdown-text>{esc(text)}</markdown-text>"


def said(text: str) -> str:
    """What a person wrote: as it was written, but for code in fences, which the page draws."""
    return f"<markdown-text fenced>{esc(text)}</markdown-text>" if _FENCE.search(text) else esc(text)


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def thinking_seconds(value: float) -> str:
    """The number alone, as a trace's heading has it."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
