"""An OpenAPI file as plain data: JSON or YAML read, its version looked at, its references followed. Fetches nothing.

The file is a stranger's: its size, its nesting and what its aliases grow to are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import yaml  # type: ignore[import-untyped]

from backend.errors import BadInput
from backend.json_shape import check_file

MOST_BYTES = 5_000_000  # as much as the page takes
MOST_NODES = 500_000  # of a YAML file with its aliases written out
SHAPE = "It begins with openapi: 3.0.x or 3.1.x and lists operations under paths."
MAX_YAML_VALUES = 150_000  # its reader takes a second for them, and lets others run in between


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Words as JSON has them, as OpenAPI asks, where YAML 1.1 makes `no` a false and 2024-01-31 a date."""


_LEFT_OUT = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in _LEFT_OUT]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


def read_document(text: str) -> dict[str, Any]:
    """Raises `BadInput`."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise BadInput(f"The file is larger than {MOST_BYTES / 1e6:.0f} MB.", hint="Keep the paths that this chat needs.")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise BadInput("The file is empty.", hint=SHAPE)
    check_file(text, "The file")
    if sum(map(text.count, (":", "- ", "? "))) > MAX_YAML_VALUES:  # YAML says it with these
        raise BadInput(
            f"The file holds more than {MAX_YAML_VALUES:,} values.", hint="Keep the paths that this chat needs, or save it as JSON."
        )
    document = _from_json(text) if text.lstrip().startswith("{") else _from_yaml(text)
    if not isinstance(document, dict):
        raise BadInput("This is no OpenAPI file.", hint=SHAPE)
    if "swagger" in document:
        hint = "Convert it to OpenAPI 3, as editor.swagger.io and npx swagger2openapi do, and import that."
        raise BadInput("This is a Swagger 2.0 file; only OpenAPI 3.0 and 3.1 are read.", hint=hint)
    version = document.get("openapi")
    if not isinstance(version, str | float):  # openapi: 3.1 without quotes is a number
        raise BadInput("This is no OpenAPI file: it has no field openapi with a version.", hint=SHAPE)
    if not re.match(r"3\.\d", str(version)):
        raise BadInput(f"OpenAPI {str(version)[:20]} is not read, only 3.0 and 3.1.", hint=SHAPE)
    return document


def target(document: Mapping[str, Any], ref: str) -> Any:
    """What a reference inside the file leads to. Raises `BadInput`."""
    if not ref.startswith("#/"):
        hint = "Bundle the file first, as npx @redocly/cli bundle does."
        raise BadInput(f"The file refers to something outside itself, {ref[:200]!r}; nothing is fetched.", hint=hint)
    value: Any = document
    for key in unquote(ref[2:]).split("/"):
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            raise BadInput(f"The reference {ref[:200]!r} leads to nothing in the file.", hint="Mend the file.")
    return value


def entry(document: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """A parameter, body or operation, of which files in many pieces keep one and refer to it. Raises `BadInput`."""
    for _ in range(20):
        ref = value.get("$ref") if isinstance(value, dict) else None
        if not isinstance(ref, str):
            return value if isinstance(value, dict) else {}
        value = target(document, ref)
    raise BadInput("A reference in the file leads back to itself.", hint="Mend the file.")


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"The file is no JSON: {error.msg} in line {error.lineno}.", hint="Mend it there.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The file is no JSON that can be read: {error}."[:300], hint="Mend the file.") from error


def _from_yaml(text: str) -> Any:
    aliases = "Write it without aliases (&name, *name)."
    try:
        document = yaml.load(text, Loader=_Loader)  # nosec B506: _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise BadInput(f"The file is no YAML: {error.problem or error.context}{where}."[:300], hint="Mend it there.") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadInput("The file is no YAML: it holds characters or keys that YAML does not allow.", hint="Save it as UTF-8.") from error
    except RecursionError as error:
        raise BadInput("The file is nested too deeply.", hint=aliases) from error
    ahead, nodes = [document], 0
    while ahead:
        value = ahead.pop()
        nodes += 1
        if nodes > MOST_NODES:
            raise BadInput("The file grows too large when its YAML aliases are written out.", hint=aliases)
        if isinstance(value, dict):
            ahead += value.values()
        elif isinstance(value, list):
            ahead += value
    return document
