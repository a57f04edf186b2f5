"""The tables of the history, the same on SQLite and PostgreSQL, and how text is made fit to store and to search.

A conversation is a tree: a node knows its parent, and which of its children was open last; the conversation knows its
open root. `folded` is the text that search looks at. A comparison is some conversations side by side, its panes; a batch is many
prompts through many settings in the background. Times are seconds since 1970 in UTC.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

from backend.composing import composed

SCHEMA_VERSION = 1
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with a replacement sign for what databases refuse: NUL and halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _UNSTORABLE.sub("\ufffd", text)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def folded(text: str) -> str:
    """`text` as search compares it: case folded and composed, for databases fold ASCII only or by the server's locale."""
    return composed(composed(text).casefold())


def to_json(value: Any) -> str:
    """How JSON columns are written: letters as they are, which is shorter and can be read in the database."""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class StorableText(TypeDecorator[str]):
    """Text that passes through `storable` on its way in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


_json = JSON(none_as_null=True)
metadata = MetaData()

meta = Table(
    "playground_meta",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)

conversations = Table(
    "playground_conversations",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("owner", StorableText, nullable=False),
    Column("title", StorableText),
    Column("preview", StorableText, nullable=False, default=""),
    Column("folded", StorableText, nullable=False, default=""),  # the title
    Column("pinned", Boolean, nullable=False, default=False),
    Column("model", StorableText, nullable=False),
    Column("parameters", _json, nullable=False),
    Column("root_id", String(24)),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("playground_conversations_by_owner", "owner", "updated_at"),
)

nodes = Table(
    "playground_nodes",
    metadata,
    # the order of making, which is the order of siblings
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(24), nullable=False, unique=True),
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("parent_id", String(24)),
    Column("active_child_id", String(24)),
    Column("role", String(16), nullable=False),
    Column("content", StorableText, nullable=False),
    Column("folded", StorableText, nullable=False, default=""),  # the content, of turns that are not being written
    Column("thinking", StorableText),
    Column("attachments", _json),
    Column("created_at", Double, nullable=False),
    Column("written_at", Double, nullable=False),
    Column("status", String(16), nullable=False),
    Column("model", StorableText),
    Column("parameters", _json),
    Column("usage", _json),
    Column("timing", _json),
    Column("finish_reason", String(32)),
    Column("error", _json),
    Column("request_id", StorableText),
    Column("run_id", String(40)),
    Column("region", String(40)),
    Column("steps", _json),  # turns that called tools, before the last one
)

comparisons = Table(
    "playground_comparisons",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("owner", StorableText, nullable=False),
    Column("preview", StorableText, nullable=False, default=""),
    Column("blind", Boolean, nullable=False, default=False),
    Column("hidden", Boolean, nullable=False, default=False),  # the names, until the vote
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("playground_comparisons_by_owner", "owner", "updated_at"),
)

panes = Table(
    "playground_panes",
    metadata,
    # its conversation may not be there yet, or never: a pane that was not asked
    Column("conversation_id", String(24), primary_key=True),
    Column("comparison_id", ForeignKey(comparisons.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("place", Integer, nullable=False),  # from 0; -1: taken out, its votes remain
    Column("first_turn", Integer, nullable=False, default=0),  # panes may be added later
    Column("model", StorableText, nullable=False),
    Column("parameters", _json, nullable=False),
)

votes = Table(
    "playground_votes",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("owner", StorableText, nullable=False),
    Column("subject", String(120), nullable=False),  # what was judged: voting again changes the vote
    Column("judge", String(200), nullable=False, default=""),  # a model's name; empty: a person
    Column("prompt", StorableText, nullable=False),
    Column("tag", StorableText, nullable=False, default=""),
    Column("verdict", String(8), nullable=False),  # a place from 1, "tie" or "bad"
    Column("blind", Boolean, nullable=False),
    Column("contestants", _json, nullable=False),
    Column("reason", StorableText, nullable=False, default=""),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("owner", "subject", "judge", name="playground_votes_once"),
)

batches = Table(
    "playground_batches",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("owner", StorableText, nullable=False),
    Column("kind", String(8), nullable=False),  # "set" or "sweep"
    Column("title", StorableText, nullable=False),
    Column("state", String(8), nullable=False),  # "running", "paused" or "done"
    Column("lanes", _json, nullable=False),  # what each prompt goes through, in order
    Column("spec", _json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("playground_batches_by_owner", "owner", "updated_at"),
)

batch_rows = Table(
    "playground_batch_rows",
    metadata,
    Column("batch_id", ForeignKey(batches.c.id, ondelete="CASCADE"), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("prompt", StorableText, nullable=False),
    Column("system", StorableText, nullable=False, default=""),
    Column("tag", StorableText, nullable=False, default=""),
)

cells = Table(
    "playground_cells",
    metadata,
    # one answer of a batch: the key is what keeps a resumed batch from asking twice
    Column("batch_id", ForeignKey(batches.c.id, ondelete="CASCADE"), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("lane", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("content", StorableText, nullable=False, default=""),
    Column("thinking", StorableText),
    Column("parameters", _json),
    Column("usage", _json),
    Column("timing", _json),
    Column("finish_reason", String(32)),
    Column("error", _json),
    Column("region", String(40)),
    Column("written_at", Double, nullable=False),
)
