"""The list of chats, grouped by day; a pure function from summaries to what the list's script draws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backend import ConversationSummary, ShelfEntry
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
    today = (now or datetime.now(UTC)).date()
    for summary in found:
        entry = {"id": summary.id, "title": summary.title or summary.preview or "-", "pinned": summary.pinned, "kind": "open"}
        groups.setdefault(W.pinned if summary.pinned else _day(summary.updated_at, today), []).append(entry)
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


def _day(moment: datetime, today: Any) -> str:
    day = moment.date()
    if day >= today:
        return W.today
    if day == today - timedelta(days=1):
        return W.yesterday
    return W.this_week if day > today - timedelta(days=7) else W.older
