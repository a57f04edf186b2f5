"""Schemas and arguments of strangers: what is wrong with them is said, whatever they hold, and soon."""

from __future__ import annotations

import json

import pytest

from backend.errors import BadInput
from backend.tools.definitions import MOST_SCHEMA_CHARS, check_schema, mismatches, wrong_with, wrong_with_arguments
from backend.types import Tool

SLOW = "^(a|aa)+$"


@pytest.mark.parametrize(
    "schema",
    [{"pattern": SLOW}, {"patternProperties": {SLOW: {}}}, {"patternProperties": {SLOW: True}, "additionalProperties": False}],
)
def test_a_pattern_that_never_ends_is_given_up(schema):
    text = "a" * 60 + "!"
    value = text if "pattern" in schema else {text: 1}
    assert wrong_with(value, schema) == "a pattern of the schema takes too long to be looked for"
    assert mismatches(value, schema) == [((), "a pattern of the schema takes too long to be looked for")]


@pytest.mark.parametrize(
    ("value", "schema", "wrong"),
    [
        ("abc", {"pattern": "^b"}, "'abc' does not match '^b'"),
        ("bc", {"pattern": "^b"}, None),
        ({"x1": "a"}, {"patternProperties": {"^x": {"type": "integer"}}}, "x1: 'a' is not of type 'integer'"),
        ({"x1": 1, "y": 2}, {"patternProperties": {"^x": {}}, "additionalProperties": False}, "('y' was unexpected)"),
        ({"a": 1, "b": 2}, {"additionalProperties": False}, "('a', 'b' were unexpected)"),
        ({"a": "x"}, {"properties": {"b": {}}, "additionalProperties": {"type": "integer"}}, "a: 'x' is not of type 'integer'"),
        ({"a": 1}, {"unevaluatedProperties": False}, "Unevaluated properties are not allowed"),
        ({"a": 1}, {"allOf": [{"patternProperties": {"^b": {}}}], "unevaluatedProperties": False}, None),
    ],
)
def test_the_guarded_words_mean_what_they_do_elsewhere(value, schema, wrong):
    found = wrong_with(value, schema)
    assert found is None if wrong is None else wrong in found


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        ('{"a": 1e999}', {"properties": {"a": {"multipleOf": 0.5}}}),
        (f'{{"a": 1{"0" * 400}}}', {"properties": {"a": {"multipleOf": 0.5}}}),
        ("{}", {"$ref": "#/description", "description": "x"}),
        ("{}", {"$ref": "#/enum/zz", "enum": [1]}),
        ("{}", {"$ref": "#"}),
        ("{}", {"$ref": "http://127.0.0.1:9/x"}),
        ('{"a": "b"}', {"properties": {"a": {"pattern": "("}}}),
    ],
)
def test_whatever_a_schema_does_to_the_validator_becomes_a_sentence(arguments, schema):
    assert "cannot be applied" in wrong_with_arguments(arguments, Tool("t", "", schema))


def nested(deep):
    return json.loads('{"items": ' * deep + "{}" + "}" * deep)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "strin"}, "at type: 'strin' is not valid"),
        ({"properties": {"a": {"type": 5}}}, "at properties/a/type"),
        (nested(200), "more than 100 deep"),
        ({"description": "x" * MOST_SCHEMA_CHARS}, "larger than any model reads"),
        ({"default": float("inf")}, "a number that JSON has not"),
    ],
)
def test_schemas_that_cannot_be_used(schema, why):
    with pytest.raises(BadInput, match=why):
        check_schema(schema, "The parameters")


def _twice(depth: int) -> dict:
    """Each definition refers to the next one twice: 2^depth steps for one value."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, f"d{depth}": {"type": "integer"}}}


def test_a_schema_whose_look_would_never_end_is_given_up():
    said = "the schema takes too long to be looked through"
    assert wrong_with({"a": 1}, _twice(40)) == said and mismatches({"a": 1}, _twice(40)) == [((), said)]
    assert wrong_with({"a": 1}, _twice(5)) is None and "integer" in wrong_with({"a": "x"}, _twice(5))


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("((((a{100}){100}){100}){100})", False), ("(((a{1,100}){1,100}){1,100})", False), ("a{2000000}", False), ("a{1000}{1000}", False), ("a" * 20_000, False),
        ("(?:(?:[ab]{500}c){500})", False), (r"^\d{4}-\d{2}-\d{2}$", True), (r"^[^@]{1,64}@[^@]{1,255}\.[a-z]{2,63}$", True), (r"\{100000000\}", True),
        (r"([0-9a-f]{4}-){3}[0-9a-f]{12}", True), ("(a{100}){100}", True), (r"\(a{100}\){100}", True), ("", True),
    ],
)  # fmt: skip
def test_a_pattern_that_would_be_compiled_into_gigabytes_is_not(pattern, taken):
    """The limit of time is of the search alone: the memory goes before it."""
    said = wrong_with("x", {"type": "string", "pattern": pattern})
    assert (said != "a pattern of the schema takes too long to be looked for") is taken
