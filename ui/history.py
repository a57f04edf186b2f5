"""The lists of chats and of comparisons, grouped by day; pure functions from summaries to what the list's script draws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backend import ComparisonSummary, ConversationSummary, ShelfEntry
from ui.text import WORDS as W


def history_view(
    found: Sequence[ConversationSummary],
    current: str | None,
    *,
    searching: bool = False,
    recordings: Sequence[ShelfEntry] = (),
    now: datetime | None = None,
) -> dict[str, Any]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for summary in found:
        entry = {"id": summary.id, "title": summary.title or summary.preview or "-", "pinned": summary.pinned, "kind": "open"}
        groups.setdefault(W.pinned if summary.pinned else day_of(summary.updated_at, now), []).append(entry)
    shown = [{"title": title, "entries": entries} for title, entries in groups.items()]
    if recordings and not searching:
        shown.append(
            {
                "title": W.recorded,
                "entries": [{"id": r.name, "title": r.title, "pinned": False, "kind": "replay"} for r in recordings],
            }
        )
    empty = "" if found else W.no_matches if searching else W.no_history
    return {"groups": shown, "current": current, "empty": empty}


def comparisons_view(found: Sequence[ComparisonSummary], current: str | None, now: datetime | None = None) -> dict[str, Any]:
    """The list of comparisons, likewise; of their menu only what they have."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for summary in found:
        entry = {"id": summary.id, "title": summary.preview or "-", "pinned": False, "kind": "open", "menu": ["delete"]}
        groups.setdefault(day_of(datetime.fromtimestamp(summary.updated_at_s, UTC), now), []).append(entry)
    shown = [{"title": title, "entries": entries} for title, entries in groups.items()]
    return {"groups": shown, "current": current, "empty": "" if found else W.compare_earlier_empty}


def day_of(moment: datetime, now: datetime | None = None) -> str:
    """The group that something of that time stands in."""
    day, today = moment.date(), (now or datetime.now(UTC)).date()
    if day >= today:
        return W.today
    if day == today - timedelta(days=1):
        return W.yesterday
    return W.this_week if day > today - timedelta(days=7) else W.older
