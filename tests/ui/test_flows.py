"""What a person does on the page, driven through its handlers as plain generators against the emulator."""

from __future__ import annotations

import asyncio
import json
import re
from types import SimpleNamespace

import gradio as gr
import pytest

from backend import BackendError
from backend.catalogue import ASSETS
from backend.chat import MAX_ACTIVE_RUNS_PUBLIC
from backend.provider import ModelList
from backend.providers.replay import ReplayProvider
from backend.recording import loads
from backend.types import TextDelta
from tests.emulator import http, running_emulator
from tests.running_page import free_port
from tests.ui.tab import INSTRUCT, KEY, THINKING, House, Tab, until
from ui.live import IDLE
from ui.text import WORDS as W
from ui.visitor import LOCAL_OWNER

SLOW = "[[first:0]][[think:20]][[words:2000]][[rate:100]]"


def state(emulator: str) -> dict:
    return http.get(f"{emulator}/mock/state").json()


def last_body(emulator: str) -> dict:
    return state(emulator)["requests"][-1]["body"]


async def chats_of(house: House, owner: str = LOCAL_OWNER, search: str = "") -> list:
    return await (await house.backend.open()).history.conversations(owner, search=search)


async def conversation(tab: Tab):
    chat = await tab.house.backend.open()
    return await chat.conversation(tab.house.chat.owner(tab.request), tab.session.conversation_id)


# ---------------------------------------------------------------- sending
async def test_a_question_is_thought_about_and_then_answered(house):
    tab = await house.tab().send("How many? [[think:60]][[words:40]][[rate:40]]")
    lives = tab.lives
    first_thought = next(i for i, value in enumerate(lives) if value.get("thinking"))
    first_answer = next(i for i, value in enumerate(lives) if value.get("answer"))
    assert first_thought < first_answer
    assert any(value["state"] == "thinking" for value in lives)
    assert tab.live["on"] is False and tab.live["running"] is False and tab.live["state"] == "done"
    assert tab.roles == ["user", "assistant"]
    assert "How many?" in tab.turns[0]["html"] and "class='answer'" in tab.last["html"] and "class='trace'" in tab.last["html"]
    stored = (await conversation(tab)).path[-1]
    assert stored.status == "done" and stored.usage.reasoning_tokens == 60 and stored.content and stored.thinking


async def test_the_composer_is_cleared_once_and_with_the_first_update(house):
    tab = await house.tab().send("hello")
    assert [place for place, update in enumerate(tab.sent) if tab.page.composer in update] == [1]
    assert tab.shown[tab.page.composer] == {"text": "", "files": []}


async def test_while_it_is_written_the_log_shows_the_question_and_the_live_part_the_answer(house):
    tab = house.tab()
    seen = []

    async def look(tab: Tab) -> None:
        if tab.page.log in tab.shown and tab.live["on"]:
            seen.append((tab.roles, tab.live["on"], tab.live["running"]))
            await tab.stop()

    await tab.send(f"hello {SLOW}", on_update=look)
    assert seen[0] == (["user"], True, True)


async def test_the_second_turn_carries_the_first_without_its_thinking(house, emulator):
    tab = await house.tab().send("first [[think:12]]")
    await tab.send("second")
    sent = last_body(emulator)["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert not any("reasoning_content" in m for m in sent)
    assert tab.roles == ["user", "assistant"] * 2


async def test_the_panel_is_what_is_sent(house, emulator):
    tab = house.tab()
    (
        tab.set("temperature", 0.25),
        tab.set("thinking_budget", 300),
        tab.set("seed", 7),
        tab.set("system", "Be brief."),
        tab.set("stop", "END\n"),
    )
    await tab.send("hello")
    body = last_body(emulator)
    assert (body["temperature"], body["thinking_budget"], body["seed"], body["stop"]) == (0.25, 300, 7, ["END"])
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_a_seed_is_drawn_and_kept_where_none_was_set(house, emulator):
    tab = await house.tab().send("hello")
    seed = last_body(emulator)["seed"]
    assert isinstance(seed, int) and (await conversation(tab)).path[-1].parameters["seed"] == seed


# ---------------------------------------------------------------- stopping
async def test_stop_during_the_answer_keeps_what_arrived_and_closes_upstream(house, emulator):
    async def stop_at_text(tab: Tab) -> None:
        if tab.live.get("answer"):
            await tab.stop()

    tab = await house.tab().send(f"go on {SLOW}", on_update=stop_at_text)
    stored = (await conversation(tab)).path[-1]
    assert stored.status == "stopped" and stored.content and stored.thinking
    assert tab.live["state"] == "stopped" and tab.live["on"] is False
    assert "data-reason='stopped'" in tab.last["html"] and "class='answer'" in tab.last["html"]
    await until(lambda: state(emulator)["runs"][-1]["state"] == "disconnected")
    assert state(emulator)["runs"][-1]["tokens_sent"] < 2000


async def test_stop_before_the_first_token_says_that_no_answer_began(house, emulator):
    async def stop(tab: Tab) -> None:
        await until(lambda: bool(state(emulator)["runs"]))
        await tab.stop()

    tab = await house.tab().send("hello [[first:60]]", on_update=stop)
    stored = (await conversation(tab)).path[-1]
    assert (stored.status, stored.content, stored.thinking) == ("stopped", "", None)
    assert W.empty_stopped in tab.last["html"]
    assert not any(live.get("thinking") for live in tab.lives)  # no empty trace while nothing is there
    await until(lambda: state(emulator)["runs"][-1]["state"] == "disconnected")


async def test_stop_with_nothing_running_does_nothing(house):
    tab = house.tab()
    await tab.stop()
    await tab.send("hello")
    await tab.stop()
    assert (await conversation(tab)).path[-1].status == "done"


# ---------------------------------------------------------------- what is not sent
def assert_refused(tab: Tab, *words: str) -> None:
    """An error that left everything as it was: shown, the text kept, the turns untouched."""
    update = tab.sent[-1]
    assert set(update) == {tab.page.live}
    assert update[tab.page.live]["state"] == "error" and update[tab.page.live]["on"] is False
    for word in words:
        assert word in update[tab.page.live]["error"]


async def test_sending_while_an_answer_is_written_is_refused_and_keeps_the_text(house):
    tab = house.tab()
    second: list[dict] = []

    async def send_again(tab: Tab) -> None:
        if not second:
            async for update in tab.sending("another"):
                second.append(update)
            await tab.stop()

    await tab.send(f"long {SLOW}", on_update=send_again)
    assert [set(update) for update in second] == [{tab.page.live}]
    assert W.busy in second[0][tab.page.live]["error"]
    assert len((await conversation(tab)).nodes) == 2


@pytest.mark.parametrize("text", ["", "   \n\t "])
async def test_an_empty_prompt_is_refused(house, emulator, text):
    tab = await house.tab().send(text)
    assert_refused(tab, "The prompt is empty")
    assert state(emulator)["runs"] == [] and await chats_of(house) == []


async def test_without_a_key_the_card_leads_to_connect_and_nothing_is_stored(houses, emulator):
    house = houses(dashscope_base_url=emulator)
    tab = await house.tab().send("hello")
    assert_refused(tab, "needs an API key", "data-panel='connect'", W.error_actions["connect"])
    assert state(emulator)["runs"] == [] and await chats_of(house) == [] and tab.session.conversation_id is None


async def test_a_wrong_key_is_an_error_turn_that_names_the_region(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key="sk-wrong")
    tab = await house.tab().send("hello")
    assert tab.roles == ["user", "assistant"] and tab.live["state"] == "error"
    assert "class='err'" in tab.last["html"] and "region" in tab.last["html"] and "singapore" in tab.last["html"].lower()
    assert "data-panel='connect'" in tab.last["html"] and "sk-wrong" not in str(tab.sent)
    assert (await conversation(tab)).path[-1].error.kind == "AuthError"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", 5.0, ("temperature is 5", "0 to 1.99")),
        ("top_p", 0, ("top p is 0", "0.01 to 1")),
        ("max_tokens", 40000, ("max tokens is 40000", "1 to 32768")),
        ("top_k", 2.5, ("top k must be a whole number", "2.5")),
        ("temperature", "warm", ("Temperature must be a number", "warm")),
        ("seed", -5, ("Seed is -5",)),
        ("seed", 2**31, ("seed is", "0 to")),
        ("stop", "a\nb\nc\nd\ne", ("5 stop strings", "at most 4")),
    ],
)
async def test_a_value_out_of_range_is_named_and_nothing_is_sent(house, emulator, name, value, words):
    tab = house.tab()
    tab.set(name, value)
    await tab.send("hello")
    assert_refused(tab, *words)
    assert "data-panel='parameters'" in tab.live["error"]
    assert state(emulator)["runs"] == [] and await chats_of(house) == []


