"""Sets of prompts that a person uploads: plain text, CSV and JSON Lines, read into prompts.

A wrong row is named and left out; the rest stays. Knows no model, no page and no database.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import PurePath

from backend.catalogue import ASSETS
from backend.display import display_name
from backend.encodings import decode
from backend.errors import BadInput
from backend.json_shape import check_file

MOST_PROMPTS = 10_000
MAX_LINES = 500_000  # of a table: empty ones cost time too
MOST_BYTES = 20 * 2**20
LONGEST_PROMPT_CHARS = 200_000
MOST_PROBLEMS = 200
LONGEST_TAG_CHARS = 60
MOST_COLUMNS = 100  # what is further right is not looked at

# what a column or a field may be called; where a row has several of one line, the first counts
_PROMPT = ("prompt", "question", "text", "instruction", "input")
_SYSTEM = ("system", "system_prompt")
_TAG = ("tag", "category", "language", "topic", "label")
_TAKEN = "Take .txt, .csv, .tsv, .jsonl or .json."
_RULE = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
_UNSENDABLE = re.compile(r"[\0\ud800-\udfff]")  # JSON can escape them, but neither UTF-8 nor SQLite takes them
_JSON = json.JSONDecoder(parse_int=len, parse_float=len)  # no number is used, and int() refuses more than 4,300 digits


@dataclass(frozen=True, slots=True)
class Prompt:
    """`system` goes before the pane's own system prompt; `tag` groups results: "maths", "vi"."""

    text: str
    system: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """`problems` are sentences that name the rows left out: "row 7: the prompt is empty"."""

    title: str
    prompts: tuple[Prompt, ...]
    problems: tuple[str, ...] = ()


class _BadRow(Exception):
    """What is wrong with one row; the others go on."""


def read(raw: bytes, name: str) -> PromptSet:
    """The prompts of a file, by its name's ending (blocking: call it in a thread). Raises `BadInput`."""
    path = PurePath(name.replace("\\", "/"))
    shown = display_name(path.name) or "file"
    rows_of = _READERS.get(path.suffix.lower())
    if rows_of is None:
        raise BadInput(f"{shown} is no kind of file that prompts are read from.", hint=f"{_TAKEN} Save a spreadsheet as CSV first.")
    if len(raw) > MOST_BYTES:
        size = f"{len(raw) / 2**20:.1f} MB"
        raise BadInput(f"{shown} is too large: {size}, the most is {MOST_BYTES >> 20} MB.", hint="Split it into several sets.")
    decoded = decode(raw)
    if decoded is None:
        raise BadInput(f"{shown} is not a text file.", hint=f"{_TAKEN} Save it as UTF-8 text.")
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix.lower() in (".csv", ".tsv") and text.count("\n") > MAX_LINES:
        raise BadInput(f"{shown} has more than {MAX_LINES:,} lines.", hint="Split it into several sets.")
    prompts, problems = _sorted_out(rows_of(text, shown), shown)
    return PromptSet(display_name(path.stem) or shown, prompts, problems)


def shipped() -> PromptSet:
    """Twenty prompts to begin with, four of each tag."""
    path = ASSETS / "prompt-sets" / "starter.jsonl"
    return read(path.read_bytes(), path.name)


def _sorted_out(rows: Iterable[tuple[int, object]], shown: str) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
    prompts, problems, wrong = list[Prompt](), list[str](), 0
    for n, row in rows:
        try:
            prompts.append(_prompt(row))
        except _BadRow as error:
            wrong += 1
            if wrong <= MOST_PROBLEMS:
                problems.append(f"row {n}: {error}")
        if len(prompts) > MOST_PROMPTS:
            raise BadInput(f"{shown} has more than {MOST_PROMPTS:,} prompts.", hint="Split it into several sets.")
        if wrong > MOST_PROMPTS:  # 20 MB of "{}" would take half a minute to no end
            raise BadInput(f"{shown} has more than {MOST_PROMPTS:,} wrong rows, the first is {problems[0]}.", hint="Mend them first.")
    if not prompts:
        first = f": {problems[0]}" if problems else ""
        raise BadInput(f"{shown} has no prompt that can be used{first}.", hint='Write one prompt a line, or a column named "prompt".')
    if wrong > MOST_PROBLEMS:
        more = wrong - MOST_PROBLEMS
        problems.append(f"and {more:,} more row{'s' if more > 1 else ''}")
    return tuple(prompts), tuple(problems)


def _prompt(row: object) -> Prompt:
    if isinstance(row, _BadRow):
        raise row
    if not isinstance(row, dict):
        row = {"prompt": row}
    fields = {_column(key): value for key, value in row.items()}
    named = next((name for name in _PROMPT if name in fields), None)
    if named is None and "messages" in fields:
        fields |= _turns(fields["messages"])
    elif named is None:
        raise _BadRow(f"no prompt; its name can be {', '.join(_PROMPT)} or messages")
    text = _text(fields, _PROMPT)
    if named == "instruction":  # Alpaca's way: what to do, and apart from it the text to do it with
        text = _text({"prompt": f"{text}\n\n{_text(fields, ('input',))}"}, _PROMPT)
    if not text:
        raise _BadRow("the prompt is empty")
    return Prompt(text, _text(fields, _SYSTEM), display_name(_text(fields, _TAG), LONGEST_TAG_CHARS))


