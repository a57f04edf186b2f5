"""Comparisons: what one may look like, which turn of which pane is which, and that nobody loses or sees a conversation by them."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from backend.chat import Choices
from backend.compare import store as store_module
from backend.compare.records import (
    MOST_PANES,
    Comparison,
    Pane,
    answers_at,
    last_answers,
    pane_from,
    question_at,
    turn_count,
)
from backend.compare.store import ComparisonStore
from backend.compare.votes import Contestant, Vote, VoteStore
from backend.errors import BadInput, StorageError
from backend.history import AnswerUpdate, Conversation, Exchange, Node, new_id
from backend.types import GenerationParameters
from tests.backend.history.built import BuiltHistory

NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
EVERYTHING = Choices(
    "dashscope:m",
    GenerationParameters(temperature=0.0, top_k=20, seed=7, stop=("终", "Hết"), extra={"a": [1, None]}, enable_thinking=False),
    system="Trả lời ngắn. 简短。",
    resend_thinking=True,
)


@pytest.fixture
async def history(tmp_path) -> AsyncIterator[BuiltHistory]:
    opened = await BuiltHistory.open(None, tmp_path)
    yield opened
    await opened.aclose()


@pytest.fixture
def store(history) -> ComparisonStore:
    return ComparisonStore(history.database)


@pytest.fixture
def clock(monkeypatch) -> None:
    """Every look at the clock is a second later."""
    ticks = itertools.count(1000.0)
    monkeypatch.setattr(store_module, "time", SimpleNamespace(time=lambda: next(ticks)))


def pane(model: str = "dashscope:m", **given) -> Pane:
    return Pane(Choices(model, GenerationParameters()), **given)


def side_by_side(*models: str, **given) -> Comparison:
    return Comparison(tuple(pane(model) for model in models or ("a:left", "b:right")), **given)


async def ask(history: BuiltHistory, asked: Pane, question: str, answer: str | None, *, owner: str = "me", anew: bool = False) -> str:
    """A question and its answer (`None`: still in the making) at the end of a pane's conversation, or the last answer made `anew`."""
    path: tuple[Node, ...] = ()
    with suppress(BadInput):
        path = (await history.load(owner, asked.conversation_id)).path
    parent = path[-2] if anew else path[-1] if path else None
    answer_id, parameters = new_id(), asked.choices.stored()
    exchange = Exchange(
        conversation_id=asked.conversation_id, answer_id=answer_id, new_chat=not path, parent_id=parent.id if parent else None,
        question=None if anew else question, attachments=(), model=asked.choices.model, panel=parameters, parameters=parameters, run_id="r",
    )  # fmt: skip
    await history.begin(owner, exchange)
    if answer is not None:
        await history.write_answers([AnswerUpdate(answer_id, answer, "done")])
    return answer_id


async def refused_as_not_found(call) -> None:
    with pytest.raises(BadInput) as caught:
        await call
    assert caught.value.code == "not_found"


# ---------------------------------------------------------------- what a comparison may look like
def test_there_are_four_panes_at_most():
    comparison = side_by_side("a:1")
    for number in range(2, MOST_PANES + 1):
        comparison = comparison.with_pane(pane(f"a:{number}"))
    assert [each.choices.model for each in comparison.panes] == ["a:1", "a:2", "a:3", "a:4"]
    with pytest.raises(BadInput):
        comparison.with_pane(pane())


def test_the_last_pane_stays():
    comparison = side_by_side("a:1", "a:2").without(0)
    assert [each.choices.model for each in comparison.panes] == ["a:2"]
    with pytest.raises(BadInput):
        comparison.without(0)


@pytest.mark.parametrize(("place", "left"), [(0, ["a:2", "a:3"]), (1, ["a:1", "a:3"]), (2, ["a:1", "a:2"])])
def test_taking_a_pane_out_keeps_the_order_of_the_others(place, left):
    assert [each.choices.model for each in side_by_side("a:1", "a:2", "a:3").without(place).panes] == left


