"""A JSON Schema of the document as rows of a table for people. Plain data: the template makes HTML of it."""

from __future__ import annotations

import json
from typing import Any

Piece = tuple[str, str]  # words, and the object that they link to, if any
Row = tuple[str, list[Piece], bool, str]  # name, type, whether it must be there, description
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null", "object": "object"}


def named(schema: dict[str, Any]) -> str:
    """The component that `schema` refers to; empty where it stands for itself."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def rows_of(schema: dict[str, Any]) -> list[Row]:
    """One row a field, those that must be there first."""
    required = schema.get("required", [])
    rows: list[Row] = []
    for name, field in schema.get("properties", {}).items():
        pieces = type_of(field if name in required else _without_null(field))
        rows.append((name, pieces, name in required, field.get("description", "")))
    return sorted(rows, key=lambda row: not row[2])


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Where a field may be left out, null says the same, and every line would say so."""
    parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    return parts[0] if len(parts) == 1 else {**schema, "anyOf": parts} if parts else schema


def type_of(schema: dict[str, Any]) -> list[Piece]:
    """As words: "list of UserMessage or SystemMessage", "whole number from 1 to 8"."""
    if name := named(schema):
        return [(name, name)]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _joined([type_of(part) for part in schema[key]])
    if "enum" in schema:
        return [(" or ".join(json.dumps(value) for value in schema["enum"]), "")]
    if schema.get("type") == "array":
        return [("list of ", ""), *type_of(schema.get("items", {}))]
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return [("object of ", ""), *type_of(values)]
    return [(_WORDS.get(schema.get("type", ""), "anything") + _bounds(schema), "")]


def _joined(types: list[list[Piece]]) -> list[Piece]:
    made: list[Piece] = []
    for place, pieces in enumerate(types):
        made += ([(" or ", "")] if place else []) + pieces
    return made


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return ", not empty" if schema.get("minLength") else ""
