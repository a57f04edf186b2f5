"""A turn that is run again in one pane alone, what follows it there, and a pane that stands behind the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.emulator import bodies, runs
from tests.ui.compare_tab import Compare
from tests.ui.tab import until
from ui.compare.share import Share
from ui.text import WORDS as W

SLOW = "[[first:0]][[think:20]][[words:2000]][[rate:100]]"


def subject_answers(compare: Compare) -> list[str]:
    """The last answers that there are to be judged."""
    turns = max(len(compare.turns(pane)) for pane in range(len(compare.panes)))
    return [
        compare.last(pane)
        for pane in range(len(compare.panes))
        if len(compare.turns(pane)) == turns and compare.turns(pane)[-1] == "assistant"
    ]


def older(turn: dict) -> str:
    """The id behind the arrow to the version before."""
    return turn["html"].split("data-to='")[1].split("'")[0]


async def test_an_earlier_turn_run_again_in_one_pane_is_followed_there_by_the_turns_after_it(compare, emulator):
    await compare.send("one [[think:2]][[words:3]]")
    await compare.send("two [[think:2]][[words:4]]")
    await compare.send("three [[think:2]][[words:5]]")
    others, first = compare.panes[1]["turns"], compare.panes[0]["turns"][1]["id"]
    asked = len(bodies(emulator))
    await compare.ask("again", 0, id=first)
    await compare.follow_to_the_end()
    assert compare.panes[1]["turns"] == others
    assert [turn["copy"].partition(" ")[0] for turn in compare.panes[0]["turns"][::2]] == ["one", "two", "three"]
    assert compare.turns(0) == ["user", "assistant"] * 3 and "2/2" in compare.panes[0]["turns"][1]["html"]
    assert [len(body["messages"]) for body in bodies(emulator)[asked:]] == [1, 3, 5]
    assert [body["messages"][-1]["content"].partition(" ")[0] for body in bodies(emulator)[asked:]] == ["one", "two", "three"]
    assert len(subject_answers(compare)) == 2, "the last answers of both panes are there to be judged"
    await compare.ask("select", 0, id=first)
    assert compare.turns(0) == ["user", "assistant"] * 3 and "1/2" in compare.panes[0]["turns"][1]["html"]


async def test_while_a_turn_runs_again_its_pane_takes_no_other_order(compare):
    await compare.quick()
    await compare.send("one")
    await compare.send("two")
    first = compare.panes[0]["turns"][1]["id"]
    await compare.choose(0, system=SLOW)
    await compare.act("again", 0, id=first)
    for op in ("select", "again", "catch-up"):
        await compare.act(op, 0, id=first)
        assert "still answering" in compare.live["error"]
    await compare.stop()


async def test_a_stop_of_a_turn_run_again_leaves_the_pane_behind_and_the_next_question_asks_it_what_it_misses(compare, emulator):
    await compare.quick()
    for text in ("one", "two", "three"):
        await compare.send(text)
    first = compare.panes[0]["turns"][1]["id"]
    await compare.choose(0, system=SLOW)
    await compare.act("again", 0, id=first)
    comparing = await compare.core.backend.side_by_side()
    comparison = compare.session.side_by_side.comparison
    await comparing.stop("local", comparison, 0)
    await comparing.settled(comparison)
    assert not comparing.busy("local", *comparison.panes)
    await compare.follow_to_the_end()
    assert W.pane_behind.format(n=2) in compare.last(0) and "data-compare='catch-up'" in compare.last(0)
    assert len(subject_answers(compare)) == 1, "a pane that was not asked the last question is not judged on it"
    await compare.quick()
    asked = len(bodies(emulator))
    await compare.send("four")
    await compare.follow_to_the_end()
    told = [(body["model"].rpartition("-")[2], body["messages"][-1]["content"]) for body in bodies(emulator)[asked:]]
    assert [text for model, text in told if model == "thinking"] == ["two", "three", "four"]
    assert [text for model, text in told if model == "instruct"] == ["four"]
    assert [compare.turns(pane) for pane in (0, 1)] == [["user", "assistant"] * 4] * 2


async def test_a_pane_behind_is_asked_what_it_misses_on_request(compare, emulator):
    await compare.send("one [[think:2]][[words:3]]")
    await compare.ask("again", 0)
    second = compare.panes[0]["turns"][1]["id"]
    await compare.send("two [[think:2]][[words:3]]")
    await compare.send("three [[think:2]][[words:3]]")
    await compare.ask("select", 0, id=older(compare.panes[0]["turns"][1]))
    assert W.pane_behind.format(n=2) in compare.last(0)
    await compare.ask("catch-up", 0)
    await compare.follow_to_the_end()
    assert compare.turns(0) == ["user", "assistant"] * 3 and "1/2" in compare.panes[0]["turns"][1]["html"]
    await compare.ask("catch-up", 0)
    assert "nothing to catch up" in compare.live["error"]
    await compare.ask("select", 0, id=second)
    assert compare.turns(0) == ["user", "assistant"] * 3 and "2/2" in compare.panes[0]["turns"][1]["html"]


async def test_an_error_on_the_way_asks_no_further_turn(compare, emulator):
    for text in ("one", "two", "three"):
        await compare.send(f"{text} [[think:2]][[words:3]]")
    await compare.choose(0, system="[[fault:cut]]")
    await compare.ask("again", 0, id=compare.panes[0]["turns"][1]["id"])
    await compare.follow_to_the_end()
    assert compare.panes[0]["state"] == "error" and W.pane_behind.format(n=2) in compare.last(0)


async def test_a_pane_that_goes_on_to_its_next_turn_is_shown_while_another_still_writes(compare):
    await compare.quick()
    for text in ("one", "two"):
        await compare.send(text)
    first = compare.panes[0]["turns"][1]["id"]
    await compare.choose(1, system=SLOW)
    await compare.act("again", 1)

    async def in_second_turn(tab: Compare) -> bool:
        return tab.turns(0)[-1] == "user" and len(tab.turns(0)) == 3

    await compare.act("again", 0, id=first)
    await compare.take(compare.asking.resume(compare.session, compare.request), in_second_turn)
    await compare.follow_to_the_end(lambda: compare.turns(0) == ["user", "assistant"] * 2)
    assert compare.turns(1)[-1] == "user", "the other one still writes"
    await compare.stop()


async def test_a_turn_that_is_not_shown_is_not_run_again(compare):
    await compare.send("one [[think:2]][[words:3]]")
    await compare.ask("again", 0, id="no-such-turn")
    assert "not shown any more" in compare.live["error"]
    await compare.ask("again", 0, id=compare.panes[1]["turns"][1]["id"])
    assert "not shown any more" in compare.live["error"], "a turn of another pane"


# ---------------------------------------------------------------- at awkward moments
class Between:
    """Holds what a pane is asked next between two of its turns: the first one is run again, and the second is held and gets `system`."""

    def __init__(self, compare: Compare) -> None:
        self.compare, self._open, self._reached = compare, asyncio.Event(), asyncio.Event()

    async def begin(self, system: str) -> Between:
        compare = self.compare
        await compare.quick()
        for text in ("one", "two"):
            await compare.send(text)
        comparing = await compare.core.backend.side_by_side()
        ready = comparing._ready

        async def held(owner, access, messages, pane, **more):
            if sum(message.role == "user" for message in messages) > 1:
                self._reached.set()
                await self._open.wait()
                pane = replace(pane, choices=replace(pane.choices, system=system))
            return await ready(owner, access, messages, pane, **more)

        comparing._ready = held
        comparison = compare.session.side_by_side.comparison
        run = await comparing.again("local", compare.session.access, comparison, 0, compare.panes[0]["turns"][1]["id"])
        compare.core.backend.runs.watch(run, compare.request.session_hash)  # as the page does: one that nobody watches is ended
        async with asyncio.timeout(30):
            await self._reached.wait()
        return self

    async def go_on(self) -> None:
        for _ in range(20):  # whoever would not wait has drawn by now
            await asyncio.sleep(0.01)
        self._open.set()


@pytest.mark.parametrize("system", [SLOW, "[[words:3]]"], ids=["slow", "quick"])
@pytest.mark.parametrize("how", ["reload", "add"])
async def test_panes_drawn_between_two_turns_are_right_while_the_next_is_written_and_after_it(compare, house, system, how):
    between = await Between(compare).begin(system)
    tab = Compare(house, compare=compare.id) if how == "reload" else compare
    shown = []

    async def watch(tab: Compare) -> bool:
        if (tab.live.get("panes") or [None])[0]:
            shown.append(tab.turns(0))
            if system == SLOW:  # it was seen while it was written
                await compare.stop()
        return False

    async def draw() -> None:
        tab.take_one(await (tab.shelf.load(None, tab.session, tab.request) if how == "reload" else tab.setup.add(tab.session, tab.request)))
        await tab.take(tab.asking.resume(tab.session, tab.request), watch)

    drawing = asyncio.ensure_future(draw())
    await between.go_on()
    await drawing
    await tab.follow_to_the_end()
    assert tab.turns(0) == ["user", "assistant"] * 2
    assert all(turns == ["user", "assistant", "user"] for turns in shown) and (shown or system != SLOW)


@pytest.mark.parametrize("op", ["again", "catch-up"])
async def test_an_answer_that_a_pane_begins_is_watched_from_its_first_moment(compare, started, op):
    """A slow page follows it seconds later, and an answer that nobody watches is ended before that."""
    await compare.quick()
    await compare.send("one")
    if op == "catch-up":
        await compare.add()
    started.hold()
    acting = asyncio.create_task(compare.act(op, 2 if op == "catch-up" else 0))
    await until(lambda: len(started.runs) == 1)
    assert set(started.runs[0].watchers) == {compare.request.session_hash}
    started.go_on()
    await acting


async def test_a_comparison_deleted_between_two_turns_leaves_nothing(compare, house):
    between = await Between(compare).begin("[[words:3]]")
    comparing, panes = await house.backend.side_by_side(), compare.session.side_by_side.comparison.panes
    await comparing.delete("local", compare.id)
    await between.go_on()
    assert not comparing.busy("local", *panes) and await comparing.summaries("local") == []
    assert not comparing.folder_of("local", compare.id).exists()


async def test_what_follows_goes_on_while_another_comparison_is_shown(compare, house):
    await compare.quick()
    for text in ("one", "two"):
        await compare.send(text)
    first = compare.panes[0]["turns"][1]["id"]
    await compare.choose(
        0, system="[[first:0]][[think:2]][[words:200]][[rate:100]]"
    )  # 2 s, twice what is left to a run that nobody watches
    before = compare.session.side_by_side.comparison
    await compare.act("again", 0, id=first)
    following = asyncio.ensure_future(compare.take(compare.asking.resume(compare.session, compare.request)))
    comparing = await house.backend.side_by_side()
    while not house.backend.runs.of_conversation(before.panes[0].conversation_id, "local").watchers:
        await asyncio.sleep(0.01)
    compare.take_one(await compare.shelf.new(compare.session, compare.request))
    await compare.take(compare.asking.resume(compare.session, compare.request))
    await following
    while comparing.busy("local", *before.panes):
        await asyncio.sleep(0.05)
    path = (await comparing.conversations("local", before))[before.panes[0].conversation_id].path
    assert [node.status for node in path if node.role == "assistant"] == ["done", "done"]


@pytest.mark.parametrize("op", ["again", "catch-up"])
async def test_two_clicks_at_once_are_one_order(compare, emulator, op):
    await compare.quick()
    for text in ("one", "two"):
        await compare.send(text)
    place, given = (0, {"id": compare.panes[0]["turns"][1]["id"]}) if op == "again" else (2, {})
    if op == "catch-up":
        await compare.add()
    asked = len(bodies(emulator))
    await asyncio.gather(*(compare.act(op, place, **given) for _ in range(2)))
    await compare.follow_to_the_end()
    assert any("still answering" in live.get("error", "") for live in compare.lives)
    assert [body["messages"][-1]["content"] for body in bodies(emulator)[asked:]] == (["one", "two"] if op == "again" else ["two"])


async def test_a_stop_after_two_clicks_ends_everything(compare, emulator):
    await compare.quick()
    for text in ("one", "two"):
        await compare.send(text)
    first = compare.panes[0]["turns"][1]["id"]
    await compare.choose(0, system=SLOW)
    await asyncio.gather(*(compare.act("again", 0, id=first) for _ in range(2)))
    await compare.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("later turns")]
    assert [run["state"] for run in runs(emulator)[4:]] in (["disconnected"], [])


# ---------------------------------------------------------------- what it is asked
async def behind_one_that_joined_late(compare: Compare) -> None:
    """The first pane stands at an older version of turn one of three, and a last pane has turn three only."""
    await compare.quick()
    await compare.send("one")
    await compare.ask("again", 0)
    for text in ("two", "three"):
        await compare.send(text)
    await compare.add()
    await compare.ask("catch-up", len(compare.panes) - 1)
    await compare.ask("select", 0, id=older(compare.panes[0]["turns"][1]))


async def test_a_question_that_stands_on_no_open_branch_is_found_on_another(compare, emulator):
    await compare.arrange("remove", 1)
    await behind_one_that_joined_late(compare)
    asked = len(bodies(emulator))
    await compare.ask("catch-up", 0)
    await compare.follow_to_the_end()
    assert [body["messages"][-1]["content"] for body in bodies(emulator)[asked:]] == ["two", "three"]


async def test_a_question_that_nobody_knows_any_more_is_not_asked_empty(compare, emulator):
    await behind_one_that_joined_late(compare)
    comparing = await compare.core.backend.side_by_side()
    newer = compare.session.side_by_side.comparison.panes[0]
    for node in (await comparing.chat.conversation("local", newer.conversation_id)).nodes.values():
        if node.content == "two":
            await comparing.chat.history.delete_turn("local", node.id)
    await compare.arrange("remove", 1)
    asked = len(bodies(emulator))
    await compare.ask("catch-up", 0)
    assert "knows any more" in compare.live["error"]
    await compare.send("four")
    assert "knows any more" in compare.live["error"] and len(bodies(emulator)) == asked


async def test_where_panes_were_asked_different_things_the_page_says_so_and_no_vote_is_taken(compare):
    await compare.quick()
    await compare.send("one")
    for pane in (0, 1):
        await compare.ask("again", pane)
    newer = compare.panes[1]["turns"][1]["id"]
    await compare.send("OTTER")
    for pane in (0, 1):
        await compare.ask("select", pane, id=older(compare.panes[pane]["turns"][1]))
    await compare.send("BADGER")
    await compare.ask("select", 1, id=newer)
    page = (await Share(compare.core).page(compare.session, compare.request))[compare.parts.files]["text"]
    assert page.count("BADGER") == 1 and page.count("OTTER") == 1
    await compare.vote("1")
    assert W.vote_differs in compare.live["error"]
    await compare.ask("select", 1, id=older(compare.panes[1]["turns"][1]))
    await compare.vote("1")
    assert compare.bench["verdict"] == "1"
