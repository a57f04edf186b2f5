"""Comparisons in the history's database: which conversations stand side by side, with which settings, in which order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.choices import Choices
from backend.compare.records import Comparison, ComparisonSummary, Pane
from backend.errors import BadInput
from backend.history import Store, to_the_end
from backend.history.schema import comparisons, conversations, panes, storable
from backend.model_names import current_name

TAKEN_OUT = -1  # the place of a pane that was removed
MAX_UNSAVED = 256  # comparisons that wait in memory for a database that can be written


class ComparisonStore(Store):
    """Every method takes the owner and finds only what is theirs. All raise `StorageError` where the database cannot be used."""

    @to_the_end
    async def save(self, owner: str, comparison: Comparison) -> None:
        """The present state, new or not; panes that are gone from it are kept as taken out."""
        now = time.time()
        values = {"blind": comparison.blind, "hidden": comparison.hidden, "updated_at": now}
        async with self._database.writing() as connection:
            changed = await connection.execute(update(comparisons).where(_owned(owner, comparison.id)).values(**values))
            if changed.rowcount == 0:
                row = {"id": comparison.id, "owner": owner, "preview": comparison.preview, "created_at": now, **values}
                await connection.execute(insert(comparisons).values(**row))
            await _save_panes(connection, comparison)

    @to_the_end
    async def load(self, owner: str, comparison_id: str) -> Comparison:
        """Raises `BadInput` where there is none."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(comparisons).where(_owned(owner, comparison_id)))).first()
            if row is None:
                raise BadInput(
                    "This comparison is not here any more.", hint="It may have been deleted in another window.", code="not_found"
                )
            query = select(panes, conversations.c.id.label("chat")).outerjoin(conversations, conversations.c.id == panes.c.conversation_id)
            shown = query.where(panes.c.comparison_id == comparison_id, panes.c.place != TAKEN_OUT).order_by(panes.c.place)
            found = (await connection.execute(shown)).all()
        return Comparison(
            panes=tuple(
                Pane(Choices.from_stored(p.model, p.parameters), p.conversation_id, p.first_turn, asked=p.chat is not None) for p in found
            ),
            id=row.id,
            blind=row.blind,
            hidden=row.hidden,
            preview=row.preview,
        )

    @to_the_end
    async def summaries(self, owner: str, limit: int = 200) -> list[ComparisonSummary]:
        """The latest first."""
        async with self._database.reading() as connection:
            query = select(comparisons).where(comparisons.c.owner == owner).order_by(comparisons.c.updated_at.desc()).limit(limit)
            rows = (await connection.execute(query)).all()
            ids = [row.id for row in rows]
            shown = select(panes.c.comparison_id, panes.c.model).where(panes.c.comparison_id.in_(ids), panes.c.place != TAKEN_OUT)
            models: dict[str, list[str]] = {}
            for pane in (await connection.execute(shown.order_by(panes.c.place))).all():
                models.setdefault(pane.comparison_id, []).append(current_name(pane.model))
        return [ComparisonSummary(row.id, row.preview, row.updated_at, tuple(models.get(row.id, ()))) for row in rows]

    @to_the_end
    async def delete(self, owner: str, comparison_id: str) -> None:
        """With the conversations of its panes; votes stay, since they hold what they judged."""
        async with self._database.writing() as connection:
            if (await connection.execute(select(comparisons.c.id).where(_owned(owner, comparison_id)))).first() is None:
                return
            inside = select(panes.c.conversation_id).where(panes.c.comparison_id == comparison_id)
            await connection.execute(delete(conversations).where(conversations.c.id.in_(inside), conversations.c.owner == owner))
            await connection.execute(delete(comparisons).where(comparisons.c.id == comparison_id))


class LatestStates:
    """The newest state of each comparison that is not stored yet: what could not be written before is outdated by what came after."""

    def __init__(self, store: ComparisonStore) -> None:
        self._store = store
        self._unsaved: dict[str, tuple[str, Comparison]] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}

    def put(self, owner: str, comparison: Comparison) -> None:
        self.drop(comparison.id)
        self._unsaved[comparison.id] = owner, comparison
        while len(self._unsaved) > MAX_UNSAVED:
            self.drop(next(iter(self._unsaved)))

    def drop(self, comparison_id: str) -> None:
        self._unsaved.pop(comparison_id, None)

    async def saved(self, comparison_id: str) -> None:
        """Stores the newest state unless it is stored; all that wait for it wait for one write. Raises `StorageError`; may be called
        again."""
        while (state := self._unsaved.get(comparison_id)) is not None:
            if comparison_id not in self._saving:
                self._saving[comparison_id] = asyncio.create_task(self._save(*state), name="saving a comparison")
            await asyncio.shield(self._saving[comparison_id])

    async def _save(self, owner: str, comparison: Comparison) -> None:
        try:
            await self._store.save(owner, comparison)
        finally:
            del self._saving[comparison.id]
        if self._unsaved.get(comparison.id) == (owner, comparison):
            del self._unsaved[comparison.id]


def _owned(owner: str, comparison_id: str) -> ColumnElement[bool]:
    return and_(comparisons.c.id == storable(comparison_id), comparisons.c.owner == owner)


async def _save_panes(connection: AsyncConnection, comparison: Comparison) -> None:
    await connection.execute(update(panes).where(panes.c.comparison_id == comparison.id).values(place=TAKEN_OUT))
    known = set((await connection.execute(select(panes.c.conversation_id).where(panes.c.comparison_id == comparison.id))).scalars())
    for place, pane in enumerate(comparison.panes):
        values: dict[str, Any] = {
            "place": place,
            "first_turn": pane.first_turn,
            "model": pane.choices.model,
            "parameters": pane.choices.stored(),
        }
        if pane.conversation_id in known:
            await connection.execute(update(panes).where(panes.c.conversation_id == pane.conversation_id).values(**values))
        else:
            ids = {"conversation_id": pane.conversation_id, "comparison_id": comparison.id}
            await connection.execute(insert(panes).values(**ids, **values))
