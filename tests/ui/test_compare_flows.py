"""What a person does side by side, driven through the tab's handlers against the emulator."""

from __future__ import annotations

import asyncio
import csv
import io
import json

import gradio as gr
import pytest

from backend.recording import load
from tests.emulator import bodies, runs
from tests.ui.compare_tab import Compare, event
from tests.ui.tab import INSTRUCT, THINKING, House, until
from ui.text import WORDS as W

SLOW = "[[first:0]][[think:20]][[words:2000]][[rate:100]]"


async def votes_of(house: House) -> list:
    return await (await house.backend.side_by_side()).votes.all("local")


# ---------------------------------------------------------------- panes
async def test_with_a_key_the_first_panes_are_both_checkpoints_with_their_recommended_values(compare):
    panes = compare.session.side_by_side.comparison.panes
    assert [pane.choices.model for pane in panes] == [THINKING, INSTRUCT]
    assert [pane.choices.parameters.temperature for pane in panes] == [0.6, 0.7]
    assert [pane["setting"] for pane in compare.panes] == ["T 0.6", "T 0.7"]


async def test_without_a_key_the_first_panes_are_the_two_models_of_this_machine(houses):
    compare = await Compare(houses()).load()
    assert [pane.choices.model for pane in compare.session.side_by_side.comparison.panes] == ["local:demo", "local:qwen3-next-tiny"]
    assert W.in_turn_note.format(places="1, 2") in compare.bench["note"]


async def test_one_prompt_is_answered_in_every_pane_with_its_own_figures(compare, emulator):
    await compare.send("Xin chào [[think:30]][[words:12]]")
    assert [compare.turns(pane) for pane in (0, 1)] == [["user", "assistant"]] * 2
    assert "trace thinking" in compare.last(0) and "trace" not in compare.last(1)
    assert "<b class='tokens-thinking'>30</b> + <b class='tokens-answer'>12</b>" in compare.panes[0]["foot"]
    assert compare.live["state"] == "done" and not compare.live["panes"]
    assert sorted(body["model"] for body in bodies(emulator)) == ["qwen3-next-80b-a3b-instruct", "qwen3-next-80b-a3b-thinking"]


async def test_panes_stream_beside_each_other_and_a_slow_one_holds_up_no_other(compare):
    await compare.choose(0, system="[[rate:20]][[words:60]]")
    await compare.choose(1, system="[[rate:2000]][[words:60]]")
    ended = []

    async def watch(tab: Compare) -> bool:
        states = [pane and pane["state"] for pane in tab.live.get("panes", [])]
        if states and states[1] == "done":
            ended.append(states[0])
            return len(ended) > 2
        return False

    await compare.send("race [[think:40]]", watch)
    assert ended and all(state in ("reading", "thinking", "answering") for state in ended)
    shown = compare.live["panes"][1]
    assert shown["ended"] and "run-card" in shown["foot"], "an ended pane is complete at once"
    await compare.stop()


async def test_a_pane_that_has_ended_stays_when_another_is_added_while_a_third_still_writes(compare):
    await compare.choose(0, system="[[rate:20]]")
    await compare.choose(1, system="[[rate:2000]]")

    async def second_ended(tab: Compare) -> bool:
        panes = tab.live.get("panes") or []
        return bool(panes) and panes[1] is not None and panes[1]["state"] == "done"

    await compare.send("stay [[think:100]][[words:40]]", second_ended)
    await compare.add()
    compare.take_one(await anext(aiter(compare.asking.resume(compare.session, compare.request))))
    assert compare.live["panes"][0]["state"] in ("thinking", "answering") and len(compare.live["panes"]) == 1
    assert compare.turns(1) == ["user", "assistant"] and compare.turns(0) == ["user"]
    await compare.stop()


async def test_a_second_question_goes_on_in_every_panes_own_conversation(compare, emulator):
    await compare.send("one [[think:2]][[words:3]]")
    await compare.send("two [[think:2]][[words:3]]")
    assert [compare.turns(pane) for pane in (0, 1)] == [["user", "assistant"] * 2] * 2
    assert [len(body["messages"]) for body in bodies(emulator)[-2:]] == [3, 3]


