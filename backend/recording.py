"""A run as JSON lines: a header, then one event a line with its offset in seconds. Reads and writes them; recorder.py records.

    {"format": "qwen-playground-recording", "version": 1, "title": ..., "model": ..., "scripted": false, "messages": [...], ...}
    {"at_s": 0.512, "event": "ThinkingDelta", "text": "Okay"}
    {"at_s": 3.204, "event": "Stopped"}                          only where the run did not finish; or "Failed" with a message

Knows no page, no database and no engine. Nothing secret is written: no header of any request, and of `parameters.extra`
only numbers, booleans and null, since a string there could be anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from backend.errors import BadInput
from backend.json_shape import check_file
from backend.model_names import portable_name
from backend.types import ChatRequest, Event, Finished, GenerationParameters, Message, Started

FORMAT, VERSION = "qwen-playground-recording", 1
MAX_BYTES = 64 * 2**20
LONGEST_S = 1e6

End = Literal["finished", "stopped", "failed"]
_ENDS: Mapping[str, End] = {"Stopped": "stopped", "Failed": "failed"}
_EVENTS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
_FIELDS: dict[str, set[str]] = {kind.__name__: {f.name for f in fields(kind)} for kind in get_args(Event)}


@dataclass(frozen=True, slots=True)
class Header:
    """`model` is the full name, `recorded_at` ISO 8601. `scripted`: written by hand, no model ran. `live`: written while the
    run went on, so it may break off (a killed process)."""

    title: str
    model: str
    messages: tuple[Message, ...]
    source: str
    recorded_at: str
    parameters: GenerationParameters = field(default_factory=GenerationParameters)
    scripted: bool = False
    live: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """Events with their offset in seconds from the start. `error` is the sentence of a failed run."""

    header: Header
    events: tuple[tuple[float, Event], ...]
    end: End = "finished"
    error: str | None = None


_HEADER = TypeAdapter(Header)
_HEADER_FIELDS = {f.name for f in fields(Header)} | {"format", "version"}


def header_of(request: ChatRequest, *, model: str, source: str, title: str = "", recorded_at: datetime | None = None) -> Header:
    """A header for a run of `request`; without a title it takes the beginning of the last prompt."""
    prompt = next((" ".join(m.content.split()) for m in reversed(request.messages) if m.role == "user"), "")
    when = (recorded_at or datetime.now(UTC)).isoformat(timespec="seconds")
    return Header(title or prompt[:80] or model, model, request.messages, source, when, request.parameters)


def dumps(recording: Recording) -> str:
    """The whole file's text: for a run held in memory, `Recording(header_of(...), tuple(run.log), end)`."""
    lines = [header_line(recording.header), *(event_line(at_s, event) for at_s, event in recording.events)]
    if recording.end != "finished":
        at_s = recording.events[-1][0] if recording.events else 0.0
        lines.append(end_line(at_s, recording.end, recording.error))
    return "".join(lines)


def loads(text: str, name: str = "recording") -> Recording:
    """Raises `BadInput` that names the first wrong line and what is wrong with it."""
    check_file(text, name)
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise _broken(name, 1, "the file is empty; a recording begins with a header line")
    header = _read_header(name, *numbered[0])
    events: list[tuple[float, Event]] = []
    end: End | None = None
    error: str | None = None
    for n, line in numbered[1:]:
        if end is not None:
            raise _broken(name, n, "an event after the end of the run")
        if header.live and n == numbered[-1][0] and not text.endswith("\n"):
            break  # a process that was killed left half a line
        data = _read_line(name, n, line)
        at_s, kind = _read_offset(name, n, data, events[-1][0] if events else 0.0), data.get("event")
        if isinstance(kind, str) and kind in _ENDS:
            end, error = _ENDS[kind], data.get("message")
            continue
        event = _read_event(name, n, line, data)
        if isinstance(event, Started) != (not events):
            raise _broken(name, n, "a run has exactly one Started, and it comes first")
        events.append((at_s, event))
        end = "finished" if isinstance(event, Finished) else None
    if end is None and not header.live:
        raise _broken(name, numbered[-1][0], "the run has no Finished at its end, and nothing says that it was stopped")
    return Recording(header, tuple(events), end or "stopped", error if isinstance(error, str) else None)


