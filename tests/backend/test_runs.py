"""Runs live on the server: followed, stopped, saved, and ended when their page has gone."""

from __future__ import annotations

import asyncio

import pytest

from backend import runs as the_runs
from backend.errors import BadInput, ContentFiltered, StorageError
from backend.first_writes import BEGIN_WITHIN_S, FIRST_PAUSE_S, LONGEST_PAUSE_S
from backend.run import Run, TextBuffer
from backend.runs import FIRST_SEEN_GRACE_S, LEFT_GRACE_S, MAX_UNSAVED, RETURN_GRACE_S, SAVE_EVERY_S, TICK_S, WRITE_EVERY_S, Runs
from backend.types import AnswerWasThinking, ChatRequest, Finished, Message, Started, TextDelta, ThinkingDelta, Usage
from tests.clock import Clock, until

REQUEST = ChatRequest("m", (Message("user", "hi"),))


def new_run(owner: str = "me", chat: str = "c") -> Run:
    return Run(owner=owner, conversation_id=chat, node_id="n", model="dashscope:m", request=REQUEST)


@pytest.fixture
def clock() -> Clock:
    return Clock()


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


# ---- who is looking
def waiting(scripted, clock: Clock, **graces) -> tuple[Runs, Run]:
    """A run that waits for its engine, begun now."""
    runs = Runs(Saved(), clock=clock, sleep=clock.sleep, **graces)
    return runs, runs.start(new_run(), scripted([Started("m"), TextDelta("x"), asyncio.Event().wait]))


async def test_a_run_whose_page_has_gone_is_stopped_after_its_grace(scripted, clock):
    runs, run = waiting(scripted, clock)
    runs.arrive("tab")
    runs.watch(run, "tab")
    await clock.pass_s(100)
    assert not run.ended, "an open page keeps it as long as it takes"
    runs.leave("tab")
    await clock.pass_s(LEFT_GRACE_S - TICK_S)
    assert not run.ended
    await clock.pass_s(3 * TICK_S)
    await until(lambda: run.ended)
    assert run.state == "stopped"
    await runs.aclose()


async def test_several_connections_of_a_page_are_one_page_and_it_has_gone_with_the_last(scripted, clock):
    runs, run = waiting(scripted, clock)
    runs.arrive("tab"), runs.arrive("tab")
    runs.watch(run, "tab")
    runs.leave("tab")
    await clock.pass_s(60)
    assert not run.ended
    runs.leave("tab")
    await clock.pass_s(LEFT_GRACE_S + TICK_S)
    await until(lambda: run.ended)
    await runs.aclose()


async def test_a_client_that_never_opens_a_connection_loses_its_run_after_the_first_grace(scripted, clock):
    runs, run = waiting(scripted, clock)
    runs.watch(run, "tab")
    await clock.pass_s(FIRST_SEEN_GRACE_S - TICK_S)
    assert not run.ended
    await clock.pass_s(LEFT_GRACE_S + 4 * TICK_S)
    await until(lambda: run.ended)
    assert run.state == "stopped"
    await runs.aclose()


async def test_a_connection_that_opens_within_the_first_grace_keeps_the_run(scripted, clock):
    runs, run = waiting(scripted, clock)
    runs.watch(run, "tab")
    await clock.pass_s(FIRST_SEEN_GRACE_S - TICK_S)
    runs.arrive("tab")
    await clock.pass_s(100)
    assert not run.ended
    await runs.aclose()


async def test_a_client_without_a_connection_is_forgotten_with_its_run(scripted, clock):
    runs = Runs(Saved(), clock=clock, sleep=clock.sleep)
    run = runs.start(new_run(), scripted([Started("m"), Finished("stop")]))
    runs.watch(run, "tab")
    await clock.pass_s(FIRST_SEEN_GRACE_S + RETURN_GRACE_S + 2)
    assert runs.get(run.id, "me") is None
    await runs.aclose()


async def test_nothing_is_kept_of_pages_that_have_gone(clock):
    runs = Runs(Saved(), clock=clock, sleep=clock.sleep)
    for n in range(1000):
        runs.arrive(f"tab{n}")
        runs.expect(f"visitor{n}")
        runs.leave(f"tab{n}")
        runs.leave(f"never{n}")
        await clock.pass_s(1)
    assert not runs._present and len(runs._loaded_s) <= RETURN_GRACE_S + 2