async def test_one_pane_is_stopped_and_the_other_goes_on_to_its_end(compare, emulator):
    async def stop_first(tab: Compare) -> bool:
        panes = tab.live.get("panes") or []
        if panes and panes[0] and panes[0]["state"] == "answering" and not stopped:
            stopped.append(True)
            await tab.asking.halt(event(place=0), tab.session, tab.request)
        return False

    stopped: list[bool] = []
    await compare.choose(0, system=SLOW)
    await compare.choose(1, system="[[think:3]][[words:80]][[rate:80]]")
    await compare.send("stop one", stop_first)
    assert [pane["state"] for pane in compare.panes] == ["stopped", "done"]
    assert {run["state"] for run in runs(emulator)} == {"disconnected", "done"}


async def test_stop_ends_all_and_keeps_what_arrived(compare, emulator):
    async def stop(tab: Compare) -> bool:
        if all(pane and pane["state"] == "answering" for pane in tab.live.get("panes") or [None]):
            await tab.stop()
        return False

    await compare.send("stop all " + SLOW, stop)
    assert [pane["state"] for pane in compare.panes] == ["stopped", "stopped"]
    assert all("class='answer'" in compare.last(pane) for pane in (0, 1))
    await asyncio.to_thread(lambda: None)
    assert [run["state"] for run in runs(emulator)] == ["disconnected", "disconnected"]


async def test_a_question_while_a_pane_still_answers_is_refused_and_disturbs_nothing(compare):
    async def again(tab: Compare) -> bool:
        if tab.live.get("running") and not refused:
            refused.append(True)
            other = Compare(tab.tab.house, compare=tab.id)
            await other.load_only()
            other.take_one(await anext(aiter(other.asking.send("next", other.session, other.request))))
            assert "still answering" in other.live["error"]
        return len(refused) > 0

    refused: list[bool] = []
    await compare.send("busy " + SLOW, again)
    assert refused
    await compare.stop()


async def test_a_pane_is_asked_again_alone_and_keeps_both_versions(compare, emulator):
    await compare.send("again [[think:2]][[words:3]]")
    before = compare.panes[1]["turns"]
    await compare.ask("again", 0)
    assert "2/2" in compare.last(0)
    assert compare.panes[1]["turns"] == before
    assert len(bodies(emulator)) == 3
    await compare.ask("select", 0, id=compare.last(0).split("data-to='")[1].split("'")[0])
    assert "1/2" in compare.last(0)


async def test_a_pane_that_joins_later_can_catch_up_with_the_last_question(compare, emulator):
    await compare.send("late [[think:2]][[words:3]]")
    await compare.add()
    assert W.pane_joined in compare.last(2)
    await compare.ask("catch-up", 2)
    assert compare.turns(2) == ["user", "assistant"]
    await compare.send("next [[think:2]][[words:3]]")
    assert [len(compare.turns(pane)) for pane in (0, 1, 2)] == [4, 4, 4]


async def test_a_fifth_pane_and_the_loss_of_the_last_one_are_refused(compare):
    await compare.add()
    await compare.add()
    await compare.add()
    assert "4 panes already" in compare.live["error"] and len(compare.panes) == 4
    for _ in range(3):
        await compare.arrange("remove", 0)
    await compare.arrange("remove", 0)
    assert "last pane stays" in compare.live["error"] and len(compare.panes) == 1


async def test_panes_are_moved_with_their_conversations(compare):
    await compare.send("move [[think:9]][[words:3]]")
    await compare.arrange("right", 0)
    assert [pane["name"].rpartition(" ")[2] for pane in compare.panes] == ["Instruct", "Thinking"]
    assert "trace thinking" in compare.last(1)
    await compare.arrange("left", 0)
    assert "There is no pane 0" in compare.live["error"]


async def test_a_reload_finds_the_comparison_with_what_is_being_written(compare, house):
    async def leave(tab: Compare) -> bool:
        return any(pane and pane["answer"] for pane in tab.live.get("panes") or [])

    await compare.send("reload [[think:10]][[words:60]][[rate:100]]", leave)
    back = Compare(house, compare=compare.id)
    await back.load()
    assert back.bench["id"] == compare.id
    assert [back.turns(pane) for pane in (0, 1)] == [["user", "assistant"]] * 2
    assert [pane["state"] for pane in back.panes] == ["done", "done"]


