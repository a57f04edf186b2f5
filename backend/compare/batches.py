"""Batches: many prompts through many settings in the background (a prompt set), or one prompt through a grid of them (a sweep).

A cell is one prompt in one lane. It is written once, when its answer has ended, under the key of batch, row and lane: whatever ends
the app in between, a resumed batch asks for exactly those that are missing. Knows no engine and no page.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.choices import Choices
from backend.compare.prompt_sets import Prompt
from backend.errors import BadInput
from backend.history import AnswerError, Node, Store, new_id, to_the_end
from backend.history.records import known, moment
from backend.history.schema import batch_rows, batches, cells, storable
from backend.types import Timing, Usage

Kind = Literal["set", "sweep"]
State = Literal["running", "paused", "done"]
_AT_ONCE = 500  # rows in one statement


@dataclass(frozen=True, slots=True)
class BatchLane:
    """One column: settings and how it is called. `point` are a sweep's values by parameter."""

    choices: Choices
    label: str = ""
    point: dict[str, float] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        return {"model": self.choices.model, "settings": self.choices.stored(), "label": self.label, "point": self.point}


def lane_from(stored: Mapping[str, Any]) -> BatchLane:
    """What `BatchLane.stored` gave."""
    return BatchLane(Choices.from_stored(stored["model"], stored["settings"]), stored["label"], dict(stored["point"]))


@dataclass(frozen=True, slots=True)
class Batch:
    """`rows` is the number of prompts; `spec` is what a sweep was made of, and a set's rows that were left out."""

    kind: Kind
    title: str
    lanes: tuple[BatchLane, ...]
    rows: int
    id: str = field(default_factory=new_id)
    state: State = "running"
    spec: dict[str, Any] = field(default_factory=dict)
    updated_at_s: float = field(default_factory=time.time)

    @property
    def total(self) -> int:
        """How many answers it takes."""
        return self.rows * len(self.lanes)


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer that has ended: done, or failed with `error`."""

    row: int
    lane: int
    status: Literal["done", "error"]
    content: str = ""
    thinking: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    timing: Timing | None = None
    finish_reason: str | None = None
    error: AnswerError | None = None
    region: str | None = None

    def node(self, batch: Batch) -> Node:
        """As the chat's turns are shown."""
        lane = batch.lanes[self.lane]
        return Node(
            id=answer_id(batch.id, self.row, self.lane), conversation_id=batch.id, parent_id=None, role="assistant", content=self.content,
            created_at=moment(batch.updated_at_s), status=self.status, thinking=self.thinking, model=lane.choices.model,
            parameters=self.parameters, usage=self.usage, timing=self.timing, finish_reason=self.finish_reason, error=self.error,
            region=self.region,
        )  # fmt: skip


def answer_id(batch_id: str, row: int, lane: int) -> str:
    """What a vote calls a cell's answer."""
    return f"cell:{batch_id}:{row}:{lane}"