async def test_a_reloading_page_keeps_its_run(scripted, clock):
    runs, run = waiting(scripted, clock)
    runs.watch(run, "before")
    runs.leave("before")
    runs.expect("me")
    await clock.pass_s(RETURN_GRACE_S - TICK_S)
    assert not run.ended
    runs.watch(run, "after")
    await clock.pass_s(10)
    assert not run.ended
    await runs.aclose()


async def test_another_open_page_keeps_the_run(scripted, clock):
    runs, run = waiting(scripted, clock)
    for page in ("one", "two"):
        runs.arrive(page)
        runs.watch(run, page)
    runs.leave("one")
    await clock.pass_s(60)
    assert not run.ended
    await runs.aclose()


# ---- nothing that was asked is lost
class Database:
    """Where first writes and saves go, and which of them fail."""

    def __init__(self) -> None:
        self.error: Exception | None = StorageError("The chat history is locked by another program.", hint="Close it.")
        self.begun: list[str] = []
        self.saved: dict[str, tuple[str, str]] = {}
        self.tries = 0

    def begin(self, name: str):
        async def write() -> None:
            self.tries += 1
            if self.error is not None:
                raise self.error
            self.begun.append(name)

        return write

    async def save(self, runs) -> None:
        if self.error is not None:
            raise self.error
        for run in runs:
            self.saved[run.id] = run.state, run.answer.text


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def house(clock, database) -> Runs:
    return Runs(database.save, clock=clock, sleep=clock.sleep)


def answered(scripted):
    return scripted([Started("m"), TextDelta("42"), Finished("stop")])


async def test_a_question_asked_while_the_database_is_locked_is_written_when_it_can_be(scripted, clock, database, house):
    run = house.start(new_run(), answered(scripted), database.begin("q"))
    await clock.pass_s(BEGIN_WITHIN_S)
    failure = await run.storage_failure()
    assert "locked" in failure.message and "Saving is tried again" in failure.hint and run.state == "done"
    version = run.version
    database.error = None
    await clock.pass_s(LONGEST_PAUSE_S + 1)
    assert database.begun == ["q"] and database.saved[run.id] == ("done", "42")
    assert run.storage_error is None and run.version > version, "and the page is told"
    await house.aclose()


async def test_it_is_tried_calmly(scripted, clock, database, house):
    house.start(new_run(), answered(scripted), database.begin("q"))
    await clock.pass_s(200)
    assert 200 / LONGEST_PAUSE_S <= database.tries <= 200 / LONGEST_PAUSE_S + 7
    await house.aclose()


async def test_a_turn_is_never_stored_before_the_one_it_hangs_from(scripted, clock, database, house):
    for n in range(3):
        house.start(new_run(chat="one"), answered(scripted), database.begin(f"one{n}"))
        house.start(new_run(chat="two"), answered(scripted), database.begin(f"two{n}"))
    await clock.pass_s(3)
    database.error = None
    await clock.pass_s(LONGEST_PAUSE_S + 1)
    for chat in ("one", "two"):
        assert [each for each in database.begun if each.startswith(chat)] == [f"{chat}{n}" for n in range(3)]
    await house.aclose()


async def test_a_turn_asked_as_the_database_comes_back_still_waits_for_the_one_before(scripted, clock, database, house):
    house.start(new_run(), answered(scripted), database.begin("first"))
    await clock.pass_s(BEGIN_WITHIN_S)
    database.error = None
    house.start(new_run(), answered(scripted), database.begin("second"))
    await clock.pass_s(0.2)
    assert database.begun == [], "the first is not due yet"
    await clock.pass_s(2 * FIRST_PAUSE_S + 1)
    assert database.begun == ["first", "second"]
    await house.aclose()


async def test_what_cannot_be_stored_holds_up_no_other_chat(scripted, clock, database, house):
    async def never() -> None:
        raise StorageError("of this chat alone")

    database.error = None
    bad = house.start(new_run(chat="bad"), answered(scripted), never)
    good = house.start(new_run(chat="good"), answered(scripted), database.begin("good"))
    await clock.pass_s(3)
    assert database.begun == ["good"] and good.storage_error is None and bad.storage_error is not None
    await house.aclose()


async def test_a_further_question_first_stores_what_was_asked_before_and_is_refused_where_that_cannot_be(scripted, clock, database, house):
    house.start(new_run(), answered(scripted), database.begin("first"))
    await clock.pass_s(BEGIN_WITHIN_S)
    with pytest.raises(StorageError, match=r"not saved yet.*locked") as refused:
        await house.stored("c")
    assert refused.value.hint
    await house.stored("another chat")
    database.error = None
    await house.stored("c")
    assert database.begun == ["first"]
    await house.aclose()