@pytest.mark.parametrize("place", [-1, 3, 99])
def test_a_place_without_a_pane_is_refused(place):
    comparison = side_by_side("a:1", "a:2", "a:3")
    calls = [
        lambda: comparison.pane(place), lambda: comparison.without(place), lambda: comparison.changed(place, EVERYTHING),
        lambda: comparison.swapped(place, 0), lambda: comparison.swapped(0, place),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(BadInput):
            call()


@pytest.mark.parametrize(("places", "order"), [((0, 1), "213"), ((1, 0), "213"), ((0, 2), "321"), ((2, 1), "132"), ((1, 1), "123")])
def test_two_panes_are_swapped_with_all_that_is_theirs(places, order):
    comparison = side_by_side("a:1", "a:2", "a:3")
    swapped = comparison.swapped(*places)
    assert swapped.panes == tuple(comparison.panes[int(number) - 1] for number in order)
    assert swapped.swapped(*places) == comparison


def test_other_settings_leave_the_conversation_and_the_other_panes():
    comparison = Comparison((pane("a:1"), pane("a:2", first_turn=3, asked=True)), blind=True, preview="p")
    changed = comparison.changed(1, EVERYTHING)
    assert changed == replace(comparison, panes=(comparison.panes[0], replace(comparison.panes[1], choices=EVERYTHING)))


def test_changes_make_another_comparison_and_leave_the_one_before():
    comparison = side_by_side("a:1", "a:2", preview="p")
    before = comparison.panes
    comparison.with_pane(pane())
    comparison.without(0)
    comparison.swapped(0, 1)
    comparison.changed(0, EVERYTHING)
    assert comparison.panes == before


def test_what_begins_anew_has_the_same_settings_and_nothing_else():
    comparison = Comparison((Pane(EVERYTHING, first_turn=2, asked=True), pane("a:2", asked=True)), blind=True, hidden=True, preview="p")
    anew = comparison.began_anew()
    assert [each.choices for each in anew.panes] == [each.choices for each in comparison.panes]
    assert (anew.blind, anew.hidden, anew.preview) == (True, False, "")
    assert not any(each.asked or each.first_turn for each in anew.panes)
    ids = [comparison.id, anew.id, *(each.conversation_id for each in (*comparison.panes, *anew.panes))]
    assert len(set(ids)) == len(ids)


def test_a_panes_settings_pass_through_json():
    given = Pane(EVERYTHING, first_turn=2, asked=True)
    again = pane_from(json.loads(json.dumps(given.stored())))
    assert again.choices == EVERYTHING and (again.first_turn, again.asked) == (0, False)
    assert again.conversation_id != given.conversation_id


@pytest.mark.parametrize("stored", [{}, {"model": None}, {"model": "", "of_a_later_version": 1}])
def test_settings_that_name_no_model_are_a_pane_without_one(stored):
    assert pane_from(stored).choices == Choices("", GenerationParameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "warm"}, {"temperature": [1]}, {"seed": "7"}, {"top_k": True}, {"thinking_budget": {}}, {"stop": 5},
        {"stop": [1]}, {"extra": 5}, {"enable_thinking": "no"}, {"system": None},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_wrong_kind_are_passed_over(wrong):  # they come from browsers and from files that others made
    choices = pane_from({"model": "a:1", "top_p": 0.5, **wrong}).choices
    assert choices == Choices("a:1", GenerationParameters(top_p=0.5))


# ---------------------------------------------------------------- turns
def chat(asked: Pane, *turns: tuple[str, str | None], status: str = "done") -> Conversation:
    """Of questions and answers (`None`: there is none); `status` is that of the last turn."""
    path: list[Node] = []
    for question, answer in turns:
        for role, content in (("user", question), ("assistant", answer)):
            if content is not None:
                path.append(Node(f"{asked.conversation_id}-{len(path)}", asked.conversation_id, None, role, content, NOW))
    if path:
        path[-1] = replace(path[-1], status=status)
    found = {node.id: node for node in path}
    return Conversation(asked.conversation_id, None, "", False, asked.choices.model, {}, NOW, NOW, found, tuple(path))


def told(nodes: list[Node | None]) -> list[str | None]:
    return [None if node is None else node.content for node in nodes]


def test_before_the_first_question_there_is_no_turn_and_no_answer():
    comparison = side_by_side()
    assert turn_count(comparison, {}) == 0
    assert last_answers(comparison, {}) == [None, None] == answers_at(comparison, {}, 0)
    assert question_at(comparison, {}, 0) == ""


def test_every_pane_gives_its_answer_to_a_turn_in_the_order_of_the_panes():
    left, right = pane(asked=True), pane(asked=True)
    known = {each.conversation_id: chat(each, ("q1", f"{name}1"), ("q2", f"{name}2")) for name, each in (("l", left), ("r", right))}
    comparison = Comparison((left, right))
    assert turn_count(comparison, known) == 2
    assert told(last_answers(comparison, known)) == ["l2", "r2"] == told(answers_at(comparison, known, 1))
    assert told(answers_at(comparison, known, 0)) == ["l1", "r1"]
    assert told(last_answers(comparison.swapped(0, 1), known)) == ["r2", "l2"]
    assert [question_at(comparison, known, turn) for turn in (0, 1)] == ["q1", "q2"]


@pytest.mark.parametrize("turn", [-1, 2, 99])
def test_a_turn_that_never_was_has_no_answers_and_no_question(turn):
    only = pane(asked=True)
    comparison, known = Comparison((only,)), {only.conversation_id: chat(only, ("q1", "a1"), ("q2", "a2"))}
    assert answers_at(comparison, known, turn) == [None] and question_at(comparison, known, turn) == ""


def test_a_pane_that_joined_later_has_answers_from_its_first_turn_on():
    first, late = pane(asked=True), pane(asked=True, first_turn=1)
    known = {first.conversation_id: chat(first, ("q1", "f1"), ("q2", "f2"), ("q3", "f3")),
             late.conversation_id: chat(late, ("q2", "l2"), ("q3", "l3"))}  # fmt: skip
    comparison = Comparison((late, first))
    assert turn_count(comparison, known) == 3
    assert [told(answers_at(comparison, known, turn)) for turn in range(3)] == [[None, "f1"], ["l2", "f2"], ["l3", "f3"]]
    assert told(last_answers(comparison, known)) == ["l3", "f3"]
    assert [question_at(comparison, known, turn) for turn in range(3)] == ["q1", "q2", "q3"]


def test_turns_are_counted_by_who_is_left_when_the_first_pane_was_taken_out():
    late = pane(asked=True, first_turn=2)
    comparison, known = Comparison((late, pane())), {late.conversation_id: chat(late, ("q3", "l3"))}
    assert turn_count(comparison, known) == 3
    assert told(last_answers(comparison, known)) == ["l3", None]
    assert [question_at(comparison, known, turn) for turn in range(3)] == ["", "", "q3"]


def test_a_pane_that_was_not_asked_has_no_answer_and_counts_no_turn():
    asked, joined = pane(asked=True), pane(first_turn=7)
    comparison, known = Comparison((joined, asked)), {asked.conversation_id: chat(asked, ("q1", "a1"))}
    assert turn_count(comparison, known) == 1
    assert told(last_answers(comparison, known)) == [None, "a1"]


@pytest.mark.parametrize("status", ["streaming", "stopped", "error", "interrupted"])
def test_an_answer_in_the_making_or_broken_off_is_the_answer_to_its_question(status):
    slow, quick = pane(asked=True), pane(asked=True)
    known = {slow.conversation_id: chat(slow, ("q1", "s1"), ("q2", ""), status=status),
             quick.conversation_id: chat(quick, ("q1", "k1"), ("q2", "k2"))}  # fmt: skip
    comparison = Comparison((slow, quick))
    assert turn_count(comparison, known) == 2
    assert [(node.content, node.status) for node in last_answers(comparison, known)] == [("", status), ("k2", "done")]


def test_a_question_without_an_answer_is_a_turn_and_no_earlier_answer_stands_for_it():
    cut, whole = pane(asked=True), pane(asked=True)
    known = {cut.conversation_id: chat(cut, ("q1", "c1"), ("q2", None)), whole.conversation_id: chat(whole, ("q1", "w1"))}
    comparison = Comparison((cut, whole))
    assert turn_count(comparison, known) == 2
    assert last_answers(comparison, known) == [None, None]
    assert question_at(comparison, known, 1) == "q2"


# ---------------------------------------------------------------- kept
async def test_a_comparison_comes_back_whole(store):
    given = Comparison((Pane(EVERYTHING, first_turn=2), pane("local:x")), blind=True, hidden=True, preview="Câu hỏi 问题")
    await store.save("me", given)
    assert await store.load("me", given.id) == given


async def test_panes_come_back_in_the_order_in_which_they_stand(store):
    given = side_by_side("a:1", "a:2", "a:3", "a:4")
    await store.save("me", given)
    for places in ((0, 3), (1, 2), (0, 1)):
        given = given.swapped(*places)
        await store.save("me", given)
        assert await store.load("me", given.id) == given
    (line,) = await store.summaries("me")
    assert line.models == ("a:3", "a:4", "a:2", "a:1")


async def test_saving_again_changes_what_changed(store):
    given = side_by_side("a:1", "a:2", blind=True, hidden=True, preview="p")
    await store.save("me", given)
    given = replace(given.changed(0, EVERYTHING), blind=False, hidden=False).with_pane(pane("a:3", first_turn=1))
    await store.save("me", given)
    await store.save("me", given)
    assert await store.load("me", given.id) == given
    assert len(await store.summaries("me")) == 1


async def test_only_panes_whose_conversation_is_there_were_asked(history, store):
    given = side_by_side("a:1", "a:2", "a:3")
    await store.save("me", given)
    assert [each.asked for each in (await store.load("me", given.id)).panes] == [False, False, False]
    await ask(history, given.panes[1], "q", "a")
    await store.save("me", given.with_pane(pane("a:4")))
    assert [each.asked for each in (await store.load("me", given.id)).panes] == [False, True, False, False]


async def test_a_pane_that_was_taken_out_is_gone_from_the_comparison_and_its_conversation_stays(history, store):
    given = side_by_side("a:1", "a:2", "a:3")
    await store.save("me", given)
    await ask(history, given.panes[1], "q", "kept")
    less = given.without(1)
    await store.save("me", less)
    assert await store.load("me", given.id) == less
    assert (await store.summaries("me"))[0].models == ("a:1", "a:3")
    assert (await history.load("me", given.panes[1].conversation_id)).path[1].content == "kept"


async def test_a_pane_that_was_taken_out_can_be_put_back_with_its_conversation(history, store):
    given = side_by_side("a:1", "a:2")
    await store.save("me", given)
    await ask(history, given.panes[0], "q", "a")
    await store.save("me", given.without(0))
    await store.save("me", given.swapped(0, 1))
    loaded = await store.load("me", given.id)
    assert [(each.conversation_id, each.asked) for each in loaded.panes] == [
        (given.panes[1].conversation_id, False), (given.panes[0].conversation_id, True),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["nul \0 and half \ud83d", "Đường 北京 👩‍💻"])
async def test_text_that_databases_refuse_is_made_fit_and_all_other_text_stays(store, text):
    given = Comparison((Pane(Choices("a:1", GenerationParameters(), system=text.replace("\0", ""))), pane()), preview=text)
    await store.save("me", given)
    loaded = await store.load("me", given.id)
    assert loaded.preview == text.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")
    assert loaded.panes[0].choices.system == text.replace("\0", "").replace("\ud83d", "\ufffd")


async def test_a_comparison_is_saved_whole_or_not_at_all(store):
    first, second = side_by_side("a:1", "a:2", preview="first"), side_by_side("a:3", "a:4", preview="second")
    await store.save("me", first)
    await store.save("me", second)
    stolen = replace(second, blind=True, panes=(pane("a:5"), first.panes[0]))  # a pane belongs to one comparison
    with pytest.raises(StorageError):
        await store.save("me", stolen)
    assert (await store.load("me", first.id), await store.load("me", second.id)) == (first, second)
    new = Comparison((first.panes[0], pane("a:6")))
    with pytest.raises(StorageError):
        await store.save("me", new)
    await refused_as_not_found(store.load("me", new.id))


# ---------------------------------------------------------------- the list
async def test_the_list_has_the_latest_first_and_saving_moves_up(store, clock):
    given = [side_by_side(f"a:{number}", preview=f"p{number}") for number in range(3)]
    for each in given:
        await store.save("me", each)
    listed = await store.summaries("me")
    assert [(line.id, line.preview, line.models, line.updated_at_s) for line in listed] == [
        (given[2].id, "p2", ("a:2",), 1002.0), (given[1].id, "p1", ("a:1",), 1001.0), (given[0].id, "p0", ("a:0",), 1000.0),
    ]  # fmt: skip
    await store.save("me", replace(given[0], blind=True))
    listed = await store.summaries("me")
    assert [line.id for line in listed] == [given[0].id, given[2].id, given[1].id] and listed[0].updated_at_s == 1003.0


async def test_the_list_is_limited_to_the_latest(store, clock):
    given = [side_by_side(f"a:{number}", "b:x") for number in range(4)]
    for each in given:
        await store.save("me", each)
    assert [(line.id, line.models) for line in await store.summaries("me", limit=2)] == [
        (given[3].id, ("a:3", "b:x")), (given[2].id, ("a:2", "b:x")),
    ]  # fmt: skip
    assert await store.summaries("me", limit=0) == []


async def test_the_first_question_stays_the_name_of_a_comparison(store):
    given = side_by_side(preview="first question")
    await store.save("me", given)
    await store.save("me", replace(given, preview="second question"))
    assert (await store.summaries("me"))[0].preview == "first question" == (await store.load("me", given.id)).preview


# ---------------------------------------------------------------- whose it is
async def test_another_owner_finds_nothing(store):
    given = side_by_side()
    await store.save("me", given)
    assert await store.summaries("you") == []
    await refused_as_not_found(store.load("you", given.id))


async def test_another_owner_deletes_nothing(history, store):
    given = side_by_side()
    await store.save("me", given)
    await ask(history, given.panes[0], "q", "a")
    await store.delete("you", given.id)
    loaded = await store.load("me", given.id)
    assert loaded.panes[0].asked and len((await history.load("me", given.panes[0].conversation_id)).path) == 2


async def test_another_owner_changes_nothing_by_saving_under_the_same_id(store):
    given = side_by_side("a:1", "a:2")
    await store.save("me", given)
    for theirs in (replace(given, blind=True), Comparison((pane("b:1"),), id=given.id)):
        with pytest.raises(StorageError):
            await store.save("you", theirs)
    assert await store.load("me", given.id) == given and await store.summaries("you") == []


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "x" * 100_000, "' OR 1=1 --", "%", "_" * 12, "nul\0", "so so", "Đường", "half \ud83d"],
    ids="empty short long quote percent underscores nul spaces letters half".split(),
)
async def test_a_damaged_id_is_not_found(store, wrong):
    await store.save("me", side_by_side())
    await refused_as_not_found(store.load("me", wrong))