@pytest.mark.parametrize(
    ("composer", "model", "words"),
    [(None, THINKING, "empty"), ({"text": "hi"}, ["x"], "is not a model"), ({}, None, "is not a model")],
)
async def test_what_no_page_posts_is_refused_too(house, emulator, composer, model, words):
    tab = house.tab()
    await tab.take(house.answers.send(composer, model, tab.session, tab.request, *tab.panel()))
    assert_refused(tab, words)
    assert state(emulator)["runs"] == []


async def test_an_unknown_engine_is_refused(house):
    tab = house.tab(model="nowhere:model")
    await tab.send("hello")
    assert_refused(tab, "nowhere")


async def test_a_prompt_that_does_not_fit_is_an_error_turn_with_a_way_out(houses):
    with running_emulator(max_input_tokens=20) as base_url:
        house = houses(dashscope_base_url=base_url, dashscope_api_key=KEY)
        tab = await house.tab().send("many words " * 200)
        assert (await conversation(tab)).path[-1].error.kind == "ContextTooLong"
        assert "data-op='new'" in tab.last["html"] and W.error_actions["new"] in tab.last["html"]
        assert tab.roles == ["user", "assistant"]
        await house.backend.aclose()


async def test_a_cut_stream_keeps_the_partial_text_and_says_so(house):
    tab = await house.tab().send("hello [[words:400]][[think:5]][[fault:cut@40]]")
    stored = (await conversation(tab)).path[-1]
    assert stored.status == "error" and stored.content and "class='err'" in tab.last["html"] and "class='answer'" in tab.last["html"]


# ---------------------------------------------------------------- versions
async def test_an_edit_makes_a_sibling_and_deletes_nothing(house, emulator):
    tab = await house.tab().send("first wording")
    before = await conversation(tab)
    await tab.act("edit", before.path[0].id, text="second wording")
    after = await conversation(tab)
    assert set(before.nodes) < set(after.nodes) and len(after.nodes) == 4
    assert [n.content for n in after.nodes.values() if n.role == "user"] == ["first wording", "second wording"]
    assert after.path[0].content == "second wording" and after.path[0].siblings == (before.path[0].id, after.path[0].id)
    assert "2/2" in tab.turns[0]["html"] and "second wording" in tab.turns[0]["html"]
    assert [m["content"] for m in last_body(emulator)["messages"]] == ["second wording"]
    assert not any(tab.page.composer in update for update in tab.sent[2:] if tab.page.log not in update)


async def test_an_edit_to_nothing_is_refused(house):
    tab = await house.tab().send("question")
    await tab.act("edit", tab.turns[0]["id"], text="  ")
    assert_refused(tab, "The prompt is empty")
    assert len((await conversation(tab)).nodes) == 2


async def test_regenerate_makes_a_second_answer_with_the_panels_present_values(house, emulator):
    tab = await house.tab().send("question")
    first = tab.last["id"]
    tab.set("temperature", 0.1)
    await tab.act("regenerate", first)
    stored = await conversation(tab)
    assert tab.roles == ["user", "assistant"] and tab.last["id"] != first and "2/2" in tab.last["html"]
    assert len(stored.nodes) == 3 and stored.nodes[first].content
    assert last_body(emulator)["temperature"] == 0.1 and [m["role"] for m in last_body(emulator)["messages"]] == ["user"]


