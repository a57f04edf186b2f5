"""A comparison as JSON lines, which this app opens again: a header, then each answer's recording as recording.py writes it.

    {"format": "qwen-playground-comparison", "version": 1, "title": ..., "made_at": ..., "panes": [...], "votes": [...]}
    {"turn": 1, "pane": 1}                       a part begins; numbers from 1, in order of turn and pane
    {"format": "qwen-playground-recording", ...}
    {"at_s": ...}

A part ends where the next begins. One whose recording is `live` (its process was killed) may break off, as on its own. Nothing secret is
written: of a pane's extra JSON only numbers, booleans and null, since a text there could be anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.compare.records import MOST_PANES
from backend.errors import BadInput
from backend.history import Node
from backend.recording import MAX_BYTES, Header, Recording
from backend.recording import dumps as dump_recording
from backend.recording import loads as load_recording
from backend.types import Event, Finished, FinishReason, Message, Started, TextDelta, ThinkingDelta, Timing, Usage

FORMAT, VERSION = "qwen-playground-comparison", 1
MOST_TURNS = 200
ONLY_THE_END = "Only the end result was kept, not its pace: text comes at the times of its parts."
_PART = re.compile(r'\s*\{\s*"turn"\s*:')
_LINE = re.compile(r"line (\d+)")
_MEND = "Choose a run file that was saved here, as it was saved."


@dataclass(frozen=True, slots=True)
class PaneSettings:
    """A pane's model by its full name, and its settings as a chat stores them."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedVote:
    """`turn` from 0; `verdict` is a pane's number from "1", "tie" or "bad"; an empty judge is a person."""

    turn: int
    verdict: str
    judge: str = ""
    tag: str = ""
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One answer; numbers from 0."""

    turn: int
    pane: int
    recording: Recording


@dataclass(frozen=True, slots=True)
class RunFile:
    """`made_at` is ISO 8601."""

    title: str
    made_at: str
    panes: tuple[PaneSettings, ...]
    parts: tuple[Part, ...]
    votes: tuple[SavedVote, ...] = ()

    @property
    def turns(self) -> int:
        return max((part.turn for part in self.parts), default=-1) + 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Pane(_Strict):
    model: str
    settings: dict[str, Any]


class _Vote(_Strict):
    turn: Annotated[int, Field(ge=1, le=MOST_TURNS)]
    verdict: Annotated[str, Field(pattern=r"^([1-4]|tie|bad)$")]
    judge: str = ""
    tag: str = ""
    blind: bool = False


class _Head(_Strict):
    format: Literal["qwen-playground-comparison"]
    version: Literal[1]
    title: str
    made_at: str
    panes: Annotated[list[_Pane], Field(min_length=1, max_length=MOST_PANES)]
    votes: list[_Vote] = []


class _Mark(_Strict):
    turn: Annotated[int, Field(ge=1, le=MOST_TURNS)]
    pane: Annotated[int, Field(ge=1, le=MOST_PANES)]


def is_run_file(text: str) -> bool:
    """Whether a text says that it is one: a single recording is another format."""
    return f'"{FORMAT}"' in text[:200].split("\n")[0]


def dumps(file: RunFile) -> str:
    """The whole file's text."""
    head = {
        "format": FORMAT, "version": VERSION, "title": file.title, "made_at": file.made_at,
        "panes": [{"model": pane.model, "settings": _harmless(pane.settings)} for pane in file.panes],
        "votes": [{**asdict(vote), "turn": vote.turn + 1} for vote in file.votes],
    }  # fmt: skip
    lines = [json.dumps(head, ensure_ascii=False) + "\n"]
    for part in file.parts:
        lines.append(json.dumps({"turn": part.turn + 1, "pane": part.pane + 1}) + "\n")
        lines.append(dump_recording(part.recording))
    return "".join(lines)


