"""How recordings are called, what of a model's name may leave this machine, and that no file tells a path of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backend import Backend
from backend.choices import Choices
from backend.compare.batches import BatchLane, lane_from
from backend.compare.votes import Contestant, Vote, VoteStore, to_csv, to_json_lines
from backend.display import display_name
from backend.engines import Access
from backend.errors import ModelLoadError, UnknownModel
from backend.history.exchange import from_text
from backend.model_names import current_name, portable_name
from backend.providers.local import LocalProvider
from backend.recording import Recording, dumps, header_of, loads
from backend.settings import load_settings
from backend.tools.kit import ToolKit, ToolSpec
from backend.types import ChatRequest, Finished, GenerationParameters, Message, Started, TextDelta, Tool

OWNER, OTHER = "visitor:a", "visitor:b"
AT_ONCE = GenerationParameters(extra={"replay_speed": 0})
HASH = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("stored", "today", "leaves"),
    [
        ("replay:python-code", "replay:python-code", "replay:python-code"),
        ("replay:own/run", "replay:own/run", "replay:own/run"),
        (f"replay:/home/me/data/recordings/{HASH}/run.qnrun.jsonl", "replay:own/run.qnrun", "replay:own/run.qnrun"),
        (f"replay:/d/recordings/{HASH}/comparisons/c-1/turn-1-pane-2.jsonl",) + ("replay:own/comparisons/c-1/turn-1-pane-2",) * 2,
        (f"replay:C:\\Users\\me\\recordings\\{HASH}\\run.jsonl", "replay:own/run", "replay:own/run"),
        ("replay:/home/me/run.jsonl", "replay:own/run", "replay:own/run"),
        ("replay:../run.jsonl", "replay:own/run", "replay:own/run"),
        ("local:demo", "local:demo", "local:demo"),
        ("local:Qwen/Qwen3-0.6B", "local:Qwen/Qwen3-0.6B", "local:Qwen/Qwen3-0.6B"),
        ("local:/home/me/models/mine@4bit", "local:/home/me/models/mine@4bit", "local:mine@4bit"),
        ("local:~/models/mine/", "local:~/models/mine/", "local:mine"),
        ("local:../../home/me/mine", "local:../../home/me/mine", "local:mine"),
        ("local:C:\\Users\\me\\mine", "local:C:\\Users\\me\\mine", "local:mine"),
        ("local:\\\\host\\me\\mine", "local:\\\\host\\me\\mine", "local:mine"),
        ("server:gpu//home/me/mine", "server:gpu//home/me/mine", "server:gpu/mine"),
        ("server:gpu/org/model", "server:gpu/org/model", "server:gpu/org/model"),
        ("dashscope:qwen-plus", "dashscope:qwen-plus", "dashscope:qwen-plus"),
        ("", "", ""),
    ],
)
def test_names(stored, today, leaves):
    assert (current_name(stored), portable_name(stored)) == (today, leaves)
    assert current_name(today) == today and portable_name(leaves) == leaves


def a_run(model: str = "local:/home/canary/mine") -> str:
    request = ChatRequest(model.partition(":")[2], (Message("user", "Why?"),))
    events = ((0.0, Started(request.model)), (0.1, TextDelta("Because.")), (0.2, Finished("stop")))
    return dumps(Recording(header_of(request, model=model, source="test"), events))


def test_a_recording_holds_no_path():
    assert "canary" not in a_run() and "canary" not in a_run(f"replay:/canary/recordings/{HASH}/x.jsonl")
    assert loads(a_run()).header.model == "local:mine"


@pytest.fixture
async def backend():
    made = Backend(load_settings(public=True))
    await made.open()
    yield made
    await made.aclose()


async def answered(backend: Backend, owner: str, model: str):
    chat = await backend.open()
    run = await chat.send(owner, Access(), None, "Why?", Choices(model, AT_ONCE))
    await run.wait_for_end(20)
    assert await run.storage_failure() is None
    return run


async def test_ones_own_recording_plays_by_its_name_and_by_the_one_it_had(backend):
    entry = await backend.shelf.add(OWNER, a_run(), "run.jsonl")
    path = next(backend.shelf.folder.rglob("run.jsonl"))
    for name in (entry.name, str(path), f"/moved/recordings/{path.parent.name}/run.jsonl"):
        run = await answered(backend, OWNER, f"replay:{name}")
        assert (run.state, run.answer.text, run.model) == ("done", "Because.", f"replay:{name}")


async def test_nobody_elses_recording_plays_and_guessing_tells_nothing(backend):
    await backend.shelf.add(OWNER, a_run(), "run.jsonl")
    path = next(backend.shelf.folder.rglob("run.jsonl"))
    told = set()
    for owner, name in ((OTHER, "own/run"), (OTHER, str(path)), (OTHER, f"{path.parent}/no.jsonl"), (None, "own/run"), (None, str(path))):
        with pytest.raises(UnknownModel) as caught:
            await backend.engines.capabilities(f"replay:{name}", Access(owner=owner))
        told.add((caught.value.message.replace("own/no", "own/run"), caught.value.hint))
        assert str(path.parent) not in caught.value.message + caught.value.hint
    assert len(told) == 1
    assert (await backend.engines.capabilities("replay:own/run", Access(owner=OWNER))).name == "replay:own/run"


async def test_what_was_stored_under_a_path_is_shown_and_saved_under_its_name(backend):
    await backend.shelf.add(OWNER, a_run(), "run.jsonl")
    path = next(backend.shelf.folder.rglob("run.jsonl"))
    chat = await backend.open()
    run = await answered(backend, OWNER, f"replay:{path}")
    stored = await chat.conversation(OWNER, run.conversation_id)
    assert {stored.model, stored.path[-1].model} == {"replay:own/run"}
    assert {c.model for c in await chat.history.conversations(OWNER)} == {"replay:own/run"}
    files = [await chat.history.export(OWNER, run.conversation_id, form) for form in ("json", "markdown")]
    for file in (*files, await chat.history.export_all(OWNER)):
        assert "replay:own/run" in file and str(path.parent.parent) not in file and path.parent.name not in file


async def test_old_files_are_read_under_the_new_names(backend):
    chat = await backend.open()
    old = f"replay:/home/canary/recordings/{HASH}/run.jsonl"
    turns = [
        {"id": "1", "role": "user", "content": "Why?"},
        {"id": "2", "parent": "1", "role": "assistant", "content": "So.", "model": old},
    ]
    chats = [{"model": old, "nodes": turns, "path": ["1", "2"]}]
    text = json.dumps({"format": "qwen3-next-playground chats", "version": 1, "conversations": chats})
    assert {from_text(text, "x")[0].model, from_text(text, "x")[0].nodes[1].model} == {"replay:own/run"}
    (copy,) = await chat.history.import_text(OWNER, text, "x")
    assert "canary" not in await chat.history.export(OWNER, copy, "json")
    assert Choices.from_stored(old, {}).model == "replay:own/run"
    lane = BatchLane(Choices("x", GenerationParameters())).stored()
    assert lane_from({**lane, "model": old}).choices.model == "replay:own/run"


async def test_votes_hold_no_path(backend):
    store = VoteStore((await backend.open()).history.database)
    old = f"replay:/home/canary/recordings/{HASH}/run.jsonl"
    vote = Vote("s", "Why?", "1", (Contestant(old), Contestant("local:/home/canary/mine")), judge="local:/home/canary/judge")
    await store.put(OWNER, vote)
    (read,) = await store.all(OWNER)
    assert read.contestants[0].model == "replay:own/run"
    assert read.contestants[1].model == "local:/home/canary/mine"  # here it is still what can be asked again
    for text in (to_csv([read]), to_json_lines([read])):
        assert "canary" not in text and "local:mine" in text and "local:judge" in text


async def test_a_chat_in_a_file_holds_no_folder_and_no_command_line_of_this_machine(backend):
    chat = await backend.open()
    tool = Tool("t", "", {"type": "object", "properties": {}})
    kit = ToolKit(
        (
            ToolSpec(tool, "mcp", url="python /home/canary/server.py --key k", server="s"),
            ToolSpec(replace(tool, name="u"), "mcp", url="http://h/mcp"),
        )
    )
    nodes = [
        {"id": "1", "role": "user", "content": "Why?"},
        {
            "id": "2",
            "parent": "1",
            "role": "assistant",
            "content": "So.",
            "model": "local:/home/canary/mine",
            "parameters": {"tools": kit.stored()},
        },
    ]
    chats = [{"model": "local:/home/canary/mine", "parameters": {"tools": kit.stored()}, "nodes": nodes, "path": ["1", "2"]}]
    text = json.dumps({"format": "qwen3-next-playground chats", "version": 1, "conversations": chats})
    (own,) = await chat.history.import_text(OWNER, text, "x")
    for form in ("json", "markdown"):
        file = await chat.history.export(OWNER, own, form)
        assert "canary" not in file and "local:mine" in file and "http://h/mcp" in file
    stays = await chat.history.export(OWNER, own, "json", stays=True)
    assert "local:/home/canary/mine" in stays  # a pane's chat that is copied can still be asked again


async def test_visitors_of_a_public_host_do_not_learn_in_which_folder_its_model_lies(tmp_path):
    folder = tmp_path / "canary" / "mine"
    backend = Backend(load_settings(public=True, model=f"local:{folder}"))
    choices, first, capabilities = await backend.first_choices()
    assert "canary" not in first
    assert "local:mine" in {choice.name for choice in choices} and "canary" not in repr(choices) + repr(capabilities)
    with pytest.raises(ModelLoadError, match="no folder named 'mine'") as caught:
        await LocalProvider(tmp_path, only=frozenset({str(folder)})).plan(str(folder))
    assert "canary" not in str(caught.value)
    (route,) = await backend.engines.routes("local:mine", Access())
    assert route.model == str(folder)
    await backend.aclose()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "ab"),
        ("a\u200bb\u2060\ufeff", "ab"),
        ("a\nb\x07\x1b[31m", "a b [31m"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("x" * 130, "x" * 119 + "…"),
    ],
)
def test_names_of_strangers_as_they_are_shown(text, shown):
    assert display_name(text) == shown
