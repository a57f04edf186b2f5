"""Turns of a chat as the engine gets them, and answers in the making as the turns that they are going to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime

from backend.attachments import Attachment, as_prompt
from backend.choices import Choices
from backend.errors import BackendError
from backend.history import AnswerError, AnswerUpdate, Node, NodeStatus
from backend.run import Run
from backend.steps import messages_of_steps
from backend.types import Message


def messages_of(path: Sequence[Node]) -> list[Message]:
    """Turns as the engine gets them. An answer that never began is left out: an empty turn confuses every template."""
    messages = []
    for node in path:
        if node.role == "user":
            messages.append(Message("user", as_prompt(node.attachments, node.content)))
            continue
        messages += messages_of_steps(node.steps)
        if node.content.strip():
            messages.append(Message("assistant", node.content, node.thinking or None))
    return messages


def files_of(path: Sequence[Node]) -> tuple[Attachment, ...]:
    """All files of the branch, for tools to look at."""
    return tuple(attachment for node in path for attachment in node.attachments)


def node_of(run: Run) -> Node:
    """An answer in the making as the turn that it is going to be."""
    parameters = Choices(run.model, run.request.parameters).stored()
    made = Node(run.node_id, run.conversation_id, None, "assistant", "", datetime.now(UTC), model=run.model, parameters=parameters)
    return current(made, run)


def current(node: Node, run: Run | None) -> Node:
    if run is None:
        return node
    update = update_of(run)
    return replace(node, **{each.name: getattr(update, each.name) for each in fields(update) if each.name != "node_id"})


def update_of(run: Run) -> AnswerUpdate:
    status: NodeStatus = run.state if run.state in ("done", "stopped", "error") else "streaming"
    return AnswerUpdate(
        node_id=run.node_id,
        content=run.answer.text,
        thinking=run.thinking.text or None,
        status=status,
        usage=run.usage,
        timing=run.timing,
        finish_reason=run.finish_reason,
        request_id=run.request_id,
        region=run.region,
        error=_error(run.error) if run.error is not None else None,
        steps=run.steps,
    )


def _error(error: BackendError) -> AnswerError:
    return AnswerError(kind=type(error).__name__, message=error.message, hint=error.hint)
