"""A tool's definition and a call's arguments, checked against JSON Schema. Runs no tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry

from backend.errors import BadInput
from backend.tools.patterns import LookTooLong, SafeValidator, limited_look
from backend.types import Message, Tool

MOST_TOOLS = 128  # as OpenAI
MOST_MISMATCHES = 50
MOST_SCHEMA_CHARS = 200_000
MOST_DEPTH = 100
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
    """Raises `BadInput` with the place where `schema` is no JSON Schema (draft 2020-12), or is larger than can be checked in time."""
    try:
        text = json.dumps(schema, allow_nan=False)
        problem = "is larger than any model reads" if len(text) > MOST_SCHEMA_CHARS else _wrong_with_schema(text)
    except (RecursionError, ValueError) as error:
        raise BadInput(f"{what} are nested too deeply, or hold a number that JSON has not.", hint="Mend the schema.") from error
    if problem is not None:
        raise BadInput(f"{what} are no JSON Schema that can be used: {problem}.", hint="Mend the schema.")


@lru_cache(maxsize=1024)  # agents send the same tools with every turn, and a look takes 3 ms
def _wrong_with_schema(text: str) -> str | None:
    schema = json.loads(text)
    if _depth(schema) > MOST_DEPTH:
        return f"it is nested more than {MOST_DEPTH} deep"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        return f"{f'at {place}: ' if place else ''}{error.message[:300].rstrip('.')}"
    return None


def _depth(value: Any) -> int:
    deep, layer = 0, [value]
    while layer:
        deep += 1
        layer = [inner for each in layer for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())]
    return deep


def wrong_with(value: object, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with `value` under `schema`, the gravest thing with its place; `None` where it fits. References stay inside."""
    found = _errors(value, schema)
    if isinstance(found, str):
        return found
    error = best_match(found)
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    return f"{place}: {error.message}" if place else error.message


def mismatches(value: object, schema: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Every place where `value` does not keep to `schema`, as a path, with what is wrong there; at most `MOST_MISMATCHES`."""
    found = _errors(value, schema)
    return [((), found)] if isinstance(found, str) else [(tuple(error.absolute_path), error.message) for error in found]


def _errors(value: object, schema: Mapping[str, Any]) -> list[ValidationError] | str:
    """A sentence where the schema itself is at fault: strangers bring them, and jsonschema raises whatever it trips over."""
    try:
        with limited_look():
            return list(islice(SafeValidator(schema, registry=_NOTHING_FETCHED).iter_errors(value), MOST_MISMATCHES))
    except TimeoutError:
        return "a pattern of the schema takes too long to be looked for"
    except LookTooLong:
        return "the schema takes too long to be looked through"
    except Exception as error:
        return f"the schema cannot be applied: it refers to what is not there, or to itself without end ({type(error).__name__})"


def arguments_of(arguments: str) -> dict[str, Any]:
    """The arguments of a call; some models write nothing where there are none. Raises `ValueError` where they are no JSON object."""
    value = json.loads(arguments.strip() or "{}", parse_constant=no_number)
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


def no_number(name: str) -> float:
    """For NaN and its like, which Python's JSON reads. Raises `ValueError`."""
    raise ValueError(f"{name} is no JSON number")