async def test_an_earlier_version_can_be_looked_at_again(house):
    tab = await house.tab().send("question")
    first = tab.last["id"]
    await tab.act("regenerate", first)
    await tab.act("select", first)
    assert tab.last["id"] == first and "1/2" in tab.last["html"]


async def test_a_turn_is_deleted_with_all_that_follows(house):
    tab = await house.tab().send("first")
    await tab.send("second")
    await tab.act("delete", tab.turns[2]["id"])
    assert tab.roles == ["user", "assistant"] and len((await conversation(tab)).nodes) == 2


async def test_continue_is_refused_where_the_engine_cannot(house):
    tab = await house.tab().send("question [[words:50]]")
    await tab.act("continue", tab.last["id"])
    assert_refused(tab, "cannot write on")


@pytest.mark.parametrize("op", ["select", "delete"])
async def test_the_tree_is_not_changed_while_an_answer_is_written(house, op):
    refused: list[Tab] = []

    async def change(tab: Tab) -> None:
        if not refused:
            other = house.tab()
            other.session.conversation_id = tab.session.conversation_id
            refused.append(await other.act(op, tab.turns[0]["id"]))
            await tab.stop()

    await house.tab().send(f"long {SLOW}", on_update=change)
    assert_refused(refused[0], W.busy)


async def test_an_act_on_a_turn_that_is_gone_is_told(house):
    tab = await house.tab().send("question")
    for op in ("regenerate", "edit", "select", "delete"):
        await tab.act(op, "nothing", text="x")
        assert tab.live["error"], op


# ---------------------------------------------------------------- reload, other chats
async def test_a_reload_attaches_to_the_answer_in_the_making_and_follows_it_to_its_end(house):
    async def away(tab: Tab) -> bool:
        return bool(tab.live.get("answer"))

    before = await house.tab().send("hello [[think:20]][[words:300]][[rate:100]]", on_update=away)
    node = next(iter(house.backend.runs._runs.values())).node_id
    before.close()
    house.backend.runs.expect(LOCAL_OWNER)  # as the middleware tells of a page that is loading
    states: list[str] = []

    async def note(tab: Tab) -> None:
        if tab.page.live in tab.sent[-1]:
            states.append(tab.live["state"])

    after = await house.tab(chat=before.session.conversation_id).load(on_update=note)
    assert "answering" in states and states[-1] == "done"
    assert after.roles == ["user", "assistant"] and after.last["id"] == node
    stored = (await conversation(after)).path[-1]
    assert stored.status == "done" and stored.usage.output_tokens == 320 and len((await conversation(after)).nodes) == 2
    assert after.shown[after.page.model] == THINKING


async def test_a_reload_after_the_end_shows_the_chat_with_its_own_settings(house):
    tab = house.tab(model=INSTRUCT)
    tab.set("temperature", 0.35), tab.set("system", "Be brief.")
    await tab.send("hello")
    again = await house.tab(chat=tab.session.conversation_id).load()
    assert again.roles == ["user", "assistant"] and again.live == {**IDLE, "left": True}
    assert again.shown[again.page.model] == INSTRUCT
    assert again.shown[again.page.panel.temperature]["value"] == 0.35 and again.shown[again.page.panel.system] == "Be brief."


@pytest.mark.parametrize("chat", [None, "no-such-chat"])
async def test_a_load_without_a_chat_shows_the_empty_page(house, chat):
    tab = await house.tab(chat=chat).load()
    assert tab.roles == ["empty"] and tab.session.conversation_id is None and tab.live == {**IDLE, "left": True}
    assert W.hello in tab.last["html"]


async def test_a_load_that_comes_after_the_first_question_keeps_to_its_chat(house):
    tab, shown = house.tab(), []

    async def load(tab: Tab) -> bool:
        if not shown:
            shown.append(await house.chats.load(tab.session, tab.request))
        return False

    await tab.send("early [[think:20]][[words:30]][[rate:100]]", on_update=load)
    chat = tab.session.conversation_id
    assert chat is not None and shown[0][tab.page.log]["chat"] == chat
    await tab.take(house.answers.resume(tab.session, tab.request))
    assert tab.roles == ["user", "assistant"] and tab.session.conversation_id == chat


async def test_following_begins_once_where_a_chat_was_opened_just_before_a_question(house):
    """`resume`, which comes after a load, must not take an answer away from who asked for it and has not told the page yet."""
    tab = house.tab()
    view = house.chat.views.move(tab.request.session_hash, begins=True)
    run = await (await house.backend.open()).send(
        LOCAL_OWNER, tab.session.access, None, SLOW, await house.chat.choices(THINKING, tab.session, tab.panel())
    )
    tab.session.conversation_id = run.conversation_id
    assert [update async for update in house.answers.resume(tab.session, tab.request)] == [{tab.page.live: gr.skip()}]
    assert house.chat.views.shows(tab.request.session_hash, view)
    house.chat.views.told(view)
    async with asyncio.timeout(20):
        async for update in house.answers.resume(tab.session, tab.request):
            assert update[tab.page.live]["on"]
            break
    assert not house.chat.views.shows(tab.request.session_hash, view)
    await house.backend.runs.stop(run)


async def test_who_asks_tells_the_page_first(house):
    """From the moment that an answer is followed until the page knows of it, and not longer."""
    tab, begins = house.tab(), []

    async def look(tab: Tab) -> bool:
        begins.append(house.chat.views.begins(tab.request.session_hash))
        return False

    await tab.send("hello [[think:20]][[words:60]][[rate:100]]", on_update=look)
    assert begins and not any(begins)


async def test_looking_at_another_chat_leaves_the_run_going(house, started):
    tab = house.tab()
    started.hold()  # the question is not stored yet as another chat is opened
    following = asyncio.create_task(tab.send("hello [[think:5]][[words:300]][[rate:100]]"))
    await until(lambda: tab.page.live in tab.shown and bool(tab.live.get("answer")))
    first = tab.session.conversation_id
    house.tab().take_one(await house.chats.new_chat(tab.session, tab.request))
    sent = len(tab.sent)
    started.go_on()
    run = house.backend.runs.of_conversation(first, LOCAL_OWNER)
    assert not run.ended
    async with asyncio.timeout(30):
        await following
    assert all(update.get(tab.page.log, gr.skip()) == gr.skip() for update in tab.sent[sent:])  # the chat that is shown now stays as it is
    await until(lambda: run.ended)
    assert run.state == "done"
    await tab.pick("open", first)
    assert tab.roles == ["user", "assistant"] and "class='answer'" in tab.last["html"]


