"""Who compares strangers' texts: a process that can be killed, while the event loop and everybody else go on."""

from __future__ import annotations

import asyncio
import html
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.ui.compare_tab import Compare, event
from tests.ui.tab import until
from ui import drawing
from ui.compare.difference import diff_view
from ui.compare.difference import difference as compared
from ui.compare.share import Share
from ui.drawing import Kept, difference, in_thread
from ui.text import WORDS as W
from ui.worker import read_frame, write_frame
from ui.workers import Outcome, Workers, _Worker

ROOT = Path(__file__).resolve().parents[2]
PAIR = ("one two", "one three")
SLOW = (" ".join(f"a{i}" for i in range(8_000)), " ".join(f"b{i}" for i in range(8_000)))  # far more than a hundredth of a second of work
posix = pytest.mark.skipif(os.name != "posix", reason="the system ends no process by itself there")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(drawing, "kept", Kept())


@pytest.fixture
def workers():
    made = Workers()
    yield made
    made.close()


class Asked:
    """In the place of the processes: says what came of it, and in which thread it was asked."""

    def __init__(self, *outcomes):
        self.outcomes, self.texts, self.threads, self.spent = list(outcomes), [], set(), []
        self.held = threading.Event()
        self.held.set()

    def ask(self, task, texts, *, limit_s, wait_s, spent_s=0.0):
        self.texts.append(texts)
        self.threads.add(threading.get_ident())
        self.spent.append(spent_s)
        assert self.held.wait(20)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome([["left", "right", "0.5", ""]], whole=True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def asked(monkeypatch):
    def put(*outcomes):
        stand_in = Asked(*outcomes)
        monkeypatch.setattr(drawing, "workers", stand_in)
        return stand_in

    return put


# ---- views
async def test_a_view_has_a_time_for_all_its_texts_and_the_next_look_goes_on(asked, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(drawing, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stand_in = asked()
    compared = lambda: [difference("one", f"{number}").left == "left" for number in range(5)]  # noqa: E731
    assert await in_thread(compared) == [True] * 3 + [False] * 2  # 2 s each, of 6 s
    assert await in_thread(compared) == [True] * 5 and len(stand_in.texts) == 5


async def test_a_view_is_built_beside_the_event_loop():
    assert await in_thread(threading.get_ident) != threading.get_ident()


# ---- comparing
def test_words_are_compared_by_another_process_and_kept(asked, monkeypatch):
    found = difference("one two <b>", "one three <b>")
    assert (found.left, found.right, found.same_share) == (
        "one <del>two</del> &lt;b&gt;",
        "one <ins>three</ins> &lt;b&gt;",
        pytest.approx(0.8),
    )
    stand_in = asked()
    assert difference("one two <b>", "one three <b>") == found and not stand_in.texts


def test_texts_that_take_too_long_to_compare_are_shown_as_they_are(asked):
    asked(Outcome(whole=False))
    shown = diff_view(("l", "<b>one"), ("r", "two"), difference)
    assert W.diff_too_long in html.unescape(shown) and "&lt;b&gt;one" in shown and ">two<" in shown


# ---- what is kept
@pytest.mark.parametrize(("size", "there"), [(12, True), (13, False)])
def test_what_is_too_large_is_not_kept(size, there):
    kept = Kept(max_bytes=100)
    assert kept.keep("a", "x", size) == "x" and (kept.find("a") == "x") == there


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first():
    kept = Kept(max_bytes=80)
    for number in range(8):
        kept.keep(number, number, 10)
    kept.keep(3, "again", 10)
    assert kept.size_bytes == 80 and kept.find(0) == 0
    kept.keep("new", 1, 10)
    assert kept.size_bytes == 80 and kept.find(1) is None and kept.find(0) == 0 and kept.find(3) == "again"


# ---- the processes
def test_none_is_started_before_it_is_needed():
    code = "import threading, ui.drawing as d; print(d.workers._idle, d.workers._at_work, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[] 0 1", done.stderr


def test_one_is_killed_at_its_limit_and_the_next_comes_in_its_place(workers):
    assert workers.ask("difference", PAIR, limit_s=30, wait_s=30).whole
    (first,) = workers._idle
    cut = workers.ask("difference", SLOW, limit_s=0.01, wait_s=30)
    assert cut.asked and not cut.whole and not first.alive and not workers._idle
    assert workers.ask("difference", PAIR, limit_s=30, wait_s=30).whole
    (second,) = workers._idle
    assert second is not first and second.alive


def test_one_is_used_again_and_again(workers):
    for text in ("a", "<b>", "\ud800 half a sign", "5 MB" * 1_250_000, "中"):
        outcome = workers.ask("difference", [text, "a"], limit_s=60, wait_s=30)
        assert outcome.whole and outcome.parts[0][0] == compared(text, "a").left
        (worker,) = workers._idle
    assert worker.process.pid == workers._idle[0].process.pid


def test_what_fails_in_one_is_told_and_it_goes_on(workers):
    assert not workers.ask("no such task", [], limit_s=30, wait_s=30).whole
    assert workers._idle and workers.ask("difference", PAIR, limit_s=30, wait_s=30).whole


def test_closed_ones_have_ended_and_start_again_when_they_are_needed(workers):
    workers.ask("difference", PAIR, limit_s=30, wait_s=30)
    (worker,) = workers._idle
    workers.close()
    assert not worker.alive and not workers._idle
    assert workers.ask("difference", PAIR, limit_s=30, wait_s=30).whole


def test_a_process_ends_with_its_input():
    worker = _Worker()
    worker.process.stdin.close()
    assert worker.process.wait(timeout=30) == 0
    worker.end()


@posix
def test_a_process_that_nobody_kills_is_ended_by_the_system():
    worker = _Worker()
    write_frame(worker.process.stdin, ["difference", "0.01", *SLOW])
    assert worker.process.wait(timeout=30) == -signal.SIGALRM
    worker.end()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_process_knows_no_key_and_takes_no_more_memory_than_it_may(monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-canary")
    worker = _Worker()
    about = Path("/proc", str(worker.process.pid))
    assert b"canary" not in (about / "environ").read_bytes()
    limit = next(line for line in (about / "limits").read_text().splitlines() if line.startswith("Max address space"))
    assert "unlimited" not in limit
    worker.end()


def test_frames_come_back_as_they_were(tmp_path):
    texts = ["", "đ\n", "\ud83d", "x" * 100_000]
    with (tmp_path / "frame").open("w+b") as file:
        write_frame(file, texts)
        file.seek(0)
        assert read_frame(file) == texts
        with pytest.raises(EOFError):
            read_frame(file)


# ---- sharing them
class Held:
    """A worker that answers when it is let go."""

    def __init__(self, pool):
        self.pool, self.alive = pool, True

    def ask(self, task, texts, limit_s):
        self.pool.begun.append(texts[0])
        assert self.pool.let_go.acquire(timeout=20)
        if texts[0] == "fails":
            raise OSError("gone")
        return Outcome(whole=True)


class Pool:
    def __init__(self, most):
        self.begun, self.let_go = [], threading.Semaphore(0)
        self.workers = Workers(most, lambda: Held(self))
        self.threads = ThreadPoolExecutor(8)

    def ask(self, text, spent_s=0.0, wait_s=20):
        return self.threads.submit(self.workers.ask, "task", [text], limit_s=1, wait_s=wait_s, spent_s=spent_s)


async def test_two_at_most_work_and_whoever_waits_too_long_is_told():
    pool = Pool(2)
    for text in "abc":
        pool.ask(text)
    await until(lambda: len(pool.begun) == 2 and len(pool.workers._waiting) == 1)
    assert not pool.ask("d", wait_s=0).result(20).asked
    pool.let_go.release(3)
    await until(lambda: len(pool.begun) == 3 and pool.workers._at_work == 0)
    assert len(pool.workers._idle) == 2 and not pool.workers._waiting


async def test_whoever_has_spent_less_is_served_first():
    pool = Pool(1)
    pool.ask("first")
    await until(lambda: pool.begun == ["first"])
    for text, spent_s in (("hog", 4.0), ("hog again", 4.0), ("other", 0.0)):
        pool.ask(text, spent_s)
        await until(lambda text=text: len(pool.workers._waiting) == 1 + ["hog", "hog again", "other"].index(text))
    pool.let_go.release(4)
    await until(lambda: len(pool.begun) == 4)
    assert pool.begun == ["first", "other", "hog", "hog again"]


async def test_one_that_fails_is_given_back():
    pool = Pool(1)
    pool.let_go.release(2)
    with pytest.raises(OSError, match="gone"):
        pool.ask("fails").result(20)
    assert pool.ask("next").result(20).whole and pool.workers._at_work == 0


async def test_a_caller_that_is_cancelled_gives_its_worker_back(monkeypatch):
    pool = Pool(1)
    monkeypatch.setattr(drawing, "workers", pool.workers)
    caller = asyncio.create_task(in_thread(difference, *PAIR))
    await until(lambda: len(pool.begun) == 1)
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    pool.let_go.release(2)
    await until(lambda: pool.workers._at_work == 0)
    assert pool.ask("next").result(20).whole


# ---- the handlers
class Watched(Asked):
    """Asks the real processes; refuses to be waited for on the event loop."""

    def __init__(self, real):
        super().__init__()
        self.real, self.loop_thread = real, threading.get_ident()

    def ask(self, task, texts, **limits):
        assert threading.get_ident() != self.loop_thread, "the event loop waits for a text"
        self.texts.append(texts)
        return self.real.ask(task, texts, **limits)


@pytest.fixture
async def watched(monkeypatch, workers):
    stand_in = Watched(workers)
    monkeypatch.setattr(drawing, "workers", stand_in)
    return stand_in


async def test_no_handler_of_the_panes_waits_for_a_text_on_the_event_loop(house, watched):
    compare = await Compare(house).load()
    await compare.send("list ```x``` [[words:300]]")
    assert [compare.turns(pane) for pane in (0, 1)] == [["user", "assistant"]] * 2
    before = len(watched.texts)
    assert "diff-sides" in await compare.judging.look(event(view="diff"), compare.session, compare.request)
    assert len(watched.texts) == before + 1
    assert "figures" in await compare.judging.look(event(view="table"), compare.session, compare.request)
    assert "<html" in (await Share(compare.core).page(compare.session, compare.request))[compare.parts.files]["text"]


async def test_a_visitor_has_so_many_views_drawn_at_once_and_others_do_not_wait_for_them():
    """Though there are only so many threads: 64 hostile chats of one visitor kept others waiting for seconds."""
    go_on, drawn = threading.Event(), []

    def build() -> None:
        drawn.append(True)
        go_on.wait(30)

    drawing.visitor.set("flood")
    flood = [asyncio.create_task(in_thread(build)) for _ in range(2 * drawing.MAX_THREADS)]
    await until(lambda: len(drawn) == drawing.MAX_VIEWS_PER_VISITOR)
    for whose in ("other", None):
        drawing.visitor.set(whose)
        async with asyncio.timeout(30):
            assert await in_thread(lambda: "at once") == "at once"
    assert len(drawn) == drawing.MAX_VIEWS_PER_VISITOR
    for task in flood[: drawing.MAX_THREADS]:
        task.cancel()
    go_on.set()
    await asyncio.gather(*flood, return_exceptions=True)
    assert len(drawn) >= drawing.MAX_THREADS  # turns were given back, also by those who gave up waiting
    assert (turns := drawing._turns.get("flood")) is None or turns._value == drawing.MAX_VIEWS_PER_VISITOR
