"""Chats as JSON files: the whole tree, so that an export and an import give the same chat. Knows no database.

{"format": "qwen-playground-chats", "version": 1, "chats": [{"title", "model", "parameters", "path": [ids], "turns": [...]}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import BadInput
from backend.history.records import Conversation, Node, known, stored_attachments

FORMAT, VERSION = "qwen-playground-chats", 1
MAX_BYTES = 64 * 2**20
_HINT = "Choose a file that was saved from this page."


@dataclass(frozen=True, slots=True)
class ImportedTurn:
    """A turn of a file; `values` are the columns of its row, `id` and `parent_id` are the file's own."""

    id: str
    parent_id: str | None
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImportedChat:
    """A chat of a file, turns in the order of making; `path` is the branch to open."""

    title: str | None
    model: str
    parameters: dict[str, Any]
    turns: tuple[ImportedTurn, ...]
    path: tuple[str, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Attachment(_Strict):
    name: str
    text: str
    kind: Literal["text", "pdf"] = "text"
    pages: int | None = None
    truncated: bool = False
    tokens: int | None = None


class _Turn(_Strict):
    id: str
    parent_id: str | None = None
    role: Literal["user", "assistant"]
    content: str
    thinking: str | None = None
    attachments: list[_Attachment] = Field(default_factory=list)
    status: Literal["done", "streaming", "stopped", "interrupted", "error"] = "done"
    model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    usage: dict[Literal["input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"], int] | None = None
    timing: dict[Literal["ttft_s", "thinking_s", "answer_s", "decode_s", "total_s"], float] | None = None
    finish_reason: str | None = Field(default=None, max_length=32)
    error: dict[Literal["kind", "message", "hint"], str] | None = None
    request_id: str | None = None
    region: str | None = Field(default=None, max_length=40)


class _Chat(_Strict):
    title: str | None = None
    model: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    path: list[str] = Field(default_factory=list)
    turns: list[_Turn]


class _File(_Strict):
    format: Literal["qwen-playground-chats"]
    version: Literal[1]
    chats: list[_Chat]


def dumps(chats: Sequence[Conversation]) -> str:
    """The file's text. Holds no owner and no key."""
    return json.dumps({"format": FORMAT, "version": VERSION, "chats": [_chat(c) for c in chats]}, ensure_ascii=False, indent=1)


def _chat(conversation: Conversation) -> dict[str, Any]:
    return {
        "title": conversation.title,
        "model": conversation.model,
        "parameters": conversation.parameters,
        "path": [node.id for node in conversation.path],
        "turns": [_turn(node) for node in conversation.nodes.values()],
    }


def _turn(node: Node) -> dict[str, Any]:
    told = {
        "id": node.id,
        "parent_id": node.parent_id,
        "role": node.role,
        "content": node.content,
        "thinking": node.thinking,
        "attachments": stored_attachments(node.attachments),
        "status": node.status,
        "model": node.model,
        "parameters": node.parameters or None,
        "usage": known(node.usage),
        "timing": known(node.timing),
        "finish_reason": node.finish_reason,
        "error": asdict(node.error) if node.error else None,
        "request_id": node.request_id,
        "region": node.region,
    }
    return {key: value for key, value in told.items() if value is not None}


def loads(text: str, name: str) -> list[ImportedChat]:
    """The chats of a file's text. Raises `BadInput` that names the first wrong place."""
    if len(text) > MAX_BYTES:
        raise BadInput(f"{name} is larger than {MAX_BYTES >> 20} MB.", hint="Save fewer chats into one file.")
    try:
        file = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the beginning"
        raise BadInput(f"{name} cannot be imported: at {place}: {first['msg']}.", hint=_HINT) from None
    return [_imported(chat, number, name) for number, chat in enumerate(file.chats)]


def _imported(chat: _Chat, number: int, name: str) -> ImportedChat:
    turns: list[ImportedTurn] = []
    seen: set[str] = set()
    for place, turn in enumerate(chat.turns):
        if turn.id in seen or (turn.parent_id is not None and turn.parent_id not in seen):
            what = "its id stands twice" if turn.id in seen else "its parent does not stand before it"
            raise BadInput(f"{name} cannot be imported: at chats.{number}.turns.{place}: {what}.", hint=_HINT)
        seen.add(turn.id)
        values = turn.model_dump(exclude={"id", "parent_id"})
        values["status"] = "interrupted" if turn.status == "streaming" else turn.status
        values["attachments"] = values["attachments"] or None
        turns.append(ImportedTurn(turn.id, turn.parent_id, values))
    return ImportedChat(chat.title, chat.model, chat.parameters, tuple(turns), tuple(i for i in chat.path if i in seen))
