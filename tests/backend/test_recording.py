"""The recording format: what is written comes back, what is broken is named, nothing secret gets in; and the shipped ones."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import replace
from typing import get_args

import pytest

from backend.catalogue import ASSETS
from backend.errors import BadInput, RateLimited
from backend.recorder import Recorder
from backend.recording import Header, Recording, dumps, header_of, load, loads
from backend.types import (
    AnswerWasThinking,
    ChatRequest,
    Event,
    Finished,
    GenerationParameters,
    Message,
    Retrying,
    Started,
    StepFinished,
    TextDelta,
    ThinkingDelta,
    Timing,
    TokenDetail,
    ToolCallDelta,
    ToolProgress,
    Usage,
    Waiting,
)  # fmt: skip

REQUEST = ChatRequest("m", (Message("system", "be brief"), Message("user", "hi\nthere"), Message("assistant", "a", thinking="t")))
HEADER = header_of(REQUEST, model="local:m", source="a test")
EVENTS: list[Event] = [
    Started("m"),
    Waiting("queued", position=2),
    Waiting("loading", share=0.25, detail="shard 1 of 4"),
    Retrying(2, 0.5, "The service is busy."),
    ThinkingDelta("Nghĩ\u2028\n\t\"'", 3),
    ThinkingDelta(""),
    TextDelta("câu trả lời 👍🏽"),
    AnswerWasThinking(),
    ToolCallDelta(0, "call_1", "weather", '{"city": '),
    StepFinished(Usage(1, 2), Timing(ttft_s=0.25)),
    ToolProgress("call_1", "failed", "no such city", 0.5, "city: is missing"),
    TokenDetail("a", -0.25, (("b", -1.5), ("c", -2.0))),
    Finished("length", Usage(1, 2, None, 0), Timing(ttft_s=0.5, total_s=2.0), "req-1"),
]
RECORDING = Recording(HEADER, tuple((i * 0.125, event) for i, event in enumerate(EVENTS)))


def test_every_event_comes_back_as_it_was():
    assert {type(e) for e in EVENTS} == set(get_args(Event))
    assert loads(dumps(RECORDING)) == RECORDING


@pytest.mark.parametrize(("end", "error"), [("stopped", None), ("failed", "The service is busy.")])
def test_a_run_that_did_not_finish_says_so(end, error):
    unfinished = replace(RECORDING, events=RECORDING.events[:-1], end=end, error=error)
    assert loads(dumps(unfinished)) == unfinished


def test_parameters_come_back_and_only_plain_extras():
    extra = {"a": 1, "b": True, "c": None, "api_key": "secret-1", "headers": {"authorization": "secret-2"}, "d": ["secret-3"]}
    parameters = GenerationParameters(temperature=0.5, top_k=0, stop=("x", "y"), extra=extra)
    text = dumps(replace(RECORDING, header=replace(HEADER, parameters=parameters)))
    assert "secret" not in text
    assert loads(text).header.parameters == replace(parameters, extra={"a": 1, "b": True, "c": None})


def test_a_header_without_a_title_takes_the_prompt_in_one_line():
    assert (HEADER.title, HEADER.scripted, HEADER.model) == ("hi there", False, "local:m")


STARTED, DELTA, DONE = (json.dumps(d) for d in (
    {"at_s": 0, "event": "Started", "model": "m"},
    {"at_s": 1.5, "event": "TextDelta", "text": "a"},
    {"at_s": 2, "event": "Finished", "reason": "stop"},
))  # fmt: skip


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ([], 1, "no Finished"),
        ([STARTED, DELTA], 3, "no Finished"),
        ([STARTED, "{not json", DONE], 3, "not JSON"),
        ([STARTED, "[1]", DONE], 3, "not a JSON object"),
        ([STARTED, "", '{"at_s": 1, "event": "Sung"}', DONE], 4, "unknown event 'Sung'"),
        ([STARTED, '{"at_s": 1, "event": ["x"]}', DONE], 3, "unknown event"),
        ([STARTED, '{"event": "TextDelta", "text": "a"}', DONE], 3, "no offset"),
        ([STARTED, '{"at_s": NaN, "event": "TextDelta", "text": "a"}', DONE], 3, "no offset"),
        ([STARTED, '{"at_s": true, "event": "TextDelta", "text": "a"}', DONE], 3, "no offset"),
        ([STARTED, '{"at_s": -1, "event": "TextDelta", "text": "a"}', DONE], 3, "goes back"),
        ([STARTED, DELTA, DELTA.replace("1.5", "1.25"), DONE], 4, "goes back, from 1.5 s to 1.25 s"),
        ([STARTED, '{"at_s": 1, "event": "TextDelta"}', DONE], 3, "TextDelta: text: Field required"),
        ([STARTED, '{"at_s": 1, "event": "TextDelta", "text": 5}', DONE], 3, "valid string"),
        ([STARTED, '{"at_s": 1, "event": "TextDelta", "text": "a", "token": 1}', DONE], 3, "unknown field 'token'"),
        ([DELTA, DONE], 2, "exactly one Started"),
        ([STARTED, STARTED, DONE], 3, "exactly one Started"),
        ([STARTED, DONE, DELTA.replace("1.5", "3")], 4, "after the end"),
        ([STARTED, '{"at_s": 2, "event": "Finished", "reason": "bored"}'], 3, "Finished: reason"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named_with_what_is_wrong(body, line, what):
    header = dumps(Recording(HEADER, ())).split("\n")[0]
    with pytest.raises(BadInput, match=f"tape.jsonl cannot be replayed: line {line}: ") as caught:
        loads("\n".join([header, *body, ""]), "tape.jsonl")
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        (STARTED, "missing header"),
        ('{"format": "qwen-playground-recording", "version": 2}', "version 2"),
        ('{"format": "qwen-playground-recording", "version": 1}', "Field required"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_file_without_its_header_is_refused(text, what):
    with pytest.raises(BadInput, match=r"line \d+: ") as caught:
        loads(text)
    assert what in caught.value.message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_is_no_text_or_not_there_is_bad_input(tmp_path, content):
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.jsonl"):
        load(path)


async def record(provider, path, *, take: int = 99) -> list[Event]:
    recorder = Recorder(provider, lambda request: path, model="dashscope:m", source="a test")
    got: list[Event] = []
    async with contextlib.aclosing(recorder.stream(REQUEST)) as events:
        async for event in events:
            got.append(event)
            if len(got) == take:
                break
    return got


async def test_recorder_passes_everything_on_and_writes_it(scripted, tmp_path):
    path = tmp_path / "new folder" / "run.jsonl"
    assert await record(scripted(EVENTS), path) == EVENTS
    written = load(path)
    assert [event for _, event in written.events] == EVENTS and written.end == "finished"
    assert (written.header.model, written.header.messages, written.header.live) == ("dashscope:m", REQUEST.messages, True)


async def test_a_stopped_run_is_recorded_as_stopped_and_closes_its_provider(scripted, tmp_path):
    provider = scripted(EVENTS)
    await record(provider, tmp_path / "run.jsonl", take=5)
    written = load(tmp_path / "run.jsonl")
    assert ([e for _, e in written.events], written.end, provider.closed) == (EVENTS[:5], "stopped", 1)


async def test_a_cancelled_run_is_recorded_as_stopped(scripted, tmp_path):
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(record(scripted([*EVENTS[:2], wait]), tmp_path / "run.jsonl"))
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert load(tmp_path / "run.jsonl").end == "stopped" and task.cancelled()


async def test_a_failed_run_is_recorded_with_its_sentence(scripted, tmp_path):
    with pytest.raises(RateLimited):
        await record(scripted([EVENTS[0], RateLimited("Too many requests.")]), tmp_path / "run.jsonl")
    written = load(tmp_path / "run.jsonl")
    assert (written.end, written.error) == ("failed", "Too many requests.")


async def test_the_recording_grows_while_the_run_goes_on_and_can_be_read_then(scripted, tmp_path):
    path, go_on = tmp_path / "run.jsonl", asyncio.Event()
    task = asyncio.create_task(record(scripted([*EVENTS[:5], go_on.wait, *EVENTS[5:]]), path))
    while not path.exists() or len(load(path).events) < 5:
        await asyncio.sleep(0.01)
    assert load(path).end == "stopped"
    go_on.set()
    await task
    assert load(path).end == "finished"


@pytest.mark.parametrize("lost", range(1, 40))
def test_a_live_recording_cut_anywhere_in_its_last_line_is_still_read(tmp_path, lost):
    live = replace(RECORDING, header=replace(HEADER, live=True), events=RECORDING.events[:7])
    path = tmp_path / "cut.jsonl"
    whole = dumps(replace(live, end="finished")).encode()
    path.write_bytes(whole[:-lost])
    assert (load(path).events, load(path).end) == (live.events[:6], "stopped")


async def test_a_disk_that_refuses_ends_the_recording_and_not_the_run(scripted, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert await record(scripted(EVENTS), tmp_path / "file" / "run.jsonl") == EVENTS
    assert "given up" in caplog.text


async def test_an_existing_file_is_never_written_over(scripted, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text("precious")
    await record(scripted(EVENTS), path)
    assert path.read_text() == "precious"


SHIPPED = sorted((ASSETS / "recordings").glob("*.jsonl"))


def told(recording: Recording, kind: type[ThinkingDelta] | type[TextDelta]) -> str:
    return "".join(e.text for _, e in recording.events if isinstance(e, kind))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recordings_say_that_they_are_scripted_and_keep_a_real_pace(path):
    recording = load(path)
    assert recording.header.scripted and "no model ran" in recording.header.source and recording.end == "finished"
    at_s = [at for at, e in recording.events if isinstance(e, ThinkingDelta | TextDelta)]
    finished = recording.events[-1][1]
    assert isinstance(finished, Finished) and finished.usage.output_tokens
    assert 0.4 <= at_s[0] <= 0.8 and 60 <= finished.usage.output_tokens / (at_s[-1] - at_s[0]) <= 100


@pytest.fixture(scope="module")
def tokenizer():
    import dashscope

    return dashscope.get_tokenizer("qwen-plus")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_token_counts_are_those_of_the_qwen_tokenizer(path, tokenizer):
    recording = load(path)
    counted = [len(tokenizer.encode(told(recording, kind))) for kind in (ThinkingDelta, TextDelta)]
    finished = recording.events[-1][1]
    assert isinstance(finished, Finished)
    assert (finished.usage.reasoning_tokens, finished.usage.answer_tokens) == tuple(counted)
    last = [e.tokens for _, e in recording.events if isinstance(e, ThinkingDelta)][-1:]
    assert last in ([], [counted[0]])


def test_the_shipped_maths_is_right():
    answer = told(load(ASSETS / "recordings" / "maths-thinking.jsonl"), TextDelta)
    assert f"**{sum(all(n % d for d in (2, 3, 5)) for n in range(1, 1001))}** numbers" in answer


def test_the_shipped_vietnamese_table_is_right():
    answer = told(load(ASSETS / "recordings" / "vietnamese-table.jsonl"), TextDelta)
    for years in (1, 3, 5):
        simple, compound = round(1e8 * (1 + 0.05 * years)), int(1e8 * 1.05**years + 1e-3)
        row = " | ".join(f"{n:,}".replace(",", ".") for n in (simple, compound, compound - simple))
        assert f"| {years} năm | {row} |" in answer


def test_the_shipped_code_prints_what_it_says():
    answer = told(load(ASSETS / "recordings" / "python-code.jsonl"), TextDelta)
    code = answer.split("```python\n")[1].split("```")[0]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "answer", "exec"), {})
    assert out.getvalue().strip() == code.strip().splitlines()[-1].removeprefix("# ")


def test_header_knows_every_field():
    assert set(json.loads(dumps(RECORDING).split("\n")[0])) == {"format", "version", *Header.__dataclass_fields__}
