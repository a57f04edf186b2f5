"""Schemas of an OpenAPI file as JSON Schema of draft 2020-12. What they refer to goes along under `$defs`, once each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import BadInput
from backend.tools.openapi_file import target

MOST_NODES = 20_000  # of one tool: more than any model reads

_TYPES = frozenset("array boolean integer null number object string".split())
_KEPT = frozenset(
    "type enum const format pattern multipleOf maximum minimum exclusiveMaximum exclusiveMinimum maxLength minLength maxItems minItems "
    "uniqueItems maxProperties minProperties required default examples title description deprecated".split()
)
_PART = frozenset("items additionalProperties contains propertyNames not if then else".split())
_PARTS = frozenset("allOf anyOf oneOf prefixItems".split())
_PARTS_BY_NAME = frozenset(["properties", "patternProperties"])
_LISTS = frozenset("enum required examples".split())


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    properties: Mapping[str, Any]
    required: tuple[str, ...]


class Schemas:
    """Those of one tool."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._nodes = 0

    def definitions(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while len(made) < len(self._names):  # each may ask for more
            for ref, name in list(self._names.items()):
                if name not in made:
                    made[name] = self.of(target(self._document, ref))
        return made

    def object_of(self, raw: Any) -> ObjectSchema | None:
        """The properties of an object's schema with those of all that it is made of (`allOf`); `None` for any other schema."""
        return self._object_of(raw, ())

    def _object_of(self, raw: Any, inside: tuple[str, ...]) -> ObjectSchema | None:
        ref = raw.get("$ref") if isinstance(raw, dict) else None
        if isinstance(ref, str):
            return None if ref in inside else self._object_of(target(self._document, ref), (*inside, ref))
        if not isinstance(raw, dict) or raw.get("type", "object") not in ("object", ["object"], ["object", "null"]):
            return None
        if "anyOf" in raw or "oneOf" in raw:  # services refuse parameters that begin so: it stays whole, one argument
            return None
        own = self.of({key: value for key, value in raw.items() if key in ("properties", "required")})
        listed = raw.get("allOf")
        together = [self._object_of(each, inside) for each in listed] if isinstance(listed, list) else []
        if None in together or (not together and "properties" not in raw):
            return None
        properties: dict[str, Any] = {}
        required: list[str] = []
        for found in (*together, ObjectSchema(own.get("properties", {}), tuple(own.get("required", ())))):
            if found is not None:
                properties |= found.properties
                required += [name for name in found.required if name not in required]
        return ObjectSchema(properties, tuple(required))

    def of(self, raw: Any) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise BadInput("An operation's schema is larger than any model reads.", hint="Take that operation out of the file.")
        if not isinstance(raw, dict):
            return raw if isinstance(raw, bool) else {}
        made: dict[str, Any] = {}
        ref = raw.get("$ref")
        if isinstance(ref, str):
            made["$ref"] = f"#/$defs/{self._name(ref)}"
        for key, value in raw.items():
            if key in _KEPT and (value is not None or key in ("default", "const")):
                made[key] = value
            elif key in _PARTS_BY_NAME and isinstance(value, dict):
                made[key] = {str(name): self.of(each) for name, each in value.items()}
            elif key in _PARTS and isinstance(value, list) and value:
                made[key] = [self.of(each) for each in value]
            elif key in _PART:
                made[key] = self.of(value)
        return _mended(made, raw)

    def _name(self, ref: str) -> str:
        target(self._document, ref)  # says where it leads to nothing
        if ref not in self._names:
            base = re.sub(r"[^A-Za-z0-9_.-]+", "_", ref.rpartition("/")[2]) or "schema"
            taken = set(self._names.values())
            self._names[ref] = base if base not in taken else f"{base}_{len(taken)}"
        return self._names[ref]


def _mended(made: dict[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI 3.0 writes otherwise than JSON Schema, put right; what is no schema but common in files, as `required: true` of a
    property and `type: file`, and what may not be sent (`readOnly`), left out."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and bound in made:
            made[exclusive] = made.pop(bound)
    if "type" in made:
        kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
        kinds = [kind for kind in kinds if isinstance(kind, str) and kind in _TYPES]
        made |= {"type": kinds[0] if len(kinds) == 1 else kinds}
        if not kinds:
            del made["type"]
    for key in [key for key in made if key in _LISTS and not (isinstance(made[key], list) and made[key])]:
        del made[key]
    for key in [key for key in ("title", "description") if not isinstance(made.get(key, ""), str)]:
        del made[key]
    if not _is_pattern(made.get("pattern", "")):  # patterns are JavaScript's; not all are Python's
        del made["pattern"]
    if "patternProperties" in made:
        made["patternProperties"] = {key: each for key, each in made["patternProperties"].items() if _is_pattern(key)}
    properties = raw.get("properties") if isinstance(raw.get("properties"), dict) else {}
    for name in [name for name, each in (properties or {}).items() if isinstance(each, dict) and each.get("readOnly") is True]:
        made["properties"].pop(str(name))
        made["required"] = [each for each in made.get("required", []) if each != name]
    if made.get("required") == []:
        del made["required"]
    return _with_null(made) if raw.get("nullable") is True else made


def _with_null(made: dict[str, Any]) -> dict[str, Any]:
    if isinstance(made.get("type"), str) and "$ref" not in made:
        made["type"] = [made["type"], "null"]
        if "enum" in made and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
        return made
    return {"anyOf": [made, {"type": "null"}]} if "$ref" in made or "enum" in made else made


def _is_pattern(text: Any) -> bool:
    try:
        re.compile(text)
    except (re.error, TypeError, OverflowError):
        return False
    return True
