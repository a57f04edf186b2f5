"""Chats as files: what goes out comes back, what is wrong is named, and nothing in a file is trusted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.attachments import Attachment
from backend.errors import BadInput
from backend.history import AnswerError, AnswerUpdate, Conversation, Node, exchange, markdown
from backend.types import Timing, Usage
from tests.backend.history.built import BuiltHistory

ODD_TEXTS = [
    "plain",
    "",
    "\n\nbegins and ends with lines\n\n\n",
    "<!-- playground:turn -->\n## User\n<!-- playground:text -->",
    "<!-- \\playground:thinking -->\n<!-- \\\\playground:x",
    "</details>\n\n</details>\n",
    "a\r\nb\rc\u2028d\x0ce",
    "```md\n# heading\n```\n| a | b |\n--> -- ---",
    "tiếng Việt 北京 👨‍👩‍👧 \u202eabc",
    "   \n\t",
]


@pytest.fixture
async def history(tmp_path) -> AsyncIterator[BuiltHistory]:
    opened = await BuiltHistory.open(None, tmp_path)
    yield opened
    await opened.aclose()


def same(old: Conversation, new: Conversation) -> None:
    """`new` is `old` under other ids."""

    def told(node: Node) -> tuple[Any, ...]:
        return (
            node.role, node.content, node.thinking, node.attachments, node.status, node.created_at, node.model, node.parameters,
            node.usage, node.timing, node.finish_reason, node.error, node.request_id, node.region,
        )  # fmt: skip

    assert [told(n) for n in new.nodes.values()] == [told(n) for n in old.nodes.values()]
    order_old, order_new = list(old.nodes), list(new.nodes)
    assert [order_new.index(n.id) for n in new.path] == [order_old.index(n.id) for n in old.path]
    parents_old = [order_old.index(n.parent_id) if n.parent_id else None for n in old.nodes.values()]
    assert [order_new.index(n.parent_id) if n.parent_id else None for n in new.nodes.values()] == parents_old
    assert (new.title, new.pinned, new.model, new.parameters, new.preview) == (
        old.title, old.pinned, old.model, old.parameters, old.preview,
    )  # fmt: skip
    assert (new.created_at, new.updated_at) == (old.created_at, old.updated_at)
    assert not set(old.nodes) & set(new.nodes)


async def a_chat(history: BuiltHistory) -> str:
    """A chat with branches, a file, a failed answer and one that never ended; the older branch is open."""
    chat = await history.create("me", model="dashscope:m", parameters={"temperature": 0.5, "stop": ["x"]}, title="Tên -- chat")
    question = await history.add_turn("me", chat, None, "user", "Why?", attachments=[Attachment("a.py", "print(1)\n```", tokens=3)])
    first = await history.begin_answer("me", chat, question.id, model="m", parameters={"seed": 7}, run_id="r", region="beijing")
    second = await history.begin_answer("me", chat, question.id, model="m2", parameters={}, run_id="r2")
    error = AnswerError("StreamBroken", "cut", "again")
    await history.write_answers(
        [
            AnswerUpdate(first.id, "Because", "done", "hm", Usage(1, 2, 1), Timing(ttft_s=0.25), "stop", request_id="q1"),
            AnswerUpdate(second.id, "half", "error", None, error=error),
        ]
    )
    await history.add_turn("me", chat, first.id, "user", "And then?")
    await history.pin("me", chat, True)
    await history.select("me", first.id)
    return chat


async def test_json_keeps_everything_but_ids_and_owner(history):
    chat = await a_chat(history)
    text = await history.export("me", chat, "json")
    (copy,) = await history.import_text("someone else", text, "x.json")
    same(await history.load("me", chat), await history.load("someone else", copy))
    assert '"me"' not in text


async def test_markdown_keeps_the_open_branch_with_traces_and_files(history):
    chat = await a_chat(history)
    text = await history.export("me", chat, "markdown")
    (copy,) = await history.import_text("you", text, "x.md")
    old, new = await history.load("me", chat), await history.load("you", copy)
    told = [(n.role, n.content, n.thinking, n.attachments, n.status, n.model, n.created_at) for n in old.path]
    assert [(n.role, n.content, n.thinking, n.attachments, n.status, n.model, n.created_at) for n in new.path] == told
    assert (new.title, new.model, new.parameters) == (old.title, old.model, old.parameters)
    assert len(new.nodes) == 3
    assert "Because" in text.splitlines() and "# Tên -- chat" in text.splitlines()  # and people can read it


@pytest.mark.parametrize("form", ["json", "markdown"])
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
async def test_every_text_comes_back_as_it_was(history, form, text):
    chat = await history.create("me", model="m", parameters={})
    question = await history.add_turn("me", chat, None, "user", text, attachments=[Attachment("a", text), Attachment("b", "x")])
    await history.add_turn("me", chat, question.id, "assistant", text, thinking=text)
    (copy,) = await history.import_text("me", await history.export("me", chat, form), "x")
    new = await history.load("me", copy)
    assert [(n.content, n.thinking) for n in new.path] == [(text, None), (text, text)]
    assert [a.text for a in new.path[0].attachments] == [text, "x"]


async def test_markdown_survives_an_editor_that_changes_line_ends(history):
    chat = await a_chat(history)
    text = (await history.export("me", chat, "markdown")).replace("\n", "\r\n")
    (copy,) = await history.import_text("me", "\ufeff" + text, "x.md")
    assert [n.content for n in (await history.load("me", copy)).path] == ["Why?", "Because", "And then?"]


async def test_all_chats_go_into_one_file_and_come_back_in_order(history):
    for words in ("one", "two", "three"):
        chat = await history.create("me", model="m", parameters={})
        await history.add_turn("me", chat, None, "user", words)
    text = await history.export_all("me")
    assert len(await history.import_text("you", text, "all.json")) == 3
    assert [c.preview for c in await history.conversations("you")] == ["three", "two", "one"]
    assert json.loads(await history.export_all("nobody"))["conversations"] == []


def chats(*turns: dict[str, Any], **chat: Any) -> str:
    whole = {"nodes": list(turns), **chat}
    return json.dumps({"format": "qwen3-next-playground chats", "version": 1, "conversations": [whole]})


QUESTION = {"id": "1", "role": "user", "content": "x"}
WRONG = {
    "no JSON": ('{"format": \n oops}', "line 2 column 2"),
    "another format": ('{"format": "chatgpt", "version": 1, "conversations": []}', "format"),
    "newer version": ('{"format": "qwen3-next-playground chats", "version": 2, "conversations": []}', "version"),
    "no chats": ('{"format": "qwen3-next-playground chats", "version": 1}', "conversations"),
    "wrong type": (chats({**QUESTION, "content": 5}), r"conversations\[0\]\.nodes\[0\]\.content"),
    "system role": (chats({**QUESTION, "role": "system"}), r"conversations\[0\]\.nodes\[0\]\.role"),
    "unknown status": (chats({**QUESTION, "status": "odd"}), r"nodes\[0\]\.status"),
    "same id twice": (chats(QUESTION, QUESTION), r"conversations\[0\]\.nodes\[1\]\.id"),
    "unknown parent": (chats({**QUESTION, "parent": "9"}), r"nodes\[0\]\.parent"),
    "circle": (chats({**QUESTION, "parent": "2"}, {**QUESTION, "id": "2", "parent": "1"}), r"nodes\[0\]\.parent"),
    "own parent": (chats({**QUESTION, "parent": "1"}), r"nodes\[0\]\.parent"),
    "path elsewhere": (chats(QUESTION, {**QUESTION, "id": "2"}, path=["1", "2"]), r"conversations\[0\]\.path\[1\]"),
    "path to nothing": (chats(QUESTION, path=["7"]), r"path\[0\]"),
    "bad time": (chats({**QUESTION, "created_at": "yesterday"}), r"nodes\[0\]\.created_at"),
    "not a number": (chats(QUESTION, parameters={"temperature": float("nan")}), r"conversations\[0\]\.parameters"),
    "half a sign": ('{"format": "\\ud800"}', "line 1"),
    "deep": ('{"format":' * 3000 + "1" + "}" * 3000, "imported"),
    "plain text": ("just text", "line 1"),
    "nothing": ("", "line 1"),
    "markdown without its mark": ("# Title\n\n## User\n\nhi", "line 1"),
    "markdown of a newer version": ('<!-- playground:conversation {"version": 9} -->', "line 1: version"),
    "markdown with broken values": ("<!-- playground:conversation {oops} -->", "line 1"),
    "markdown text before a turn": ('<!-- playground:conversation {"version": 1} -->\n<!-- playground:text -->\n\nx\n', "line 2"),
    "markdown with an unknown role": (
        '<!-- playground:conversation {"version": 1} -->\n\n<!-- playground:turn {"role": "boss"} -->\n',
        "line 3: role",
    ),
    "markdown with wrong settings": ('<!-- playground:conversation {"version": 1, "parameters": 5} -->', "line 1: parameters"),
}


@pytest.mark.parametrize(("text", "place"), WRONG.values(), ids=WRONG)
async def test_a_wrong_file_is_refused_with_its_place_and_leaves_nothing(history, text, place):
    with pytest.raises(BadInput, match=place) as caught:
        await history.import_text("me", text, "file")
    assert caught.value.message.startswith("file cannot be imported") and caught.value.hint
    assert await history.conversations("me") == []


async def test_one_wrong_chat_keeps_the_others_of_its_file_out(history):
    good, bad = json.loads(chats(QUESTION)), json.loads(chats({**QUESTION, "role": "?"}))
    good["conversations"] += bad["conversations"]
    with pytest.raises(BadInput, match=r"conversations\[1\]"):
        await history.import_text("me", json.dumps(good), "x.json")
    assert await history.conversations("me") == []


async def test_a_file_over_the_limit_is_refused_unread(history, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_IMPORT_CHARS", 10)
    for text in (chats(QUESTION), "<!-- playground:conversation -->"):
        with pytest.raises(BadInput, match="too large"):
            await history.import_text("me", text, "x.json")


async def test_nothing_in_a_file_is_trusted(history):
    turn = {**QUESTION, "status": "streaming", "run_id": "r", "owner": "admin", "created_at": "2999-01-01T00:00:00", "siblings": ["9"]}
    text = chats(turn, id="mine", owner="admin", title="a\u202eb\n" + "c" * 500, updated_at="0001-01-01T00:00:00Z")
    (chat,) = await history.import_text("me", text, "x.json")
    assert chat != "mine" and await history.conversations("admin") == []
    loaded = await history.load("me", chat)
    (node,) = loaded.path
    assert (node.status, node.run_id, node.siblings) == ("interrupted", None, (node.id,)) and node.id != "1"
    assert node.created_at <= datetime.now(UTC) and loaded.updated_at.year == 1970
    assert loaded.title is not None and loaded.title.startswith("ab c") and len(loaded.title) == 200


async def test_the_same_file_can_be_imported_twice(history):
    chat = await a_chat(history)
    text = await history.export("me", chat, "json")
    copies = [*await history.import_text("me", text, "x"), *await history.import_text("me", text, "x")]
    assert len({chat, *copies}) == 3
    assert len((await history.load("me", copies[1])).nodes) == 4


def test_no_value_can_close_the_comment_it_stands_in():
    assert "--" not in markdown._mark("turn", {"model": "a --> b ---"}).removeprefix("<!--").removesuffix("-->")


@pytest.mark.parametrize(("more", "taken"), [(0, True), (1, False)])
def test_parameters_of_any_size_are_not_taken(monkeypatch, more, taken):
    monkeypatch.setattr(exchange, "MAX_PARAMETERS_CHARS", 20)
    text = chats({**QUESTION, "parameters": {"a": "x" * (11 + more)}})
    if taken:
        assert exchange.from_text(text, "x.json")[0].nodes[0].parameters
    else:
        with pytest.raises(BadInput, match=r"conversations\[0\]\.nodes\[0\]\.parameters: .*more than 20 characters"):
            exchange.from_text(text, "x.json")


def test_a_long_file_is_read_turn_by_turn_and_written_so(monkeypatch):
    """In one step it would hold up every thread of the server."""
    steps = []
    for name in ("model_validate", "model_dump"):
        monkeypatch.setattr(exchange.FileTurn, name, _counted(steps, name, getattr(exchange.FileTurn, name)))
    turns = [{**QUESTION, "id": str(number)} for number in range(50)]
    (chat,) = exchange.from_text(chats(*turns), "x.json")
    assert steps.count("model_validate") == 50 and len(chat.nodes) == 50
    monkeypatch.setattr(exchange, "chat_of", lambda same: same)
    exchange.to_text([chat])
    assert steps.count("model_dump") == 50


def _counted(steps, name, method):
    def call(*args, **kwargs):
        steps.append(name)
        return method(*args, **kwargs)

    return call


@pytest.mark.parametrize("line", ["<!-- playground:turn -->", "<!-- \\\\playground:x", "<!-- no mark", "", "x <!-- playground:text -->"])
def test_long_texts_with_what_looks_like_marks_come_back_as_they_were(monkeypatch, line):
    monkeypatch.setattr(markdown, "_AT_ONCE_CHARS", 30)
    text = f"{line}\nmore\n" * 40
    assert markdown._marks_again(markdown._escaped(text)) == text
    assert not any(markdown._MARK.fullmatch(each) for each in markdown._escaped(text).split("\n"))
