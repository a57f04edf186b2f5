"""The history: conversations as trees of turns, each seen by its owner only, in a database.

Editing a question or regenerating an answer makes a sibling; nothing is removed but by deleting. Answers are written as
they stream. An answer that says it is streaming is given up ("interrupted", with the text as last written)
- on SQLite when the file is opened: whoever wrote it is gone. Should another copy of the app have the file open and be
  writing that answer after all, its next write, a second later at most, puts the state right;
- on PostgreSQL, which several copies share, when it was not written for `STALE_AFTER_S`: at opening, and in what `load`
  shows, except for answers that this process began.

Knows nothing of engines, runs or the page.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.attachments import Attachment, display_name
from backend.errors import BadInput
from backend.history import exchange, markdown
from backend.history.database import BUSY_TIMEOUT_S, Database
from backend.history.records import (
    AnswerUpdate,
    Conversation,
    ConversationSummary,
    Node,
    answer_values,
    moment,
    node_from,
    stored_attachments,
)
from backend.history.schema import conversations, folded, nodes
from backend.history.tree import Link, above, below, children_of, neighbour, open_path
from backend.types import Role

STALE_AFTER_S = 60.0
PREVIEW_CHARS, TITLE_CHARS, SEARCH_CHARS = 80, 200, 200

_NODE_COLUMNS = [column for column in nodes.c if column.name != "folded"]
_SUMMARY_COLUMNS = [conversations.c[n] for n in ("id", "title", "preview", "pinned", "updated_at", "model")]


class History:
    """One for the process. Every method but `write_answers` takes the owner and finds only what is theirs:

    another's chat or turn raises the same `BadInput` (code `not_found`) as one that never was. All raise `StorageError`
    where the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._being_written: set[str] = set()

    @classmethod
    async def open(cls, url: str | None, data_dir: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> History:
        """Opens the database of `url`, by default a SQLite file in `data_dir`; raises as `Database.open`."""
        history = cls(await Database.open(url, data_dir, busy_timeout_s=busy_timeout_s))
        try:
            await history._give_up_stale_answers()
        except BaseException:
            await history.aclose()
            raise
        return history

    async def aclose(self) -> None:
        await self._database.aclose()

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged database file was moved at opening, for the page to say."""
        return self._database.set_aside

    # ---- the list of chats
    async def create(self, owner: str, *, model: str, parameters: Mapping[str, Any], title: str | None = None) -> str:
        """Begins an empty chat; returns its id."""
        conversation_id, now = _new_id(), time.time()
        title = _title(title)
        async with self._database.writing() as connection:
            await connection.execute(
                insert(conversations).values(
                    id=conversation_id, owner=owner, title=title, folded=folded(title or ""), model=model,
                    parameters=dict(parameters), created_at=now, updated_at=now,
                )
            )  # fmt: skip
        return conversation_id

    async def conversations(self, owner: str, *, search: str = "", limit: int = 200) -> list[ConversationSummary]:
        """Pinned chats first, then by last use. `search` is looked for, as it is written but whatever its case, in titles and turns."""
        query = select(*_SUMMARY_COLUMNS).where(conversations.c.owner == owner)
        words = folded(search.strip()[:SEARCH_CHARS])
        if words:
            in_turns = exists().where(
                and_(nodes.c.conversation_id == conversations.c.id, nodes.c.folded.contains(words, autoescape=True))
            )
            query = query.where(or_(conversations.c.folded.contains(words, autoescape=True), in_turns))
        query = query.order_by(conversations.c.pinned.desc(), conversations.c.updated_at.desc(), conversations.c.id).limit(limit)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [ConversationSummary(r.id, r.title, r.preview, r.pinned, moment(r.updated_at), r.model) for r in rows]

    async def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Gives a chat a name of its own; an empty one takes it back, and the first prompt stands for it again."""
        name = _title(title)
        await self._change(owner, conversation_id, title=name, folded=folded(name or ""))

    async def pin(self, owner: str, conversation_id: str, pinned: bool) -> None:
        await self._change(owner, conversation_id, pinned=pinned)

    async def set_state(
        self, owner: str, conversation_id: str, *, model: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Keeps the panel's settings of a chat; `None` leaves one as it is."""
        values: dict[str, Any] = {} if model is None else {"model": model}
        if parameters is not None:
            values["parameters"] = dict(parameters)
        await self._change(owner, conversation_id, **values)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Deletes a chat with all its turns, for good."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(conversations).where(_is(owner, conversation_id)))
            if not gone.rowcount:
                raise _no_such_chat()

    # ---- one chat
    async def load(self, owner: str, conversation_id: str) -> Conversation:
        """A whole chat: every turn of every branch, and the open branch."""
        async with self._database.reading() as connection:
            found = (await connection.execute(select(conversations).where(_is(owner, conversation_id)))).mappings().first()
            if found is None:
                raise _no_such_chat()
            query = select(*_NODE_COLUMNS).where(nodes.c.conversation_id == conversation_id).order_by(nodes.c.seq)
            rows = (await connection.execute(query)).mappings().all()
        links = [Link(r["id"], r["parent_id"], r["active_child_id"]) for r in rows]
        siblings = children_of(links)
        loaded = {r["id"]: node_from(r, siblings[r["parent_id"]], interrupted=self._is_stale(r)) for r in rows}
        return Conversation(
            id=found["id"],
            title=found["title"],
            preview=found["preview"],
            pinned=found["pinned"],
            model=found["model"],
            parameters=found["parameters"],
            created_at=moment(found["created_at"]),
            updated_at=moment(found["updated_at"]),
            nodes=loaded,
            path=tuple(loaded[node_id] for node_id in open_path(links, found["root_id"])),
        )

    async def thinking_of(self, owner: str, node_id: str) -> str:
        """The trace of one answer, empty where it has none."""
        query = select(nodes.c.thinking).join(conversations).where(nodes.c.id == node_id, conversations.c.owner == owner)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise _no_such_turn()
        return str(row.thinking or "")

    async def add_turn(
        self,
        owner: str,
        conversation_id: str,
        parent_id: str | None,
        role: Role,
        content: str,
        *,
        attachments: Sequence[Attachment] = (),
        thinking: str | None = None,
    ) -> Node:
        """Adds a finished turn under `parent_id` (`None`: a first one) and opens its branch. An edited turn is added under
        the parent of the one it was, and stands beside it."""
        values = {"role": role, "content": content, "folded": folded(content), "thinking": thinking, "status": "done"}
        values["attachments"] = stored_attachments(attachments)
        preview = display_name(content or next((a.name for a in attachments), ""), PREVIEW_CHARS) if role == "user" else ""
        return await self._add(owner, conversation_id, parent_id, values, preview)

    async def begin_answer(
        self,
        owner: str,
        conversation_id: str,
        parent_id: str | None,
        *,
        model: str,
        parameters: Mapping[str, Any],
        run_id: str,
        region: str | None = None,
        content: str = "",
        thinking: str | None = None,
    ) -> Node:
        """Adds an answer that is about to stream, with what it goes on from where that is known, and opens its branch."""
        values = {
            "role": "assistant", "content": content, "thinking": thinking, "status": "streaming", "model": model,
            "parameters": dict(parameters), "run_id": run_id, "region": region,
        }  # fmt: skip
        node = await self._add(owner, conversation_id, parent_id, values, "")
        self._being_written.add(node.id)
        return node
