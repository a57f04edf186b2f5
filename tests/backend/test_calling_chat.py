"""A chat whose answers call tools: kept step by step, gone on with after a stop or a kill, and never lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from backend import Access, Backend, Choices, GenerationParameters, load_settings, recording_of
from backend.errors import BadInput
from backend.tools.desk import Decision
from backend.tools.kit import ToolKit, ToolSpec, kit_from
from backend.types import Tool
from tests.emulator import bodies, running_emulator

MODEL = "dashscope:qwen3-next-80b-a3b-thinking"
ADD = Tool("add", "Adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
OWNER, ACCESS = "local", Access()


@pytest.fixture(scope="module")
def emulator():
    with running_emulator() as base_url:
        yield base_url


@pytest.fixture
async def backend(emulator, tmp_path):
    made = Backend(load_settings(dashscope_base_url=emulator, dashscope_api_key="sk-test", data_dir=tmp_path))
    yield made
    await made.aclose()


def choices(by="hand", policy="ask", **changes):
    return Choices(MODEL, GenerationParameters(), tools=ToolKit((ToolSpec(ADD, by, policy),), **changes))


async def until(run, state):
    async with asyncio.timeout(30):
        while run.state != state:
            await run.wait_for_change(run.version, 0.2)


def open_call(run):
    return next(call.id for call in run.steps[-1].calls if call.open)


async def stored(backend, run):
    chat = await backend.open()
    return (await chat.history.load(OWNER, run.conversation_id)).nodes[run.node_id]


async def test_a_call_answered_by_hand_is_kept_and_is_part_of_the_next_question(backend, emulator):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    assert run.desk is not None and run.desk.decide(open_call(run), Decision(result="đúng 3, 三"))
    await until(run, "done")
    assert await run.storage_failure() is None
    node = await stored(backend, run)
    (step,) = node.steps
    assert step.thinking and step.calls[0].name == "add" and step.calls[0].arguments == '{"a": 3}' and step.calls[0].by == "hand"
    assert (step.calls[0].state, step.calls[0].result) == ("done", "đúng 3, 三")
    assert "đúng 3, 三" in node.content and node.usage.output_tokens > step.usage.output_tokens
    after = await chat.send(OWNER, ACCESS, run.conversation_id, "And now?", choices())
    backend.runs.watch(after, "page")
    await until(after, "done")
    roles = [m["role"] for m in bodies(emulator)[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_the_kit_is_kept_with_the_chat(backend):
    chat = await backend.open()
    wanted = choices("built_in", "always", rounds=3, parallel=True)
    run = await chat.send(OWNER, ACCESS, None, "Hello", wanted)
    backend.runs.watch(run, "page")
    await until(run, "done")
    assert await run.storage_failure() is None
    kept = (await chat.history.load(OWNER, run.conversation_id)).parameters
    assert Choices.from_stored(MODEL, kept).tools == wanted.tools
    assert kit_from({"specs": [{"tool": 5}]}) == ToolKit() and kit_from({"rounds": 999}).rounds == 8


async def test_what_waits_for_a_person_outlives_the_page_and_a_refresh_finds_it(backend):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    backend.runs.leave("page")
    run.unseen_since_s -= 60
    await asyncio.sleep(0.25)  # two looks of the keeper
    assert run.state == "asking" and backend.runs.of_conversation(run.conversation_id, OWNER) is run
    run.unseen_since_s -= 3600
    await until(run, "stopped")


async def test_the_figures_of_a_stopped_answer_are_those_of_all_its_turns(backend):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]] [[think:20]] [[words:500]] [[rate:200]]", choices("built_in", "always"))
    backend.runs.watch(run, "page")
    while not (run.steps and run.answer):
        await run.wait_for_change(run.version, 10)
    await backend.runs.stop(run)
    (step,) = run.steps
    assert run.timing.thinking_s == pytest.approx(step.thinking_s + run.thinking_s())
    assert run.timing.answer_s is None and run.timing.total_s > run.timing.thinking_s
    node = await stored(backend, run)
    assert node.timing.thinking_s > step.thinking_s


async def test_a_stopped_call_is_answered_later(backend, emulator):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    await backend.runs.stop(run)
    node = await stored(backend, run)
    assert node.status == "stopped" and node.steps[0].calls[0].open
    asked = len(bodies(emulator))
    again = await chat.go_on(OWNER, ACCESS, run.conversation_id, run.node_id, choices())
    backend.runs.watch(again, "page")
    await until(again, "asking")
    assert len(bodies(emulator)) == asked, "the model is not asked for the call a second time"
    again.desk.decide(open_call(again), Decision(result="seven"))
    await until(again, "done")
    assert "seven" in again.answer.text and len(again.steps) == 1
    assert (await chat.conversation(OWNER, run.conversation_id)).nodes[again.node_id].siblings == (run.node_id, again.node_id)


async def test_what_is_asked_before_the_last_answer_is_stored_comes_after_it(backend, emulator, monkeypatch):
    chat, stored = await backend.open(), asyncio.Event()
    begin = chat.history.begin

    async def late(owner, exchange):
        await stored.wait()
        await begin(owner, exchange)

    monkeypatch.setattr(chat.history, "begin", late)
    run = await chat.send(OWNER, ACCESS, None, "One [[think:2]] [[words:3]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "done")
    asking = asyncio.create_task(chat.send(OWNER, ACCESS, run.conversation_id, "Two [[think:2]] [[words:3]]", choices()))
    await asyncio.wait([asking], timeout=0.1)  # whoever does not wait has failed by now
    stored.set()
    after = await asking
    backend.runs.watch(after, "page")
    await until(after, "done")
    assert [m["role"] for m in bodies(emulator)[-1]["messages"]] == ["user", "assistant", "user"]
    path = (await chat.conversation(OWNER, run.conversation_id)).path
    assert [node.role for node in path] == ["user", "assistant"] * 2


async def test_a_chat_goes_on_though_a_call_was_never_answered(backend, emulator):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    await backend.runs.stop(run)
    after = await chat.send(OWNER, ACCESS, run.conversation_id, "Never mind.", choices())
    backend.runs.watch(after, "page")
    await until(after, "done")
    assert [m["role"] for m in bodies(emulator)[-1]["messages"]] == ["user", "user"]


async def test_exported_chats_bring_their_steps_back(backend):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    run.desk.decide(open_call(run), Decision(result="3 -- <!-- playground:turn -->"))
    await until(run, "done")
    assert await run.storage_failure() is None
    node = await stored(backend, run)
    for form in ("json", "markdown"):
        text = await chat.history.export(OWNER, run.conversation_id, form)
        (copy,) = await chat.history.import_text(OWNER, text, f"chats.{form}")
        loaded = await chat.history.load(OWNER, copy)
        restored = next(n for n in loaded.nodes.values() if n.role == "assistant")
        assert restored.steps == node.steps and restored.content == node.content


async def test_a_wrong_kit_leaves_the_text_with_the_person(backend):
    chat = await backend.open()
    broken = ToolKit((ToolSpec(replace(ADD, parameters={"type": "nothing"})),))
    with pytest.raises(BadInput, match="no JSON Schema"):
        await chat.send(OWNER, ACCESS, None, "Hello", Choices(MODEL, GenerationParameters(), tools=broken))
    with pytest.raises(BadInput, match="not switched on"):
        await chat.send(OWNER, ACCESS, None, "Hello", choices(choice="named", name="other"))


async def test_a_recording_of_it_plays_the_same_steps(backend):
    chat = await backend.open()
    run = await chat.send(OWNER, ACCESS, None, "How many? [[tool]]", choices())
    backend.runs.watch(run, "page")
    await until(run, "asking")
    run.desk.decide(open_call(run), Decision(result="drei"))
    await until(run, "done")
    entry = await backend.shelf.add(OWNER, recording_of(run), "calls.jsonl")
    played = await chat.send(
        OWNER, ACCESS, None, "How many?", Choices(f"replay:{entry.name}", GenerationParameters(extra={"replay_speed": 0}))
    )
    backend.runs.watch(played, "page")
    await until(played, "done")
    assert [[(c.name, c.arguments, c.state, c.result) for c in s.calls] for s in played.steps] == [[("add", '{"a": 3}', "done", "drei")]]
    assert played.answer.text == run.answer.text and played.steps[0].thinking == run.steps[0].thinking and played.desk is None