async def test_coming_back_to_a_chat_follows_its_answer_again(house):
    tab = house.tab()
    following = asyncio.create_task(tab.send("hello [[think:5]][[words:300]][[rate:100]]"))
    await until(lambda: tab.page.live in tab.shown and bool(tab.live.get("answer")))
    first = tab.session.conversation_id
    house.tab().take_one(await house.chats.new_chat(tab.session, tab.request))
    async with asyncio.timeout(30):
        await following
    await tab.pick("open", first)
    assert tab.live["state"] == "done" and tab.roles == ["user", "assistant"]


async def test_a_new_chat_is_empty_and_the_old_one_stays_in_the_list(house):
    tab = await house.tab().send("the old question")
    await tab.new_chat()
    assert tab.roles == ["empty"] and tab.session.conversation_id is None and tab.titles == ["the old question"]
    assert tab.shown[tab.page.search] == "" and tab.shown[tab.page.history]["current"] is None


# ---------------------------------------------------------------- the list of chats
async def test_search_finds_words_of_questions_and_says_when_nothing_matches(house):
    tab = await house.tab().send("about elephants")
    await tab.new_chat()
    await tab.send("about giraffes")
    await tab.search("elephants")
    assert tab.titles == ["about elephants"]
    await tab.search("zebra")
    assert tab.titles == [] and tab.shown[tab.page.history]["empty"] == W.no_matches
    await tab.send("an answer that ends does not end the search")
    assert tab.titles == []
    await tab.search(None)
    assert len(tab.titles) == 2


async def test_rename_pin_and_delete(house):
    tab = await house.tab().send("question")
    chat = tab.session.conversation_id
    await tab.pick("rename", chat, title="A better name")
    assert tab.titles == ["A better name"]
    await tab.pick("pin", chat)
    assert tab.shown[tab.page.history]["groups"][0]["title"] == W.pinned
    await tab.pick("unpin", chat)
    assert tab.shown[tab.page.history]["groups"][0]["title"] == W.today
    await tab.pick("delete", chat)
    assert tab.titles == [] and tab.roles == ["empty"] and tab.session.conversation_id is None and await chats_of(house) == []


async def test_deleting_another_chat_leaves_the_open_one(house):
    tab = await house.tab().send("first")
    first = tab.session.conversation_id
    await tab.new_chat()
    await tab.send("second")
    await tab.pick("delete", first)
    assert tab.titles == ["second"] and tab.session.conversation_id is not None and tab.roles == ["user", "assistant"]


async def test_deleting_a_chat_stops_its_answer(house, emulator):
    async def away(tab: Tab) -> bool:
        return tab.live.get("running", False)

    tab = await house.tab().send(f"long {SLOW}", on_update=away)
    await until(lambda: bool(state(emulator)["runs"]))
    await tab.pick("delete", tab.session.conversation_id)
    assert await chats_of(house) == [] and tab.roles == ["empty"]
    await until(lambda: state(emulator)["runs"][-1]["state"] == "disconnected")


@pytest.mark.parametrize("op", ["rename", "pin", "delete", "json", "markdown"])
async def test_a_chat_that_is_gone_is_told(house, op):
    tab = await house.tab().pick(op, "nothing", title="x")
    assert tab.live["error"] and tab.page.history in tab.shown


async def test_export_and_import_as_json_give_the_same_chat(house, tmp_path):
    tab = await house.tab().send("a question worth keeping")
    await tab.act("regenerate", tab.last["id"])
    before = await conversation(tab)
    await tab.pick("json", tab.session.conversation_id)
    saved = tab.shown[tab.page.files]
    assert saved["name"].endswith(".json") and saved["nonce"]
    file = tmp_path / "chat.json"
    file.write_text(saved["text"], encoding="utf-8")
    await tab.pick("delete", tab.session.conversation_id)
    tab.take_one(await house.settings.import_chats(str(file), tab.session, tab.request))
    (found,) = await chats_of(house)
    await tab.pick("open", found.id)
    after = await conversation(tab)
    assert [(n.role, n.content, n.thinking) for n in after.nodes.values()] == [
        (n.role, n.content, n.thinking) for n in before.nodes.values()
    ]
    assert "2/2" in tab.last["html"]


async def test_export_and_import_as_markdown(house, tmp_path):
    tab = await house.tab().send("a question worth keeping")
    await tab.pick("markdown", tab.session.conversation_id)
    saved = tab.shown[tab.page.files]
    assert saved["name"].endswith(".md") and "a question worth keeping" in saved["text"]
    file = tmp_path / "chat.md"
    file.write_text(saved["text"], encoding="utf-8")
    tab.take_one(await house.settings.import_chats(str(file), tab.session, tab.request))
    first, second = [await (await house.backend.open()).history.load(LOCAL_OWNER, found.id) for found in await chats_of(house)]
    said = [[(n.role, n.content.strip(), (n.thinking or "").strip()) for n in chat.path] for chat in (first, second)]
    assert first.id != second.id and said[0] == said[1]


async def test_export_all_holds_every_chat(house, tmp_path):
    tab = await house.tab().send("first")
    await tab.new_chat()
    await tab.send("second")
    saved = await house.settings.export_all(tab.request)
    assert saved["name"].endswith(".json") and json.loads(saved["text"])
    for chat in await chats_of(house):
        await tab.pick("delete", chat.id)
    file = tmp_path / "chats.json"
    file.write_text(saved["text"], encoding="utf-8")
    tab.take_one(await house.settings.import_chats(str(file), tab.session, tab.request))
    assert sorted(tab.titles) == ["first", "second"]