async def test_a_chats_or_a_panes_id_is_no_comparisons(history, store):
    given = side_by_side()
    await store.save("me", given)
    chat_id = await history.create("me", model="m", parameters={})
    for each in (chat_id, given.panes[0].conversation_id):
        await refused_as_not_found(store.load("me", each))


# ---------------------------------------------------------------- deleting
async def test_deleting_takes_the_panes_conversations_and_nothing_else(history, store):
    given, other = side_by_side("a:1", "a:2", "a:3"), side_by_side("a:4", "a:5")
    for each in (given, other):
        await store.save("me", each)
        for asked in each.panes[:2]:
            await ask(history, asked, "q", "a")
    less = given.without(0)  # the one that was taken out goes, too
    await store.save("me", less)
    chat_id = await history.create("me", model="m", parameters={})
    await history.add_turn("me", chat_id, None, "user", "a chat")
    pair = (Contestant("a:1", answer_id="1"), Contestant("a:2", answer_id="2"))
    vote = Vote("answers:1", "q", "1", pair)
    await VoteStore(history.database).put("me", vote)

    await store.delete("me", given.id)
    await refused_as_not_found(store.load("me", given.id))
    for gone in given.panes[:2]:
        await refused_as_not_found(history.load("me", gone.conversation_id))
    assert [line.id for line in await store.summaries("me")] == [other.id]
    assert await store.load("me", other.id) == replace(other, panes=tuple(replace(each, asked=True) for each in other.panes))
    assert [len((await history.load("me", each.conversation_id)).path) for each in other.panes] == [2, 2]
    assert [line.id for line in await history.conversations("me")] == [chat_id]
    assert await VoteStore(history.database).all("me") == [vote]


