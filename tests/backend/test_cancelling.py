"""What is stopped ends there and then: a wait that ends at the same moment, a second stop, a task that has not begun."""

from __future__ import annotations

import asyncio

import pytest

from backend.compare.later_turns import LaterTurns
from backend.lanes import Lanes
from backend.run import Run
from backend.runs import Runs
from backend.types import ChatRequest, Finished, Message, Started, TextDelta


def new_run() -> Run:
    return Run(owner="me", conversation_id="c", node_id="n", model="dashscope:m", request=ChatRequest("m", (Message("user", "hi"),)))


async def unsaved(runs) -> None:
    """Nothing is kept."""


async def steps(number: int) -> None:
    """Lets the event loop take so many steps."""
    for _ in range(number):
        await asyncio.sleep(0)


WAITS = {
    "end": lambda run, lanes: run.wait_for_end(60),
    "change": lambda run, lanes: run.wait_for_change(run.version, 60),
    "lanes": lambda run, lanes: lanes.changed(60),
    "pause": lambda run, lanes: lanes.pause(60),
}


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_wait_that_is_cancelled_as_it_ends_is_cancelled(wait, after):
    run = new_run()
    with Lanes([run]) as lanes:
        await lanes.changed(60)  # all count as changed at first
        waiting = asyncio.create_task(wait(run, lanes))
        await steps(3)
        run.end("stopped")
        await steps(after)
        if waiting.cancel():
            await asyncio.wait([waiting], timeout=5)
            assert waiting.cancelled()
        else:
            assert after and waiting.result() is not False  # it had ended with what it waited for


@pytest.mark.parametrize("after", range(6))
async def test_a_stop_as_a_turn_ends_waits_for_no_further_turn(after):
    runs, run, never = Runs(unsaved), new_run(), asyncio.Event()
    later = LaterTurns(runs)

    async def step(before):
        await never.wait()

    later.begin(["c"], [run], [step])
    await steps(3)
    run.take(Finished("stop"))
    await steps(after)
    async with asyncio.timeout(30):
        await later.end(["c"])
    await runs.aclose()


async def test_a_second_stop_does_not_cut_off_what_the_first_one_closes():
    closing, close, closed = asyncio.Event(), asyncio.Event(), []

    class Slow:
        async def stream(self, request):
            yield Started("m")
            try:
                await asyncio.Event().wait()
            finally:
                closing.set()
                await close.wait()
                closed.append(True)

    runs = Runs(unsaved)
    run = runs.start(new_run(), Slow())
    runs.watch(run, "tab")
    await steps(3)
    first = asyncio.create_task(runs.stop(run))
    await closing.wait()
    second = asyncio.create_task(runs.stop(run))
    await steps(5)
    assert not run.ended and not first.done() and not second.done()
    close.set()
    await asyncio.gather(first, second)
    assert run.state == "stopped" and closed == [True]
    await runs.aclose()


async def test_closing_stops_what_has_not_begun(scripted):
    saved = []

    async def save(runs):
        saved.extend(run.state for run in runs)

    runs = Runs(save)
    run = runs.start(new_run(), scripted([Started("m"), TextDelta("never"), Finished("stop")]))
    await runs.aclose()
    assert run.state == "stopped" and saved == ["stopped"]