async def test_a_setup_comes_back_with_the_browser_and_a_wrong_one_does_no_harm(house):
    saved = {"panes": [{"model": INSTRUCT, "temperature": 0.1, "system": "Ngắn gọn."}, 7, {"model": "gone:x"}], "blind": True}
    compare = await Compare(house, saved=saved).load()
    panes = compare.session.side_by_side.comparison.panes
    assert [pane.choices.model for pane in panes] == [INSTRUCT, "gone:x"]
    assert panes[0].choices.system == "Ngắn gọn." and compare.bench["blind"]


async def test_a_comparison_of_somebody_else_is_not_found(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key="sk", public=True)
    mine = await Compare(house, visitor="a" * 40).load()
    await mine.send("mine [[think:2]][[words:3]]")
    other = await Compare(house, visitor="b" * 40, compare=mine.id).load()
    assert other.bench["id"] is None and other.turns(0) == ["empty"]


async def test_all_panes_of_a_visitor_count_and_are_refused_together(houses, emulator):
    """Four answers at once: with one being written three panes may begin, and four may not, whichever of them would be the fourth."""
    house = houses(dashscope_base_url=emulator, dashscope_api_key="sk", public=True)
    chat = house.tab(visitor="a" * 40)
    writing = asyncio.create_task(chat.send("long [[think:20]][[words:2000]][[rate:100]]"))
    await until(lambda: len(house.backend.runs._runs) == 1)
    panes = [{"model": INSTRUCT}] * 4
    four = await Compare(house, visitor="a" * 40, saved={"panes": panes}).load()
    await four.send("four [[words:3]]")
    assert "Too many answers" in four.live["error"] and len(house.backend.runs._runs) == 1
    three = await Compare(house, visitor="a" * 40, saved={"panes": panes[:3]}).load()
    await three.send("three [[words:3]]")
    assert all("class='answer'" in three.last(place) for place in range(3))
    await chat.stop()
    async with asyncio.timeout(20):
        await writing
    await four.send("four [[words:3]]")
    assert all("class='answer'" in four.last(place) for place in range(4))


# ---------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("dashscope:no-such-model", "does not know this model"),
        ("server:gone/x", "no server named"),
        ("nonsense", "is not a model"),
        ("replay:nothing", "answers only the question it was made of"),
    ],
)
async def test_a_model_that_cannot_answer_is_an_error_in_its_own_pane_only(compare, model, sentence):
    await compare.choose(1, model)
    await compare.send("one fails [[think:2]][[words:3]]")
    assert sentence in compare.last(1) and compare.panes[1]["state"] == "error"
    assert "class='answer'" in compare.last(0) and compare.panes[0]["state"] == "done"


async def test_a_pane_without_a_key_says_so_and_answers_once_it_has_one(houses, emulator):
    compare = await Compare(
        houses(dashscope_base_url=emulator), saved={"panes": [{"model": INSTRUCT}, {"model": "replay:python-code"}]}
    ).load()
    await compare.send("key? [[words:3]]")
    assert "DashScope needs an API key" in compare.last(0)
    compare.session.access = compare.session.access.__class__(dashscope_key=__import__("pydantic").SecretStr("sk"))
    await compare.ask("again", 0)
    assert "class='answer'" in compare.last(0)


async def test_a_cut_in_the_middle_keeps_the_partial_answer_and_the_other_pane(compare):
    await compare.choose(0, system="[[fault:cut]]")
    await compare.send("cut [[think:2]][[words:40]]")
    assert "class='err'" in compare.last(0) and compare.panes[0]["state"] == "error"
    assert compare.panes[1]["state"] == "done"


async def test_a_question_that_is_too_long_for_one_pane_is_told_there(compare):
    await compare.choose(1, "dashscope:qwen-plus")  # takes a million tokens; the other one 131,072
    await compare.send("word " * 140_000 + "[[words:3]]")
    assert "Range of input length" in compare.last(0) and "data-op='new'" not in compare.last(0)
    assert [pane["state"] for pane in compare.panes] == ["error", "done"]


async def test_the_same_model_four_times_gives_four_answers_with_their_own_seeds(compare, emulator):
    for pane in (0, 1):
        await compare.choose(pane, INSTRUCT)
    await compare.add()
    await compare.add()
    await compare.send("four [[words:5]]")
    assert [pane["state"] for pane in compare.panes] == ["done"] * 4
    assert len({body["seed"] for body in bodies(emulator)}) == 4
    await compare.vote("3")
    view = await compare.look("results")
    assert "1 vote" in view, "a model cannot beat itself"


async def test_an_empty_prompt_is_refused_with_a_hint(compare, emulator):
    await compare.send("   ")
    assert "The prompt is empty" in compare.live["error"]
    assert bodies(emulator) == []