def _column(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _text(fields: Mapping[str, object], names: Iterable[str]) -> str:
    name = next((name for name in names if name in fields), None)
    value = fields[name] if name else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadRow(f"the {name} is not a text")
    value = _UNSENDABLE.sub("\ufffd", value).strip()
    if len(value) > LONGEST_PROMPT_CHARS:
        raise _BadRow(f"the {name} is too long: {len(value):,} characters, the most is {LONGEST_PROMPT_CHARS:,}")
    return value


def _turns(messages: object) -> dict[str, object]:
    turns = messages if isinstance(messages, list) else []
    found = [(turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None) for turn in turns]
    if sorted(str(role) for role, _ in found) not in (["user"], ["system", "user"]):
        raise _BadRow("of messages, exactly one user turn and at most one system turn are taken, nothing else")
    return {"system" if role == "system" else "prompt": content for role, content in found}


def _text_rows(text: str, shown: str) -> Iterator[tuple[int, object]]:
    parts = _RULE.split(text)
    line = 1
    for part in parts if len(parts) > 1 else StringIO(text):
        body = part.lstrip()
        if body:
            yield line + part.count("\n", 0, len(part) - len(body)), body
        line += part.count("\n")


def _json_line_rows(text: str, shown: str) -> Iterator[tuple[int, object]]:
    yield from ((n, _json(line.rstrip())) for n, line in enumerate(StringIO(text), 1) if line.strip())


def _json_list_rows(text: str, shown: str) -> Iterator[tuple[int, object]]:
    hint = "A .json file is one list of texts or objects; where each line is an object of its own, name it .jsonl."
    check_file(text, shown)
    items = _json(text)
    if not isinstance(items, list):
        raise BadInput(f"{shown} cannot be read: {items if isinstance(items, _BadRow) else 'it is not a list'}.", hint=hint)
    yield from enumerate(items, 1)


def _json(text: str) -> object:
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return _BadRow(f"not valid JSON: {error.msg} at {line}character {error.colno}")
    except RecursionError:
        return _BadRow("the JSON is nested too deeply")


def _table_rows(text: str, shown: str, delimiters: str = ",;\t|") -> Iterator[tuple[int, object]]:
    delimiter = max(delimiters, key=lambda one: _likeness(text, one))  # the first, where none is better
    columns, width, n = dict[str, int](), 0, 0
    try:
        for n, cells in enumerate(_records(text, delimiter), 1):
            if not any(map(str.strip, cells)):
                continue
            if not width:
                columns, width = _columns(cells), len(cells)
                if not columns.keys().isdisjoint(_PROMPT):
                    continue
                if len(found := [f'"{display_name(cell, 30)}"' for cell in cells[:MOST_COLUMNS] if cell.strip()]) > 1:
                    hint = 'Name the column of the prompts "prompt" in the first row, or give a plain list as a .txt file.'
                    raise BadInput(f"{shown} has no column of prompts, only {', '.join(found)}.", hint=hint)
                columns, width = {"prompt": 0}, 1
            if any(map(str.strip, cells[width:])):
                yield n, _BadRow(f"{len(cells)} cells where {width} belong; is a text not in double quotes?")
            else:
                yield n, {name: cells[i] if i < len(cells) else "" for name, i in columns.items()}
    except csv.Error as error:
        hint = 'A text that begins with a double quote ends with one, and each inside it is written twice ("").'
        raise BadInput(f"{shown} cannot be read as a table: row {n + 1}: {error}.", hint=hint) from error


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(MOST_BYTES)  # the whole process's; 131,072 by default, less than a prompt may have
    return csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _likeness(text: str, delimiter: str) -> tuple[bool, int]:
    """(a prompt column is named, cells a row) of the first rows. csv.Sniffer guesses from letters too, and can be slow."""
    rows = list[list[str]]()
    with suppress(csv.Error):  # the wrong delimiter, or a broken row that is named later
        for cells in islice(filter(any, _records(text, delimiter)), 20):
            rows.append(cells)
    if rows and not _columns(rows[0]).keys().isdisjoint(_PROMPT):
        return True, len(rows[0])
    even = len(rows) > 1 and len({len(cells) for cells in rows}) == 1
    return False, len(rows[0]) if even else min(1, len(rows))


def _columns(header: list[str]) -> dict[str, int]:
    """Where the columns are that mean something; of two with one name, the first."""
    named = {_column(header[i]): i for i in reversed(range(min(len(header), MOST_COLUMNS)))}
    return {name: i for name, i in named.items() if name in (*_PROMPT, *_SYSTEM, *_TAG)}


_READERS: Mapping[str, Callable[[str, str], Iterator[tuple[int, object]]]] = {
    **dict.fromkeys((".txt", ".md"), _text_rows),
    ".csv": _table_rows,
    ".tsv": partial(_table_rows, delimiters="\t"),
    **dict.fromkeys((".jsonl", ".ndjson"), _json_line_rows),
    ".json": _json_list_rows,
}
