"""Tools out of an OpenAPI file, one an operation, each with a schema that needs nothing outside itself. Calls nothing.

Responses, examples and headers are never read, so what is wrong there does no harm.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, get_args

from backend.addresses import http_address
from backend.errors import BadInput
from backend.tools.definitions import MOST_TOOLS, check_tools
from backend.tools.kit import HttpMethod
from backend.tools.openapi_file import SHAPE, entry, read_document
from backend.tools.openapi_schemas import Schemas
from backend.types import Tool

LONGEST_NAME = 64
LONGEST_DESCRIPTION = 1024  # as OpenAI
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}")


@dataclass(frozen=True, slots=True)
class ImportedOperation:
    """`url` holds `{name}` for the arguments of path and query. It is empty where the operation cannot be called with JSON over HTTP:
    no absolute server, another method, or a body that is a form or no object."""

    tool: Tool
    method: str
    url: str


def tools_from_openapi(text: str) -> list[ImportedOperation]:
    """The first 128 operations of an OpenAPI 3.0 or 3.1 file in JSON or YAML. Raises `BadInput`.

    Arguments are the parameters of path and query and the properties of the body; a body that is no object is the argument `body`. Where
    two have one name, path goes before query before body. Headers and cookies are the caller's affair.
    """
    document = read_document(text)
    found: list[ImportedOperation] = []
    try:
        for path, method, item, operation in islice(_operations(document), MOST_TOOLS):
            found.append(_imported(document, path, method, item, operation, [each.tool.name for each in found]))
        check_tools([each.tool for each in found])
    except RecursionError as error:
        raise BadInput("The file's schemas are nested too deeply.", hint="Take fewer operations, or flatter schemas.") from error
    if not found:
        hint = "Webhooks are calls that the service makes itself." if "webhooks" in document else SHAPE
        raise BadInput("The file describes no operation.", hint=hint)
    return found


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    paths = document.get("paths")
    for path, value in paths.items() if isinstance(paths, dict) else ():
        if str(path).startswith("/"):
            item = entry(document, value)
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield path, method, item, entry(document, item[method])


def _imported(
    document: Mapping[str, Any], path: str, method: str, item: dict[str, Any], operation: dict[str, Any], taken: Collection[str]
) -> ImportedOperation:
    schemas = Schemas(document)
    properties: dict[str, Any] = {}
    required: list[str] = []
    query: list[str] = []
    for where, name, parameter in _parameters(document, path, item, operation):
        if name in properties:
            continue
        properties[name] = _described(schemas.of(_schema_of(parameter)), parameter)
        if where == "path" or parameter.get("required") is True:
            required.append(name)
        if where == "query":
            query.append(name)
    body = entry(document, operation.get("requestBody"))
    kind, raw = _media(body)
    as_object = schemas.object_of(raw) if kind else None
    if as_object is not None:
        properties |= {name: schema for name, schema in as_object.properties.items() if name not in properties}
        required += [name for name in as_object.required if name not in required] if body.get("required") is True else []
    elif kind:
        properties["body"] = _described(schemas.of(raw), body)
        required += ["body"] if body.get("required") is True and "body" not in required else []
    parameters = {"type": "object", "properties": properties, "required": required, "$defs": schemas.definitions()}
    parameters = {key: value for key, value in parameters.items() if value or key in ("type", "properties")}
    base = _fitting(str(operation.get("operationId") or "")) or _fitting(f"{method} {path}")
    tool = Tool(_free_name(base, taken), _description(method, path, item, operation), _as_json(parameters))
    server = _server(operation, item, document)
    callable_ = server and method.upper() in get_args(HttpMethod) and (not kind or (kind == "json" and as_object is not None))
    url = _text_only(server + path + ("?" + "&".join(f"{name}={{{name}}}" for name in query) if query else ""))
    return ImportedOperation(tool, method.upper(), url if callable_ else "")


def _parameters(
    document: Mapping[str, Any], path: str, item: dict[str, Any], operation: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Those of the path, then those of the query; the operation's take the place of the path's."""
    given: dict[tuple[str, str], dict[str, Any]] = {("path", name): {} for name in _PLACEHOLDER.findall(path)}
    for holder in (item, operation):
        listed = holder.get("parameters")
        for each in listed if isinstance(listed, list) else ():
            parameter = entry(document, each)
            given[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    for where in ("path", "query"):
        yield from ((place, name, parameter) for (place, name), parameter in given.items() if place == where and name)


def _schema_of(parameter: Mapping[str, Any]) -> Any:
    return parameter["schema"] if "schema" in parameter else (_media(parameter)[1] or {"type": "string"})


def _media(holder: Mapping[str, Any]) -> tuple[str, Any]:
    """The schema of what is sent, as "json" or else as a "form"; "" where there is none, or none that arguments can be."""
    content = holder.get("content")
    kinds = {str(kind).partition(";")[0].strip().lower(): value for kind, value in content.items()} if isinstance(content, dict) else {}
    for kind, value in kinds.items():
        if kind == "application/json" or kind.endswith("+json") or kind == "*/*":
            return "json", value.get("schema", {}) if isinstance(value, dict) else {}
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        if kind in kinds:
            return "form", kinds[kind].get("schema", {}) if isinstance(kinds[kind], dict) else {}
    return "", None


def _described(schema: Any, holder: Mapping[str, Any]) -> Any:
    text = holder.get("description")
    return {**schema, "description": text} if isinstance(schema, dict) and isinstance(text, str) and text.strip() else schema


def _description(method: str, path: str, item: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    told = [text for holder in (operation, item) for text in (holder.get("summary"), holder.get("description")) if isinstance(text, str)]
    text = "\n\n".join(dict.fromkeys(text.strip() for text in told[:2] if text.strip())) or f"{method.upper()} {path}"
    text = f"Deprecated. {text}" if operation.get("deprecated") is True else text
    return _text_only(text if len(text) <= LONGEST_DESCRIPTION else text[: LONGEST_DESCRIPTION - 1].rstrip() + "…")


def _server(*holders: Mapping[str, Any]) -> str:
    """The first absolute address of the nearest holder that has servers, with the defaults of its variables; else nothing: a relative
    one belongs to where the file was, which nobody knows here."""
    for holder in holders:
        servers = holder.get("servers")
        for server in servers if isinstance(servers, list) else ():
            address = _with_defaults(server) if isinstance(server, dict) else ""
            with suppress(BadInput):
                if not _PLACEHOLDER.search(address):
                    return http_address(address).rstrip("/")
        if servers:
            return ""
    return ""


def _with_defaults(server: Mapping[str, Any]) -> str:
    address, variables = str(server.get("url")), server.get("variables")
    for name, variable in variables.items() if isinstance(variables, dict) else ():
        if isinstance(variable, dict) and "default" in variable:
            address = address.replace(f"{{{name}}}", str(variable["default"]))
    return address


def _free_name(base: str, taken: Collection[str]) -> str:
    """`base`, cut to a name's length, with a number behind it where others have it."""
    name = base[:LONGEST_NAME]
    for number in count(2):
        if name not in taken:
            break
        name = f"{base[: LONGEST_NAME - 1 - len(str(number))]}_{number}"
    return name


def _fitting(text: str) -> str:
    """Latin letters keep their base (tìmĐường: timDuong), whatever else a name cannot hold becomes _."""
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D"))
    return re.sub(r"[^A-Za-z0-9_-]+", "_", "".join(c for c in plain if not unicodedata.combining(c))).strip("_")


def _as_json(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy that shares nothing with the file and can be sent: the file's may have numbers without end, and keys that are numbers."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise BadInput("The file has a value in a schema that JSON cannot hold.", hint="Mend it.") from error
    made: dict[str, Any] = json.loads(_text_only(text))
    return made


def _text_only(text: str) -> str:
    """JSON can write halves of a character, which UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