async def test_a_bomb_of_html_stays_text_everywhere(compare):
    bomb = "<script>alert(1)</script><img src=x onerror=alert(2)>" * 200
    await compare.send(bomb + "[[scenario:html]]")
    turns = [turn["html"] for pane in compare.panes for turn in pane["turns"]]  # what is copied is text, and set as text
    shown = " ".join(turns) + await compare.look("diff") + await compare.look("table")
    assert "<script" not in shown and "<img" not in shown


async def test_a_value_out_of_range_is_told_and_what_was_typed_stays(compare):
    await compare.choose(0, temperature="warm")
    assert "must be a number" in compare.live["error"]
    assert compare.session.side_by_side.comparison.panes[0].choices.parameters.temperature == 0.6


async def test_a_disk_that_fails_is_told_and_the_answers_stay_on_the_page(compare, monkeypatch):
    from backend.compare.store import ComparisonStore
    from backend.errors import StorageError

    async def full(self, owner, comparison) -> None:
        raise StorageError("There is no room left.", hint="Free some.")

    monkeypatch.setattr(ComparisonStore, "save", full)
    await compare.send("disk [[think:2]][[words:3]]")
    assert "no room left" in compare.live["error"]
    assert all(pane["answer"] for pane in compare.live["panes"])


# ---------------------------------------------------------------- judging
async def test_a_vote_holds_prompt_models_parameters_and_figures(compare, house):
    await compare.send("Câu hỏi [[think:6]][[words:4]]")
    await compare.vote("2", "vi")
    (vote,) = await votes_of(house)
    assert (vote.prompt, vote.verdict, vote.tag, vote.judge, vote.blind) == ("Câu hỏi [[think:6]][[words:4]]", "2", "vi", "", False)
    assert [each.model for each in vote.contestants] == [THINKING, INSTRUCT]
    assert vote.contestants[0].parameters["temperature"] == 0.6
    assert vote.contestants[0].figures["thinking_tokens"] == 6 and vote.contestants[1].figures["cost"] > 0
    assert compare.bench["verdict"] == "2"


async def test_a_vote_is_changed_and_taken_back(compare, house):
    await compare.send("v [[think:2]][[words:3]]")
    await compare.vote("1")
    await compare.vote("tie")
    assert [vote.verdict for vote in await votes_of(house)] == ["tie"]
    await compare.vote("tie")
    assert await votes_of(house) == [] and compare.bench["verdict"] == ""


async def test_a_vote_given_while_answers_stream_gets_their_figures_at_the_end(compare, house):
    async def vote(tab: Compare) -> bool:
        if tab.live.get("running") and not voted and len(tab.shown.get(tab.parts.bench, {}).get("panes", [])) == 2:
            voted.append(True)
            await tab.vote("1")
        return False

    voted: list[bool] = []
    await compare.send("early [[think:5]][[words:30]][[rate:12]]", vote)
    (stored,) = await votes_of(house)
    assert stored.verdict == "1" and stored.contestants[0].figures["answer_tokens"] == 30


async def test_a_vote_follows_its_answers_when_panes_move_and_ends_with_a_new_answer(compare):
    await compare.send("follow [[think:2]][[words:3]]")
    await compare.vote("1")
    await compare.arrange("right", 0)
    assert compare.bench["verdict"] == "2"
    await compare.ask("again", 0)
    assert compare.bench["verdict"] == ""


async def test_without_two_answers_there_is_nothing_to_vote_on(compare, house):
    await compare.vote("1")
    assert W.vote_nothing in compare.live["error"]
    await compare.send("bad verdict [[think:2]][[words:3]]")
    for before in ("", "1"):
        if before:
            await compare.vote(before)
        for verdict in ("9", "0", "none", "", "9" * 5000):
            await compare.vote(verdict)
            assert "no verdict" in compare.live["error"]
        assert [vote.verdict for vote in await votes_of(house)] == ([before] if before else [])


