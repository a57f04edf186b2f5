"""The turns of an answer that calls tools: what was thought and said in each, which calls it made, and what they brought.

An answer's last turn is its text and trace; the steps are all before it. Knows no engine, tool, page or database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backend.types import CallState, Message, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Called:
    """A call and what became of it. `problem`: what is wrong with its arguments, `by`: who answers it, `where`: at which address or
    on which server, `elapsed_s`: the run of the tool."""

    id: str
    name: str
    arguments: str
    state: CallState = "called"
    result: str | None = None
    problem: str | None = None
    by: str | None = None
    where: str | None = None
    elapsed_s: float | None = None

    @property
    def open(self) -> bool:
        return self.state in ("called", "asking", "waiting", "running")


@dataclass(frozen=True, slots=True)
class Step:
    """One turn that ended with calls. `thinking_s` is its trace's time."""

    calls: tuple[Called, ...]
    thinking: str = ""
    content: str = ""
    thinking_s: float | None = None
    usage: Usage = field(default_factory=Usage)


_STEPS = TypeAdapter(tuple[Step, ...])


def messages_of_steps(steps: Sequence[Step]) -> Iterator[Message]:
    """As the engine gets them: each turn with its calls, then their results. A step with a call that nobody answered ends it."""
    for step in steps:
        if any(call.open for call in step.calls):
            return
        calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in step.calls)
        yield Message("assistant", step.content, step.thinking or None, calls)
        for call in step.calls:
            yield Message("tool", call.result or "", answers=call.id)


def stored_steps(steps: Sequence[Step]) -> list[dict[str, Any]] | None:
    """As JSON, without what is unknown; `None` for none."""
    return [_known(asdict(step)) for step in steps] or None


def steps_from(stored: Sequence[Mapping[str, Any]] | None) -> tuple[Step, ...]:
    """What `stored_steps` gave; none where it is something else."""
    try:
        return _STEPS.validate_python(stored or ())
    except ValidationError:
        return ()


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(part) for name, part in value.items() if part is not None}
    return [_known(part) for part in value] if isinstance(value, list | tuple) else value
