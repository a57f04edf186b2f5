"""What the history does inside a transaction: finds what is an owner's, adds turns, opens branches, deletes them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.attachments import Attachment
from backend.display import display_name
from backend.errors import BadInput
from backend.history.exchange import FileChat, FileTurn
from backend.history.records import AnswerUpdate, Exchange, answer_values, known, stored_attachments
from backend.history.schema import conversations, folded, nodes, panes, storable
from backend.history.tree import Link, above, below, neighbour
from backend.steps import stored_steps
from backend.tools.kit import asking_again

PREVIEW_CHARS, TITLE_CHARS, SEARCH_CHARS = 80, 200, 200
_AT_ONCE = 500  # ids in one statement; databases bound the number of parameters

NODE_COLUMNS = [column for column in nodes.c if column.name != "folded"]


def new_id() -> str:
    return secrets.token_urlsafe(9)


def no_such_chat() -> BadInput:
    return BadInput("This chat is not here any more.", hint="It may have been deleted in another window.", code="not_found")


def no_such_turn() -> BadInput:
    return BadInput(
        "This turn is not here any more.", hint="It may have been deleted in another window. Reload the page.", code="not_found"
    )


def title_values(title: str | None) -> dict[str, Any]:
    """The columns of a title; an empty one is none."""
    name = display_name(title or "", TITLE_CHARS) or None
    return {"title": name, "folded": folded(name or "")}


def preview_of(content: str, attachments: Sequence[Attachment]) -> str:
    """How the list shows a chat that begins with this turn."""
    return display_name(content[: 20 * PREVIEW_CHARS], PREVIEW_CHARS) or next((a.name for a in attachments), "")


def owned(owner: str, conversation_id: str) -> ColumnElement[bool]:
    return and_(conversations.c.id == storable(conversation_id), conversations.c.owner == owner)


def summaries(owner: str, search: str, limit: int) -> Select[Any]:
    """Pinned chats first, then by last use; `search` in titles and turns as it is written, whatever its case. No panes."""
    columns = [conversations.c[name] for name in ("id", "title", "preview", "pinned", "updated_at", "model")]
    in_pane = exists().where(panes.c.conversation_id == conversations.c.id)
    query = select(*columns).where(conversations.c.owner == owner, ~in_pane)
    words = folded(search.strip()[:SEARCH_CHARS])
    if words:
        in_turns = exists().where(nodes.c.conversation_id == conversations.c.id, nodes.c.folded.contains(words, autoescape=True))
        query = query.where(or_(conversations.c.folded.contains(words, autoescape=True), in_turns))
    return query.order_by(conversations.c.pinned.desc(), conversations.c.updated_at.desc(), conversations.c.id).limit(limit)


async def chat_row(connection: AsyncConnection, owner: str, conversation_id: str) -> Row[Any]:
    """The row of an owner's chat; raises `BadInput` where there is none."""
    row = (await connection.execute(select(conversations).where(owned(owner, conversation_id)))).first()
    if row is None:
        raise no_such_chat()
    return row


async def turn_row(connection: AsyncConnection, owner: str, node_id: str) -> Row[Any]:
    """The row of a turn in one of an owner's chats; raises `BadInput` where there is none."""
    query = select(*NODE_COLUMNS).join(conversations).where(nodes.c.id == storable(node_id), conversations.c.owner == owner)
    row = (await connection.execute(query)).first()
    if row is None:
        raise no_such_turn()
    return row


async def links_in(connection: AsyncConnection, conversation_id: str) -> list[Link]:
    """The shape of a chat, in the order of making."""
    query = select(nodes.c.id, nodes.c.parent_id, nodes.c.active_child_id).where(nodes.c.conversation_id == conversation_id)
    return [Link(*row) for row in (await connection.execute(query.order_by(nodes.c.seq))).all()]


async def open_branch(connection: AsyncConnection, conversation_id: str, links: Sequence[Link], node_id: str) -> None:
    """Makes the branch of `node_id` the open one, from the root down to it; below it what was open last stays open."""
    path = above(links, node_id)
    active = {link.id: link.active_child_id for link in links}
    changed = [{"parent": parent, "child": child} for parent, child in pairwise(path) if active[parent] != child]
    if changed:
        statement = update(nodes).where(nodes.c.id == bindparam("parent")).values(active_child_id=bindparam("child"))
        await connection.execute(statement, changed)
    await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(root_id=path[0]))


async def add_node(
    connection: AsyncConnection,
    owner: str,
    conversation_id: str,
    parent_id: str | None,
    values: dict[str, Any],
    preview: str,
    node_id: str | None = None,
) -> tuple[Row[Any], list[str]]:
    """Adds a turn and opens its branch; returns its row and the ids of its siblings, itself included."""
    chat, now, node_id = await chat_row(connection, owner, conversation_id), time.time(), node_id or new_id()
    links = await links_in(connection, conversation_id)
    if parent_id is not None and parent_id not in {link.id for link in links}:
        raise no_such_turn()
    placed = {"id": node_id, "conversation_id": conversation_id, "parent_id": parent_id}
    await connection.execute(insert(nodes).values(**placed, created_at=now, written_at=now, **values))
    links.append(Link(node_id, parent_id))
    await open_branch(connection, conversation_id, links, node_id)
    changed: dict[str, Any] = {"updated_at": now, "preview": chat.preview or preview}
    await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(**changed))
    row = (await connection.execute(select(*NODE_COLUMNS).where(nodes.c.id == node_id))).one()
    return row, [link.id for link in links if link.parent_id == parent_id]