async def test_a_saved_recording_is_opened_again_and_a_broken_one_is_told_by_its_line(house, tmp_path):
    tab = await house.tab().load()
    text = (ASSETS / "recordings" / "python-code.jsonl").read_text(encoding="utf-8")
    good, broken = tmp_path / "mine.jsonl", tmp_path / "broken.jsonl"
    good.write_text(text, encoding="utf-8")
    broken.write_text(text.splitlines()[0] + "\nnot json\n", encoding="utf-8")
    tab.take_one(await house.settings.import_chats(str(good), tab.session, tab.request))
    (group,) = [g for g in tab.shown[tab.page.history]["groups"] if g["title"] == W.recorded]
    assert len([entry for entry in group["entries"] if entry["id"] == "own/mine"]) == 1
    tab.take_one(await house.settings.import_chats(str(broken), tab.session, tab.request))
    assert "line 2" in tab.live["error"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("broken.json", b"{"), ("other.json", b'{"a": 1}'), ("plain.md", b"no heading here"), ("binary.json", b"\xff\xfe\x00\x81")],
)
async def test_a_file_that_is_no_export_is_told_and_changes_nothing(house, tmp_path, name, data):
    file = tmp_path / name
    file.write_bytes(data)
    tab = house.tab()
    tab.take_one(await house.settings.import_chats(str(file), tab.session, tab.request))
    assert "class='err'" in tab.live["error"] and await chats_of(house) == []


# ---------------------------------------------------------------- recordings
async def test_a_shipped_recording_plays_as_a_chat_that_says_what_it_is(house):
    at_once = ReplayProvider(ASSETS / "recordings", speed=None)
    house.backend.engines._replay = lambda access: at_once
    tab = await house.tab().load()
    (group,) = [g for g in tab.shown[tab.page.history]["groups"] if g["title"] == W.recorded]
    name = next(entry["id"] for entry in group["entries"] if entry["id"] == "maths-thinking")
    await tab.pick("replay", name)
    assert tab.roles == ["user", "assistant"] and W.scripted in tab.last["html"] and "class='trace'" in tab.last["html"]
    picked = tab.shown[tab.page.model]
    assert picked["value"] == f"replay:{name}" and not tab.live["running"]
    assert ("Counting with inclusion and exclusion · recorded run", picked["value"]) in picked["choices"]
    recorded = loads((ASSETS / "recordings" / f"{name}.jsonl").read_text(encoding="utf-8"), name)
    said = "".join(e.text for _, e in recorded.events if isinstance(e, TextDelta))
    assert (await conversation(tab)).path[-1].content == said
    assert tab.shown[tab.page.panel.temperature]["visible"] is False and tab.shown[tab.page.panel.replay_speed]["visible"] is True


async def test_a_recording_answers_no_other_question_and_a_new_chat_has_a_model_again(house):
    at_once = ReplayProvider(ASSETS / "recordings", speed=None)
    house.backend.engines._replay = lambda access: at_once
    tab = await house.tab(model="replay:maths-thinking").pick("replay", "maths-thinking")
    question, answer = (turn["id"] for turn in tab.turns)
    before = await conversation(tab)
    await tab.send("And by 7?")
    assert_refused(tab, W.only_its_own, W.only_its_own_hint)
    await tab.act("edit", question, text="And by 7?")
    assert_refused(tab, W.only_its_own)
    await tab.act("continue", answer)
    assert_refused(tab, W.only_its_own)
    assert (await conversation(tab)).nodes.keys() == before.nodes.keys()
    event = SimpleNamespace(_data={"id": answer})
    assert await house.settings.request_of(event, tab.session, tab.request) == {"note": W.request_none, "parts": []}
    await tab.act("regenerate", answer)  # once more, at another speed perhaps
    assert tab.live["state"] == "done" and len((await conversation(tab)).nodes) == 3
    await tab.new_chat()
    assert tab.shown[tab.page.model]["value"] == THINKING
    assert tab.shown[tab.page.panel.temperature]["visible"] is True and tab.shown[tab.page.panel.replay_speed]["visible"] is False


async def test_a_new_chat_leaves_the_model_as_it_is(house):
    tab = await house.tab(model=INSTRUCT).new_chat()
    assert tab.page.model not in tab.shown


async def test_a_recording_of_a_run_can_be_loaded_again(house):
    tab = await house.tab().send("hello [[think:8]][[words:12]]")
    await tab.act("record", tab.last["id"])
    saved = tab.shown[tab.page.files]
    recording = loads(saved["text"], saved["name"])
    stored = (await conversation(tab)).path[-1]
    assert "".join(e.text for _, e in recording.events if isinstance(e, TextDelta)) == stored.content
    assert recording.header.model == THINKING and not recording.header.scripted and KEY not in saved["text"]


async def test_a_recording_of_an_answer_no_longer_in_memory_is_told(house):
    tab = await house.tab().send("hello")
    house.backend.runs._runs.clear()
    await tab.act("record", tab.last["id"])
    assert_refused(tab, "no longer in memory")


async def test_an_unknown_recording_is_told(house):
    tab = await house.tab().act("replay", name="../../etc/passwd")
    assert W.no_such_chat in tab.live["error"]


# ---------------------------------------------------------------- panel
async def test_presets_set_their_values_and_leave_the_others_recommended(house):
    tab = house.tab()
    tab.take_one(await house.settings.apply_preset(W.preset_precise, {}, THINKING, tab.session))
    panel = tab.page.panel
    assert tab.values[panel.temperature] == 0.2 and tab.values[panel.top_p] == 0.95
    tab.take_one(await house.settings.apply_preset(W.preset_recommended, {}, THINKING, tab.session))
    assert tab.values[panel.temperature] == 0.6


async def test_a_preset_is_saved_applied_and_deleted(house):
    tab = house.tab()
    tab.set("temperature", 0.15), tab.set("system", "Be brief."), tab.set("stop", "END")
    tab.take_one(await house.settings.save_preset(" mine ", {}, THINKING, tab.session, *tab.panel()))
    saved = tab.shown[tab.page.presets]
    assert list(saved) == ["mine"] and json.loads(json.dumps(saved)) == saved
    assert "mine" in tab.shown[tab.page.panel.preset]["choices"]
    other = house.tab()
    other.take_one(await house.settings.apply_preset("mine", saved, THINKING, other.session))
    panel = other.page.panel
    assert (other.values[panel.temperature], other.values[panel.system], other.values[panel.stop]) == (0.15, "Be brief.", "END")
    tab.take_one(house.settings.delete_preset("mine", saved))
    assert tab.shown[tab.page.presets] == {} and "mine" not in tab.shown[tab.page.panel.preset]["choices"]
    assert set(await house.settings.apply_preset("mine", {}, THINKING, tab.session)) == {tab.page.panel.preset}


