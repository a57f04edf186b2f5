"""What the history hands out and takes in, and how that becomes rows and back. Knows no SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from backend.attachments import Attachment
from backend.model_names import current_name
from backend.steps import Step, steps_from, stored_steps
from backend.types import Role, Timing, Usage

NodeStatus = Literal["done", "streaming", "stopped", "interrupted", "error"]


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Why an answer failed: the error's class, its sentence for people and its hint."""

    kind: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class AnswerUpdate:
    """The present state of one answer in the making, whole texts, as `History.write_answers` stores it."""

    node_id: str
    content: str
    status: NodeStatus
    thinking: str | None = None
    usage: Usage | None = None
    timing: Timing | None = None
    finish_reason: str | None = None
    error: AnswerError | None = None
    request_id: str | None = None
    region: str | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question (none where an answer is made anew) and the answer that is about to stream, with ids given beforehand, so
    that the engine need not wait for the database. `panel` is the chat's settings, `parameters` those of this answer."""

    conversation_id: str
    answer_id: str
    new_chat: bool
    parent_id: str | None
    question: str | None
    attachments: tuple[Attachment, ...]
    model: str
    panel: dict[str, Any]
    parameters: dict[str, Any]
    run_id: str
    region: str | None = None
    content: str = ""
    thinking: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One turn. `siblings` are the ids of all versions of it, itself included, oldest first."""

    id: str
    conversation_id: str
    parent_id: str | None
    role: Role
    content: str
    created_at: datetime
    status: NodeStatus = "done"
    thinking: str | None = None
    attachments: tuple[Attachment, ...] = ()
    model: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    timing: Timing | None = None
    finish_reason: str | None = None
    error: AnswerError | None = None
    request_id: str | None = None
    run_id: str | None = None
    region: str | None = None
    steps: tuple[Step, ...] = ()  # the turns before the last where tools were called
    siblings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A line in the list of chats. `title` is `None` until renamed; `preview` is the beginning of the first prompt."""

    id: str
    title: str | None
    preview: str
    pinned: bool
    updated_at: datetime
    model: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole chat: all its nodes by id, in the order of making, and the open branch from root to leaf."""

    id: str
    title: str | None
    preview: str
    pinned: bool
    model: str
    parameters: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    nodes: dict[str, Node]
    path: tuple[Node, ...]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def known(value: Usage | Timing | None) -> dict[str, Any] | None:
    """As a JSON column: what is known of it, `None` for nothing."""
    return {k: v for k, v in asdict(value).items() if v is not None} or None if value is not None else None


def stored_attachments(attachments: Sequence[Attachment]) -> list[dict[str, Any]] | None:
    return [asdict(a) for a in attachments] or None


def answer_values(update: AnswerUpdate) -> dict[str, Any]:
    """The columns that one update writes."""
    return {
        "content": update.content,
        "thinking": update.thinking,
        "status": update.status,
        "usage": known(update.usage),
        "timing": known(update.timing),
        "finish_reason": update.finish_reason,
        "error": asdict(update.error) if update.error is not None else None,
        "request_id": update.request_id,
        "region": update.region,
        "steps": stored_steps(update.steps),
    }


def node_from(row: Mapping[str, Any], siblings: Sequence[str], *, interrupted: bool = False) -> Node:
    """A node from its row. With `interrupted` an answer that says it is streaming is shown as given up."""
    status: NodeStatus = "interrupted" if interrupted and row["status"] == "streaming" else row["status"]
    return Node(
        id=row["id"],
        conversation_id=row["conversation_id"],
        parent_id=row["parent_id"],
        role=row["role"],
        content=row["content"],
        created_at=moment(row["created_at"]),
        status=status,
        thinking=row["thinking"],
        attachments=tuple(Attachment(**a) for a in row["attachments"] or ()),
        model=current_name(row["model"]) if row["model"] else None,
        parameters=row["parameters"] or {},
        usage=Usage(**row["usage"]) if row["usage"] else None,
        timing=Timing(**row["timing"]) if row["timing"] else None,
        finish_reason=row["finish_reason"],
        error=AnswerError(**row["error"]) if row["error"] else None,
        request_id=row["request_id"],
        run_id=row["run_id"],
        region=row["region"],
        steps=steps_from(row["steps"]),
        siblings=tuple(siblings),
    )