async def test_deleting_what_is_not_there_does_nothing(store):
    given = side_by_side()
    await store.save("me", given)
    await store.delete("me", given.id)
    await store.delete("me", given.id)
    await store.delete("me", "never")
    assert await store.summaries("me") == []


async def test_a_deleted_comparison_can_be_saved_again(history, store):
    given = side_by_side()
    await store.save("me", given)
    await ask(history, given.panes[0], "q", "a")
    await store.delete("me", given.id)
    await store.save("me", given)
    assert await store.load("me", given.id) == given


# ---------------------------------------------------------------- panes are no chats
async def test_panes_conversations_are_in_no_list_no_search_and_no_export(history, store):
    given = side_by_side()
    await store.save("me", given)
    for asked in given.panes:
        await ask(history, asked, "only side by side", "a secret answer")
    await store.save("me", given.without(0))
    assert await history.conversations("me") == []
    assert await history.conversations("me", search="side by side") == [] == await history.conversations("me", search="secret")
    assert json.loads(await history.export_all("me"))["conversations"] == []
    chat_id = await history.create("me", model="m", parameters={})
    await history.add_turn("me", chat_id, None, "user", "a chat side by side with them")
    assert [line.id for line in await history.conversations("me", search="side by side")] == [chat_id]
    exported = await history.export_all("me")
    assert len(json.loads(exported)["conversations"]) == 1 and "secret" not in exported


