"""A history that tests build turn by turn: chats of any shape without an engine. The app itself stores whole exchanges."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert

from backend.attachments import Attachment
from backend.history import History, statements
from backend.history.database import to_the_end
from backend.history.records import Node, node_from
from backend.history.schema import conversations
from backend.history.store import _question
from backend.types import Role


class BuiltHistory(History):
    @to_the_end
    async def create(self, owner: str, *, model: str, parameters: Mapping[str, Any], title: str | None = None) -> str:
        """Begins an empty chat; returns its id."""
        conversation_id, now = statements.new_id(), time.time()
        values = {"id": conversation_id, "owner": owner, "model": model, "parameters": dict(parameters), "created_at": now}
        async with self._database.writing() as connection:
            await connection.execute(insert(conversations).values(**values, updated_at=now, **statements.title_values(title)))
        return conversation_id

    @to_the_end
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
        values, preview = _question(content, attachments)
        values |= {"role": role, "thinking": thinking}
        async with self._database.writing() as connection:
            row, siblings = await statements.add_node(
                connection, owner, conversation_id, parent_id, values, preview if role == "user" else ""
            )
        return node_from(row._asdict(), siblings)

    @to_the_end
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
        """Adds an answer that is about to stream, with what it goes on from where there is something, and opens its branch."""
        values: dict[str, Any] = {"role": "assistant", "content": content, "thinking": thinking, "status": "streaming"}
        values |= {"model": model, "parameters": dict(parameters), "run_id": run_id, "region": region}
        async with self._database.writing() as connection:
            row, siblings = await statements.add_node(connection, owner, conversation_id, parent_id, values, "")
        self._being_written.add(row.id)
        return node_from(row._asdict(), siblings)
