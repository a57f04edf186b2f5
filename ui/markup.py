"""Texts and figures as HTML: escaped, with unknown ones as a dash."""

from __future__ import annotations

import html


def esc(text: object) -> str:
    return html.escape(str(text), quote=True)


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def thinking_seconds(value: float) -> str:
    """The number alone, as a trace's heading has it."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
