"""Events of the page: what goes wrong in them is a sentence and a line, and one visitor has so many at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest

from backend import BadInput, Slots
from tests.ui.tab import until
from ui.events import (
    FIRST_SEEN_S,
    MAX_EVENTS_PER_ADDRESS,
    MAX_EVENTS_PER_VISITOR,
    MAX_PAGES_PER_ADDRESS,
    MAX_PAGES_PER_VISITOR,
    Blocks,
    Loads,
    OpenPages,
)
from ui.visitor import COOKIE, Visitors


class House:
    """A page of one event whose handler is given, and perhaps its load. Visitors are known by a letter."""

    def __init__(self, handler, *, public: bool = True, load=None) -> None:
        with Blocks() as self.demo:
            box = gr.Number()
            box.change(handler, box, box)
            if load is not None:
                self.demo.load(load, box, box)
        self.demo.visitors, self.demo.slots, self.demo.loads = Visitors(b"k" * 32, public=public), Slots("Too many.", "Wait."), Loads()

    async def event(
        self, letter: str = "a", *, value: object = 1, address: str = "203.0.113.5", iterator=None, which: int = 0, page: str = "s"
    ) -> dict:
        cookies = {COOKIE: self.demo.visitors.signed(letter * 43)}
        scope = {"type": "http", "client": (address, 1), "headers": []}
        request = gr.Request(SimpleNamespace(scope=scope, cookies=cookies), session_hash=page)
        return await self.demo.process_api(self.demo.fns[which], [value], request=request, iterator=iterator)


def fails(error: Exception):
    def handler(value):
        raise error

    return handler


@pytest.mark.parametrize(
    "error",
    [KeyError("no\nsuch\x1bturn"), RecursionError(), ValueError("x" * 5000), AttributeError("'list' object has no attribute 'get'")],
)
async def test_what_nobody_foresaw_is_one_line_in_the_log_and_a_sentence_on_the_page(error, caplog):
    with pytest.raises(gr.Error) as shown:
        await House(fails(error)).event()
    assert shown.value.print_exception is False and "Reload the page" in shown.value.message
    (record,) = caplog.records
    assert "\n" not in record.getMessage() and len(record.getMessage()) < 300 and record.exc_info is None
    assert type(error).__name__ in record.getMessage()


@pytest.mark.parametrize("value", ["x", [1], {"a": 1}])
async def test_so_is_what_no_page_sends(value, caplog):
    with pytest.raises(gr.Error) as shown:
        await House(lambda number: number + 1).event(value=value)
    assert shown.value.print_exception is False and len(caplog.records) == 1


async def test_an_error_of_the_backend_is_its_own_sentence(caplog):
    with pytest.raises(gr.Error) as shown:
        await House(fails(BadInput("No such chat.", hint="Reload."))).event()
    assert shown.value.message == "No such chat. Reload." and shown.value.print_exception is False and not caplog.records


async def test_a_sentence_for_the_visitor_prints_no_traceback():
    with pytest.raises(gr.Error) as shown:
        await House(fails(gr.Error("Give it a name first."))).event()
    assert shown.value.message == "Give it a name first." and shown.value.print_exception is False


# ---- how many
class Waiting:
    """A handler that waits until it may go on."""

    def __init__(self) -> None:
        self.going, self.go = 0, asyncio.Event()

    async def __call__(self, value):
        self.going += 1
        await self.go.wait()
        return value


def waiting() -> tuple[Waiting, House]:
    state = Waiting()

    async def handler(value):
        return await state(value)

    return state, House(handler)


async def test_a_visitor_has_so_many_events_at_once_and_not_one_more():
    state, house = waiting()
    going = [asyncio.create_task(house.event()) for _ in range(MAX_EVENTS_PER_VISITOR)]
    await until(lambda: state.going == MAX_EVENTS_PER_VISITOR)
    with pytest.raises(gr.Error, match="Too many"):
        await house.event()
    other = asyncio.create_task(house.event("b"))
    await until(lambda: state.going == MAX_EVENTS_PER_VISITOR + 1)
    state.go.set()
    await asyncio.gather(*going, other)
    assert (await house.event())["data"] == [1]  # all were given back


async def test_an_address_has_so_many_however_many_cookies_it_takes():
    state, house = waiting()
    letters = "abcdefgh"
    going = [asyncio.create_task(house.event(letters[n % len(letters)])) for n in range(MAX_EVENTS_PER_ADDRESS)]
    await until(lambda: state.going == MAX_EVENTS_PER_ADDRESS)
    with pytest.raises(gr.Error, match="Too many"):
        await house.event("z")
    elsewhere = asyncio.create_task(house.event("z", address="203.0.113.6"))
    await until(lambda: state.going == MAX_EVENTS_PER_ADDRESS + 1)
    state.go.set()
    await asyncio.gather(*going, elsewhere)


async def test_an_event_that_was_cancelled_gives_its_place_back():
    state, house = waiting()
    going = [asyncio.create_task(house.event()) for _ in range(MAX_EVENTS_PER_VISITOR)]
    await until(lambda: state.going == MAX_EVENTS_PER_VISITOR)
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    state.go.set()
    assert (await house.event())["data"] == [1]


async def test_an_answer_that_is_followed_goes_on_where_new_events_are_refused():
    async def handler(value):
        yield value
        yield value + 1

    house = House(handler)
    first = await house.event()
    with house.demo.slots.held({("visitor", "visitor:" + "a" * 43): 10**9}):
        house.demo.slots._taken["visitor", "visitor:" + "a" * 43] = MAX_EVENTS_PER_VISITOR
        with pytest.raises(gr.Error):
            await house.event()
        assert (await house.event(iterator=first["iterator"]))["data"] == [2]


async def test_the_owner_of_a_machine_has_no_such_limit():
    state, house = waiting()
    house.demo.visitors = Visitors(b"k" * 32, public=False)
    going = [asyncio.create_task(house.event()) for _ in range(MAX_EVENTS_PER_VISITOR + 1)]
    await until(lambda: state.going == MAX_EVENTS_PER_VISITOR + 1)
    state.go.set()
    await asyncio.gather(*going)


# ---- a page that is being loaded
async def test_what_is_asked_while_a_page_loads_waits_for_it_and_other_pages_do_not():
    loading, done = Waiting(), []

    async def load(value):
        return await loading(value)

    house = House(lambda value: done.append(value) or value, load=load)
    loads = [asyncio.create_task(house.event(which=1)) for _ in range(2)]
    await until(lambda: loading.going == 2)
    asked = asyncio.create_task(house.event(value=7))
    await house.event(value=8, page="another")
    await asyncio.sleep(0.05)
    assert done == [8] and not asked.done()
    loading.go.set()
    await asyncio.gather(*loads, asked)
    assert done == [8, 7] and house.demo.loads._of == {}


@pytest.mark.parametrize("end", ["fails", "is cancelled", "takes too long"])
async def test_a_load_that_does_not_end_well_keeps_nobody_waiting(end, monkeypatch):
    loading, done = Waiting(), []

    async def load(value):
        await loading(value)
        raise ValueError("no")

    house = House(lambda value: done.append(value) or value, load=load)
    monkeypatch.setattr("ui.events.LOAD_LIMIT_S", 0.1 if end == "takes too long" else 30.0)
    task = asyncio.create_task(house.event(which=1))
    await until(lambda: loading.going == 1)
    asked = asyncio.create_task(house.event(value=7))
    await asyncio.sleep(0)
    if end == "is cancelled":
        task.cancel()
    elif end == "fails":
        loading.go.set()
    async with asyncio.timeout(20):
        await asked
    loading.go.set()
    await asyncio.gather(task, return_exceptions=True)
    assert done == [7] and house.demo.loads._of == {}


# ---- open pages
class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_visitor_has_so_many_pages_open_and_not_one_more():
    pages = OpenPages(Clock())
    assert all(pages.admit(f"p{n}", "a", "1") for n in range(MAX_PAGES_PER_VISITOR))
    assert not pages.admit("one more", "a", "1")
    assert pages.admit("p0", "a", "1")  # one that is known
    assert pages.admit("another's", "b", "1")
    pages.arrive("p0"), pages.leave("p0")
    assert pages.admit("one more", "a", "1") and not pages.admit("p0", "a", "1")


def test_an_address_has_so_many_pages_however_many_cookies_it_takes():
    pages = OpenPages(Clock())
    assert all(pages.admit(f"p{n}", f"visitor {n}", "1") for n in range(MAX_PAGES_PER_ADDRESS))
    assert not pages.admit("one more", "new", "1") and pages.admit("elsewhere", "new", "2")


def test_a_page_without_a_heartbeat_is_forgotten_after_its_last_event_and_one_with_it_is_not():
    clock = Clock()
    pages = OpenPages(clock)
    for n in range(MAX_PAGES_PER_VISITOR):
        pages.admit(f"p{n}", "a", "1")
    pages.arrive("p0")
    clock.now_s = FIRST_SEEN_S
    assert not pages.admit("one more", "a", "1")
    pages.admit("p1", "a", "1")
    clock.now_s += 0.1
    assert pages.admit("one more", "a", "1")
    assert sorted(pages._of) == ["one more", "p0", "p1"]


def test_a_page_that_opens_its_heartbeat_twice_is_there_until_both_end():
    pages = OpenPages(Clock())
    pages.admit("p", "a", "1")
    pages.arrive("p"), pages.arrive("p"), pages.leave("p")
    assert "p" in pages._of
    pages.leave("p")
    assert not pages._of and not pages._number and not pages._unseen_since_s and not pages._open


def test_a_heartbeat_of_nobody_leaves_nothing():
    pages = OpenPages(Clock())
    pages.arrive("x"), pages.leave("x")
    assert not pages._open


def test_every_request_that_names_a_page_counts_it_whatever_its_path():
    house = House(lambda value: value)
    house.demo.open_pages = OpenPages(Clock())
    known = f"{COOKIE}={house.demo.visitors.signed('a' * 43)}".encode()

    def admit(path: str, session: str | None, cookie: bytes = known) -> str | None:
        scope = {"type": "http", "path": path, "client": ("203.0.113.5", 1), "headers": [(b"cookie", cookie)]}
        return house.demo.admit(scope, session)

    for n in range(MAX_PAGES_PER_VISITOR - 1):
        assert admit("/gradio_api/queue/join", f"p{n}") is None
    assert admit("/gradio_api/call/x", None) is None  # gradio would give it a page of its own
    for path in ("/gradio_api/queue/join", "/gradio_api/component_server", "/gradio_api/run/x", "/gradio_api/call/x", "/gradio_api/cancel"):
        assert "too many pages" in (admit(path, "one more") or "")
    assert "too many pages" in (admit("/gradio_api/call/x", None) or "")
    assert admit("/gradio_api/queue/join", "p0") is None and admit("/gradio_api/mcp/", None) is None


def test_a_server_function_is_for_browsers_that_keep_the_cookie():
    house = House(lambda value: value)
    house.demo.open_pages = OpenPages(Clock())
    scope = {"type": "http", "path": "/gradio_api/component_server/", "client": ("203.0.113.5", 1), "headers": []}
    assert "cookie" in (house.demo.admit(scope, "p") or "")
    house.demo.visitors = Visitors(b"k" * 32, public=False)
    assert house.demo.admit(scope, "p") is None