class BatchStore(Store):
    """Every method takes the owner and finds only what is theirs. All raise `StorageError` where the database cannot be used."""

    @to_the_end
    async def create(self, owner: str, batch: Batch, prompts: Sequence[Prompt]) -> None:
        values = {"id": batch.id, "owner": owner, "kind": batch.kind, "title": batch.title, "state": batch.state, "spec": batch.spec}
        rows = [{"batch_id": batch.id, "row": n, "prompt": p.text, "system": p.system, "tag": p.tag} for n, p in enumerate(prompts)]
        async with self._database.writing() as connection:
            stored = [lane.stored() for lane in batch.lanes]
            await connection.execute(insert(batches).values(**values, lanes=stored, created_at=time.time(), updated_at=time.time()))
            for start in range(0, len(rows), _AT_ONCE):
                await connection.execute(insert(batch_rows), rows[start : start + _AT_ONCE])

    @to_the_end
    async def load(self, owner: str, batch_id: str) -> Batch:
        """Raises `BadInput` where there is none."""
        async with self._database.reading() as connection:
            return await _load(connection, owner, batch_id)

    @to_the_end
    async def all(self, owner: str, kind: Kind, limit: int = 100) -> list[Batch]:
        """The latest first."""
        mine = and_(batches.c.owner == owner, batches.c.kind == kind)
        counted = select(func.count()).where(batch_rows.c.batch_id == batches.c.id).scalar_subquery()
        query = select(batches, counted.label("rows")).where(mine).order_by(batches.c.updated_at.desc()).limit(limit)
        async with self._database.reading() as connection:
            return [_batch(row._asdict()) for row in (await connection.execute(query)).all()]

    @to_the_end
    async def set_state(self, owner: str, batch_id: str, state: State) -> None:
        async with self._database.writing() as connection:
            changed = update(batches).where(batches.c.id == batch_id, batches.c.owner == owner)
            await connection.execute(changed.values(state=state, updated_at=time.time()))

    @to_the_end
    async def delete(self, owner: str, batch_id: str) -> None:
        """With its cells, for good; votes stay."""
        async with self._database.writing() as connection:
            await connection.execute(delete(batches).where(batches.c.id == batch_id, batches.c.owner == owner))

    @to_the_end
    async def prompts(self, owner: str, batch_id: str, row: int | None = None) -> list[Prompt]:
        """In the order of the file, all or the one of a row."""
        async with self._database.reading() as connection:
            await _load(connection, owner, batch_id)
            query = select(batch_rows).where(batch_rows.c.batch_id == batch_id).order_by(batch_rows.c.row)
            query = query if row is None else query.where(batch_rows.c.row == row)
            return [Prompt(row.prompt, row.system, row.tag) for row in (await connection.execute(query)).all()]

    @to_the_end
    async def states(self, owner: str, batch_id: str) -> dict[tuple[int, int], str]:
        """The status of every cell that is there, by row and lane."""
        async with self._database.reading() as connection:
            await _load(connection, owner, batch_id)
            query = select(cells.c.row, cells.c.lane, cells.c.status).where(cells.c.batch_id == batch_id)
            return {(row.row, row.lane): row.status for row in (await connection.execute(query)).all()}

    @to_the_end
    async def counts(self, owner: str, batch_id: str) -> dict[tuple[int, str], int]:
        """How many cells there are of each lane and status."""
        async with self._database.reading() as connection:
            await _load(connection, owner, batch_id)
            counted = select(cells.c.lane, cells.c.status, func.count().label("cells")).where(cells.c.batch_id == batch_id)
            rows = (await connection.execute(counted.group_by(cells.c.lane, cells.c.status))).all()
            return {(row.lane, row.status): row.cells for row in rows}

    @to_the_end
    async def cells(self, owner: str, batch_id: str, row: int | None = None) -> list[Cell]:
        """All cells, or those of one prompt, by row and lane."""
        async with self._database.reading() as connection:
            await _load(connection, owner, batch_id)
            query = select(cells).where(cells.c.batch_id == batch_id).order_by(cells.c.row, cells.c.lane)
            query = query if row is None else query.where(cells.c.row == row)
            return [_cell(found._asdict()) for found in (await connection.execute(query)).all()]

    @to_the_end
    async def write(self, batch_id: str, ended: Sequence[Cell]) -> None:
        """Adds cells that have ended; one that is there already, or whose batch was deleted, is passed over.

        Takes no owner: the id is that of a batch which was begun here, and never comes from a page."""
        async with self._database.writing() as connection:
            if (await connection.execute(select(batches.c.id).where(batches.c.id == batch_id))).first() is None:
                return
            for cell in ended:
                key = and_(cells.c.batch_id == batch_id, cells.c.row == cell.row, cells.c.lane == cell.lane)
                if (await connection.execute(select(cells.c.row).where(key))).first() is None:
                    await connection.execute(insert(cells).values(batch_id=batch_id, written_at=time.time(), **_values(cell)))

    @to_the_end
    async def forget_failed(self, owner: str, batch_id: str) -> None:
        """Takes the failed cells out, so that the next start asks for them again."""
        async with self._database.writing() as connection:
            await _load(connection, owner, batch_id)
            await connection.execute(delete(cells).where(cells.c.batch_id == batch_id, cells.c.status == "error"))


async def _load(connection: AsyncConnection, owner: str, batch_id: str) -> Batch:
    row = (await connection.execute(select(batches).where(batches.c.id == storable(batch_id), batches.c.owner == owner))).first()
    if row is None:
        raise BadInput("This run is not here any more.", hint="It may have been deleted in another window.", code="not_found")
    counted = select(func.count()).where(batch_rows.c.batch_id == batch_id)
    return _batch({**row._asdict(), "rows": (await connection.execute(counted)).scalar_one()})


def _batch(row: Mapping[str, Any]) -> Batch:
    lanes = tuple(lane_from(lane) for lane in row["lanes"])
    return Batch(row["kind"], row["title"], lanes, row["rows"], row["id"], row["state"], row["spec"], row["updated_at"])


def _values(cell: Cell) -> dict[str, Any]:
    error = asdict(cell.error) if cell.error is not None else None
    plain = {
        name: getattr(cell, name) for name in ("row", "lane", "status", "content", "thinking", "parameters", "finish_reason", "region")
    }
    return {**plain, "usage": known(cell.usage), "timing": known(cell.timing), "error": error}


def _cell(row: Mapping[str, Any]) -> Cell:
    return Cell(
        row["row"], row["lane"], row["status"], row["content"], row["thinking"], row["parameters"] or {},
        Usage(**row["usage"]) if row["usage"] else None, Timing(**row["timing"]) if row["timing"] else None, row["finish_reason"],
        AnswerError(**row["error"]) if row["error"] else None, row["region"],
    )  # fmt: skip
