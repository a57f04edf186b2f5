"""Which tools the emulator calls, and with what.

    [[tool]]            the request's first tool, [[tool:NAME]] that one, [[tool:A,B]] both in one turn
    [[steps:A,B]]       A, and once its result is there B, and then the answer
    [[loop]]            the first tool, again after every result
    [[args:{"a": 1}]]   these arguments, in place of some that fit the schema; any text, JSON or not
    [[calls:text]]      written into the text, as by a server without a tool parser

A tool is called without any marker where `tool_choice` demands it. Knows no wire format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.mock.call import Call

_SAMPLES = {"integer": 3, "number": 2.5, "boolean": True, "null": None}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools; `arguments` is JSON text, or what the marker says."""

    name: str
    arguments: str


def calls_of(call: Call) -> list[ToolCall]:
    """The calls that this turn makes, often none."""
    functions, marked = _functions(call), call.markers
    return [_made(functions[name], marked.get("args")) for name in _wanted(call, list(functions)) if name in functions]


def in_text(call: Call) -> bool:
    return call.markers.get("calls") == "text"


def as_text(calls: Sequence[ToolCall]) -> str:
    """As Qwen's chat template teaches it."""
    blocks = (f'<tool_call>\n{{"name": {json.dumps(c.name)}, "arguments": {c.arguments}}}\n</tool_call>' for c in calls)
    return "\n".join(blocks)


def _functions(call: Call) -> dict[str, Mapping[str, Any]]:
    tools = call.parameters.get("tools")
    functions = (
        [t["function"] for t in tools if isinstance(t, dict) and isinstance(t.get("function"), dict)] if isinstance(tools, list) else []
    )
    return {str(f.get("name")): f for f in functions}


def _wanted(call: Call, offered: list[str]) -> list[str]:
    """Names in order. Steps are counted by the results that came since the last question."""
    marked, choice = call.markers, call.parameters.get("tool_choice")
    since = 0
    for message in reversed(call.messages):
        if message.get("role") == "user":
            break
        since += message.get("role") == "assistant"
    if choice == "none" or not offered:
        return []
    if "steps" in marked:
        return [name.strip() for name in marked["steps"].split(",")][since : since + 1]
    if "loop" in marked:
        return offered[:1]
    if since:
        return []
    if "tool" in marked:
        return [name.strip() for name in marked["tool"].split(",")] if marked["tool"] else offered[:1]
    if isinstance(choice, dict):
        return [str((choice.get("function") or {}).get("name"))]
    return offered[:1] if choice == "required" else []


def _made(function: Mapping[str, Any], arguments: str | None) -> ToolCall:
    text = json.dumps(sample(function.get("parameters") or {}), ensure_ascii=False) if arguments is None else arguments
    return ToolCall(str(function.get("name")), text)


def sample(schema: object) -> Any:
    """A value that fits a plain JSON schema: its default, its first example or choice, else one of its type."""
    if not isinstance(schema, Mapping):
        return {}
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("enum", "examples"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    properties = schema.get("properties")
    if isinstance(properties, Mapping) or kind == "object" or kind is None:
        return {name: sample(part) for name, part in properties.items()} if isinstance(properties, Mapping) else {}
    if kind == "array":
        return [sample(schema["items"])] if isinstance(schema.get("items"), Mapping) and schema.get("minItems") else []
    return _SAMPLES.get(str(kind), "Paris")
