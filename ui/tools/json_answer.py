"""An answer that was to be JSON: laid out, with every place marked that does not keep to its schema. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from backend import AnswerFormat, BadInput, check_schema, mismatches
from ui.markup import esc
from ui.text import WORDS as W

MAX_LAID_OUT_CHARS = 200_000
Path = tuple[str | int, ...]
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def format_from(on: bool, text: str | None) -> AnswerFormat | None:
    """What the panel's checkbox and schema ask for. Raises `BadInput`."""
    if not on:
        return None
    if not (text or "").strip():
        return AnswerFormat()
    try:
        schema = json.loads(text or "")
    except ValueError as error:
        raise BadInput(W.json_bad.format(reason=error), hint="Mend it under Parameters, or leave it empty for any JSON.") from None
    if not isinstance(schema, dict):
        raise BadInput(W.json_bad.format(reason="it is no object"), hint='It begins with {"type": "object", ...}.')
    check_schema(schema, "The schema's keywords")
    return AnswerFormat(schema, strict=True)


def json_answer(content: str, wanted: Mapping[str, Any]) -> str:
    """The answer's HTML: laid out and marked where it is JSON, else as it is, with the reason."""
    if len(content) > MAX_LAID_OUT_CHARS:
        return f"<p class='note'>{esc(W.shown_as_written)}</p><pre class='json'>{esc(content)}</pre>"
    fenced = _FENCE.match(content)
    try:
        value = json.loads(fenced[1] if fenced else content)
    except (ValueError, RecursionError) as error:
        return f"<pre class='json'>{esc(content)}</pre><p class='fit bad'>{esc(W.json_no_json.format(reason=error))}</p>"
    schema = wanted.get("schema")
    wrong = mismatches(value, schema) if isinstance(schema, Mapping) else []
    at: dict[Path, list[str]] = {}
    for path, message in wrong:
        at.setdefault(path, []).append(message)
    lines = "".join(_line(path, text, at.pop(path, [])) for path, text in _lines(value, ()))
    says = W.json_any if schema is None else W.json_fits
    if wrong:
        says = W.json_wrong_one if len(wrong) == 1 else W.json_wrong.format(n=len(wrong))
    return f"<pre class='json'>{lines}</pre><p class='fit {'bad' if wrong else 'ok'}'>{esc(says)}</p>"


def _line(path: Path, text: str, reasons: list[str]) -> str:
    if not reasons:
        return f"{esc(text)}\n"
    return f"<span class='wrong'>{esc(text)}<span class='why'>{esc('; '.join(reasons))}</span></span>"


def _lines(value: Any, path: Path, indent: str = "", name: str = "", comma: str = "") -> Iterator[tuple[Path, str]]:
    """Lines of laid-out JSON with the path of what begins in each; closing brackets have a path of their own that nothing else has."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        yield path, f"{indent}{name}{opening}"
        last = len(value) - 1
        for place, (key, item) in enumerate(items):
            label = f"{json.dumps(key, ensure_ascii=False)}: " if isinstance(value, dict) else ""
            yield from _lines(item, (*path, key), f"{indent}  ", label, "," if place < last else "")
        yield (*path, "\0end"), f"{indent}{closing}{comma}"
    else:
        yield path, f"{indent}{name}{json.dumps(value, ensure_ascii=False)}{comma}"
