"""JSON Schema with a limit of time: a stranger's schema or pattern can go on for ever, and Python's own `re` lets nothing run meanwhile.

`concurrent` lets other threads run: whoever checks what strangers bring does it in a thread."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

PATTERN_TIME_S = 0.1
LOOK_TIME_S = 0.3  # of the processor, for the whole look at a value
MAX_PATTERN_CHARS = 10_000
MAX_PATTERN_STATES = 100_000  # `(a{100}){100}` is compiled into ten thousand
_COUNTED = re.compile(r"\\.|\{(\d{1,9})(?:,(\d{0,9}))?\}|[()]", re.DOTALL)
_until_s: ContextVar[float] = ContextVar("until_s", default=float("inf"))


class LookTooLong(Exception):
    """A value was looked at for as long as may be."""


@contextmanager
def limited_look(limit_s: float = LOOK_TIME_S, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
    """Within it `SafeValidator` raises `LookTooLong` once `limit_s` are over: schemas that refer to one another twice take 2^n steps."""
    before = _until_s.set(clock() + limit_s)
    try:
        yield
    finally:
        _until_s.reset(before)


def _timed(keyword: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def look(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if time.thread_time() > _until_s.get():
            raise LookTooLong
        yield from keyword(validator, value, instance, schema) or ()

    return look


@lru_cache(maxsize=1024)
def _is_affordable(pattern: str) -> bool:
    """Whether it can be compiled: counted repetitions inside one another multiply. Classes and names are counted as they are written."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return False
    sizes, last = [0], 0
    position = 0
    for sign in _COUNTED.finditer(pattern):
        plain = sign.start() - position
        sizes[-1] += plain
        last = 1 if plain else last
        position = sign.end()
        if sign[0] == "(":
            sizes.append(0)
        elif sign[0] == ")":
            last = sizes.pop() + 1 if len(sizes) > 1 else 1
            sizes[-1] += last
        elif sign[1] is not None:
            times = max(int(sign[1]), int(sign[2] or 0))
            sizes[-1] += last * times
            last *= max(times, 1)
        else:
            sizes[-1] += 1
            last = 1
        if sizes[-1] > MAX_PATTERN_STATES:
            return False
    return True


def _found(pattern: str, text: str) -> bool:
    """Raises `TimeoutError`, which ends the whole look at a value."""
    if not _is_affordable(pattern):
        raise TimeoutError
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
_OURS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
}
SafeValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _timed(keyword) for name, keyword in (Draft202012Validator.VALIDATORS | _OURS).items()}
)