async def test_a_chat_that_was_deleted_meanwhile_ends_the_trying(scripted, clock, database, house):
    database.error = BadInput("This chat is not here any more.", code="not_found")
    run = house.start(new_run(), answered(scripted), database.begin("q"))
    await clock.pass_s(BEGIN_WITHIN_S)
    assert "not here any more" in run.storage_error.message and "tried again" not in run.storage_error.hint
    database.error = None
    await clock.pass_s(RETURN_GRACE_S + LONGEST_PAUSE_S)
    assert database.tries == 1 and database.saved == {} and house.get(run.id, "me") is None
    await house.aclose()


async def test_an_answer_that_could_not_be_saved_as_it_streamed_is_saved_later_and_says_so_no_more(scripted, clock, database, house):
    database.error = None
    go = asyncio.Event()
    run = house.start(new_run(), scripted([Started("m"), TextDelta("x"), go.wait, TextDelta("y"), Finished("stop")]), database.begin("q"))
    house.arrive("tab"), house.watch(run, "tab")
    await clock.pass_s(2)
    database.error = StorageError("There is no room left.")
    go.set()
    await clock.pass_s(2)
    assert run.storage_error is not None
    database.error = None
    await clock.pass_s(2 * SAVE_EVERY_S)
    assert run.storage_error is None and database.saved[run.id] == ("done", "xy")
    await house.aclose()


async def test_the_oldest_unsaved_answer_goes_when_there_are_too_many_and_says_so(scripted, clock, database, house, monkeypatch, caplog):
    monkeypatch.setattr(the_runs, "MAX_UNSAVED", 3)
    assert MAX_UNSAVED >= 100
    kept = [house.start(new_run(chat=f"c{n}"), answered(scripted), database.begin(f"q{n}")) for n in range(3)]
    await clock.pass_s(2)
    assert not any(run.unstorable for run in kept)
    further = house.start(new_run(chat="further"), answered(scripted), database.begin("further"))
    assert [run.unstorable for run in (*kept, further)] == [True, False, False, False]
    assert "not kept any longer" in kept[0].storage_error.message and kept[0].id in caplog.text
    database.error = None
    await clock.pass_s(LONGEST_PAUSE_S + 1)
    assert sorted(database.begun) == ["further", "q1", "q2"]
    again = [house.start(new_run(chat=f"d{n}"), answered(scripted), database.begin(f"d{n}")) for n in range(4)]
    await clock.pass_s(2)
    assert not any(run.unstorable for run in again), "what was saved makes room"
    await house.aclose()


async def test_the_end_of_the_app_tries_once_more_and_ends_answers_as_stopped(scripted, clock, database, house):
    run = house.start(new_run(), scripted([Started("m"), TextDelta("half"), asyncio.Event().wait]), database.begin("q"))
    await clock.pass_s(BEGIN_WITHIN_S)
    assert run.storage_error is not None
    database.error = None
    await house.aclose()
    assert database.begun == ["q"] and database.saved[run.id] == ("stopped", "half")


async def test_an_engine_that_does_not_end_holds_up_no_end_of_the_app(scripted, monkeypatch):
    monkeypatch.setattr(the_runs, "CLOSE_WITHIN_S", 0.01)
    saved, lets_go = Saved(), asyncio.Event()

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await lets_go.wait()

    runs = Runs(saved)
    run = runs.start(new_run(), scripted([Started("m"), TextDelta("half"), hold]))
    await until(lambda: run.answer.text == "half")
    async with asyncio.timeout(20):
        await runs.aclose()
    assert saved.states[-1] == ("stopped", "half")
    lets_go.set()


async def test_an_answer_without_news_is_written_often_enough_for_others_not_to_give_it_up(scripted, clock):
    from backend.history.store import STALE_AFTER_S

    saved = Saved()
    runs = Runs(saved, clock=clock, sleep=clock.sleep)
    run = runs.start(new_run(), scripted([Started("m"), asyncio.Event().wait]))
    runs.arrive("tab"), runs.watch(run, "tab")
    await clock.pass_s(3 * WRITE_EVERY_S + 1)
    assert len(saved.states) >= 3 and 2 * WRITE_EVERY_S < STALE_AFTER_S
    await runs.aclose()


# ---- what becomes of an answer
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
    async with asyncio.timeout(5):
        await asyncio.gather(waiting, ending)
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
