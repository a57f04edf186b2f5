"""Replaying recordings: timing, speed, stopping, names and paths."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from backend.catalogue import ASSETS
from backend.checking import check
from backend.errors import BadInput, StreamBroken, UnknownModel
from backend.pipeline import Pipeline, Route
from backend.provider import ListsModels
from backend.providers.replay import ReplayProvider
from backend.recording import Recording, dumps, header_of
from backend.types import ChatRequest, Event, Finished, GenerationParameters, Message, Started, TextDelta, ThinkingDelta, Usage

ASK = ChatRequest("tape", (Message("user", "hi"),))
EVENTS = ((0.0, Started("m")), (0.5, ThinkingDelta("a")), (1.5, TextDelta("b")), (2.0, Finished("stop", Usage(1, 2, 1))))
TAPE = Recording(header_of(ASK, model="dashscope:m", source="A test."), EVENTS)


class Clock:
    """Time that passes only by sleeping, and `slow_s` more for each event that is taken."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.now, self.slow_s = 10.0, slow_s
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


async def play(provider: ReplayProvider, request: ChatRequest = ASK, clock: Clock | None = None) -> list[Event]:
    got: list[Event] = []
    async with aclosing(provider.stream(request)) as events:
        async for event in events:
            got.append(event)
            if clock is not None:
                clock.now += clock.slow_s
    return got


def with_speed(value: object) -> ChatRequest:
    return replace(ASK, parameters=GenerationParameters(extra={"replay_speed": value}))


@pytest.mark.parametrize(
    ("speed", "request_", "slept"),
    [
        (1.0, ASK, [0.5, 1.0, 0.5]),
        (4.0, ASK, [0.125, 0.25, 0.125]),
        (None, ASK, []),
        (1.0, with_speed(4), [0.125, 0.25, 0.125]),
        (1.0, with_speed(None), []),
        (1.0, with_speed(0), []),
        (None, with_speed(1), [0.5, 1.0, 0.5]),
    ],
)
async def test_plays_at_its_speed(speed, request_, slept):
    clock = Clock()
    provider = ReplayProvider({"tape": TAPE}, speed, clock=clock, sleep=clock.sleep)
    assert await play(provider, request_) == [event for _, event in EVENTS]
    assert clock.slept == slept


async def test_a_slow_reader_does_not_stretch_the_run():
    clock = Clock(slow_s=0.3)
    await play(ReplayProvider({"tape": TAPE}, clock=clock, sleep=clock.sleep), clock=clock)
    assert clock.slept == [0.2, 0.7, 0.2]


@pytest.mark.parametrize("speed", [-1, float("nan"), "fast", True, False])
async def test_a_speed_that_is_none_is_bad_input(speed):
    with pytest.raises(BadInput, match="Replay speed"):
        await play(ReplayProvider({"tape": TAPE}), with_speed(speed))
    with pytest.raises(BadInput, match="Replay speed"):
        ReplayProvider({"tape": TAPE}, speed)


async def test_stopping_in_a_long_wait_takes_effect_at_once():
    long = replace(TAPE, events=((0.0, Started("m")), (1e5, Finished("stop"))))
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.sleep(seconds)

    task = asyncio.create_task(play(ReplayProvider({"tape": long}, sleep=sleep)))
    await waiting.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done == {task} and task.cancelled()


async def test_playing_at_once_lets_others_have_their_turn():
    many = replace(TAPE, events=(EVENTS[0], *((0.0, TextDelta("x")),) * 1000, EVENTS[-1]))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await play(ReplayProvider({"tape": many}, None))
    task.cancel()
    assert turns >= 10


@pytest.mark.parametrize(
    ("end", "error", "sentence"), [("stopped", None, "was stopped here"), ("failed", "Too many requests.", "Too many requests.")]
)
async def test_a_run_that_did_not_finish_breaks_where_it_broke(end, error, sentence):
    broken = replace(TAPE, events=EVENTS[:3], end=end, error=error)
    got: list[Event] = []
    with pytest.raises(StreamBroken, match=sentence):
        async with aclosing(ReplayProvider({"tape": broken}, None).stream(ASK)) as events:
            async for event in events:
                got.append(event)
    assert len(got) == 3


