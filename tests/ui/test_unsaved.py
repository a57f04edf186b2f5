"""What a page shows while the history cannot be written or opened, and once it can be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import runs as the_runs
from backend.compare.store import ComparisonStore
from backend.errors import StorageError
from backend.history import History
from tests.ui.tab import KEY, House, Tab, until
from ui.text import WORDS as W

WORDS = "[[think:2]][[words:3]]"


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The history cannot be written until what this gives is called."""
    is_locked = True

    def refusing(write: Callable) -> Callable:
        async def refuses(*args):
            if is_locked:
                raise StorageError("The chat history is locked by another program.", hint="Close it.")
            return await write(*args)

        return refuses

    for store, name in ((History, "begin"), (History, "write_answers"), (ComparisonStore, "save")):
        monkeypatch.setattr(store, name, refusing(getattr(store, name)))
    monkeypatch.setattr("backend.first_writes.FIRST_PAUSE_S", 0.01)

    def unlock() -> None:
        nonlocal is_locked
        is_locked = False

    return unlock


async def titles(house: House) -> list[str]:
    return [chat.preview for chat in await (await house.backend.open()).history.conversations("local")]


def told(tab: Tab) -> str:
    return str(tab.live.get("error"))


async def unsaved(tab: Tab) -> None:
    """What the live component's script asks for as it sees that an answer is not saved."""
    assert tab.live["unsaved"] and tab.live["running"] is False
    tab.take_one(await tab.house.answers.saved("", tab.session, tab.request))


async def test_an_answer_that_cannot_be_saved_stays_on_the_page_and_is_shown_as_stored_once_it_is(house, locked):
    tab = await house.tab().send(f"first {WORDS}")
    assert "locked" in told(tab) and "Saving is tried again" in told(tab) and tab.live["answer"]
    assert await titles(house) == []
    settling = asyncio.create_task(unsaved(tab))
    await asyncio.sleep(0)
    locked()
    async with asyncio.timeout(20):
        await settling
    assert tab.roles == ["user", "assistant"] and tab.live["state"] == "done" and not tab.live.get("error")
    assert await titles(house) == [f"first {WORDS}"]


async def test_a_further_question_is_refused_and_kept_until_the_one_before_is_stored(house, locked):
    tab = await house.tab().send(f"first {WORDS}")
    cleared = [update for update in tab.sent if tab.page.composer in update]
    await tab.send(f"second {WORDS}")
    assert "not saved yet" in told(tab) and [update for update in tab.sent if tab.page.composer in update] == cleared
    locked()
    await tab.send(f"second {WORDS}")
    assert tab.roles == ["user", "assistant", "user", "assistant"]


async def test_a_reload_still_shows_an_answer_that_is_in_memory_only(house, locked):
    before = await house.tab().send(f"first {WORDS}")
    after = await house.tab(chat=before.session.conversation_id).load()
    assert "locked" in told(after) and after.live["answer"]
    locked()
    async with asyncio.timeout(20):
        await unsaved(after)
    assert after.roles == ["user", "assistant"]


async def test_a_page_that_moved_on_does_not_wait(house, locked):
    tab = await house.tab().send(f"first {WORDS}")
    waiting = asyncio.create_task(house.answers.saved("", tab.session, tab.request))
    await asyncio.sleep(0)
    tab.close()
    async with asyncio.timeout(20):
        await waiting
    locked()


async def test_a_comparison_that_could_not_be_saved_is_saved_later_with_all_its_answers(compare, house, locked):
    await compare.send(f"both {WORDS}")
    assert "locked" in compare.live["error"] and compare.live["unsaved"]
    locked()
    async with asyncio.timeout(20):
        compare.take_one(await compare.asking.saved(compare.session, compare.request))
    comparing = await house.backend.side_by_side()
    (summary,) = await comparing.summaries("local")
    stored = await comparing.store.load("local", summary.id)
    known = await comparing.conversations("local", stored)
    assert [[node.status for node in known[pane.conversation_id].path] for pane in stored.panes] == [["done", "done"]] * 2
    assert not compare.live.get("error")


async def test_what_was_changed_meanwhile_is_what_is_saved(compare, house, locked):
    await compare.send(f"both {WORDS}")
    comparing, asked = await house.backend.side_by_side(), compare.session.side_by_side.comparison
    with pytest.raises(StorageError):
        await comparing.save("local", asked.swapped(0, 1))
    locked()
    async with asyncio.timeout(20):
        await compare.asking.saved(compare.session, compare.request)
    stored = await comparing.store.load("local", asked.id)
    assert [pane.conversation_id for pane in stored.panes] == [pane.conversation_id for pane in reversed(asked.panes)]


# ---- a history that cannot be opened
async def test_new_chats_go_on_where_the_history_cannot_be_opened_and_are_stored_once_it_can_be(houses, emulator, tmp_path, monkeypatch):
    monkeypatch.setattr("backend.first_writes.FIRST_PAUSE_S", 0.01)
    (tmp_path / "way").write_text("not a folder")
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, data_dir=tmp_path / "way" / "data")
    tab = await house.tab().load()
    assert "cannot be opened or written" in told(tab)
    await tab.send(f"first {WORDS}")
    assert "cannot be opened or written" in told(tab) and tab.live["answer"]
    (tmp_path / "way").unlink()
    async with asyncio.timeout(20):
        await unsaved(tab)
    assert tab.roles == ["user", "assistant"] and await titles(house) == [f"first {WORDS}"]


# ---- what the page says of the history
def damaged(data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    (data / "history.db").write_bytes(b"no database" * 100)


def from_elsewhere(tab: Tab) -> Tab:
    tab.request.request.scope["client"] = ("192.0.2.2", 5)
    return tab


@pytest.mark.parametrize(
    ("public", "here", "shown"), [(False, True, True), (False, False, False), (True, True, False), (True, False, False)]
)
async def test_where_a_damaged_history_lies_is_told_at_the_machine_only(houses, own_settings, caplog, public, here, shown):
    damaged(own_settings)
    tab = houses(public=public).tab()
    await (tab if here else from_elsewhere(tab)).load()
    assert "has been set aside as history.db.damaged-" in told(tab)
    assert (str(own_settings) in told(tab)) is shown and str(own_settings) in caplog.text


@pytest.mark.parametrize("public", [False, True])
async def test_a_second_app_on_the_same_folder_says_so_to_its_owner(houses, own_settings, caplog, public):
    first = await History.open(None, own_settings)
    house = houses(public=public)
    tab = await house.tab().load()
    assert (W.shared_history in told(tab)) is not public and "another app has the same chat history open" in caplog.text
    await first.aclose()
    assert W.shared_history not in told(await house.tab().load()), "the first has ended"


async def test_nothing_is_said_of_a_history_that_is_as_it_should_be(house):
    assert not (await house.tab().load()).live.get("error")


async def test_unsaved_is_bounded(house, locked, monkeypatch):
    monkeypatch.setattr(the_runs, "MAX_UNSAVED", 2)
    tabs = [await house.tab().send(f"{n} {WORDS}") for n in range(3)]
    owner = house.chat.owner(tabs[0].request)
    found = [house.backend.runs.of_conversation(tab.session.conversation_id, owner) for tab in tabs]
    assert [run.unstorable for run in found] == [True, False, False]
    locked()
    await until(lambda: all(run.storage_error is None for run in found[1:]))
    with sqlite3.connect(house.backend.settings.data_dir / "history.db") as connection:
        assert connection.execute("SELECT count(*) FROM playground_conversations").fetchone() == (2,)
