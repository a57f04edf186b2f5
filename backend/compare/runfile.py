"""A comparison as JSON lines, which this app opens again: a header, then each answer's recording as recording.py writes it.

    {"format": "qwen-playground-comparison", "version": 1, "title": ..., "made_at": ..., "panes": [...], "votes": [...]}
    {"turn": 1, "pane": 1}                       a part begins; numbers from 1, in order of turn and pane
    {"format": "qwen-playground-recording", ...}
    {"at_s": ...}

A part ends where the next begins. `dumps` gives each an end (Finished, Stopped or Failed). One whose recording is `live` may lack it
where another part follows: its process was killed before the file was put together. At the end of the file it may not, for then the file
itself was cut; and half a line is damage wherever it stands. Only a file cut exactly between two parts looks like a shorter one.

Nothing secret is written: of extra JSON only numbers, booleans and null, since a text there could be anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from backend.choices import parameters_from
from backend.compare.records import MOST_PANES
from backend.compare.votes import BAD, TIE
from backend.errors import BadInput
from backend.history import Node
from backend.json_shape import check_file
from backend.recording import MAX_BYTES, Recording, header_of
from backend.recording import dumps as dump_recording
from backend.recording import loads as load_recording
from backend.types import (
    AnswerFormat,
    ChatRequest,
    Event,
    Finished,
    FinishReason,
    GenerationParameters,
    Message,
    Started,
    TextDelta,
    ThinkingDelta,
    Timing,
    Usage,
)

FORMAT, VERSION = "qwen-playground-comparison", 1
MOST_TURNS = 200
ONLY_THE_END = "Only the end result was kept, not its pace: text comes at the times of its parts."
_LARGEST = 1e20  # a seed of 64 bits is below it
_SAYS = re.compile(rf'"format"\s*:\s*"{FORMAT}"')  # inside a text the quotes would be escaped
_PART = re.compile(r'\s*\{\s*"(turn|pane)"\s*:')
_END = re.compile(r'"event"\s*:\s*"(Finished|Stopped|Failed)"')
_LINE = re.compile(r"line (\d+): (.*)\.", re.DOTALL)
_STRICT = ConfigDict(extra="forbid", strict=True)  # holds for dataclasses inside, too
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


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What of it is no text and can be read back."""
    return {k: v for k, v in extra.items() if v is None or (isinstance(v, bool | int | float) and abs(v) < _LARGEST)}


def _all_plain(extra: dict[str, Any]) -> dict[str, Any]:
    if len(_plain(extra)) < len(extra):
        raise ValueError("only numbers below 1e20, true, false and null may stand there")
    return extra


@dataclass(frozen=True, slots=True)
class _Settings(GenerationParameters):
    extra: Annotated[dict[str, Any], AfterValidator(_all_plain)] = field(default_factory=dict)
    system: str = ""
    resend_thinking: bool = False
    format: AnswerFormat | None = None


class _Pane(BaseModel, **_STRICT):
    model: str
    settings: _Settings


class _Head(BaseModel, **_STRICT):
    format: str
    version: int
    title: str
    made_at: str
    panes: Annotated[list[_Pane], Field(min_length=1, max_length=MOST_PANES)]
    votes: list[SavedVote] = []


class _Mark(BaseModel, **_STRICT):
    turn: Annotated[int, Field(ge=1, le=MOST_TURNS)]
    pane: Annotated[int, Field(ge=1)]


def is_run_file(text: str) -> bool:
    """Whether a text says that it is one: a single recording is another format."""
    return _SAYS.search(text.partition("\n")[0]) is not None


def dumps(file: RunFile) -> str:
    """The whole file's text. Raises `BadInput` where it would be too long to be opened again."""
    harmless = [{k: _plain(v) if k == "extra" else v for k, v in pane.settings.items()} for pane in file.panes]
    head = {
        "format": FORMAT, "version": VERSION, "title": file.title, "made_at": file.made_at,
        "panes": [{"model": pane.model, "settings": settings} for pane, settings in zip(file.panes, harmless, strict=True)],
        "votes": [{**asdict(vote), "turn": vote.turn + 1} for vote in file.votes],
    }  # fmt: skip
    lines = [json.dumps(head, ensure_ascii=False) + "\n"]
    for part in sorted(file.parts, key=lambda part: (part.turn, part.pane)):
        header = part.recording.header
        header = replace(header, parameters=replace(header.parameters, extra=_plain(header.parameters.extra)))
        lines.append(json.dumps({"turn": part.turn + 1, "pane": part.pane + 1}) + "\n")
        lines.append(dump_recording(replace(part.recording, header=header)))
    raw = "".join(lines).encode("utf-8", "replace")  # a model may have written half of a surrogate pair
    if file.turns > MOST_TURNS or len(raw) > MAX_BYTES:
        most = f"{MOST_TURNS} turns and {MAX_BYTES >> 20} MB"
        raise BadInput(f"This comparison is too long for a run file, which holds up to {most}.", hint="Save it as a page.")
    return raw.decode()