async def test_a_preset_for_a_model_that_is_gone_is_told(house):
    tab = house.tab()
    tab.take_one(await house.settings.apply_preset(W.preset_precise, {}, "server:gone/m", tab.session))
    assert "There is no server" in tab.note
    with pytest.raises(gr.Error, match="There is no server"):
        await house.settings.save_preset("mine", {}, "server:gone/m", tab.session, *tab.panel())
    tab.set("temperature", "warm")
    with pytest.raises(gr.Error, match="must be a number"):
        await house.settings.save_preset("mine", {}, THINKING, tab.session, *tab.panel())


@pytest.mark.parametrize("name", ["", "  ", None, W.preset_precise])
async def test_a_preset_needs_a_name_of_its_own(house, name):
    tab = house.tab()
    with pytest.raises(gr.Error):
        await house.settings.save_preset(name, {}, THINKING, tab.session, *tab.panel())


async def test_choosing_a_model_fits_the_panel_to_it(house):
    tab = house.tab()
    tab.take_one(await house.settings.choose_model(INSTRUCT, tab.session))
    panel = tab.page.panel
    shown = tab.shown[panel.min_p]
    assert shown["interactive"] is False and shown["info"] == "not taken by DashScope" and "off" in shown["elem_classes"]
    budget = tab.shown[panel.thinking_budget]
    assert budget["interactive"] is False and budget["info"] == W.not_for_model
    assert tab.values[panel.temperature] == 0.7 and tab.shown[panel.enable_thinking]["visible"] is False
    tab.take_one(await house.settings.choose_model(THINKING, tab.session))
    assert tab.shown[panel.thinking_budget]["interactive"] is True and tab.values[panel.thinking_budget] == 8192
    tab.take_one(await house.settings.choose_model("dashscope:qwen-plus", tab.session))
    assert tab.shown[panel.enable_thinking]["visible"] is True and tab.values[panel.enable_thinking] is False


async def test_the_checkpoint_switch_chooses_the_sibling(house, emulator):
    tab = house.tab()
    tab.take_one(await house.settings.switch_checkpoint("instruct", THINKING, tab.session))
    panel = tab.page.panel
    assert tab.shown[tab.page.model] == INSTRUCT and tab.values[panel.checkpoint] == "instruct" and tab.values[panel.temperature] == 0.7
    tab.take_one(await house.settings.switch_checkpoint("thinking", INSTRUCT, tab.session))
    assert tab.shown[tab.page.model] == THINKING and tab.values[panel.checkpoint] == "thinking"
    assert "greedy" in tab.shown[panel.temperature]["info"]
    assert await house.settings.switch_checkpoint("thinking", THINKING, tab.session) == {tab.page.model: gr.skip()}
    tab.take_one(await house.settings.choose_model("dashscope:qwen-plus", tab.session))
    assert tab.shown[panel.checkpoint]["visible"] is False
    assert await house.settings.switch_checkpoint("thinking", "dashscope:qwen-plus", tab.session) == {tab.page.model: gr.skip()}
    tab.take_one(await house.settings.switch_checkpoint("thinking", "server:gone/m", tab.session))
    assert "There is no server" in tab.note


async def test_choosing_a_model_that_is_not_there_is_told(house):
    tab = house.tab()
    tab.take_one(await house.settings.choose_model("server:gone/model", tab.session))
    assert "gone" in tab.note and tab.page.panel.temperature not in tab.shown


# ---------------------------------------------------------------- request and context
async def test_the_request_is_shown_without_the_key(house):
    tab = house.tab()
    shown = await house.settings.request({"text": "my draft", "files": []}, THINKING, tab.session, tab.request, *tab.panel())
    everything = json.dumps(shown)
    assert "my draft" in everything and KEY not in everything and "DASHSCOPE_API_KEY" in everything
    assert {"JSON", "curl", "Python openai", "Python dashscope"} <= {part["title"] for part in shown["parts"]}


async def test_the_shown_request_is_the_one_that_is_sent(house, emulator):
    tab = house.tab()
    tab.set("seed", 11)
    shown = await house.settings.request({"text": "my draft"}, THINKING, tab.session, tab.request, *tab.panel())
    body = json.loads(next(p["text"] for p in shown["parts"] if p["title"] == "JSON"))
    await tab.send("my draft")
    assert last_body(emulator) == body


async def test_the_request_of_an_answer_is_the_one_that_was_sent_for_it(house, emulator):
    tab = house.tab()
    tab.set("temperature", 0.35)
    await tab.send("the first question")
    body = state(emulator)["requests"][-1]["body"]
    answer = tab.last["id"]
    tab.set("temperature", 0.9)
    await tab.send("the second question")
    shown = await house.settings.request_of(SimpleNamespace(_data={"id": answer}), tab.session, tab.request)
    assert json.loads(next(p["text"] for p in shown["parts"] if p["title"] == "JSON")) == body and body["temperature"] == 0.35
    gone = await house.settings.request_of(SimpleNamespace(_data={"id": "nothing"}), tab.session, tab.request)
    assert W.no_such_chat in gone["note"] and gone["parts"] == []


async def test_without_a_draft_the_last_question_is_shown(house):
    tab = await house.tab().send("the question")
    shown = await house.settings.request({"text": ""}, THINKING, tab.session, tab.request, *tab.panel())
    body = json.loads(next(p["text"] for p in shown["parts"] if p["title"] == "JSON"))
    assert [m["content"] for m in body["messages"]] == ["the question"]


async def test_an_empty_page_has_no_request_but_says_how_to_get_one(house):
    tab = house.tab()
    shown = await house.settings.request({"text": ""}, THINKING, tab.session, tab.request, *tab.panel())
    assert shown == {"note": W.request_empty, "parts": []}