async def add_chat(
    connection: AsyncConnection, owner: str, e: Exchange, question: dict[str, Any], answer: dict[str, Any], preview: str
) -> None:
    """A new chat with its first question and the answer to it: nothing to look up, three inserts."""
    now, question_id = time.time(), new_id()
    chat = {"id": e.conversation_id, "owner": owner, "model": e.model, "parameters": e.panel, "preview": preview, "root_id": question_id}
    await connection.execute(insert(conversations).values(**chat, created_at=now, updated_at=now))
    placed = {"conversation_id": e.conversation_id, "created_at": now, "written_at": now}
    await connection.execute(insert(nodes).values(id=question_id, active_child_id=e.answer_id, **placed, **question))
    await connection.execute(insert(nodes).values(id=e.answer_id, parent_id=question_id, **placed, **answer))


async def delete_branch(connection: AsyncConnection, owner: str, node_id: str) -> list[str]:
    """Deletes a turn and all below it; where it was open, a version beside it is opened. Returns the ids that are gone."""
    turn = await turn_row(connection, owner, node_id)
    chat = await chat_row(connection, owner, turn.conversation_id)
    links = await links_in(connection, turn.conversation_id)
    gone, beside = below(links, node_id), neighbour(links, node_id)
    for start in range(0, len(gone), _AT_ONCE):
        await connection.execute(delete(nodes).where(nodes.c.id.in_(gone[start : start + _AT_ONCE])))
    if turn.parent_id is not None:
        parent = and_(nodes.c.id == turn.parent_id, nodes.c.active_child_id == node_id)
        await connection.execute(update(nodes).where(parent).values(active_child_id=beside))
        return gone
    changed: dict[str, Any] = {"root_id": beside} if chat.root_id == node_id else {}
    first = select(nodes.c.content, nodes.c.attachments).where(nodes.c.conversation_id == turn.conversation_id, nodes.c.role == "user")
    left = (await connection.execute(first.order_by(nodes.c.seq).limit(1))).first()
    changed["preview"] = preview_of(left.content, [Attachment(**a) for a in left.attachments or ()]) if left else ""
    await connection.execute(update(conversations).where(conversations.c.id == turn.conversation_id).values(**changed))
    return gone


async def write_updates(connection: AsyncConnection, updates: Sequence[AnswerUpdate]) -> None:
    """One statement for all. What search looks at is written once an answer has ended, since it costs as much again."""
    now = time.time()
    rows: list[dict[str, Any]] = []
    for each in updates:
        words = await asyncio.to_thread(folded, each.content) if each.status != "streaming" else ""
        values = {**answer_values(each), "folded": words, "written_at": now}
        rows.append({"node": each.node_id, **{f"new_{name}": value for name, value in values.items()}})
    columns: dict[str, Any] = {name: bindparam(f"new_{name}", type_=nodes.c[name].type) for name in values}
    columns["region"] = func.coalesce(columns["region"], nodes.c.region)
    await connection.execute(update(nodes).where(nodes.c.id == bindparam("node")).values(columns), rows)


async def give_up(connection: AsyncConnection, written_before_s: float | None) -> None:
    """Marks answers that say they are streaming as interrupted; with a time only those not written since."""
    stale = nodes.c.status == "streaming"
    if written_before_s is not None:
        stale = and_(stale, nodes.c.written_at < written_before_s)
    found = (await connection.execute(select(nodes.c.id, nodes.c.content).where(stale))).all()
    if found:
        statement = update(nodes).where(nodes.c.id == bindparam("node"))
        statement = statement.values(status="interrupted", folded=bindparam("words"))
        await connection.execute(statement, [{"node": row.id, "words": folded(row.content)} for row in found])


async def insert_chat(connection: AsyncConnection, owner: str, chat: FileChat) -> str:
    """Adds the chat of a file under ids of its own; returns the chat's."""
    conversation_id, now = new_id(), time.time()

    def seconds(moment: datetime | None, otherwise: float = now) -> float:
        return otherwise if moment is None else min(max(moment.timestamp(), 0.0), now)

    begun = seconds(chat.created_at)
    ids = {turn.id: new_id() for turn in chat.nodes}
    opened = dict(pairwise(chat.path))
    first = next((turn for turn in chat.nodes if turn.role == "user"), None)
    await connection.execute(
        insert(conversations).values(
            id=conversation_id, owner=owner, **title_values(chat.title), pinned=chat.pinned, model=chat.model,
            parameters=asking_again(chat.parameters), root_id=ids[chat.path[0]] if chat.path else None, created_at=begun,
            updated_at=seconds(chat.updated_at), preview=preview_of(first.content, first.attachments) if first else "",
        )
    )  # fmt: skip

    def row(turn: FileTurn) -> dict[str, Any]:
        return {
            "id": ids[turn.id], "conversation_id": conversation_id, "parent_id": ids[turn.parent] if turn.parent else None,
            "active_child_id": ids[opened[turn.id]] if turn.id in opened else None, "role": turn.role, "content": turn.content,
            "folded": folded(turn.content), "thinking": turn.thinking, "attachments": stored_attachments(turn.attachments),
            "created_at": seconds(turn.created_at, begun), "written_at": now,
            "status": "interrupted" if turn.status == "streaming" else turn.status, "model": turn.model,
            "parameters": asking_again(turn.parameters) or None, "usage": known(turn.usage), "timing": known(turn.timing),
            "finish_reason": turn.finish_reason, "error": asdict(turn.error) if turn.error else None,
            "request_id": turn.request_id, "region": turn.region, "steps": stored_steps(turn.steps),
        }  # fmt: skip

    rows = await asyncio.to_thread(lambda: list(map(row, chat.nodes)))
    if rows:
        await connection.execute(insert(nodes), rows)
    return conversation_id
