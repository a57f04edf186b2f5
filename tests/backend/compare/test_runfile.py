"""The run file: what is saved is opened again as it was, damage is named by its line, and nothing secret gets in."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend import recording as recordings
from backend.chat import Choices
from backend.compare import runfile
from backend.compare.records import Pane
from backend.compare.runfile import PaneSettings, Part, RunFile, SavedVote, dumps, is_run_file, loads, recording_of_node
from backend.errors import BadInput, StreamBroken
from backend.history import AnswerError, Node
from backend.providers.replay import ReplayProvider
from backend.recording import Header, Recording
from backend.types import (
    AnswerFormat,
    ChatRequest,
    Event,
    Finished,
    GenerationParameters,
    Message,
    Started,
    TextDelta,
    ThinkingDelta,
    Timing,
    Usage,
)

VIETNAMESE, CHINESE = 'Thủ đô của Việt Nam là gì?\u2028"Hà Nội"', "中国的首都是哪里？\n北京 👍🏽"
PARAMETERS = GenerationParameters(
    temperature=0.5, top_k=0, seed=2**63, enable_thinking=False, stop=("</s>", "终"), extra={"a": 1, "b": None}
)
FORMAT = AnswerFormat({"type": "object", "properties": {"thủ đô": {"type": "string"}}}, strict=True)
CHOICES = Choices("dashscope:qwen3-next-80b-a3b-thinking", PARAMETERS, "Trả lời ngắn. 简短回答。", resend_thinking=True, format=FORMAT)
FINISHED = Finished("stop", Usage(5, 9, 4), Timing(ttft_s=0.5, thinking_s=1.0, total_s=2.0), "req-1")


def answer(question: str, *texts: str, model: str = "local:m", live: bool = False, end: Event | None = FINISHED) -> Recording:
    header = Header(question[:20], model, (Message("user", question),), "a test", "2025-01-02T03:04:05+00:00", PARAMETERS, live=live)
    events: list[Event] = [Started("m"), ThinkingDelta("想", 3), *map(TextDelta, texts), *([end] if end else [])]
    return Recording(header, tuple((i * 0.125, event) for i, event in enumerate(events)), "finished" if end else "stopped")


BROKEN_OFF = answer(VIETNAMESE, "dở dang", live=True, end=None)
FAILED = replace(answer(CHINESE, end=None), end="failed", error="服务繁忙。")
FILE = RunFile(
    title="Việt Nam, 中国",
    made_at="2025-01-02T03:04:05+00:00",
    panes=(PaneSettings(CHOICES.model, CHOICES.stored()), PaneSettings("local:m", {"system": "", "resend_thinking": False}), PaneSettings("server:late/m")),
    parts=(
        Part(0, 0, answer(VIETNAMESE, "Hà ", "Nội.", model=CHOICES.model, live=True)),
        Part(0, 1, BROKEN_OFF),
        Part(1, 0, FAILED),
        Part(1, 1, answer(CHINESE, "北京。")),
        Part(1, 2, answer(CHINESE, "来晚了。", model="server:late/m")),
    ),
    votes=(SavedVote(0, "2", blind=True), SavedVote(1, "tie", judge="dashscope:qwen-max", tag="địa lý"), SavedVote(1, "3")),
)  # fmt: skip


def refused(text: str) -> str:
    """What is said of a file that cannot be opened, without its name."""
    with pytest.raises(BadInput) as caught:
        loads(text, "mine.qncompare.jsonl")
    assert caught.value.hint
    return caught.value.message.removeprefix("mine.qncompare.jsonl cannot be opened: ")


def line(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)


# ---- what is written comes back


def test_a_comparison_of_several_turns_and_panes_comes_back_as_it_was():
    assert loads(dumps(FILE), "x") == FILE


def test_the_file_is_the_recordings_lines_under_marks_that_count_from_one():
    lines = dumps(FILE).split("\n")
    assert [json.loads(each) for each in lines if each.startswith('{"turn"')] == [
        {"turn": turn, "pane": pane} for turn, pane in ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3))
    ]
    assert recordings.dumps(FILE.parts[0].recording) == "\n".join(lines[2:8]) + "\n" and VIETNAMESE[:9] in lines[2]
    assert [vote["turn"] for vote in json.loads(lines[0])["votes"]] == [1, 2, 2]


def test_a_panes_settings_come_back_as_the_choices_they_were():
    pane = loads(dumps(FILE), "x").panes[0]
    assert Choices.from_stored(pane.model, pane.settings) == CHOICES == Pane(CHOICES).choices


def test_parts_given_in_another_order_are_written_in_that_of_turns_and_panes():
    assert dumps(replace(FILE, parts=FILE.parts[::-1])) == dumps(FILE)


@pytest.mark.parametrize(("parts", "turns"), [(FILE.parts, 2), (FILE.parts[:2], 1), ((), 0)])
def test_turns_are_as_many_as_the_last_answer_tells(parts, turns):
    assert replace(FILE, parts=parts).turns == turns


def test_of_extra_json_only_numbers_booleans_and_null_are_written_of_panes_and_of_recordings():
    plain = {"a": 1, "b": True, "c": None, "d": 0.5}
    extra = {**plain, "api_key": "secret-1", "headers": {"x": "secret-2"}, "list": ["secret-3"], "nan": float("nan"), "huge": 10**30}
    pane = PaneSettings("m:m", Choices("m:m", GenerationParameters(extra=extra)).stored())
    recording = answer("q", "a")
    recording = replace(recording, header=replace(recording.header, parameters=GenerationParameters(extra=extra)))
    text = dumps(RunFile("", "", (pane,), (Part(0, 0, recording),)))
    opened = loads(text, "x")
    assert "secret" not in text
    assert opened.panes[0].settings["extra"] == opened.parts[0].recording.header.parameters.extra == plain


def test_what_a_model_wrote_that_is_no_character_still_makes_a_file_that_opens():
    text = dumps(replace(FILE, parts=(Part(0, 0, answer("q\udc00", "half \ud800", "\0\r\n\ufeff")),), votes=()))
    assert text.encode()
    assert [event.text for _, event in loads(text, "x").parts[0].recording.events if isinstance(event, TextDelta)] == [
        "half ?",
        "\0\r\n\ufeff",
    ]


def test_a_comparison_that_would_be_too_long_to_open_is_not_saved(monkeypatch):
    with pytest.raises(BadInput, match="200 turns"):
        dumps(replace(FILE, parts=(Part(200, 0, FAILED),)))
    monkeypatch.setattr(runfile, "MAX_BYTES", len(dumps(FILE).encode()) - 1)
    with pytest.raises(BadInput, match="too long"):
        dumps(FILE)


# ---- which format a file has


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (dumps(FILE), True),
        ("\ufeff" + dumps(FILE), True),
        (dumps(FILE)[:60], True),
        ('{"title": "' + "x" * 500 + '", "format":"qwen-playground-comparison"}\n', True),
        (recordings.dumps(FAILED), False),
        (recordings.dumps(replace(FAILED, header=replace(FAILED.header, title='"format": "qwen-playground-comparison"'))), False),
        (recordings.dumps(replace(FAILED, header=replace(FAILED.header, title="qwen-playground-comparison"))), False),
        ("\n" + dumps(FILE), False),
        ("", False),
    ],
)
def test_a_run_file_is_told_from_a_recording_by_its_first_line(text, is_one):
    assert is_run_file(text) is is_one


# ---- damage is named

GOOD = dumps(FILE).rstrip("\n").split("\n")
MARKS = [n for n, each in enumerate(GOOD, 1) if each.startswith('{"turn"')]  # the lines of the marks, as in an editor


def head(**changed: object) -> str:
    return line({**json.loads(GOOD[0]), **changed})


def with_line(number: int, *instead: str) -> str:
    return "\n".join([*GOOD[: number - 1], *instead, *GOOD[number:], ""])


def first_pane(**changed: object) -> list[object]:
    panes = json.loads(GOOD[0])["panes"]
    panes[0]["settings"].update(changed)
    return panes


def test_the_good_file_is_laid_out_as_the_table_below_takes_it():
    assert MARKS == [2, 9, 15, 20, 26] and len(GOOD) == 31 and loads(with_line(31, GOOD[30]), "x") == FILE


@pytest.mark.parametrize(
    ("number", "instead", "named", "what"),
    [
        (1, [], 1, "missing header"),
        (1, [""], 1, "empty"),
        (1, ["\ufeff" + GOOD[0]], 1, "byte order mark"),
        (1, ["[]"], 1, "missing header"),
        (1, [head(format="qwen-playground-recording")], 1, "missing header"),
        (1, [head(version=2)], 1, '"version": 1'),
        (1, [head(version=True)], 1, "version: Input should be a valid integer"),
        (1, [head(api_key="x")], 1, "api_key: unknown field"),
        (1, [head(title=5)], 1, "title"),
        (1, [head(made_at=None)], 1, "made_at"),
        (1, [head(panes=[])], 1, "panes"),
        (1, [head(panes=[{"model": "m", "settings": {}}] * 5)], 1, "panes"),
        (1, [head(panes=[{"model": "m", "settings": {}}] * 2, votes=[])], 26, "there is no pane 3"),
        (1, [head(panes=[{"model": "m"}])], 1, "panes.1.settings: Field required"),
        (1, [head(panes=[{"model": "m", "settings": {}, "key": "x"}])], 1, "panes.1.key: unknown field"),
        (1, [head(panes=first_pane(temperature="hot"))], 1, "panes.1.settings.temperature"),
        (1, [head(panes=first_pane(temperature=True))], 1, "panes.1.settings.temperature"),
        (1, [head(panes=first_pane(seed=1.5))], 1, "panes.1.settings.seed"),
        (1, [head(panes=first_pane(stop=5))], 1, "panes.1.settings.stop"),
        (1, [head(panes=first_pane(stop=[5]))], 1, "panes.1.settings.stop"),
        (1, [head(panes=first_pane(system=None))], 1, "panes.1.settings.system"),
        (1, [head(panes=first_pane(resend_thinking=1))], 1, "panes.1.settings.resend_thinking"),
        (1, [head(panes=first_pane(headers={}))], 1, "panes.1.settings.headers: unknown field"),
        (1, [head(panes=first_pane(extra={"url": "http://x"}))], 1, "only numbers"),
        (1, [head(panes=first_pane(extra={"a": []}))], 1, "only numbers"),
        (1, [head(votes=[{"turn": 3, "verdict": "1"}])], 1, "a turn from 1 to 2"),
        (1, [head(votes=[{"turn": 0, "verdict": "1"}])], 1, "a turn from 1 to 2"),
        (1, [head(votes=[{"turn": True, "verdict": "1"}])], 1, "votes.1.turn"),
        (1, [head(votes=[{"turn": 1, "verdict": "4"}])], 1, "a verdict is one of tie, bad, 1, 2, 3"),
        (1, [head(votes=[{"turn": 1, "verdict": "٢"}])], 1, "a verdict is one of"),
        (1, [head(votes=[{"turn": 1, "verdict": 1}])], 1, "votes.1.verdict"),
        (1, [head(votes=[{"turn": 1, "verdict": "bad", "blind": 1}])], 1, "votes.1.blind"),
        (1, [head(votes=[{"turn": 1, "verdict": "bad", "owner": "x"}])], 1, "votes.1.owner: unknown field"),
        (2, [], 2, "an answer begins with a line as"),
        (2, ["", "{"], 3, "not JSON"),
        (2, ['{"turn": 1}'], 2, "pane: Field required"),
        (2, ['{"pane": 1}'], 2, "turn: Field required"),
        (2, ['{"turn": true, "pane": 1}'], 2, "turn: Input should be a valid integer"),
        (2, ['{"turn": 1, "pane": "1"}'], 2, "pane"),
        (2, ['{"turn": 1, "pane": 1, "vote": 1}'], 2, "vote: unknown field"),
        (2, ['{"turn": 0, "pane": 1}'], 2, "turn"),
        (2, ['{"turn": 201, "pane": 1}'], 2, "turn"),
        (2, ['{"turn": 1, "pane": 0}'], 2, "pane"),
        (2, ['{"turn": 1, "pane": 4}'], 2, "there is no pane 4"),
        (2, [f'{{"turn": 1, "pane": {"9" * 5000}}}'], 2, "out of range"),
        (2, ['{"turn": 2, "pane": 1}'], 9, "in the order of turns and panes"),
        (9, ['{"turn": 1, "pane": 1}'], 9, "each once"),
        (9, ['{"turn": 1, "pane": 2}', '{"turn": 1, "pane": 2}'], 9, "no answer follows"),
        (9, [], 9, "after the end of the run"),
        (3, [], 3, "missing header"),
        (3, [GOOD[2].replace("2025", "202\\ud800")], 3, "surrogate"),
        (3, [GOOD[2].replace('"temperature": 0.5', '"temperature": NaN')], 3, "NaN is out of range"),
        (3, [GOOD[2].replace('"temperature": 0.5', '"temperature": -Infinity')], 3, "-Infinity is out of range"),
        (3, [GOOD[2].replace('"version": 1', '"version": 3')], 3, "version 3"),
        (5, [GOOD[4][:-1]], 5, "not JSON"),
        (5, [GOOD[4] + "\r"], 5, "carriage return"),
        (6, [GOOD[5].replace("Hà", "H\0à")], 6, "NUL"),
        (6, [GOOD[5].replace("Hà", "H\ud800à")], 6, "surrogate"),
        (5, ["\ufeff" + GOOD[4]], 5, "byte order mark"),
        (6, [GOOD[5].replace("TextDelta", "Sung")], 6, "unknown event 'Sung'"),
        (5, [GOOD[4].replace('"text"', '"token": 1, "text"')], 5, "unknown field 'token'"),
        (5, [line({"at_s": True, "event": "TextDelta", "text": "a"})], 5, "no offset"),
        (5, ['{"at_s": ' + "9" * 5000 + ', "event": "TextDelta", "text": "a"}'], 5, "out of range"),
        (5, ['{"at_s": 1e999, "event": "TextDelta", "text": "a"}'], 5, "1e999 is out of range"),
        (5, ["[" * 100_000], 5, "nested too deeply"),
        (9, [GOOD[6].replace("0.375", "9")], 9, "an event after the end"),
        (8, [GOOD[7].replace('"total_s": 2.0', '"total_s": NaN')], 8, "NaN is out of range"),
        (19, ['{"at_s": 1, "event": "Failed", "message": "\\udc00"}'], 19, "surrogate"),
        (25, [], 24, "no Finished"),
        (31, [], 30, "no Finished"),
        (31, ["", GOOD[30][:-9]], 32, "not JSON"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line_in_the_whole_file(number, instead, named, what):
    told = refused(with_line(number, *instead))
    assert told.startswith(f"line {named}: ") and what in told and not told.endswith("..")


def test_the_first_of_several_wrong_lines_is_named():
    lines = GOOD.copy()
    for number, wrong in (
        (30, "{"),
        (20, '{"turn": 1}'),
        (8, "NaN"),
        (7, "{}"),
        (6, GOOD[5].replace("0.25", "1e999")),
        (5, "[]"),
        (1, "{}"),
    ):
        lines[number - 1] = wrong
        assert refused("\n".join([*lines, ""])).startswith(f"line {number}: ")


@pytest.mark.parametrize("text", ["", "\n", GOOD[0], GOOD[0] + "\n", recordings.dumps(FAILED)])
def test_a_file_without_answers_or_of_another_format_is_refused(text):
    assert refused(text).startswith("line ")


def test_a_file_of_windows_line_ends_is_refused_at_its_first():
    assert refused("\r\n".join([*GOOD, ""])).startswith("line 1: it ends in a carriage return")


def test_a_file_larger_than_the_limit_in_bytes_is_refused(monkeypatch):
    text = dumps(FILE)
    monkeypatch.setattr(runfile, "MAX_BYTES", len(text.encode()))
    assert loads(text, "x") == FILE
    monkeypatch.setattr(runfile, "MAX_BYTES", len(text.encode()) - 1)
    assert "larger than" in refused(text)


def test_blank_lines_and_a_missing_last_line_feed_change_nothing():
    assert loads("\n\n".join(GOOD), "x") == FILE


# ---- files and runs that were cut off


def test_a_cut_anywhere_but_between_two_parts_is_refused_and_there_it_is_a_shorter_file():
    file = replace(FILE, votes=())
    text = dumps(file)
    lines = [each + "\n" for each in text.split("\n")]
    ends = {len("".join(lines[: number - 1])): parts for parts, number in enumerate([*MARKS[1:], len(lines)], 1)}
    for at in range(len(text)):
        whole = ends.get(at) or ends.get(at + 1)  # with its last line feed or without
        if whole is None:
            refused(text[:at])
        else:
            assert loads(text[:at], "x") == replace(file, parts=FILE.parts[:whole])


def with_raw_live(*after: str) -> str:
    """A file put together by hand, in which a killed process left its recording without an end."""
    broken_off = recordings.dumps(BROKEN_OFF).split("\n")[:-2]
    return "\n".join([head(votes=[]), '{"turn": 1, "pane": 1}', *broken_off, *after, ""])


def test_a_live_part_may_lack_its_end_where_another_follows():
    opened = loads(with_raw_live('{"turn": 1, "pane": 2}', *recordings.dumps(FAILED).split("\n")), "x")
    assert [part.recording for part in opened.parts] == [BROKEN_OFF, FAILED]


def test_a_live_part_without_its_end_at_the_end_of_the_file_is_a_file_that_was_cut():
    assert refused(with_raw_live()) == "line 6: the file ends in the middle of this answer."


def test_a_live_part_with_half_a_line_is_damaged_even_where_another_follows():
    assert refused(with_raw_live('{"at_s": 1, "ev', '{"turn": 1, "pane": 2}')) == "line 7: not JSON."


def test_a_live_run_that_broke_off_is_written_as_stopped_so_that_the_last_one_opens():
    cut = recordings.loads("".join(recordings.dumps(BROKEN_OFF).splitlines(keepends=True)[:-1]) + '{"at_s": 0.5, "ev')
    file = replace(FILE, parts=(Part(0, 0, cut),), votes=())
    assert cut.end == "stopped" and dumps(file).endswith('"event": "Stopped"}\n')
    assert loads(dumps(file), "x") == file


# ---- whatever a file holds

NASTY = ["\0", "\r", "\n", "\ufeff", "\ud800", "\\ud800", "\\u0000", "\u2028", "NaN", "-Infinity", "1e999", "9" * 30, "9" * 5000, "true", "null",
         "[" * 300, '{"a":' * 150, "{", "}", "[]", '"', "\\", ",", ":", "-1", "0", '"extra": {"k": "v"}, ', '"panes": 5, ', '"live": true, ',
         '{"turn": 1, "pane": 1}\n', '"version": {}, ', '"message": [1], ', "🙂", ""]  # fmt: skip


def mutated(text: str, rng: random.Random) -> str:
    for _ in range(rng.choice((1, 1, 2, 5))):
        lines = text.split("\n")
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        at = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                text = text[:at] + text[at + rng.randrange(1, 60) :]
            case 1:
                text = text[:at] + rng.choice(NASTY) + text[at + rng.randrange(3) :]
            case 2:
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case 3:
                text = "\n".join([*lines[:i], *lines[i + 1 :]])
            case 4:
                text = "\n".join([*lines[:i], lines[j], *lines[i:]])
            case 5:  # in place of a value or before a field
                places = [k for k, c in enumerate(lines[i]) if c in ":{,["]
                k = rng.choice(places) + 1 if places else 0
                lines[i] = lines[i][:k] + rng.choice(NASTY) + lines[i][k + rng.randrange(4) :]
                text = "\n".join(lines)
            case _:
                text = text[:at] if rng.random() < 0.2 else text.replace(rng.choice("0123456789"), rng.choice(NASTY), rng.randrange(1, 4))
    return text


@pytest.mark.parametrize("seed", range(4))
def test_a_file_damaged_at_random_is_opened_or_refused_with_a_line_and_what_opens_can_be_saved_again(seed):
    rng, text, opened, messages = random.Random(seed), dumps(FILE), 0, set()
    for _ in range(600):
        damaged = mutated(text, rng)
        try:
            file = loads(damaged, "x")
        except BadInput as error:
            assert error.message.startswith("x cannot be opened: line ")
            number = int(error.message.split("line ")[1].split(":")[0])
            assert 1 <= number <= damaged.count("\n") + 1
            messages.add(re.sub(r"[\d.e+]+", "", error.message.split(": ", 2)[2]))
            continue
        opened += 1
        assert loads(dumps(file), "x") == file
        for pane in file.panes:
            Choices.from_stored(pane.model, pane.settings)
    assert opened > 5 and len(messages) > 25  # it reached both ends


@pytest.mark.parametrize("field", ["version", "temperature", "turn", "at_s", "event", "usage"])
def test_nesting_of_any_depth_is_refused_with_its_line(field):
    text = dumps(FILE)
    last = text.rindex(f'"{field}": ')
    for depth in (1, 100, 199, 250, *range(860, 1000, 5), 5000):
        for left, right in ("[]", ('{"a":', "}")):
            value = left * depth + "1" + right * depth
            spoiled = f'{text[:last]}"{field}": {value}, "more": {text[last + len(field) + 4 :]}'
            assert refused(spoiled).startswith(f"line {text[:last].count(chr(10)) + 1}: ")


def test_a_field_given_twice_is_no_crash():
    for field, value in (("panes", "5"), ("votes", "{}"), ("format", "1"), ("title", "[]"), ("version", "null")):
        for spoiled in (f'{{"{field}": {value}, {GOOD[0][1:]}', f'{GOOD[0][:-1]}, "{field}": {value}}}'):
            try:
                assert loads(with_line(1, spoiled), "x") == FILE
            except BadInput as error:
                assert "line 1: " in error.message


# ---- an answer whose recording is gone

WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
MESSAGES = (Message("system", "ngắn"), Message("user", VIETNAMESE))
DONE = Node(
    "n", "c", "p", "assistant", "Hà Nội.", WHEN, thinking="Để xem…", model="dashscope:m", parameters={"temperature": 0.5, "seed": 7, "system": "ngắn"},
    usage=Usage(5, 9, 4), timing=Timing(ttft_s=0.5, thinking_s=1.0, answer_s=0.25, decode_s=1.25, total_s=2.0), finish_reason="length", request_id="req-1",
)  # fmt: skip


def made(**changed) -> Recording:
    return recording_of_node(replace(DONE, **changed), MESSAGES, "dashscope:m")


def test_an_answer_without_its_recording_becomes_one_at_the_times_that_are_known():
    assert made().events == (
        (0.0, Started("dashscope:m")),
        (0.5, ThinkingDelta("Để xem…", 4)),
        (1.5, TextDelta("Hà Nội.", 9)),
        (2.0, Finished("length", DONE.usage, DONE.timing, "req-1")),
    )
    header = made().header
    assert (header.model, header.messages, header.recorded_at) == ("dashscope:m", MESSAGES, "2025-01-02T03:04:05+00:00")
    assert (header.parameters, header.live, header.scripted) == (GenerationParameters(temperature=0.5, seed=7), False, False)
    assert "Only the end result was kept, not its pace" in header.source


@pytest.mark.parametrize(
    ("timing", "times"),
    [
        (None, [0, 0, 0, 0]),
        (Timing(), [0, 0, 0, 0]),
        (Timing(ttft_s=1.0), [0, 1, 1, 1]),
        (Timing(total_s=3.0), [0, 0, 0, 3]),
        (Timing(ttft_s=1.0, thinking_s=4.0, total_s=3.0), [0, 1, 5, 5]),
        (Timing(ttft_s=-1.0, thinking_s=-2.0, total_s=-3.0), [0, 0, 0, 0]),
    ],
)
def test_times_that_are_not_known_are_none_and_none_goes_back(timing, times):
    assert [at_s for at_s, _ in made(timing=timing).events] == times


@pytest.mark.parametrize(("kept", "reason"), [("stop", "stop"), ("tool_calls", "tool_calls"), (None, "unknown"), ("bored", "unknown")])
def test_the_reason_of_the_end_is_kept_where_it_is_one(kept, reason):
    (_, end) = made(finish_reason=kept).events[-1]
    assert isinstance(end, Finished) and end.reason == reason


def test_an_answer_without_thinking_or_without_any_text_has_no_empty_deltas():
    kinds = [type(event) for _, event in made(thinking=None, usage=None, timing=None).events]
    assert kinds == [Started, TextDelta, Finished]
    assert [type(event) for _, event in made(thinking="", content="", status="stopped").events] == [Started]


ENDS = [
    ("done", None, "finished", None),
    ("stopped", None, "stopped", None),
    ("interrupted", None, "stopped", None),
    ("streaming", None, "stopped", None),
    ("error", AnswerError("RateLimited", "Too many requests."), "failed", "Too many requests."),
    ("error", None, "failed", None),
]


@pytest.mark.parametrize(("status", "error", "end", "sentence"), ENDS)
def test_an_answer_ends_as_it_ended_and_can_be_saved_and_opened(status, error, end, sentence):
    recording = made(status=status, error=error)
    assert (recording.end, recording.error) == (end, sentence)
    file = RunFile("", "", (PaneSettings("dashscope:m"),), (Part(0, 0, recording),))
    assert loads(dumps(file), "x") == file


@pytest.mark.parametrize(("status", "error", "end", "sentence"), ENDS)
async def test_replay_plays_an_answer_without_its_recording_with_the_same_text_usage_and_end(status, error, end, sentence):
    provider, played, said = ReplayProvider({"kept": made(status=status, error=error)}, None), [], None
    try:
        async for event in provider.stream(ChatRequest("kept", MESSAGES)):
            played.append(event)
    except StreamBroken as broken:
        said = broken.message
    assert [event.text for event in played if isinstance(event, ThinkingDelta | TextDelta)] == [DONE.thinking, DONE.content]
    assert played[2].tokens == DONE.usage.output_tokens
    assert [event.usage for event in played if isinstance(event, Finished)] == ([DONE.usage] if end == "finished" else [])
    told = {"finished": None, "stopped": "The recorded run was stopped here.", "failed": sentence or "The recorded run failed here."}
    assert said == told[end]