async def test_a_blind_comparison_tells_no_name_while_it_streams_or_after_and_all_of_them_after_the_vote(compare, house):
    await compare.choose(1, "dashscope:no-such-model")
    await compare.blind()
    told = []

    async def read(tab: Compare) -> bool:
        told.append(json.dumps(tab.live) + json.dumps(tab.shown.get(tab.parts.bench, {}) if tab.bench["hidden"] else {}))
        return False

    await compare.send("blind [[think:20]][[words:30]][[rate:200]]", read)
    told.append(json.dumps(compare.bench))
    for text in told:
        assert not [name for name in ("qwen", "Qwen", "no-such", "DashScope", "Instruct", "ttft") if name in text]
    assert W.table_hidden in await compare.look("table")
    assert "qwen" not in (await compare.look("diff")).lower()
    await compare.setup.focus(event(place=0), compare.session, compare.request)
    compare.take_one(await compare.setup.focus(event(place=0), compare.session, compare.request))
    assert W.blind_locked in compare.live["error"]
    reloaded = await Compare(house, compare=compare.id).load()
    assert reloaded.bench["hidden"] and "Qwen" not in json.dumps(reloaded.bench)
    await compare.vote("tie")
    assert sorted(pane["name"] for pane in compare.panes) == ["Qwen3-Next 80B-A3B Thinking", "no-such-model"]
    assert (await votes_of(house))[0].blind


async def test_blind_panes_are_shuffled(compare):
    await compare.blind()
    orders = set()
    for number in range(12):
        await compare.send(f"shuffle {number} [[think:1]][[words:1]]")
        await compare.vote("1")
        orders.add(tuple(pane["name"] for pane in compare.panes))
    assert len(orders) == 2


async def test_the_votes_are_saved_as_csv_and_json_lines_and_none_is_a_sentence(compare):
    update = await compare.judging.export(event(form="csv"), compare.request)
    assert W.results_nothing_to_save in update[compare.parts.live]["error"]
    await compare.send("save [[think:2]][[words:3]]")
    await compare.vote("1")
    file = (await compare.judging.export(event(form="csv"), compare.request))[compare.parts.files]
    (row,) = csv.DictReader(io.StringIO(file["text"].removeprefix("\ufeff")))
    assert (row["verdict"], row["model_2"], row["judge"]) == ("1", INSTRUCT, "person")
    file = (await compare.judging.export(event(form="jsonl"), compare.request))[compare.parts.files]
    assert json.loads(file["text"])["contestants"][0]["model"] == THINKING


async def test_the_results_tell_who_won_by_tag_and_by_setting(compare):
    await compare.choose(1, INSTRUCT, temperature=0.1)
    for verdict, tag in (("2", "vi"), ("2", "vi"), ("1", "zh")):
        await compare.send("r [[think:1]][[words:1]]")
        await compare.vote(verdict, tag)
    everything = await compare.look("results")
    assert "3 votes" in everything and "67 %" in everything
    assert "2 votes" in await compare.look("results", tag="vi")
    assert "temperature 0.1" in await compare.look("results", settings="yes")


# ---------------------------------------------------------------- keeping
async def test_every_answer_is_recorded_as_it_streams(compare, house):
    await compare.send("tape [[think:4]][[words:5]]")
    comparing = await house.backend.side_by_side()
    files = sorted(comparing.folder_of("local", compare.id).glob("*.jsonl"))
    assert len(files) == 2
    recorded = [load(file) for file in files]
    assert {r.end for r in recorded} == {"finished"} and {r.header.model for r in recorded} == {THINKING, INSTRUCT}


async def test_earlier_comparisons_are_listed_opened_and_deleted_with_their_files(compare, house):
    await compare.send("Đầu tiên [[think:2]][[words:3]]")
    first = compare.id
    compare.take_one(await compare.shelf.new(compare.session, compare.request))
    assert compare.turns(0) == ["empty"] and compare.id != first
    listed = await compare.shelf.earlier(compare.session, compare.request)
    assert [entry["title"] for group in listed["groups"] for entry in group["entries"]] == ["Đầu tiên [[think:2]][[words:3]]"]
    compare.take_one(await compare.shelf.pick(event(op="open", id=first), compare.session, compare.request))
    assert compare.turns(0) == ["user", "assistant"]
    compare.take_one(await compare.shelf.pick(event(op="delete", id=first), compare.session, compare.request))
    comparing = await house.backend.side_by_side()
    assert await comparing.summaries("local") == [] and not comparing.folder_of("local", first).exists()
    compare.take_one(await compare.shelf.pick(event(op="open", id=first), compare.session, compare.request))
    assert "not here any more" in compare.live["error"]