def _harmless(settings: Mapping[str, Any]) -> dict[str, Any]:
    extra = {k: v for k, v in (settings.get("extra") or {}).items() if v is None or isinstance(v, bool | int | float)}
    return {**{k: v for k, v in settings.items() if k != "extra"}, **({"extra": extra} if extra else {})}


def loads(text: str, name: str) -> RunFile:
    """Raises `BadInput` that names the first wrong line and what is wrong with it."""
    if len(text) > MAX_BYTES:
        raise BadInput(f"{name} is larger than {MAX_BYTES >> 20} MB.", hint="A run file is far smaller.")
    lines = text.removeprefix("\ufeff").split("\n")
    head = _read(_Head, lines[0], name, 1)
    starts = [place for place, line in enumerate(lines) if place and _PART.match(line)]
    if not starts:
        raise _broken(name, len(lines), "there is no answer in it")
    if any(line.strip() for line in lines[1 : starts[0]]):
        raise _broken(name, 2, 'an answer begins with a line as {"turn": 1, "pane": 1}')
    parts: list[Part] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        mark = _read(_Mark, lines[start], name, start + 1)
        if mark.pane > len(head.panes):
            raise _broken(name, start + 1, f"there is no pane {mark.pane} in the first line")
        part = Part(mark.turn - 1, mark.pane - 1, _recording(lines[start + 1 : end], name, start + 1))
        if parts and (part.turn, part.pane) <= (parts[-1].turn, parts[-1].pane):
            raise _broken(name, start + 1, "answers come in the order of turns and panes, each once")
        parts.append(part)
    panes = tuple(PaneSettings(pane.model, pane.settings) for pane in head.panes)
    votes = tuple(SavedVote(vote.turn - 1, vote.verdict, vote.judge, vote.tag, vote.blind) for vote in head.votes)
    return RunFile(head.title, head.made_at, panes, tuple(parts), votes)


def _recording(lines: Sequence[str], name: str, before: int) -> Recording:
    """One part's recording; an error names the line of the whole file."""
    try:
        return load_recording("".join(f"{line}\n" for line in lines), name)
    except BadInput as error:
        told = _LINE.sub(
            lambda found: f"line {int(found[1]) + before}", error.message.removeprefix(f"{name} cannot be replayed: "), count=1
        )
        raise BadInput(f"{name} cannot be opened: {told}", hint=_MEND) from None


def _read(kind: type[Any], line: str, name: str, number: int) -> Any:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        raise _broken(name, number, f"{'.'.join(map(str, wrong['loc'])) or 'the line'}: {wrong['msg']}") from None
    except (ValueError, RecursionError):
        raise _broken(name, number, "not JSON") from None


def _broken(name: str, line: int, what: str) -> BadInput:
    return BadInput(f"{name} cannot be opened: line {line}: {what}.", hint=_MEND)


def recording_of_node(node: Node, messages: tuple[Message, ...], model: str) -> Recording:
    """Of an answer whose recording is gone: its text at the times that are known, all of a kind at once."""
    timing, usage = node.timing or Timing(), node.usage or Usage()
    at_s = timing.ttft_s or 0.0
    events: list[tuple[float, Event]] = [(0.0, Started(model))]
    if node.thinking:
        events.append((at_s, ThinkingDelta(node.thinking)))
    at_s += timing.thinking_s or 0.0
    if node.content:
        events.append((at_s, TextDelta(node.content)))
    header = Header(node.model or model, model, messages, ONLY_THE_END, node.created_at.isoformat(timespec="seconds"))
    if node.status in ("error",):
        return Recording(header, tuple(events), "failed", node.error.message if node.error else None)
    if node.status != "done":
        return Recording(header, tuple(events), "stopped")
    known: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "content_filter")
    reason: FinishReason = next((each for each in known if each == node.finish_reason), "unknown")
    end_s = max(at_s, timing.total_s or 0.0)
    return Recording(header, (*events, (end_s, Finished(reason, usage, node.timing, node.request_id))))
