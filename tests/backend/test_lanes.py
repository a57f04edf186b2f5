"""Several runs as one stream of marks: bounded, fair, and deaf to nobody."""

from __future__ import annotations

import asyncio

import pytest

from backend.errors import StreamBroken
from backend.lanes import Lanes
from backend.run import Run
from backend.types import ChatRequest, Finished, Message, TextDelta
from tests.clock import Clock

REQUEST = ChatRequest("m", (Message("user", "hi"),))


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def at_once(seconds: float) -> None:
    """In place of a sleep, where there is nothing to wait for."""


def some_runs(count: int) -> list[Run]:
    return [Run(owner="me", conversation_id=f"c{i}", node_id=f"n{i}", model="dashscope:m", request=REQUEST) for i in range(count)]


async def test_all_lanes_are_told_at_first_and_then_only_those_that_changed():
    runs = some_runs(3)
    with Lanes(runs) as lanes:
        assert await lanes.changed(1) == {0, 1, 2}
        runs[1].take(TextDelta("a"))
        assert await lanes.changed(1) == {1}


async def test_silence_ends_with_the_heartbeat_and_tells_of_no_lane(clock):
    with Lanes(some_runs(2), sleep=clock.sleep) as lanes:
        await lanes.changed(1)
        silent = asyncio.create_task(lanes.changed(10))
        await clock.pass_s(9.9)
        assert not silent.done()
        await clock.pass_s(0.2)
        assert await silent == frozenset()


async def test_ten_thousand_changes_of_a_fast_lane_are_one_mark_and_hide_no_other_lane():
    runs = some_runs(2)
    with Lanes(runs, sleep=at_once) as lanes:
        await lanes.changed(1)
        for _ in range(10_000):
            runs[0].take(TextDelta("x"))
        runs[1].take(TextDelta("y"))
        assert await lanes.changed(1) == {0, 1}
        assert await lanes.changed(1) == frozenset()
        assert (len(runs[0].answer.text), runs[1].answer.text) == (10_000, "y")


async def test_a_lane_that_fails_or_is_stopped_is_a_change_and_the_others_go_on():
    runs = some_runs(3)
    with Lanes(runs) as lanes:
        await lanes.changed(1)
        runs[0].end("error", StreamBroken("cut"))
        runs[1].end("stopped")
        assert await lanes.changed(1) == {0, 1}
        assert not lanes.ended
        runs[2].take(TextDelta("still here"))
        assert await lanes.changed(1) == {2}
        runs[2].take(Finished("stop"))
        assert lanes.ended


async def test_an_end_cuts_the_pause_short_and_mere_text_does_not(clock):
    runs = some_runs(2)
    with Lanes(runs, sleep=clock.sleep) as lanes:
        await lanes.changed(1)
        pause = asyncio.create_task(lanes.pause(30))
        await asyncio.sleep(0)
        runs[0].take(TextDelta("text"))
        await clock.pass_s(29)
        assert not pause.done()
        runs[0].end("stopped")
        async with asyncio.timeout(5):
            await pause


async def test_runs_that_had_ended_before_count_as_ended():
    runs = some_runs(2)
    runs[0].end("stopped")
    with Lanes(runs) as lanes:
        assert not lanes.ended
        runs[1].end("stopped")
        assert lanes.ended


async def test_closing_leaves_no_listener_behind():
    runs = some_runs(1)
    lanes = Lanes(runs, sleep=at_once)
    await lanes.changed(1)
    lanes.close()
    runs[0].take(TextDelta("a"))
    assert await lanes.changed(1) == frozenset()