async def test_names_and_paths(tmp_path):
    home, mine, others = tmp_path / "home", tmp_path / "recordings" / ("a" * 32), tmp_path / "recordings" / ("b" * 32)
    for folder in (home, mine / "comparisons" / "c", others):
        folder.mkdir(parents=True)
    for path in (home / "tape", mine / "other", mine / "comparisons" / "c" / "turn-1-pane-1", others / "theirs", tmp_path / "outside"):
        path.with_suffix(".jsonl").write_text(dumps(TAPE))
    provider = ReplayProvider(home, None, own=mine)
    for name in (
        "tape",
        "tape.jsonl",
        "own/other",
        "own/comparisons/c/turn-1-pane-1",
        str(mine / "other.jsonl"),
        f"/moved/since/recordings/{mine.name}/other.jsonl",
        f"C:\\Users\\me\\recordings\\{mine.name}\\comparisons\\c\\turn-1-pane-1.jsonl",
    ):
        assert len(await play(provider, replace(ASK, model=name))) == 4
    for name in (
        "nope",
        "../outside",
        "../outside.jsonl",
        str(tmp_path / "outside.jsonl"),
        f"{mine}/../../outside.jsonl",
        f"{mine}/../{others.name}/theirs.jsonl",
        str(others / "theirs.jsonl"),
        str(others / "other.jsonl"),  # not the one of this name that is mine
        "own/../outside",
        f"own/../{others.name}/theirs",
        f"own/{others}/theirs",
        "own//other",
        "own/",
        "own/.",
        "own/comparisons",
        "own/tape",
        "own/other\0",
        "a\0b",
    ):
        with pytest.raises(UnknownModel, match="no recording named") as caught:
            await play(provider, replace(ASK, model=name))
        told = (caught.value.message + caught.value.hint).replace(name, "")  # what the caller wrote is no news
        assert str(tmp_path) not in told
    for name in ("own/other", str(mine / "other.jsonl")):  # who has no owner, as a caller of the API
        with pytest.raises(UnknownModel):
            await play(ReplayProvider(home, None), replace(ASK, model=name))
    assert isinstance(provider, ListsModels) and [m.id for m in await provider.list_models()] == ["tape"]


async def test_a_broken_file_is_bad_input_that_names_the_line(tmp_path):
    (tmp_path / "tape.jsonl").write_text(dumps(TAPE).replace("TextDelta", "Sung"))
    with pytest.raises(BadInput, match=r"tape\.jsonl cannot be replayed: line 4"):
        await play(ReplayProvider(tmp_path))


async def test_capabilities_are_read_from_the_recording_and_take_no_parameters():
    provider = ReplayProvider({"tape": TAPE, "plain": replace(TAPE, events=(EVENTS[0], *EVENTS[2:]))})
    found = await provider.capabilities("tape")
    assert (found.engine, found.name, found.title, found.thinking, found.parameters) == (
        "replay",
        "replay:tape",
        "hi",
        "always",
        {},
    )
    assert "Recorded from dashscope:m" in found.note and (await provider.capabilities("plain")).thinking == "never"
    check(replace(ASK, parameters=GenerationParameters(temperature=9.0)), found)


async def test_a_scripted_sample_says_that_no_model_ran():
    provider = ReplayProvider(ASSETS / "recordings", None)
    names = [m.id for m in await provider.list_models()]
    assert names == ["maths-thinking", "python-code", "vietnamese-table"]
    for name in names:
        assert "no model ran" in (await provider.capabilities(name)).note


async def test_plays_through_the_pipeline():
    pipeline = Pipeline([Route(ReplayProvider(ASSETS / "recordings", None), "maths-thinking")])
    async with aclosing(pipeline.stream(replace(ASK, model="maths-thinking"))) as events:
        got = [event async for event in events]
    last = got[-1]
    assert isinstance(got[0], Started) and isinstance(last, Finished) and last.usage.reasoning_tokens == 485