async def test_panes_are_no_chats_but_one_can_be_taken_into_the_chat(compare, house):
    await compare.send("into the chat [[think:2]][[words:3]]")
    chat = await house.backend.open()
    assert await chat.history.conversations("local") == []
    await house.chats.adopt(event(place=1), compare.session, compare.request)
    (found,) = await chat.history.conversations("local")
    assert found.preview.startswith("into the chat") and compare.session.conversation_id == found.id
    assert compare.turns(1) == ["user", "assistant"]


async def test_a_blind_pane_is_not_taken_into_the_chat_before_the_vote(compare, house):
    await compare.blind()
    await compare.send("guess [[think:2]][[words:3]]")
    told = await house.chats.adopt(event(place=1), compare.session, compare.request)
    assert W.blind_no_chat in str(told[house.page.live])
    chat = await house.backend.open()
    assert await chat.history.conversations("local") == []
    await compare.vote("tie")
    await house.chats.adopt(event(place=1), compare.session, compare.request)
    assert len(await chat.history.conversations("local")) == 1


async def test_a_pane_that_gave_no_answer_wins_no_vote(compare, house):
    await compare.choose(0, "dashscope:no-such-model")
    await compare.send("who is better? [[words:5]]")
    await compare.vote("1")
    assert W.vote_no_answer in compare.live["error"] and await votes_of(house) == []
    await compare.vote("2")
    (vote,) = await votes_of(house)
    assert vote.verdict == "2"


async def test_setups_are_kept_by_name_and_the_built_in_ones_are_there(compare):
    await compare.choose(0, INSTRUCT, temperature=0.15)
    kept = compare.setup.save_setup("mine", {}, compare.session)[compare.parts.setups]
    assert kept["mine"][0]["temperature"] == 0.15
    compare.take_one(await compare.setup.use_setup(W.setup_temperatures, {}, compare.session, compare.request))
    assert [pane["setting"] for pane in compare.panes] == ["T 0.2", "T 1"]
    compare.take_one(await compare.setup.use_setup("mine", kept, compare.session, compare.request))
    assert compare.panes[0]["setting"] == "T 0.15"
    for name in ("", W.setup_checkpoints):
        with pytest.raises(gr.Error):
            compare.setup.save_setup(name, {}, compare.session)


async def test_a_closed_tab_ends_every_pane(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key="sk")
    house.backend.runs._left_grace_s = 0.05
    compare = await Compare(house).load()

    async def close(tab: Compare) -> bool:
        if all(pane and pane["state"] == "answering" for pane in tab.live.get("panes") or [None]):
            tab.tab.close()
            return True
        return False

    await compare.send("close " + SLOW, close)
    await until(lambda: [run["state"] for run in runs(emulator)] == ["disconnected", "disconnected"])


async def test_a_blind_comparison_runs_no_set_and_no_sweep_before_the_vote(compare):
    await compare.blind()
    await compare.send("guess [[think:2]][[words:3]]")
    parts, sweep = compare.parts.background, ("A prompt", "temperature", "0.2, 0.7", "", "", 1)
    compare.take_one(await compare.sets.ship(compare.session, compare.request))
    compare.take_one(await compare.sets.start(compare.session, compare.request))
    assert W.blind_no_run in compare.shown[parts.note]
    plan = await compare.sweeps.plan(*sweep, compare.session, compare.request)
    compare.take_one(await compare.sweeps.start(*sweep, compare.session, compare.request))
    for told in (plan, compare.shown[parts.plan]):
        assert W.blind_no_run in told and "Qwen" not in told
    runner = await compare.background.runner()
    assert not [batch for kind in ("set", "sweep") for batch in await runner.store.all("local", kind)]
    await compare.vote("tie")
    assert "2 runs" in await compare.sweeps.plan(*sweep, compare.session, compare.request)


async def test_a_chats_preset_brings_no_tools_into_a_pane(compare):
    kit = {"specs": [{"tool": {"name": "f", "description": "", "parameters": {}}, "by": "hand"}]}
    presets = {"mine": {"temperature": 0.25, "tools": kit, "format": {"schema": {"type": "object"}}}}
    compare.take_one(await compare.setup.focus(event(place=0), compare.session, compare.request))
    compare.take_one(await compare.setup.apply_preset("mine", presets, compare.session, compare.request))
    choices = compare.session.side_by_side.comparison.pane(0).choices
    assert choices.parameters.temperature == 0.25 and choices.tools.specs == () and choices.format.schema == {"type": "object"}
