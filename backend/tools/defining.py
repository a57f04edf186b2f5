"""Where a chat's tools come from: a definition as JSON, a Python function's head, an OpenAPI file, the built-in ones. Runs nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from backend.addresses import http_address
from backend.errors import BadInput
from backend.tools.definitions import check_tools, no_number
from backend.tools.kit import HttpMethod, ToolKit, ToolSpec
from backend.types import Tool

_SHAPE = 'Write {"name": ..., "description": ..., "parameters": {"type": "object", ...}}, or a Python function\'s head.'


def specs_from_text(text: str, url: str = "") -> list[ToolSpec]:
    """The tools of a definition, or of a list of them: JSON as OpenAI has it, with or without its envelope, or Python. With `url` they are
    answered there. Raises `BadInput` that says what is wrong and where."""
    if not text.strip():
        raise BadInput("There is no definition yet.", hint=_SHAPE)
    if text.lstrip()[0] in "{[":
        tools = _from_json(text)
    else:
        from backend.tools.from_python import tool_from_python

        try:
            tools = [tool_from_python(text)]
        except (TypeError, ValueError, LookupError, RecursionError) as error:  # types that are none, as list[()]
            raise BadInput(f"The types of the function cannot be read: {error}."[:300], hint=_SHAPE) from error
    check_tools(tools)
    address = http_address(url, example="http://127.0.0.1:9000/weather; leave it empty to type the results yourself") if url.strip() else ""
    return [ToolSpec(tool, "http" if address else "hand", url=address) for tool in tools]


def specs_from_openapi(text: str) -> list[ToolSpec]:
    """One tool an operation, switched off: a file may hold a hundred. Raises `BadInput`."""
    from backend.tools.from_openapi import tools_from_openapi

    hand = [(each, ToolSpec(each.tool, on=False)) for each in tools_from_openapi(text)]
    return [replace(spec, by="http", url=each.url, method=cast(HttpMethod, each.method)) if each.url else spec for each, spec in hand]


def built_in_specs() -> list[ToolSpec]:
    """The tools that come with the app; they touch nothing, so they need not ask."""
    from backend.tools.built_in import BUILT_IN

    return [ToolSpec(found.tool, "built_in", "always") for found in BUILT_IN.values()]


def with_specs(kit: ToolKit, specs: Sequence[ToolSpec]) -> tuple[ToolKit, list[str]]:
    """The kit with `specs`, each in the place of one of its name, and the names that were there. Raises `BadInput` for too many."""
    known = {spec.tool.name: spec for spec in kit.specs}
    there = [spec.tool.name for spec in specs if spec.tool.name in known]
    known |= {spec.tool.name: spec for spec in specs}
    check_tools([spec.tool for spec in known.values()])
    return replace(kit, specs=tuple(known.values())), there


def _from_json(text: str) -> list[Tool]:
    try:
        data = json.loads(text, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The definition is no JSON: {error}.", hint=_SHAPE) from error
    found = data if isinstance(data, list) else data.get("tools", [data]) if isinstance(data, dict) else [data]
    if not isinstance(found, list):
        raise BadInput("What stands under tools is no list.", hint=_SHAPE)
    return [_tool(each) for each in found]


def _tool(data: Any) -> Tool:
    function = data.get("function", data) if isinstance(data, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadInput("A definition has a name.", hint=_SHAPE)
    parameters = function.get("parameters", function.get("inputSchema", {"type": "object", "properties": {}}))
    description = function.get("description") or ""
    if not isinstance(parameters, dict) or not isinstance(description, str):
        raise BadInput(f"The parameters of {function['name']} are no object, or its description is no text.", hint=_SHAPE)
    return Tool(function["name"], description, parameters)