async def test_a_request_that_cannot_be_made_says_why(house):
    tab = house.tab()
    tab.set("temperature", "warm")
    shown = await house.settings.request({"text": "x"}, THINKING, tab.session, tab.request, *tab.panel())
    assert "must be a number" in shown["note"] and shown["parts"] == []


async def test_the_context_meter_counts_branch_and_draft(house):
    tab = house.tab()

    async def meter(text: str) -> str:
        return await house.settings.context({"text": text}, THINKING, tab.session, tab.request, *tab.panel())

    assert await meter("") == ""
    small = await meter("hello")
    assert "of 131,072 tokens" in small and "data-level='ok'" in small
    used = [int(re.search(r"'num'>(?:\D*)([\d,]+) of", text)[1].replace(",", "")) for text in (small, await meter("hello " * 500))]
    assert 0 < used[0] < 50 and used[1] > 400
    await tab.send("hello " * 100)
    assert "of 131,072 tokens" in await meter("")


# ---------------------------------------------------------------- connecting
@pytest.fixture
async def keyless(houses, emulator) -> House:
    return houses(dashscope_base_url=emulator)


async def test_a_good_key_is_taken_into_the_session_and_used(keyless, emulator):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.use_key(f"  {KEY}\n", "singapore", tab.session, "local:demo"))
    assert "Singapore" in tab.note and "class='err'" not in tab.note
    assert tab.session.access.dashscope_key.get_secret_value() == KEY
    assert tab.shown[tab.page.model]["value"] == THINKING and tab.shown[tab.page.dashscope_key] == ""
    assert KEY not in repr(tab.session) and KEY not in str({k: v for k, v in tab.sent[-1].items() if k is not tab.page.session})
    await tab.send("hello")
    assert tab.live["state"] == "done"
    stranger = await keyless.tab().send("hello")
    assert_refused(stranger, "needs an API key")


async def test_a_key_keeps_the_hosted_model_that_was_chosen(keyless):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.use_key(KEY, "singapore", tab.session, INSTRUCT))
    assert tab.shown[tab.page.model]["value"] == INSTRUCT


@pytest.mark.parametrize(("key", "words"), [("sk-wrong", "region"), ("", W.connect_key_empty), ("   ", W.connect_key_empty)])
async def test_a_key_that_is_refused_is_not_kept(keyless, key, words):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.use_key(key, "singapore", tab.session, "local:demo"))
    assert words in tab.note and "class='err'" in tab.note and tab.session.access.dashscope_key is None
    assert tab.page.model not in tab.shown


async def test_a_server_is_asked_for_its_models_and_can_be_used(keyless, emulator):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.add_server(f"{emulator}/v1/", "", tab.session))
    assert "Reached" in tab.note
    model = tab.shown[tab.page.model]["value"]
    assert model.startswith("server:") and model in [name for _, name in tab.shown[tab.page.model]["choices"]]
    tab.model = model
    await tab.send("hello")
    assert tab.live["state"] == "done" and tab.roles == ["user", "assistant"]
    assert state(emulator)["runs"][-1]["surface"] == "server"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        "ftp://example.org/v1",
        "example.org",
        "http://",
        "http://[::1",
        "http://host:99999/v1",
        "http://host:port/v1",
        "javascript:alert(1)",
    ],
)
async def test_an_address_that_is_none_is_told(keyless, url):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.add_server(url, "", tab.session))
    assert "It looks like http:" in tab.note and tab.session.access.servers == ()


async def test_a_server_that_cannot_be_reached_is_told(keyless):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.add_server(f"http://127.0.0.1:{free_port()}/v1", "", tab.session))
    assert "class='err'" in tab.note and tab.session.access.servers == ()


async def test_a_server_that_refuses_its_key_is_told(keyless, emulator):
    tab = keyless.tab()
    tab.take_one(await keyless.settings.add_server(f"{emulator}/v1", "sk-wrong", tab.session))
    assert "class='err'" in tab.note and "sk-wrong" not in tab.note and tab.session.access.servers == ()


async def test_a_public_page_does_not_call_private_addresses(houses, emulator):
    house = houses(public=True)
    tab = house.tab()
    tab.take_one(await house.settings.add_server(f"{emulator}/v1", "", tab.session))
    assert "does not call private addresses" in tab.note and tab.session.access.servers == () and state(emulator)["runs"] == []


async def test_a_host_name_of_any_letters_can_be_added(keyless, monkeypatch):
    async def listed(server):
        return ModelList()

    monkeypatch.setattr(keyless.backend.engines, "list_models", listed)
    tab = keyless.tab()
    tab.take_one(await keyless.settings.add_server("http://büro_1.example:8000/v1", "", tab.session))
    assert len(tab.session.access.servers) == 1


