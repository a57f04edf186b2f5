"""The history: conversations as trees of turns, each seen by its owner only, in a database.

Editing a question or regenerating an answer makes a sibling; nothing is removed but by deleting. Answers are written as
they stream. An answer that says it is streaming is given up ("interrupted", with the text as last written)
- on SQLite when the file is opened by an app that has it for itself: whoever wrote it is gone;
- where several apps may write, on PostgreSQL or beside another app that has the same file open, when it was not written for
  `STALE_AFTER_S`: at opening, and in what `load` shows, except for answers that this process began.

Knows nothing of engines, runs or the page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.attachments import Attachment
from backend.history import exchange, markdown, statements
from backend.history.database import BUSY_TIMEOUT_S, Database, Store, to_the_end
from backend.history.records import AnswerUpdate, Conversation, ConversationSummary, Exchange, moment, node_from, stored_attachments
from backend.history.schema import conversations, folded, nodes, panes
from backend.history.tree import Link, children_of, open_path
from backend.model_names import current_name
from backend.steps import stored_steps

log = logging.getLogger(__name__)

STALE_AFTER_S = 60.0


class History(Store):
    """One for the process. Every method but `write_answers` takes the owner and finds only what is theirs: another's chat
    or turn raises the same `BadInput` (code `not_found`) as one that never was. All raise `StorageError` where the database
    cannot be used; nothing is then half done.
    """

    def __init__(self, url: str | None, data_dir: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """The database of `url`, by default a SQLite file in `data_dir`; raises as `Database`, and opens itself as that."""
        super().__init__(Database(url, data_dir, busy_timeout_s=busy_timeout_s))
        self._database.at_opening = self._give_up
        self._being_written: set[str] = set()

    @classmethod
    async def open(cls, url: str | None, data_dir: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> History:
        """One that is open already; raises what stands in the way of that."""
        history = cls(url, data_dir, busy_timeout_s=busy_timeout_s)
        try:
            await history.opened()
        except BaseException:
            await history.aclose()
            raise
        return history

    @to_the_end
    async def opened(self) -> None:
        """Opens the database unless it is open; raises `StorageError`."""
        await self._database.opened()

    async def _give_up(self, connection: AsyncConnection) -> None:
        """Answers that nobody writes any more."""
        alone = self._database.lock.held
        if self._database.lock.by_another:
            log.warning("another app has the same chat history open; its answers in the making are left alone")
        await statements.give_up(connection, None if alone else time.time() - STALE_AFTER_S)

    async def aclose(self) -> None:
        await self._database.aclose()

    @property
    def database(self) -> Database:
        """For what else is kept beside the chats."""
        return self._database

    async def shared(self) -> bool:
        """Whether another app on this machine has the same history open, as far as that can be told."""
        return self._database.is_sqlite and not await asyncio.to_thread(self._database.lock.take) and self._database.lock.by_another

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged database file was moved at opening, for the page to say."""
        return self._database.set_aside

    # ---- the list of chats
    @to_the_end
    async def conversations(self, owner: str, *, search: str = "", limit: int = 200) -> list[ConversationSummary]:
        """Pinned chats first, then by last use. `search` is looked for, as it is written but whatever its case, in titles and
        turns."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(statements.summaries(owner, search, limit))).all()
        return [ConversationSummary(r.id, r.title, r.preview, r.pinned, moment(r.updated_at), current_name(r.model)) for r in rows]

    @to_the_end
    async def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Gives a chat a name of its own; an empty one takes it back, and the first prompt stands for it again."""
        await self._change(owner, conversation_id, **statements.title_values(title))

    @to_the_end
    async def pin(self, owner: str, conversation_id: str, pinned: bool) -> None:
        await self._change(owner, conversation_id, pinned=pinned)

    @to_the_end
    async def delete(self, owner: str, conversation_id: str) -> None:
        """Deletes a chat with all its turns, for good."""
        async with self._database.writing() as connection:
            await statements.chat_row(connection, owner, conversation_id)
            await connection.execute(delete(conversations).where(conversations.c.id == conversation_id))

    # ---- one chat
    @to_the_end
    async def load(self, owner: str, conversation_id: str) -> Conversation:
        """A whole chat: every turn of every branch, and the open branch."""
        async with self._database.reading() as connection:
            chat = await statements.chat_row(connection, owner, conversation_id)
            query = select(*statements.NODE_COLUMNS).where(nodes.c.conversation_id == conversation_id).order_by(nodes.c.seq)
            rows = [row._asdict() for row in (await connection.execute(query)).all()]
        links = [Link(r["id"], r["parent_id"], r["active_child_id"]) for r in rows]
        siblings = children_of(links)
        loaded = {r["id"]: node_from(r, siblings[r["parent_id"]], interrupted=self._is_stale(r)) for r in rows}
        return Conversation(
            id=chat.id,
            title=chat.title,
            preview=chat.preview,
            pinned=chat.pinned,
            model=current_name(chat.model),
            parameters=chat.parameters,
            created_at=moment(chat.created_at),
            updated_at=moment(chat.updated_at),
            nodes=loaded,
            path=tuple(loaded[node_id] for node_id in open_path(links, chat.root_id)),
        )

    @to_the_end
    async def thinking_of(self, owner: str, node_id: str) -> str:
        """The trace of one answer, empty where it has none."""
        async with self._database.reading() as connection:
            return (await statements.turn_row(connection, owner, node_id)).thinking or ""

    @to_the_end
    async def begin(self, owner: str, e: Exchange) -> None:
        """Stores a question and the answer that is about to stream, and a new chat around them where it is one: all or nothing, and
        nothing more where they are stored already, so that it may be tried again."""
        answer: dict[str, Any] = {"role": "assistant", "content": e.content, "thinking": e.thinking or None, "status": "streaming"}
        answer |= {"model": e.model, "parameters": e.parameters, "run_id": e.run_id, "region": e.region, "steps": stored_steps(e.steps)}
        question, preview = await asyncio.to_thread(_question, e.question or "", e.attachments)
        async with self._database.writing() as connection:
            if (await connection.execute(select(nodes.c.id).where(nodes.c.id == e.answer_id))).first() is not None:
                pass  # the try before came through, though its connection was lost before it could say so
            elif e.new_chat:
                await statements.add_chat(connection, owner, e, question, answer, preview)
            else:
                parent_id = e.parent_id
                if e.question is not None:
                    row, _ = await statements.add_node(connection, owner, e.conversation_id, parent_id, question, preview)
                    parent_id = row.id
                await statements.add_node(connection, owner, e.conversation_id, parent_id, answer, "", e.answer_id)
                changed = update(conversations).where(statements.owned(owner, e.conversation_id))
                await connection.execute(changed.values(model=e.model, parameters=e.panel))
        self._being_written.add(e.answer_id)

    @to_the_end
    async def write_answers(self, updates: Sequence[AnswerUpdate]) -> None:
        """Writes the present state of answers in the making, all in one transaction; ones deleted meanwhile are passed over.

        Takes no owner: the ids are those that `begin` was given, and never come from a page."""
        if not updates:
            return
        async with self._database.writing() as connection:
            await statements.write_updates(connection, updates)
        self._being_written.difference_update(u.node_id for u in updates if u.status != "streaming")

    @to_the_end
    async def select(self, owner: str, node_id: str) -> None:
        """Opens the branch of `node_id`, down to the leaf that was open last below it."""
        async with self._database.writing() as connection:
            row = await statements.turn_row(connection, owner, node_id)
            links = await statements.links_in(connection, row.conversation_id)
            await statements.open_branch(connection, row.conversation_id, links, node_id)

    @to_the_end
    async def delete_turn(self, owner: str, node_id: str) -> None:
        """Deletes a turn and all below it, for good; where it was open, the version beside it is opened."""
        async with self._database.writing() as connection:
            gone = await statements.delete_branch(connection, owner, node_id)
        self._being_written.difference_update(gone)

    # ---- files
    async def export(self, owner: str, conversation_id: str, form: Literal["json", "markdown"], *, stays: bool = False) -> str:
        """One chat as text: the whole tree as JSON, or the open branch as Markdown. Unless it `stays` here, without what tells of this
        machine."""
        conversation = await self.load(owner, conversation_id)
        if not stays:
            conversation = exchange.portable(conversation)
        if form == "json":
            return await asyncio.to_thread(exchange.to_text, [conversation])
        return await asyncio.to_thread(markdown.to_text, conversation)

    @to_the_end
    async def export_all(self, owner: str) -> str:
        """All chats of `owner` as JSON, oldest first."""
        in_pane = exists().where(panes.c.conversation_id == conversations.c.id)
        query = select(conversations.c.id).where(conversations.c.owner == owner, ~in_pane).order_by(conversations.c.updated_at)
        async with self._database.reading() as connection:
            ids = (await connection.execute(query)).scalars().all()
        return await asyncio.to_thread(exchange.to_text, [exchange.portable(await self.load(owner, each)) for each in ids])

    @to_the_end
    async def import_text(self, owner: str, text: str, filename: str) -> list[str]:
        """Adds the chats of a file that was exported from here, all or none; returns their new ids. What is JSON is told by
        the text, not the name. Raises `BadInput` that names the line or field."""
        text = text.removeprefix("\ufeff")
        read = exchange.from_text if text.lstrip()[:1] == "{" else markdown.from_text
        chats = await asyncio.to_thread(read, text, filename)
        async with self._database.writing() as connection:
            return [await statements.insert_chat(connection, owner, chat) for chat in chats]

    # ---- inside
    async def _change(self, owner: str, conversation_id: str, **values: Any) -> None:
        async with self._database.writing() as connection:
            await statements.chat_row(connection, owner, conversation_id)
            if values:
                await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(**values))

    def _is_stale(self, row: Mapping[str, Any]) -> bool:
        """Whether an answer that says it is streaming has been given up by another process."""
        return row["id"] not in self._being_written and float(row["written_at"]) < time.time() - STALE_AFTER_S


def _question(content: str, attachments: Sequence[Attachment]) -> tuple[dict[str, Any], str]:
    """The columns of a user's turn, and how a chat that begins with it shows."""
    values = {"role": "user", "content": content, "folded": folded(content), "status": "done"}
    return {**values, "attachments": stored_attachments(attachments)}, statements.preview_of(content, attachments)
