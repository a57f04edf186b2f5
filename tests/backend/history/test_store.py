"""Chats as trees: nothing is lost by editing, one owner never sees another's, answers are written as they stream."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backend.attachments import Attachment
from backend.errors import BadInput
from backend.history import AnswerError, AnswerUpdate, Exchange
from backend.types import Timing, Usage
from tests.backend.history.built import BuiltHistory


@pytest.fixture
async def history(tmp_path) -> AsyncIterator[BuiltHistory]:
    opened = await BuiltHistory.open(None, tmp_path)
    yield opened
    await opened.aclose()


async def begun(history: BuiltHistory, text: str = "Hello", owner: str = "me") -> tuple[str, str, str]:
    """A chat with a question and a finished answer: ids of chat, question, answer."""
    chat = await history.create(owner, model="dashscope:m", parameters={"temperature": 0.5})
    question = await history.add_turn(owner, chat, None, "user", text)
    answer = await history.begin_answer(owner, chat, question.id, model="dashscope:m", parameters={"seed": 7}, run_id="r", region="beijing")
    await history.write_answers([AnswerUpdate(answer.id, "Hi!", "done", "hm", Usage(1, 2, 1), Timing(ttft_s=0.5), region="beijing")])
    return chat, question.id, answer.id


async def test_beginning_an_exchange_again_changes_nothing(tmp_path):
    """A connection that is lost at the commit does not say whether that came through, so it is tried again."""
    history = await BuiltHistory.open(None, tmp_path)
    first = Exchange("c1", "a1", True, None, "q", (), "m", {}, {}, "r")
    second = Exchange("c1", "a2", False, "a1", "q2", (), "m", {}, {}, "r2")
    for exchange in (first, first, second, second):
        await history.begin("me", exchange)
    (chat,) = await history.conversations("me")
    assert [(node.role, node.id) for node in (await history.load("me", chat.id)).path if node.role == "assistant"] == [
        ("assistant", "a1"),
        ("assistant", "a2"),
    ]
    assert len((await history.load("me", chat.id)).nodes) == 4
    await history.aclose()


async def test_a_chat_comes_back_whole(history):
    chat, question, answer = await begun(history)
    loaded = await history.load("me", chat)
    assert [n.id for n in loaded.path] == [question, answer]
    node = loaded.nodes[answer]
    assert (node.content, node.thinking, node.status, node.region) == ("Hi!", "hm", "done", "beijing")
    assert (node.usage, node.timing, node.parameters) == (Usage(1, 2, 1), Timing(ttft_s=0.5), {"seed": 7})
    assert node.usage.cached_tokens is None and loaded.parameters == {"temperature": 0.5}


async def test_an_edit_is_a_sibling_and_deletes_nothing(history):
    chat, question, answer = await begun(history)
    edited = await history.add_turn("me", chat, None, "user", "Hello again")
    loaded = await history.load("me", chat)
    assert [n.id for n in loaded.path] == [edited.id] and edited.siblings == (question, edited.id)
    assert {question, answer} <= set(loaded.nodes)
    await history.select("me", question)
    assert [n.id for n in (await history.load("me", chat)).path] == [question, answer]


async def test_a_branch_opens_down_to_the_leaf_that_was_open_last(history):
    chat, question, answer = await begun(history)
    deeper = await history.add_turn("me", chat, answer, "user", "more")
    other = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r2")
    assert [n.id for n in (await history.load("me", chat)).path] == [question, other.id]
    await history.select("me", answer)
    assert [n.id for n in (await history.load("me", chat)).path] == [question, answer, deeper.id]


async def test_deleting_a_version_opens_the_one_beside_it(history):
    chat, question, answer = await begun(history)
    other = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r2")
    await history.add_turn("me", chat, other.id, "user", "below")
    await history.delete_turn("me", other.id)
    loaded = await history.load("me", chat)
    assert [n.id for n in loaded.path] == [question, answer] and len(loaded.nodes) == 2
    await history.delete_turn("me", question)
    assert (await history.load("me", chat)).nodes == {}


async def test_the_list_pins_renames_and_says_how_a_chat_began(history):
    first, second = (await begun(history, "Câu hỏi  đầu\ntiên"))[0], (await begun(history, "Second"))[0]
    assert [(c.id, c.preview) for c in await history.conversations("me")] == [(second, "Second"), (first, "Câu hỏi đầu tiên")]
    await history.pin("me", first, True)
    await history.rename("me", second, "  A new\nname ")
    assert [(c.id, c.title, c.pinned) for c in await history.conversations("me")] == [(first, None, True), (second, "A new name", False)]
    await history.delete("me", first)
    assert [c.id for c in await history.conversations("me")] == [second]


@pytest.mark.parametrize(
    ("search", "found"),
    [("ĐƯỜNG", 1), ("đường", 1), ("北京", 1), ("100%", 1), ("1000", 1), ("a_b", 1), ("axb", 1), ("hi!", 2), ("", 2), ("zzz", 0)],
)
async def test_search_knows_case_in_every_script_and_takes_signs_literally(history, search, found):
    await begun(history, "Đường đi 北京 100% a_b")
    await begun(history, "1000 axb")
    assert len(await history.conversations("me", search=search)) == found


async def test_another_owner_finds_nothing(history):
    chat, question, answer = await begun(history)
    assert await history.conversations("you") == [] and await history.export_all("you") == await history.export_all("nobody")
    calls = [
        lambda: history.load("you", chat), lambda: history.rename("you", chat, "x"), lambda: history.pin("you", chat, True),
        lambda: history.delete("you", chat), lambda: history.select("you", question),
        lambda: history.delete_turn("you", answer), lambda: history.thinking_of("you", answer), lambda: history.export("you", chat, "json"),
        lambda: history.add_turn("you", chat, None, "user", "x"),
        lambda: history.begin_answer("you", chat, question, model="m", parameters={}, run_id="r"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(BadInput) as caught:
            await call()
        assert caught.value.code == "not_found"
    assert (await history.load("me", chat)).nodes.keys() == {question, answer}


async def test_text_that_databases_refuse_is_made_fit(history):
    chat, question, _ = await begun(history, "nul \0 and half \ud83d")
    assert (await history.load("me", chat)).nodes[question].content == "nul \ufffd and half \ufffd"


async def test_an_error_is_kept_with_the_partial_answer(history):
    chat, question, _ = await begun(history)
    node = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r")
    await history.write_answers([AnswerUpdate(node.id, "half", "error", error=AnswerError("StreamBroken", "cut", "again"), request_id="q")])
    kept = (await history.load("me", chat)).nodes[node.id]
    assert (kept.content, kept.status, kept.error, kept.request_id) == ("half", "error", AnswerError("StreamBroken", "cut", "again"), "q")


async def test_many_answers_are_written_at_once(history):
    nodes = []
    for number in range(32):
        chat = await history.create("me", model="m", parameters={})
        question = await history.add_turn("me", chat, None, "user", str(number))
        nodes.append((chat, await history.begin_answer("me", chat, question.id, model="m", parameters={}, run_id=str(number))))
    for length in (1, 2):
        await history.write_answers([AnswerUpdate(node.id, "x" * 100_000 * length, "streaming") for _, node in nodes])
    assert {len((await history.load("me", chat)).nodes[node.id].content) for chat, node in nodes} == {200_000}


async def test_reading_and_writing_go_on_side_by_side(history):
    chat, question, _ = await begun(history)
    node = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r")
    writes = [history.write_answers([AnswerUpdate(node.id, "x" * n, "streaming")]) for n in range(20)]
    reads = [history.load("me", chat) for _ in range(20)]
    loaded = await asyncio.gather(*writes, *reads)
    assert all(c.nodes[node.id].status == "streaming" for c in loaded[20:])


async def test_a_turn_under_a_closed_branch_opens_all_of_that_branch(history):
    chat, question, answer = await begun(history)
    other = await history.add_turn("me", chat, None, "user", "another first question")
    assert [n.id for n in (await history.load("me", chat)).path] == [other.id]
    deep = await history.add_turn("me", chat, answer, "user", "below")
    assert [n.id for n in (await history.load("me", chat)).path] == [question, answer, deep.id]
    await history.select("me", other.id)
    await history.select("me", deep.id)
    assert [n.id for n in (await history.load("me", chat)).path] == [question, answer, deep.id]


async def test_deleting_a_version_that_is_not_open_leaves_the_open_one_open(history):
    chat, question, answer = await begun(history)
    second = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r2")
    third = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r3")
    await history.select("me", answer)
    await history.delete_turn("me", third.id)
    loaded = await history.load("me", chat)
    assert [n.id for n in loaded.path] == [question, answer]
    assert loaded.nodes[answer].siblings == (answer, second.id)


async def test_the_preview_is_the_first_prompt_that_is_left(history):
    chat, question, _ = await begun(history, "first")
    await history.add_turn("me", chat, None, "user", "", attachments=[Attachment("paper.pdf", "text")])
    assert (await history.load("me", chat)).preview == "first"
    await history.delete_turn("me", question)
    assert (await history.load("me", chat)).preview == "paper.pdf"


async def test_a_long_prompt_is_cut_to_a_line(history):
    chat, _, _ = await begun(history, "word\n" * 10_000)
    preview = (await history.load("me", chat)).preview
    assert len(preview) == 80 and preview.startswith("word word") and preview.endswith("…")


async def test_a_title_is_found_and_taken_back(history):
    chat, _, _ = await begun(history)
    await history.rename("me", chat, "Tổng Kết")
    assert [c.title for c in await history.conversations("me", search="tổng kết")] == ["Tổng Kết"]
    await history.rename("me", chat, "  ")
    assert [c.title for c in await history.conversations("me")] == [None]
    assert await history.conversations("me", search="tổng kết") == []


async def test_search_finds_decomposed_letters_by_composed_ones(history):
    await begun(history, "to\u0302\u0309ng ke\u0302\u0301t")
    assert len(await history.conversations("me", search="TỔNG KẾT")) == 1


async def test_the_list_is_limited_and_takes_any_search(history):
    for n in range(3):
        await begun(history, f"chat {n}")
    assert len(await history.conversations("me", limit=2)) == 2
    assert await history.conversations("me", search="x" * 100_000) == []


async def test_a_name_does_not_move_a_chat_in_the_list(history):
    first, second = (await begun(history))[0], (await begun(history))[0]
    await history.rename("me", first, "x")
    assert [c.id for c in await history.conversations("me")] == [second, first]
    await history.add_turn("me", first, None, "user", "x")
    assert [c.id for c in await history.conversations("me")] == [first, second]


async def test_an_answer_in_the_making_is_not_edited(history):
    chat, question, _ = await begun(history)
    node = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r", content="so far", thinking="t")
    assert (node.content, node.thinking, node.status, node.run_id) == ("so far", "t", "streaming", "r")


async def test_a_parent_in_another_chat_is_not_found(history):
    chat, _, _ = await begun(history)
    _, elsewhere, _ = await begun(history)
    with pytest.raises(BadInput) as caught:
        await history.add_turn("me", chat, elsewhere, "user", "x")
    assert caught.value.code == "not_found"
    assert len((await history.load("me", chat)).nodes) == 2


async def test_an_answer_deleted_while_it_streams_stays_deleted(history):
    chat, question, answer = await begun(history)
    node = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r")
    await history.delete_turn("me", node.id)
    await history.write_answers([AnswerUpdate(node.id, "late", "done"), AnswerUpdate(answer, "in time", "done")])
    loaded = await history.load("me", chat)
    assert node.id not in loaded.nodes and loaded.nodes[answer].content == "in time"
    await history.write_answers([])


async def test_unknown_figures_stay_unknown_and_a_region_is_not_forgotten(history):
    chat, _, answer = await begun(history)
    update = AnswerUpdate(answer, "x", "streaming", usage=Usage(), timing=Timing(total_s=1.5), finish_reason="length")
    await history.write_answers([update])
    node = (await history.load("me", chat)).nodes[answer]
    assert (node.usage, node.timing, node.finish_reason, node.region) == (None, Timing(total_s=1.5), "length", "beijing")
    await history.write_answers([replace(update, region="singapore", usage=Usage(0, 5))])
    node = (await history.load("me", chat)).nodes[answer]
    assert (node.region, node.usage) == ("singapore", Usage(0, 5, None, None))


async def test_attachments_come_back_whole(history):
    files = [Attachment("a.pdf", "text", "pdf", pages=3, truncated=True, tokens=9), Attachment("b", "x")]
    chat = await history.create("me", model="m", parameters={})
    node = await history.add_turn("me", chat, None, "user", "?", attachments=files)
    assert list(node.attachments) == files == list((await history.load("me", chat)).nodes[node.id].attachments)


async def test_a_call_that_is_cancelled_is_finished_and_leaves_no_lock(history):
    chat, question, _ = await begun(history)
    calls = []
    for n in range(60):
        call = asyncio.create_task(history.add_turn("me", chat, question, "user", f"turn {n}"))
        await asyncio.sleep(0.0001 + random.random() * 0.01)  # long enough to have begun
        call.cancel()
        calls.append(call)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(r, asyncio.CancelledError) for r in results)
    last = await history.add_turn("me", chat, question, "user", "last")  # at once, not after a lock's time-out
    turns = [n.content for n in (await history.load("me", chat)).nodes.values()]
    assert turns == ["Hello", "Hi!", *(f"turn {n}" for n in range(60)), last.content]


async def test_closing_waits_for_a_call_that_was_cancelled(tmp_path):
    history = await BuiltHistory.open(None, tmp_path)
    chat = await history.create("me", model="m", parameters={})
    call = asyncio.create_task(history.add_turn("me", chat, None, "user", "the last words"))
    await asyncio.sleep(0.0001)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await history.aclose()
    history = await BuiltHistory.open(None, tmp_path)
    assert [n.content for n in (await history.load("me", chat)).path] == ["the last words"]
    await history.aclose()


async def test_a_chat_of_500_turns_is_loaded_whole(history):
    turns = [{"id": str(n), "role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n}"} for n in range(500)]
    for n, turn in enumerate(turns[1:]):
        turn["parent"] = str(n)
    whole = {"format": "qwen3-next-playground chats", "version": 1, "conversations": [{"nodes": turns}]}
    (chat,) = await history.import_text("me", json.dumps(whole), "x")
    assert [n.content for n in (await history.load("me", chat)).path] == [f"turn {n}" for n in range(500)]
    await history.delete_turn("me", (await history.load("me", chat)).path[1].id)
    assert len((await history.load("me", chat)).nodes) == 1


async def test_half_a_sign_in_an_id_is_no_chat(history):
    with pytest.raises(BadInput):
        await history.load("me", "half \ud83d")
    with pytest.raises(BadInput):
        await history.thinking_of("me", "half \ud83d")
