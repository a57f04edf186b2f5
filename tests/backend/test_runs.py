"""Runs live on the server: followed, stopped, saved, and ended when their page has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backend.errors import ContentFiltered, StorageError
from backend.run import Run, TextBuffer
from backend.runs import Runs
from backend.types import AnswerWasThinking, ChatRequest, Finished, Message, Started, TextDelta, ThinkingDelta, Usage

REQUEST = ChatRequest("m", (Message("user", "hi"),))


def new_run(owner: str = "me") -> Run:
    return Run(owner=owner, conversation_id="c", node_id="n", model="dashscope:m", request=REQUEST)


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


class Saved:
    def __init__(self, error: StorageError | None = None) -> None:
        self.states: list[tuple[str, str]] = []
        self.error = error

    async def __call__(self, runs) -> None:
        if self.error:
            raise self.error
        self.states += [(r.state, r.answer.text) for r in runs]


async def test_a_run_gathers_its_text_and_is_saved_at_its_end(scripted):
    saved = Saved()
    runs = Runs(saved)
    provider = scripted([Started("m"), ThinkingDelta("a", 1), ThinkingDelta("b", 2), TextDelta("c"), Finished("stop", Usage(1, 3, 2))])
    run = runs.start(new_run(), provider)
    await until(lambda: bool(saved.states))
    assert (run.thinking.text, run.answer.text, run.state, run.thinking_tokens) == ("ab", "c", "done", 2)
    assert saved.states[-1] == ("done", "c")
    await runs.aclose()


async def test_stop_ends_the_upstream_and_keeps_the_text(scripted):
    never = asyncio.Event()
    provider = scripted([Started("m"), TextDelta("partial"), never.wait])
    runs = Runs(Saved())
    run = runs.start(new_run(), provider)
    runs.watch(run, "tab")
    await until(lambda: run.answer.text == "partial")
    await runs.stop(run)
    assert (run.state, run.answer.text, provider.closed) == ("stopped", "partial", 1)
    await runs.aclose()


async def test_stop_before_the_first_token(scripted):
    never = asyncio.Event()
    provider = scripted([Started("m"), never.wait])
    runs = Runs(Saved())
    run = runs.start(new_run(), provider)
    runs.watch(run, "tab")
    await until(lambda: run.version == 1)
    await runs.stop(run)
    assert (run.state, provider.closed) == ("stopped", 1)
    await runs.aclose()


async def test_stop_before_the_task_has_begun(scripted):
    saved = Saved()
    runs = Runs(saved)
    run = runs.start(new_run(), scripted([Started("m"), Finished("stop")]))
    await runs.stop(run)
    assert run.state == "stopped" and saved.states == [("stopped", "")]
    await runs.aclose()


async def test_a_run_whose_page_has_gone_is_stopped(scripted):
    never = asyncio.Event()
    provider = scripted([Started("m"), TextDelta("x"), never.wait])
    runs = Runs(Saved(), left_grace_s=0.05)
    run = runs.start(new_run(), provider)
    runs.watch(run, "tab")
    await asyncio.sleep(0.2)
    assert not run.ended
    runs.leave("tab")
    await until(lambda: run.ended)
    assert (run.state, provider.closed) == ("stopped", 1)
    await runs.aclose()


async def test_a_reloading_page_keeps_its_run(scripted):
    never = asyncio.Event()
    runs = Runs(Saved(), left_grace_s=0.05, return_grace_s=60)
    run = runs.start(new_run(), scripted([Started("m"), never.wait]))
    runs.watch(run, "before")
    runs.leave("before")
    runs.expect("me")
    await asyncio.sleep(0.3)
    assert not run.ended
    runs.watch(run, "after")
    await runs.aclose()


async def test_another_open_page_keeps_the_run(scripted):
    never = asyncio.Event()
    runs = Runs(Saved(), left_grace_s=0.05)
    run = runs.start(new_run(), scripted([Started("m"), never.wait]))
    runs.watch(run, "one"), runs.watch(run, "two")
    runs.leave("one")
    await asyncio.sleep(0.3)
    assert not run.ended
    await runs.aclose()


async def test_an_error_keeps_the_partial_text(scripted):
    runs = Runs(Saved())
    run = runs.start(new_run(), scripted([Started("m"), TextDelta("half"), ContentFiltered("refused", request_id="r1")]))
    await until(lambda: run.ended)
    assert (run.state, run.answer.text, run.error.message, run.request_id) == ("error", "half", "refused", "r1")
    await runs.aclose()


async def test_an_unforeseen_error_is_told_without_its_details(scripted):
    runs = Runs(Saved())
    run = runs.start(new_run(), scripted([Started("m"), ValueError("sk-secret")]))
    await until(lambda: run.ended)
    assert run.state == "error" and "secret" not in run.error.message + run.error.hint
    await runs.aclose()


async def test_it_is_saved_while_it_streams(scripted):
    never = asyncio.Event()
    saved = Saved()
    runs = Runs(saved)
    run = runs.start(new_run(), scripted([Started("m"), TextDelta("so far"), never.wait]))
    runs.watch(run, "tab")
    await until(lambda: ("answering", "so far") in saved.states)
    await runs.aclose()


async def test_a_database_that_fails_does_not_end_the_answer(scripted):
    runs = Runs(Saved(StorageError("locked")))
    run = runs.start(new_run(), scripted([Started("m"), TextDelta("x"), Finished("stop")]))
    await until(lambda: run.storage_error is not None)
    assert run.state == "done" and run.answer.text == "x"
    await runs.aclose()


async def test_runs_of_others_are_not_found(scripted):
    runs = Runs(Saved())
    run = runs.start(new_run("me"), scripted([Started("m"), Finished("stop")]))
    assert runs.get(run.id, "you") is None and runs.of_conversation("c", "you") is None
    assert runs.of_conversation("c", "me") is run
    await runs.aclose()


async def test_a_waiter_is_woken_by_news_and_by_the_end(scripted):
    go = asyncio.Event()
    runs = Runs(Saved())
    run = runs.start(new_run(), scripted([Started("m"), go.wait, TextDelta("x"), Finished("stop")]))
    await until(lambda: run.version == 1)
    waiting = asyncio.create_task(run.wait_for_change(1, 30))
    ending = asyncio.create_task(run.wait_for_end(30))
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(asyncio.gather(waiting, ending), 5)
    assert run.ended
    await runs.aclose()


def test_an_answer_that_was_thinking_moves_to_the_trace():
    run = new_run()
    for event in (Started("m"), TextDelta("let me see"), AnswerWasThinking(), TextDelta("42")):
        run.take(event)
    assert (run.thinking.text, run.answer.text) == ("let me see", "42")


@pytest.mark.parametrize("pieces", [[], ["a"], ["a", "", "b", "c"]])
def test_text_buffer(pieces):
    buffer = TextBuffer()
    for piece in pieces:
        buffer.append(piece)
        assert bool(buffer) == bool(buffer.text)
    assert buffer.text == "".join(pieces)
