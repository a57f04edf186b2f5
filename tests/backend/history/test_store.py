"""Chats as trees: nothing is lost by editing, one owner never sees another's, and a killed process loses at most a second."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.attachments import Attachment
from backend.errors import BadInput, StorageError
from backend.history import AnswerError, AnswerUpdate, History
from backend.types import Timing, Usage

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def history(tmp_path) -> AsyncIterator[History]:
    opened = await History.open(None, tmp_path)
    yield opened
    await opened.aclose()


async def begun(history: History, text: str = "Hello", owner: str = "me") -> tuple[str, str, str]:
    """A chat with a question and a finished answer: ids of chat, question, answer."""
    chat = await history.create(owner, model="dashscope:m", parameters={"temperature": 0.5})
    question = await history.add_turn(owner, chat, None, "user", text)
    answer = await history.begin_answer(owner, chat, question.id, model="dashscope:m", parameters={"seed": 7}, run_id="r", region="beijing")
    await history.write_answers([AnswerUpdate(answer.id, "Hi!", "done", "hm", Usage(1, 2, 1), Timing(ttft_s=0.5), region="beijing")])
    return chat, question.id, answer.id


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
    [("ĐƯỜNG", 1), ("đường", 1), ("北京", 1), ("100%", 1), ("1000", 0), ("a_b", 1), ("axb", 0), ("hi!", 2), ("", 2), ("zzz", 0)],
)
async def test_search_knows_case_in_every_script_and_takes_signs_literally(history, search, found):
    await begun(history, "Đường đi 北京 100% a_b")
    await begun(history, "nothing of the kind")
    assert len(await history.conversations("me", search=search)) == found


async def test_another_owner_finds_nothing(history):
    chat, question, answer = await begun(history)
    assert await history.conversations("you") == [] and await history.export_all("you") == await history.export_all("nobody")
    calls = [
        lambda: history.load("you", chat), lambda: history.rename("you", chat, "x"), lambda: history.pin("you", chat, True),
        lambda: history.delete("you", chat), lambda: history.set_state("you", chat, model="x"), lambda: history.select("you", question),
        lambda: history.delete_turn("you", answer), lambda: history.thinking_of("you", answer), lambda: history.export("you", chat, "json"),
        lambda: history.add_turn("you", chat, None, "user", "x"),
        lambda: history.begin_answer("you", chat, question, model="m", parameters={}, run_id="r"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(BadInput) as caught:
            await call()
        assert caught.value.code == "not_found"
    assert (await history.load("me", chat)).nodes.keys() == {question, answer}


@pytest.mark.parametrize("form", ["json", "markdown"])
async def test_export_and_import_give_the_same_chat(history, form):
    chat, question, answer = await begun(history, "## You\nlooks like a heading\n\\## You\n> quote")
    await history.rename("me", chat, "Tên chat")
    if form == "json":
        await history.add_turn("me", chat, None, "user", "other", attachments=[Attachment("a.txt", "text", tokens=1)])
        await history.select("me", question)
    text = await history.export("me", chat, form)
    (copy,) = await history.import_text("you", text, "chat.json" if form == "json" else "chat.md")
    old, new = await history.load("me", chat), await history.load("you", copy)
    assert [(n.role, n.content, n.thinking) for n in new.path] == [(n.role, n.content, n.thinking) for n in old.path]
    assert new.title == "Tên chat" and not set(new.nodes) & set(old.nodes)
    if form == "json":
        assert len(new.nodes) == len(old.nodes) and new.path[1].usage == Usage(1, 2, 1)
        assert sorted(a.name for n in new.nodes.values() for a in n.attachments) == ["a.txt"]
        assert '"me"' not in text


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("{", "a.json", "cannot be imported"), ("{}", "a.json", "format"), ('{"format":"x","version":1,"chats":[]}', "a.json", "format"),
        ('{"format":"qwen-playground-chats","version":1,"chats":[{"turns":[{"id":"1","role":"user","content":5}]}]}', "a.json", "chats.0.turns.0.content"),
        ('{"format":"qwen-playground-chats","version":1,"chats":[{"turns":[{"id":"1","parent_id":"9","role":"user","content":"x"}]}]}', "a.json", "parent"),
        ('{"format":"qwen-playground-chats","version":1,"chats":[{"turns":[{"id":"1","role":"system","content":"x"}]}]}', "a.json", "role"),
        ("just text", "a.md", "line 1"), ("", "a.md", "line 1"),
    ],
)  # fmt: skip
async def test_a_file_that_is_none_is_refused_with_its_place(history, text, name, words):
    with pytest.raises(BadInput) as caught:
        await history.import_text("me", text, name)
    assert words in caught.value.message and caught.value.hint
    assert await history.conversations("me") == []


async def test_export_all_is_imported_again(history):
    for text in ("one", "two"):
        await begun(history, text)
    ids = await history.import_text("you", await history.export_all("me"), "all.json")
    assert len(ids) == 2 and {c.preview for c in await history.conversations("you")} == {"one", "two"}


async def test_text_that_databases_refuse_is_made_fit(history):
    chat, question, _ = await begun(history, "nul \0 and half \ud83d")
    assert (await history.load("me", chat)).nodes[question].content == "nul \ufffd and half \ufffd"


async def test_an_error_is_kept_with_the_partial_answer(history):
    chat, question, _ = await begun(history)
    node = await history.begin_answer("me", chat, question, model="m", parameters={}, run_id="r")
    await history.write_answers([AnswerUpdate(node.id, "half", "error", error=AnswerError("StreamBroken", "cut", "again"), request_id="q")])
    kept = (await history.load("me", chat)).nodes[node.id]
    assert (kept.content, kept.status, kept.error, kept.request_id) == ("half", "error", AnswerError("StreamBroken", "cut", "again"), "q")


KILLED = """
import asyncio, sys
from pathlib import Path
from backend.history import AnswerUpdate, History
async def main():
    history = await History.open(None, Path(sys.argv[1]))
    chat = await history.create("me", model="m", parameters={})
    question = await history.add_turn("me", chat, None, "user", "x")
    node = await history.begin_answer("me", chat, question.id, model="m", parameters={}, run_id="r")
    text = ""
    while True:
        text += "word "
        await history.write_answers([AnswerUpdate(node.id, text, "streaming", thinking="thought")])
        print(len(text), chat, node.id, flush=True)
        await asyncio.sleep(0.02)
asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_that_was_written(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    line = ""
    for _ in range(5):
        line = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    rest = process.stdout.read().splitlines()
    length, chat, node = (rest[-1] if rest and len(rest[-1].split()) == 3 else line).split()
    history = await History.open(None, tmp_path)
    kept = (await history.load("me", chat)).nodes[node]
    assert kept.status == "interrupted" and kept.thinking == "thought" and len(kept.content) >= int(length)
    await history.aclose()


async def test_a_damaged_file_is_set_aside_and_never_overwritten(tmp_path):
    history = await History.open(None, tmp_path)
    await history.aclose()
    (file,) = tmp_path.glob("*.db")
    file.write_bytes(b"this is no database, but it may be precious" * 100)
    history = await History.open(None, tmp_path)
    assert history.set_aside is not None and history.set_aside.read_bytes().startswith(b"this is no database")
    assert await history.conversations("me") == []
    await history.aclose()


async def test_a_locked_database_is_told_and_works_again_afterwards(tmp_path):
    history = await History.open(None, tmp_path, busy_timeout_s=0.1)
    (file,) = tmp_path.glob("*.db")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError) as caught:
        await history.create("me", model="m", parameters={})
    assert caught.value.message and caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    assert await history.create("me", model="m", parameters={})
    await history.aclose()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError) as caught:
        await History.open(None, tmp_path / "file" / "data")
    assert caught.value.hint


async def test_a_newer_schema_is_left_alone(tmp_path):
    history = await History.open(None, tmp_path)
    await history.aclose()
    (file,) = tmp_path.glob("*.db")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE playground_meta SET value = '99'")
    with pytest.raises(StorageError):
        await History.open(None, tmp_path)
    assert file.exists() and not list(tmp_path.glob("*damaged*"))


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
