"""JSON Schema's patterns with a limit of time: a stranger's can go on for ever, and Python's own `re` lets nothing run meanwhile.

`concurrent` lets other threads run: whoever checks what strangers bring does it in a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

PATTERN_TIME_S = 0.1


def _found(pattern: str, text: str) -> bool:
    """Raises `TimeoutError`, which ends the whole look at a value."""
    return regex.search(pattern, text, timeout=PATTERN_TIME_S, concurrent=True) is not None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _found(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [name for name in instance if name not in named and not any(_found(pattern, name) for pattern in patterns)]
    if isinstance(inner, Mapping):
        for name in extras:
            yield from validator.descend(instance[name], inner, path=name)
    elif not inner and extras:
        shown = ", ".join(map(repr, sorted(extras, key=str)))
        yield ValidationError(f"Additional properties are not allowed ({shown} {'was' if len(extras) == 1 else 'were'} unexpected)")


def _unevaluated_properties(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own looks for patterns with `re` again. Where there are some it is left out: more is taken then, nothing refused."""
    if "patternProperties" not in str(schema):
        yield from _ITS_OWN(validator, inner, instance, schema) or ()


_ITS_OWN = Draft202012Validator.VALIDATORS["unevaluatedProperties"]
SafeValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
    },
)
