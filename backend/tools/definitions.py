"""A tool's definition and a call's arguments, checked against JSON Schema. Runs no tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from backend.errors import BadInput
from backend.types import Message, Tool

MOST_TOOLS = 128  # as OpenAI
MOST_MISMATCHES = 50
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")  # OpenAI's and DashScope's rule
_NOTHING_FETCHED: Registry[Any] = Registry()


def check_tools(tools: Sequence[Tool]) -> None:
    """Raises `BadInput` for the first thing wrong: a name, a name twice, a schema that is none or not of an object."""
    if len(tools) > MOST_TOOLS:
        raise BadInput(f"{len(tools)} tools; at most {MOST_TOOLS} can be offered.", hint="Offer those that this question needs.")
    seen: set[str] = set()
    for tool in tools:
        if not _NAME.match(tool.name):
            hint = "A tool's name has 1 to 64 letters, digits, _ and -."
            raise BadInput(f"{tool.name[:80]!r} is no tool name.", hint=hint)
        if tool.name in seen:
            raise BadInput(f"Two tools are named {tool.name}.", hint="Give each a name of its own.")
        seen.add(tool.name)
        check_schema(tool.parameters, f"The parameters of {tool.name}")
        if tool.parameters.get("type", "object") != "object":
            raise BadInput(f"The parameters of {tool.name} are no object.", hint='The schema begins with {"type": "object", ...}.')


def check_schema(schema: Mapping[str, Any], what: str) -> None:
    """Raises `BadInput` with the place where `schema` is no JSON Schema (draft 2020-12)."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        where = f" at {place}" if place else ""
        raise BadInput(f"{what} are no JSON Schema{where}: {error.message[:300]}.", hint="Mend the schema.") from error
    except RecursionError as error:
        raise BadInput(f"{what} are nested too deeply.", hint="Make the schema flatter.") from error


def wrong_with(value: object, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with `value` under `schema`, the gravest thing with its place; `None` where it fits. References stay inside."""
    try:
        error = best_match(Draft202012Validator(schema, registry=_NOTHING_FETCHED).iter_errors(value))
    except (RecursionError, Unresolvable) as refers:
        return f"the schema refers to what is not there, or to itself without end ({type(refers).__name__})"
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    return f"{place}: {error.message}" if place else error.message


def arguments_of(arguments: str) -> dict[str, Any]:
    """The arguments of a call; some models write nothing where there are none. Raises `ValueError` where they are no JSON object."""
    value = json.loads(arguments.strip() or "{}", parse_constant=_no_number)
    if not isinstance(value, dict):
        raise ValueError("they are no object")
    return value


def wrong_with_arguments(arguments: str, tool: Tool) -> str | None:
    """What is wrong with the text of a call's arguments, `None` where the tool can be called with them."""
    try:
        value = arguments_of(arguments)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return wrong_with(value, tool.parameters)


def check_turns(messages: Sequence[Message]) -> None:
    """Raises `BadInput` where a result answers no open call, or calls are left without their results."""
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        if message.role == "tool":
            if message.answers not in open_calls:
                raise BadInput(
                    f"messages[{place}] brings a result for {message.answers!r}, which nobody called.",
                    hint="It follows the assistant's message that has this id in its tool_calls.",
                )
            open_calls.remove(str(message.answers))
            continue
        if open_calls:
            raise BadInput(
                f"messages[{place}] comes before the result of {open_calls[0]!r}.",
                hint="After tool_calls, one message of role tool for each of them comes first.",
            )
        open_calls = [call.id for call in message.calls]
    if open_calls:
        raise BadInput(f"The result of {open_calls[0]!r} is missing.", hint="One message of role tool answers each of the tool_calls.")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def mismatches(value: object, schema: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Every place where `value` does not keep to `schema`, as a path, with what is wrong there; at most `MOST_MISMATCHES`."""
    errors = Draft202012Validator(schema, registry=_NOTHING_FETCHED).iter_errors(value)
    try:
        return [(tuple(error.absolute_path), error.message) for error, _ in zip(errors, range(MOST_MISMATCHES), strict=False)]
    except (RecursionError, Unresolvable):
        return [((), wrong_with(value, schema) or "")]