# ---------------------------------------------------------------- turns of stored panes
async def loaded(history: BuiltHistory, store: ComparisonStore, comparison_id: str) -> tuple[Comparison, dict[str, Conversation]]:
    comparison = await store.load("me", comparison_id)
    asked = [each.conversation_id for each in comparison.panes if each.asked]
    return comparison, {each: await history.load("me", each) for each in asked}


async def test_the_open_version_of_an_answer_is_the_one_that_is_judged(history, store):
    given = side_by_side()
    await store.save("me", given)
    first = await ask(history, given.panes[0], "q1", "as it was")
    await ask(history, given.panes[1], "q1", "the other")
    again = await ask(history, given.panes[0], "q1", "made anew", anew=True)
    comparison, known = await loaded(history, store, given.id)
    assert turn_count(comparison, known) == 1
    assert told(last_answers(comparison, known)) == ["made anew", "the other"]
    assert last_answers(comparison, known)[0].siblings == (first, again)
    await history.select("me", first)
    comparison, known = await loaded(history, store, given.id)
    assert told(last_answers(comparison, known)) == ["as it was", "the other"]


async def test_a_pane_that_joined_while_another_still_writes_has_the_same_last_turn(history, store):
    given = side_by_side()
    await store.save("me", given)
    for asked in given.panes:
        await ask(history, asked, "q1", "done")
    given = given.with_pane(pane("c:late", first_turn=1)).with_pane(pane("d:later", first_turn=2))
    await store.save("me", given)
    await ask(history, given.panes[0], "q2", "quick")
    await ask(history, given.panes[1], "q2", None)
    await ask(history, given.panes[2], "q2", "late")
    comparison, known = await loaded(history, store, given.id)
    assert turn_count(comparison, known) == 2
    assert [(node.content, node.status) if node else None for node in last_answers(comparison, known)] == [
        ("quick", "done"), ("", "streaming"), ("late", "done"), None,
    ]  # fmt: skip
    assert told(answers_at(comparison, known, 0)) == ["done", "done", None, None]
    assert question_at(comparison, known, 1) == "q2"