def loads(text: str, name: str) -> RunFile:
    """Raises `BadInput` that names the first wrong line and what is wrong with it."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadInput(f"{name} is larger than {MAX_BYTES >> 20} MB.", hint="A run file is far smaller.")
    check_file(text, name)
    lines = text.split("\n")
    head, panes = _read_head(lines[0], name)
    starts = [place for place, line in enumerate(lines) if place and _PART.match(line)]
    stray = next((n for n, line in enumerate(lines[1 : starts[0] if starts else None], 2) if line.strip()), None)
    if stray is not None:
        raise _broken(name, stray, _problem(lines[stray - 1]) or 'an answer begins with a line as {"turn": 1, "pane": 1}')
    if not starts:
        raise _broken(name, len(lines), "there is no answer in it")
    parts: list[Part] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        mark = _read(_Mark, lines[start], name, start + 1)
        if mark.pane > len(panes):
            raise _broken(name, start + 1, f"there is no pane {mark.pane} in the first line")
        if parts and (mark.turn - 1, mark.pane - 1) <= (parts[-1].turn, parts[-1].pane):
            raise _broken(name, start + 1, "answers come in the order of turns and panes, each once")
        recording = _recording(lines[start + 1 : end], name, start + 1, last=end == len(lines))
        parts.append(Part(mark.turn - 1, mark.pane - 1, recording))
    file = RunFile(head.title, head.made_at, panes, tuple(parts), tuple(replace(vote, turn=vote.turn - 1) for vote in head.votes))
    if not all(0 <= vote.turn < file.turns for vote in file.votes):
        raise _broken(name, 1, f"votes: each is on a turn from 1 to {file.turns}")
    return file


def _read_head(line: str, name: str) -> tuple[_Head, tuple[PaneSettings, ...]]:
    problem = _problem(line) if line.strip() else "it is empty; a run file begins with a header line"
    if problem is not None:
        raise _broken(name, 1, problem)
    data = json.loads(line)
    if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise _broken(name, 1, f'missing header: this app reads files that say "format": "{FORMAT}", "version": {VERSION}')
    head: _Head = _read(_Head, line, name, 1)
    verdicts = [TIE, BAD, *(str(number) for number in range(1, len(head.panes) + 1))]
    if not all(vote.verdict in verdicts for vote in head.votes):
        raise _broken(name, 1, f"votes: a verdict is one of {', '.join(verdicts)}")
    return head, tuple(PaneSettings(pane["model"], pane["settings"]) for pane in data["panes"])


def _recording(lines: Sequence[str], name: str, before: int, *, last: bool) -> Recording:
    """One part's recording; an error names the line of the whole file."""
    written = [n for n, line in enumerate(lines, 1) if line.strip()]
    if not written:
        raise _broken(name, before, "no answer follows it")
    wrong = next(((n, what) for n in written if (what := _problem(lines[n - 1])) is not None), None)
    try:
        recording = load_recording("".join(f"{line}\n" for line in lines), name)
    except BadInput as error:
        found = _LINE.fullmatch(error.message.removeprefix(f"{name} cannot be replayed: "))
        if found is None:
            raise
        if wrong is None or int(found[1]) < wrong[0]:
            wrong = int(found[1]), found[2]
        raise _broken(name, before + wrong[0], wrong[1]) from None
    if wrong is None and last and not _END.search(lines[written[-1] - 1]):
        wrong = written[-1], "the file ends in the middle of this answer"
    if wrong is not None:
        raise _broken(name, before + wrong[0], wrong[1])
    return recording


def _read(kind: type[Any], line: str, name: str, number: int) -> Any:
    problem = _problem(line)
    if problem is not None:
        raise _broken(name, number, problem)
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step + 1 if isinstance(step, int) else step) for step in wrong["loc"]) or "the line"
        unknown = wrong["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        raise _broken(name, number, f"{where}: {'unknown field' if unknown else wrong['msg']}") from None


def _in_range(number: str) -> float:
    value = float(number)
    if not abs(value) <= _LARGEST:
        raise ValueError(f"{number[:40]} is out of range")
    return value


_DECODER = json.JSONDecoder(parse_int=_in_range, parse_float=_in_range, parse_constant=_in_range)


def _problem(line: str) -> str | None:
    """What is wrong with a line beyond its meaning: recording.py lets some of it through."""
    if line.startswith("\ufeff"):
        return "a byte order mark stands before it; save the file as UTF-8 without one"
    if line.endswith("\r"):
        return "it ends in a carriage return; save the file with line feeds alone"
    try:
        json.dumps(_DECODER.decode(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no character"
    except RecursionError:
        return "nested too deeply"
    except json.JSONDecodeError:
        return "a NUL character" if "\0" in line else "not JSON"
    except ValueError as error:
        return str(error)
    return None


def _broken(name: str, line: int, what: str) -> BadInput:
    return BadInput(f"{name} cannot be opened: line {line}: {what}.", hint=_MEND)


def recording_of_node(node: Node, messages: tuple[Message, ...], model: str) -> Recording:
    """Of an answer whose recording is gone: its text at the times that are known, all of a kind at once."""
    timing, usage = node.timing or Timing(), node.usage or Usage()
    request = ChatRequest(model, messages, parameters_from(node.parameters))
    header = header_of(request, model=model, source=ONLY_THE_END, recorded_at=node.created_at)
    first_s = max(0.0, timing.ttft_s or 0.0)
    answer_s = first_s + max(0.0, timing.thinking_s or 0.0)
    events: list[tuple[float, Event]] = [(0.0, Started(model))]
    if node.thinking:
        events.append((first_s, ThinkingDelta(node.thinking, usage.reasoning_tokens)))
    if node.content:
        events.append((answer_s, TextDelta(node.content, usage.output_tokens)))
    if node.status == "error":
        return Recording(header, tuple(events), "failed", (node.error.message if node.error else "") or None)
    if node.status != "done":
        return Recording(header, tuple(events), "stopped")
    known: tuple[FinishReason, ...] = ("stop", "length", "tool_calls", "content_filter")
    reason: FinishReason = next((each for each in known if each == node.finish_reason), "unknown")
    end_s = max(answer_s, timing.total_s or 0.0)
    return Recording(header, (*events, (end_s, Finished(reason, usage, node.timing, node.request_id))))
