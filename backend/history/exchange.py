"""Chats as files: the JSON form, whole trees with the open branch, checked field by field as it is read back. Knows no database.

Ids in a file tie its turns together and are made anew on import; who owned it is not written and not asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError
from pydantic_core import from_json

from backend.attachments import Attachment
from backend.errors import BadInput
from backend.history.records import AnswerError, Conversation, Node, NodeStatus
from backend.json_shape import check_file
from backend.model_names import current_name, portable_name
from backend.steps import Step
from backend.tools.kit import without_commands
from backend.types import Timing, Usage

VERSION = 1
MAX_IMPORT_CHARS = 100_000_000
MAX_CHATS, MAX_TURNS = 5_000, 20_000  # of one file: nobody else writes while they are stored
MAX_PARAMETERS_CHARS = 1_000_000  # of one answer or chat, as JSON
_MEND = "Choose a file that was exported from this page, as it was saved."


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(value, allow_nan=False)  # raises ValueError: NaN is no JSON, and PostgreSQL refuses it
    if len(text) > MAX_PARAMETERS_CHARS:
        raise ValueError(f"more than {MAX_PARAMETERS_CHARS:,} characters")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Parameters = Annotated[dict[str, Any], AfterValidator(_finite)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Id = Annotated[str, Field(min_length=1, max_length=64)]


class FileTurn(BaseModel):
    """One turn. Ids mean something inside their file only."""

    model_config = ConfigDict(frozen=True)
    id: Id
    parent: Id | None = None
    role: Literal["user", "assistant"]
    content: str
    thinking: str | None = None
    attachments: Annotated[tuple[Attachment, ...], FailFast()] = ()
    created_at: Moment | None = None
    status: NodeStatus = "done"
    model: Annotated[str, AfterValidator(current_name)] | None = None
    parameters: Parameters = Field(default_factory=dict)
    usage: Usage | None = None
    timing: Timing | None = None
    finish_reason: Annotated[str, Field(max_length=32)] | None = None
    error: AnswerError | None = None
    request_id: str | None = None
    region: Annotated[str, Field(max_length=40)] | None = None
    steps: Annotated[tuple[Step, ...], FailFast()] = ()


class FileChat(BaseModel):
    """One conversation. A turn stands after its parent; `path` is the open branch from root to leaf."""

    model_config = ConfigDict(frozen=True)
    title: str | None = None
    pinned: bool = False
    model: Annotated[str, AfterValidator(current_name)] = ""
    parameters: Parameters = Field(default_factory=dict)
    created_at: Moment | None = None
    updated_at: Moment | None = None
    nodes: Annotated[tuple[FileTurn, ...], FailFast()]
    path: Annotated[tuple[Id, ...], FailFast()] = ()


class Envelope(BaseModel):
    format: Literal["qwen3-next-playground chats"]
    version: Literal[1]


Checked = TypeVar("Checked", bound=BaseModel)


def chat_of(conversation: Conversation) -> FileChat:
    return FileChat(
        title=conversation.title,
        pinned=conversation.pinned,
        model=conversation.model,
        parameters=conversation.parameters,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        nodes=tuple(map(_turn_of, conversation.nodes.values())),
        path=tuple(node.id for node in conversation.path),
    )


def portable(conversation: Conversation) -> Conversation:
    """For a file that others may get: without the paths and command lines of this machine."""

    def of(node: Node) -> Node:
        model = portable_name(node.model) if node.model else None
        return replace(node, model=model, parameters=without_commands(node.parameters))

    nodes = {node_id: of(node) for node_id, node in conversation.nodes.items()}
    return replace(
        conversation,
        model=portable_name(conversation.model),
        parameters=without_commands(conversation.parameters),
        nodes=nodes,
        path=tuple(nodes[node.id] for node in conversation.path),
    )


def _turn_of(node: Node) -> FileTurn:
    return FileTurn(
        id=node.id,
        parent=node.parent_id,
        role="user" if node.role == "user" else "assistant",
        content=node.content,
        thinking=node.thinking,
        attachments=node.attachments,
        created_at=node.created_at,
        status=node.status,
        model=node.model,
        parameters=node.parameters,
        usage=node.usage,
        timing=node.timing,
        finish_reason=node.finish_reason,
        error=node.error,
        request_id=node.request_id,
        region=node.region,
        steps=node.steps,
    )


def to_text(chats: Sequence[Conversation]) -> str:
    made = [_as_json(chat_of(chat)) for chat in chats]
    return json.dumps(
        {**Envelope(format="qwen3-next-playground chats", version=1).model_dump(), "conversations": made}, indent=2, ensure_ascii=False
    )


def _as_json(chat: FileChat) -> dict[str, Any]:
    """Turn by turn: in one step a long chat would hold up every thread."""
    turns = [turn.model_dump(mode="json", exclude_none=True) for turn in chat.nodes]
    told = chat.model_dump(mode="json", exclude_none=True, exclude={"nodes", "path"})
    return {**told, "nodes": turns, "path": list(chat.path)}


def check_size(text: str, filename: str) -> None:
    if len(text) > MAX_IMPORT_CHARS:
        most = f"{MAX_IMPORT_CHARS / 1e6:.0f}"
        raise BadInput(f"{filename} is too large: the most is {most} million characters.", hint="Export and import single chats.")


def from_text(text: str, filename: str) -> tuple[FileChat, ...]:
    """The chats of a JSON file, parents before their children. Raises `BadInput` that names the line or field that is wrong."""
    check_size(text, filename)
    where = f"{filename} cannot be imported"
    check_file(text, f"{where}: it")
    try:
        raw = from_json(text.encode("utf-8", "replace"))
    except ValueError as error:
        raise BadInput(f"{where}: Invalid JSON: {error}.", hint=_MEND) from None
    _checked(Envelope, raw, where, ())
    conversations = raw.get("conversations")
    if not isinstance(conversations, list):
        raise BadInput(f"{where}: conversations: Input should be a list.", hint=_MEND)
    turns = sum(len(each["nodes"]) for each in conversations if isinstance(each, dict) and isinstance(each.get("nodes"), list))
    if len(conversations) > MAX_CHATS or turns > MAX_TURNS:
        sentence = f"{where}: it holds {len(conversations):,} chats of {turns:,} turns; the most is {MAX_CHATS:,} of {MAX_TURNS:,}."
        raise BadInput(sentence, hint="Export and import single chats.")
    chats = tuple(_chat(each, where, number) for number, each in enumerate(conversations))
    for number, chat in enumerate(chats):
        _check_tree(chat, f"{where}: conversations[{number}]")
    return chats


def _chat(raw: Any, where: str, number: int) -> FileChat:
    """Turn by turn, as `_as_json`."""
    loc: tuple[str | int, ...] = ("conversations", number)
    turns = raw.get("nodes") if isinstance(raw, dict) else None
    if not isinstance(turns, list):
        return _checked(FileChat, raw, where, loc)
    made = tuple(_checked(FileTurn, turn, where, (*loc, "nodes", place)) for place, turn in enumerate(turns))
    return _checked(FileChat, {**raw, "nodes": made}, where, loc)


def _checked(kind: type[Checked], raw: Any, where: str, loc: tuple[str | int, ...]) -> Checked:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = _where((*loc, *first["loc"]))
        raise BadInput(f"{where}: {place}: {first['msg']}." if place else f"{where}: {first['msg']}.", hint=_MEND) from None


def _where(loc: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _check_tree(chat: FileChat, where: str) -> None:
    seen: set[str] = set()
    parents: dict[str, str | None] = {}
    for number, turn in enumerate(chat.nodes):
        if turn.id in seen:
            raise BadInput(f"{where}.nodes[{number}].id: another turn has this id.", hint=_MEND)
        if turn.parent is not None and turn.parent not in seen:  # which also rules out circles
            raise BadInput(f"{where}.nodes[{number}].parent: no turn before this one has that id.", hint=_MEND)
        seen.add(turn.id)
        parents[turn.id] = turn.parent
    before: str | None = None
    for number, node_id in enumerate(chat.path):
        if node_id not in parents or parents[node_id] != before:
            raise BadInput(f"{where}.path[{number}]: not an answer to the turn before it.", hint=_MEND)
        before = node_id