# ---------------------------------------------------------------- files
async def test_a_text_file_goes_with_the_question(house, emulator, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("The word is <b>ocelot</b>.", encoding="utf-8")
    tab = await house.tab().send("Which word?", files=[str(file)])
    assert "notes.txt" in tab.turns[0]["html"] and "<b>ocelot" not in tab.turns[0]["html"]
    assert "ocelot" in last_body(emulator)["messages"][-1]["content"]
    await tab.act("edit", tab.turns[0]["id"], text="Which word is it?")
    assert "ocelot" in last_body(emulator)["messages"][-1]["content"] and "notes.txt" in tab.turns[0]["html"]


async def test_a_file_alone_is_a_question(house, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("Summarise this.", encoding="utf-8")
    tab = await house.tab().send("", files=[str(file)])
    assert tab.live["state"] == "done" and "notes.txt" in tab.turns[0]["html"]


async def test_a_file_without_text_is_told_and_the_question_stays(house, emulator, tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    tab = await house.tab().send("What is this?", files=[str(file)])
    assert_refused(tab, "picture.png")
    assert state(emulator)["runs"] == [] and await chats_of(house) == []


async def test_each_file_without_text_is_named(house, emulator, tmp_path):
    for name, data in {"picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "good.txt": b"text", "empty.txt": b""}.items():
        (tmp_path / name).write_bytes(data)
    tab = await house.tab().send("What is this?", files=[str(file) for file in sorted(tmp_path.iterdir())])
    assert_refused(tab, "picture.png is a PNG image")
    assert_refused(tab, "empty.txt is empty")
    assert state(emulator)["runs"] == []


# ---------------------------------------------------------------- a public host
async def test_a_browser_without_this_hosts_cookie_may_look_and_not_ask(houses, emulator):
    tab = await houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True).tab().load()
    assert tab.roles == ["empty"]
    await tab.send("one")
    assert_refused(tab, "cookie")
    assert state(emulator)["runs"] == []


async def test_a_visitor_has_four_answers_at_once_and_not_one_more_whatever_pages_they_open(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True)
    tabs = [house.tab(visitor="a" * 43) for _ in range(MAX_ACTIVE_RUNS_PUBLIC + 1)]
    asked = [asyncio.create_task(tab.send(f"question {SLOW}")) for tab in tabs]
    await until(lambda: len(state(emulator)["runs"]) == MAX_ACTIVE_RUNS_PUBLIC and sum(task.done() for task in asked) == 1)
    refused = next(tab for tab, task in zip(tabs, asked, strict=True) if task.done())
    assert_refused(refused, "Too many answers")
    other = await house.tab(visitor="b" * 43).send("hello")
    assert other.live["state"] == "done"
    going = next(tab for tab in tabs if tab is not refused)
    await going.stop()
    again = asyncio.create_task(refused.send(f"question {SLOW}"))  # what ended was given back
    await until(lambda: len(state(emulator)["runs"]) == MAX_ACTIVE_RUNS_PUBLIC + 2)
    for tab in tabs:
        await tab.stop()
    async with asyncio.timeout(20):
        await asyncio.gather(*asked, again)


async def test_what_a_visitor_has_stored_is_counted_and_ends_their_day(houses, emulator, monkeypatch, tmp_path):
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True)
    tab = await house.tab(visitor="a" * 43).send("hello [[think:5]][[words:20]]")
    stored = (await house.backend.open()).stored_text
    answer = (await conversation(tab)).path[-1]
    asked = len("hello [[think:5]][[words:20]]") + len(answer.content) + len(answer.thinking)
    assert stored._chars == {f"visitor visitor:{'a' * 43}": asked, "address 127.0.0.1": asked}
    monkeypatch.setattr("backend.stored_text.MAX_CHARS_PER_VISITOR", asked)
    file = tmp_path / "chat.md"
    file.write_text("x")
    (update,) = (await house.settings.import_chats(str(file), tab.session, tab.request)).values()
    assert "in a day" in update["error"]
    await tab.send("y")  # what is there already is as much as may be: one more answer may begin
    assert_refused(await tab.send("z"), "in a day")
    assert (await house.tab(visitor="b" * 43).send("hello")).live["state"] == "done"


async def test_an_address_has_a_limit_however_many_cookies_it_takes(houses, emulator, monkeypatch):
    monkeypatch.setattr("backend.chat.MAX_ACTIVE_RUNS_PER_ADDRESS", 3)
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True)
    tabs = [house.tab(visitor=letter * 43) for letter in "abcd"]
    asked = [asyncio.create_task(tab.send(f"question {SLOW}")) for tab in tabs[:3]]
    await until(lambda: len(state(emulator)["runs"]) == 3)
    assert_refused(await tabs[3].send("one more"), "your network")
    elsewhere = house.tab(visitor="e" * 43)
    elsewhere.request.request.scope["client"] = ("203.0.113.5", 1)
    assert (await elsewhere.send("hello")).live["state"] == "done"
    await tabs[0].stop()
    assert (await tabs[3].send("now")).live["state"] == "done"
    for tab in tabs:
        await tab.stop()
    async with asyncio.timeout(20):
        await asyncio.gather(*asked)


async def test_two_visitors_of_a_public_host_do_not_see_each_others_chats(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True)
    mine = await house.tab(visitor="a" * 43).send("my secret question")
    chat, node = mine.session.conversation_id, mine.last["id"]
    other = await house.tab(visitor="b" * 43, chat=chat).load()
    assert other.titles == [] and other.roles == ["empty"] and other.session.conversation_id is None
    other.session.conversation_id = chat
    for op in ("edit", "regenerate", "select", "delete", "record"):
        await other.act(op, node, text="mine now")
        assert other.live["error"], op
    for op in ("rename", "pin", "delete", "json", "markdown"):
        await other.pick(op, chat, title="mine now")
        assert other.live["error"], op
    with pytest.raises(BackendError):
        await house.chat.trace(node, other.request)
    assert "secret" not in str(other.sent)
    assert await house.chat.trace(node, mine.request)
    assert len((await conversation(mine)).nodes) == 2
    again = await house.tab(visitor="a" * 43, chat=chat).load()
    assert again.titles == ["my secret question"] and again.roles == ["user", "assistant"]


async def test_a_stranger_cannot_stop_anothers_answer(houses, emulator):
    house = houses(dashscope_base_url=emulator, dashscope_api_key=KEY, public=True)

    async def stranger_stops(tab: Tab) -> None:
        other = house.tab(visitor="b" * 43)
        other.session.conversation_id = tab.session.conversation_id
        await other.stop()

    mine = await house.tab(visitor="a" * 43).send("hello [[words:50]][[rate:200]]", on_update=stranger_stops)
    assert mine.live["state"] == "done"


async def test_a_closed_tab_frees_the_engine(house, emulator):
    async def away(tab: Tab) -> bool:
        return bool(tab.live.get("answer"))

    tab = await house.tab().send(f"long {SLOW}", on_update=away)
    tab.close()
    await until(lambda: state(emulator)["runs"][-1]["state"] == "disconnected")


@pytest.mark.parametrize(("op", "name", "temperature"), [("use-demo", "local:demo", 0.2), ("use-tiny", "local:qwen3-next-tiny", 0.0)])
async def test_the_empty_page_offers_the_models_that_need_no_key(house, op, name, temperature):
    tab = await house.tab().load()
    assert "data-op='use-tiny'" in tab.turns[0]["html"]
    await tab.act(op, "")
    assert tab.shown[tab.page.model] == name
    assert tab.shown[tab.page.panel.temperature]["value"] == temperature
