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

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, insert, or_, select, update
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
from backend.history.tree import Link, below, children_of, neighbour, open_path
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
            in_turns = exists().where(and_(nodes.c.conversation_id == conversations.c.id, nodes.c.folded.contains(words, autoescape=True)))
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
        loaded = {r["id"]: node_from(dict(r), siblings[r["parent_id"]], interrupted=self._is_stale(dict(r))) for r in rows}
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
        values: dict[str, Any] = {"role": role, "content": content, "folded": folded(content), "thinking": thinking, "status": "done"}
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
        values: dict[str, Any] = {
            "role": "assistant", "content": content, "thinking": thinking, "status": "streaming", "model": model,
            "parameters": dict(parameters), "run_id": run_id, "region": region,
        }  # fmt: skip
        node = await self._add(owner, conversation_id, parent_id, values, "")
        self._being_written.add(node.id)
        return node

    async def write_answers(self, updates: Sequence[AnswerUpdate]) -> None:
        """Writes the present state of answers in the making, all in one transaction; unknown ones (deleted meanwhile) are passed over."""
        if not updates:
            return
        now = time.time()
        rows = [{"node": u.node_id, "at": now, **{f"v_{k}": v for k, v in _columns(u).items()}} for u in updates]
        names = [key.removeprefix("v_") for key in rows[0] if key.startswith("v_")]
        values: dict[str, Any] = {name: bindparam(f"v_{name}") for name in names}
        statement = update(nodes).where(nodes.c.id == bindparam("node")).values(written_at=bindparam("at"), **values)
        async with self._database.writing() as connection:
            await connection.execute(statement, rows)
            ended = [u.node_id for u in updates if u.status != "streaming"]
            if ended:
                chats = select(nodes.c.conversation_id).where(nodes.c.id.in_(ended))
                await connection.execute(update(conversations).where(conversations.c.id.in_(chats)).values(updated_at=now))
        self._being_written.difference_update(ended)

    async def select(self, owner: str, node_id: str) -> None:
        """Opens the branch of `node_id`, down to the leaf that was open last below it."""
        async with self._database.writing() as connection:
            links, conversation_id = await self._links_of(connection, owner, node_id)
            await _open(connection, conversation_id, links[node_id].parent_id, node_id)

    async def delete_turn(self, owner: str, node_id: str) -> None:
        """Deletes a turn and all below it, for good; the version beside it is opened where there is one."""
        async with self._database.writing() as connection:
            links, conversation_id = await self._links_of(connection, owner, node_id)
            beside = neighbour(list(links.values()), node_id)
            await connection.execute(delete(nodes).where(nodes.c.id.in_(below(list(links.values()), node_id))))
            await _open(connection, conversation_id, links[node_id].parent_id, beside)

    # ---- files
    async def export(self, owner: str, conversation_id: str, form: Literal["json", "markdown"]) -> str:
        """One chat as text: the whole tree as JSON, or the open branch as Markdown."""
        conversation = await self.load(owner, conversation_id)
        return exchange.dumps([conversation]) if form == "json" else markdown.dumps(conversation)

    async def export_all(self, owner: str) -> str:
        """All chats of `owner` as JSON."""
        found = await self.conversations(owner, limit=100_000)
        return exchange.dumps([await self.load(owner, summary.id) for summary in reversed(found)])

    async def import_text(self, owner: str, text: str, filename: str) -> list[str]:
        """Adds the chats of a file saved from here, JSON or Markdown; returns their new ids. Raises `BadInput` that names the place."""
        read = markdown.loads if filename.lower().endswith((".md", ".markdown")) else exchange.loads
        imported = await asyncio.to_thread(read, text, filename)
        return [await self._insert(owner, chat) for chat in imported]

    async def _insert(self, owner: str, chat: exchange.ImportedChat) -> str:
        conversation_id = await self.create(owner, model=chat.model, parameters=chat.parameters, title=chat.title)
        ids: dict[str | None, str | None] = {None: None}
        for turn in chat.turns:
            values = {**turn.values, "folded": folded(turn.values["content"])}
            preview = display_name(turn.values["content"], PREVIEW_CHARS) if turn.values["role"] == "user" else ""
            ids[turn.id] = (await self._add(owner, conversation_id, ids[turn.parent_id], values, preview)).id
        for node_id in chat.path:
            await self.select(owner, str(ids[node_id]))
        return conversation_id

    # ---- inside
    async def _add(self, owner: str, conversation_id: str, parent_id: str | None, values: dict[str, Any], preview: str) -> Node:
        node_id, now = _new_id(), time.time()
        async with self._database.writing() as connection:
            chat = (await connection.execute(select(conversations.c.preview).where(_is(owner, conversation_id)))).first()
            if chat is None:
                raise _no_such_chat()
            if parent_id is not None:
                parent = select(nodes.c.id).where(nodes.c.id == parent_id, nodes.c.conversation_id == conversation_id)
                if (await connection.execute(parent)).first() is None:
                    raise _no_such_turn()
            row = {
                "id": node_id,
                "conversation_id": conversation_id,
                "parent_id": parent_id,
                "created_at": now,
                "written_at": now,
                **values,
            }
            await connection.execute(insert(nodes).values(row))
            await _open(connection, conversation_id, parent_id, node_id)
            changed = {"updated_at": now} | ({"preview": preview} if preview and not chat.preview else {})
            await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(**changed))
            made = (await connection.execute(select(*_NODE_COLUMNS).where(nodes.c.id == node_id))).mappings().one()
            same_parent = nodes.c.parent_id.is_(None) if parent_id is None else nodes.c.parent_id == parent_id
            beside = select(nodes.c.id).where(nodes.c.conversation_id == conversation_id, same_parent).order_by(nodes.c.seq)
            siblings = (await connection.execute(beside)).scalars().all()
        return node_from(dict(made), siblings)

    async def _links_of(self, connection: AsyncConnection, owner: str, node_id: str) -> tuple[dict[str, Link], str]:
        """All links of the chat that holds `node_id`, by id in the order of making, and the chat's id."""
        query = select(nodes.c.conversation_id).join(conversations).where(nodes.c.id == node_id, conversations.c.owner == owner)
        conversation_id = (await connection.execute(query)).scalar()
        if conversation_id is None:
            raise _no_such_turn()
        columns = (nodes.c.id, nodes.c.parent_id, nodes.c.active_child_id)
        rows = (await connection.execute(select(*columns).where(nodes.c.conversation_id == conversation_id).order_by(nodes.c.seq))).all()
        return {r.id: Link(r.id, r.parent_id, r.active_child_id) for r in rows}, conversation_id

    async def _change(self, owner: str, conversation_id: str, **values: Any) -> None:
        async with self._database.writing() as connection:
            changed = await connection.execute(update(conversations).where(_is(owner, conversation_id)).values(**values))
            if not changed.rowcount:
                raise _no_such_chat()

    async def _give_up_stale_answers(self) -> None:
        stale = nodes.c.status == "streaming"
        if not self._database.is_sqlite:
            stale = and_(stale, nodes.c.written_at < time.time() - STALE_AFTER_S)
        async with self._database.writing() as connection:
            await connection.execute(update(nodes).where(stale).values(status="interrupted"))

    def _is_stale(self, row: Mapping[str, Any]) -> bool:
        """Whether an answer that says it is streaming has been given up by another process."""
        return row["id"] not in self._being_written and float(row["written_at"]) < time.time() - STALE_AFTER_S


def _columns(update_: AnswerUpdate) -> dict[str, Any]:
    """What one update writes; the text that search looks at only once the answer has ended, since it costs as much again."""
    values = answer_values(update_)
    return {**values, "folded": folded(update_.content) if update_.status != "streaming" else ""}


async def _open(connection: AsyncConnection, conversation_id: str, parent_id: str | None, node_id: str | None) -> None:
    """Makes `node_id` the open child of its parent; of the conversation where it has none."""
    if parent_id is None:
        await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(root_id=node_id))
    else:
        await connection.execute(update(nodes).where(nodes.c.id == parent_id).values(active_child_id=node_id))


def _is(owner: str, conversation_id: str) -> ColumnElement[bool]:
    return and_(conversations.c.id == conversation_id, conversations.c.owner == owner)


def _new_id() -> str:
    return secrets.token_urlsafe(9)


def _title(title: str | None) -> str | None:
    return display_name(title or "", TITLE_CHARS) or None


def _no_such_chat() -> BadInput:
    return BadInput("This chat is not here any more.", hint="It may have been deleted in another window.", code="not_found")


def _no_such_turn() -> BadInput:
    return BadInput(
        "This turn is not here any more.", hint="It may have been deleted in another window. Reload the page.", code="not_found"
    )