def load(path: Path) -> Recording:
    """Reads a file (blocking: call it in a thread). Raises `BadInput`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path.name} is larger than {MAX_BYTES >> 20} MB.", hint="A recording of one run is far smaller.")
        return loads(_decode(path.read_bytes()), path.name)
    except OSError as error:
        raise BadInput(f"{path.name} cannot be opened: {error.strerror}.", hint="Check the name and its permissions.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is not UTF-8 text.", hint="A recording is a text file of JSON lines.") from error


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end < len(raw):
            raise
        return raw[: error.start].decode("utf-8-sig")  # a killed process left half a character


def header_line(header: Header) -> str:
    """The first line, without what may be secret."""
    plain = {k: v for k, v in header.parameters.extra.items() if v is None or isinstance(v, bool | int | float)}
    data = asdict(replace(header, model=portable_name(header.model), parameters=replace(header.parameters, extra=plain)))
    data["parameters"] = {k: v for k, v in data["parameters"].items() if v not in (None, (), {})}
    data["messages"] = [{k: v for k, v in m.items() if v not in (None, ())} for m in data["messages"]]
    return _line({"format": FORMAT, "version": VERSION, **data})


def event_line(at_s: float, event: Event) -> str:
    """One event; what is unknown (`None`) is left out."""
    event = Started(portable_name(event.model)) if isinstance(event, Started) else event
    told = {k: v for k, v in asdict(event).items() if v is not None}
    for nested in ("usage", "timing"):
        if nested in told:
            told[nested] = {k: v for k, v in told[nested].items() if v is not None}
    return _line({"at_s": round(at_s, 4), "event": type(event).__name__, **told})


def end_line(at_s: float, end: Literal["stopped", "failed"], error: str | None) -> str:
    """The last line of a run that has no Finished."""
    return _line({"at_s": round(at_s, 4), "event": end.capitalize()} | ({"message": error} if error else {}))


def _line(data: Mapping[str, object]) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"


def _broken(name: str, line: int, what: str) -> BadInput:
    hint = "Choose another recording, or mend that line: each holds one JSON object."
    return BadInput(f"{name} cannot be replayed: line {line}: {what}.", hint=hint)


def _read_line(name: str, n: int, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise _broken(name, n, "not JSON") from None
    if not isinstance(data, dict):
        raise _broken(name, n, "not a JSON object")
    return data


def _read_header(name: str, n: int, line: str) -> Header:
    data = _read_line(name, n, line)
    if data.get("format") != FORMAT:
        raise _broken(name, n, f'missing header: it must say "format": "{FORMAT}"')
    if data.get("version") != VERSION:
        raise _broken(name, n, f"version {data.get('version')!r}; this app reads version {VERSION}")
    _refuse_unknown(name, n, data, _HEADER_FIELDS)
    try:
        header: Header = _HEADER.validate_json(line, strict=True)
    except ValidationError as error:
        raise _broken(name, n, _first(error)) from None
    return replace(header, model=portable_name(header.model))


def _read_offset(name: str, n: int, data: Mapping[str, Any], before_s: float) -> float:
    at_s = data.get("at_s")
    if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not abs(at_s) < LONGEST_S:
        raise _broken(name, n, "no offset: at_s must be a number of seconds")
    if at_s < before_s:
        raise _broken(name, n, f"the offset goes back, from {before_s:g} s to {at_s:g} s")
    return float(at_s)


def _read_event(name: str, n: int, line: str, data: Mapping[str, Any]) -> Event:
    kind = data.get("event")
    if not isinstance(kind, str) or kind not in _EVENTS:
        raise _broken(name, n, f"unknown event {kind!r}")
    _refuse_unknown(name, n, data, _FIELDS[kind] | {"at_s", "event"})
    try:
        event: Event = _EVENTS[kind].validate_json(line, strict=True)
    except ValidationError as error:
        raise _broken(name, n, f"{kind}: {_first(error)}") from None
    return event


def _refuse_unknown(name: str, n: int, data: Iterable[str], known: set[str]) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise _broken(name, n, f"unknown field {unknown[0]!r}")


def _first(error: ValidationError) -> str:
    wrong = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, wrong['loc'])) or 'value'}: {wrong['msg']}"
