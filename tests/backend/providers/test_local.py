"""Local models as an engine: events in order, a queue, stops within a token, one model at a time, errors that leave it working.

Scripted models stand in for real ones, behind gates that hold each forward, so that nothing here depends on the clock.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import weakref
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backend.errors import BackendError, BadInput, ContextTooLong, LocalModelError, ModelLoadError, OutOfMemory, UnknownModel
from backend.provider import ListsModels
from backend.providers.local import LocalProvider
from backend.types import ChatRequest, Finished, GenerationParameters, Message, Started, TextDelta, Waiting
from tests.backend.local.tiny import END, HYBRID, OPENS, ask, checkpoint, ids_of, said, scripted

ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def provided(tmp_path, load=None, **options):
    provider = LocalProvider(tmp_path, load=load, **options)
    try:
        async with asyncio.timeout(60):
            yield provider
    finally:
        await provider.aclose()


def always(loaded):
    return lambda name, report: loaded


async def all_of(provider, request):
    async with aclosing(provider.stream(request)) as events:
        return [event async for event in events]


def held(provider):
    """The name of the model in memory."""
    found = provider.held()
    return None if found is None else found.name.removeprefix("local:")


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


class Stream:
    """A stream that is read step by step."""

    def __init__(self, provider, request=None):
        self.events = provider.stream(request or ask())

    async def next(self):
        return await anext(self.events)

    async def upto(self, kind, **fields):
        """The next event of a kind (with these values); those before it are passed over."""
        async for event in self.events:
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                return event
        raise AssertionError(f"no {kind.__name__} {fields}")

    async def rest(self):
        return [event async for event in self.events]

    async def close(self):
        await self.events.aclose()


# ---- the stream
def test_it_is_imported_without_torch():
    heavy = ("torch", "transformers", "safetensors", "accelerate", "bitsandbytes", "huggingface_hub")
    code = f"""
import asyncio, sys
from pathlib import Path
from backend.providers.local import LocalProvider
provider = LocalProvider(Path({str(ROOT)!r}) / "no-such-folder")
asyncio.run(provider.capabilities("demo")); asyncio.run(provider.list_models())
asyncio.run(provider.capabilities({str(ROOT)!r})); asyncio.run(provider.aclose())
print([m for m in {heavy!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


async def test_events_come_in_order(tmp_path):
    def load(name, report):
        report("fetching", 0.5)
        report("loading", 1.0)
        return scripted("Xin chào" + END)

    async with provided(tmp_path, load) as provider:
        assert held(provider) is None
        events = await all_of(provider, ask())
        assert held(provider) == "demo"
    assert events[0] == Started("demo")
    waits = [e for e in events if isinstance(e, Waiting)]
    assert waits[:2] == [Waiting("loading", share=0.5, detail="fetching"), Waiting("loading", share=1.0, detail="loading")]
    assert waits[2] == Waiting("reading", share=0.0)
    assert events.index(waits[-1]) < events.index(next(e for e in events if isinstance(e, TextDelta)))
    assert [type(e) for e in events].count(Finished) == 1
    assert events[-1].reason == "stop" and events[-1].timing is None
    assert events[-1].usage.output_tokens == len(ids_of("Xin chào" + END))
    assert events[-1].usage.reasoning_tokens == 0
    assert said(events) == ("", "Xin chào")


async def test_started_comes_before_any_waiting(tmp_path):
    loading = threading.Event()
    async with provided(tmp_path, lambda name, report: loading.wait(20) and scripted("x" + END)) as provider:
        stream = Stream(provider)
        assert await stream.next() == Started("demo")
        loading.set()
        await stream.close()


async def test_a_trace_streams_as_thinking(tmp_path):
    async with provided(tmp_path, always(scripted("想一想\n</think>\n\n北京" + END, OPENS))) as provider:
        events = await all_of(provider, ask())
        assert said(events) == ("想一想\n", "北京")
        assert events[-1].usage.reasoning_tokens == len(ids_of("想一想\n</think>"))


async def test_an_unfinished_answer_goes_on(tmp_path):
    turns = (Message("user", "?"), Message("assistant", "", thinking="想一"))
    async with provided(tmp_path, always(scripted("想</think>北京" + END, OPENS))) as provider:
        events = await all_of(provider, ChatRequest("demo", turns, continue_last=True))
        assert said(events) == ("想", "北京")


async def test_without_max_tokens_the_catalogues_default_holds(tmp_path):
    async with provided(tmp_path, always(scripted("on and ", context_tokens=None))) as provider:
        finished = (await all_of(provider, ask()))[-1]
        assert (finished.reason, finished.usage.output_tokens) == ("length", 512)


async def test_a_folder_is_loaded_and_one_seed_gives_one_text(tmp_path):
    folder = checkpoint(tmp_path / "tiny", HYBRID)
    request = ask(model=str(folder), temperature=1.2, top_p=0.9, seed=11, max_tokens=24)
    async with provided(tmp_path) as provider:
        first, second = await all_of(provider, request), await all_of(provider, request)
        other = await all_of(provider, replace(request, parameters=replace(request.parameters, seed=12)))
        capabilities = await provider.capabilities(str(folder))
    assert said(first) == said(second) != said(other)
    assert not any(e.stage == "loading" for e in second if isinstance(e, Waiting))
    assert (capabilities.context_tokens, capabilities.thinking) == (512, "switch")


# ---- stopping
async def test_a_stop_in_the_answer_is_instant_and_ends_within_a_token(tmp_path):
    gate = threading.Semaphore(5)
    loaded = scripted("on and on and ", gate=gate)
    async with provided(tmp_path, always(loaded)) as provider:
        stream = Stream(provider)
        await stream.upto(TextDelta)
        await until(lambda: loaded.model.forwards == 5)  # the sixth waits at the gate
        await stream.close()  # returns though the model is in the middle of a token
        gate.release(1000)
        assert (await all_of(provider, ask(max_tokens=1)))[-1].usage.output_tokens == 1
        assert loaded.model.forwards <= 6 + 3  # the one under way, and the second request's own three


async def test_a_stop_while_the_prompt_is_read_ends_within_a_chunk(tmp_path):
    gate = threading.Semaphore(2)
    loaded = scripted("x" + END, gate=gate, chunk_tokens=8)
    async with provided(tmp_path, always(loaded)) as provider:
        stream = Stream(provider, ask("one two three " * 15))
        assert (await stream.upto(Waiting, stage="reading")).share == 0.0
        await until(lambda: loaded.model.forwards == 2)
        await stream.close()
        gate.release(1000)
        await until(lambda: provider._engine._active is None)
        assert loaded.model.forwards in (2, 3)  # at most the chunk under way; reading it all takes six and more


async def test_a_cancelled_reader_stops_the_engine_too(tmp_path):
    gate = threading.Semaphore(0)
    loaded = scripted("on and ", gate=gate)
    async with provided(tmp_path, always(loaded)) as provider:
        reader = asyncio.create_task(all_of(provider, ask()))
        await until(lambda: held(provider) is not None)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        gate.release(1000)
        await until(lambda: provider._engine._active is None)
        assert loaded.model.forwards <= 1


async def test_a_stop_while_the_model_loads_is_instant_and_the_model_is_there_for_the_next(tmp_path):
    ready, loads = threading.Event(), []

    def load(name, report):
        loads.append(name)
        report("loading", 0.1)
        assert ready.wait(20)
        return scripted("x" + END)

    async with provided(tmp_path, load) as provider:
        stream = Stream(provider)
        await stream.upto(Waiting, stage="loading")
        await stream.close()
        ready.set()
        assert said(await all_of(provider, ask()))[1] == "x"
        assert loads == ["demo"]


async def test_a_stop_gives_a_load_up_and_frees_what_was_loaded_unless_somebody_else_waits_for_it(tmp_path):
    stopped, given_up, kept = threading.Event(), [], []

    def load(name, report):
        weights = torch.zeros(10)
        kept.append(weakref.ref(weights))
        report("loading", 0.1)
        assert stopped.wait(20)
        try:
            report("loading", 0.2)
        except BackendError as error:
            given_up.append(error)
            raise
        return scripted("x" + END)

    async with provided(tmp_path, load) as provider:
        stream = Stream(provider)
        await stream.upto(Waiting, stage="loading")
        await stream.close()
        stopped.set()
        await until(lambda: given_up and kept[0]() is None)
        assert "given up" in given_up[0].message and held(provider) is None
        stopped.clear()
        first, second = Stream(provider), Stream(provider)
        await first.upto(Waiting, stage="loading")
        await second.upto(Waiting, stage="queued")
        await first.close()
        stopped.set()
        assert said(await second.rest())[1] == "x"
        assert len(given_up) == 1 and len(kept) == 2


async def test_what_a_load_takes_is_told_while_it_loads(tmp_path):
    def load(name, report):
        report("fetching", 0.5)
        report("loading", 0.0, "9 MB of weights")
        report("loading", 0.5)
        return scripted("x" + END)

    async with provided(tmp_path, load) as provider:
        told = [(e.detail, e.share) for e in await all_of(provider, ask()) if isinstance(e, Waiting) and e.stage == "loading"]
    assert told == [("fetching", 0.5), ("9 MB of weights", 0.0), ("9 MB of weights", 0.5)]


async def test_the_tiny_model_answers_and_says_what_it_takes(tmp_path):
    async with provided(tmp_path) as provider:
        assert (await provider.capabilities("qwen3-next-tiny")).parameters["draft_tokens"].max == 3
        assert "free" in await provider.plan("qwen3-next-tiny")
        events = await all_of(provider, ask("What is 12 + 30?", model="qwen3-next-tiny", draft_tokens=2))
        trace, answer = said(events)
        assert "Ones: 2+0=2" in trace and answer == "12 + 30 = 42"
        assert events[-1].usage.accepted_tokens > 0
        shown = provider.held()
        assert shown.name == "local:qwen3-next-tiny" and shown.steps == "eager" and "%" in shown.guesses


async def test_an_engine_is_busy_from_its_load_to_the_end_of_its_answer(tmp_path):
    go_on = threading.Event()

    def load(name, report):
        report("loading", 0.1)
        assert go_on.wait(20)
        return scripted("x" + END)

    async with provided(tmp_path, load) as provider:
        assert not provider.busy()
        stream = Stream(provider)
        await stream.upto(Waiting, stage="loading")
        assert provider.busy()
        go_on.set()
        await stream.rest()
        await until(lambda: not provider.busy())


async def test_the_model_in_memory_leaves_room_for_the_next_one(tmp_path, monkeypatch):
    """A load frees it first."""
    async with provided(tmp_path) as provider:
        await all_of(provider, ask("Hello", model="qwen3-next-tiny"))
        held = provider._engine.held[1].plan
        needed = held.needed_bytes
        monkeypatch.setattr("backend.local.devices.held_bytes", lambda weights_bytes: {held.devices[0]: weights_bytes})
        monkeypatch.setattr("backend.local.sizing.free_bytes", lambda devices: 0.4 * needed)  # packed it would fit
        assert "in 32 bits" in await provider.plan("qwen3-next-tiny")
        await provider.unload()
        assert "in 4 bits" in await provider.plan("qwen3-next-tiny")


async def test_a_gpu_that_is_full_or_failed_is_said_in_a_plan(tmp_path, monkeypatch):
    def fails(devices):
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr("backend.local.sizing.free_bytes", fails)
    async with provided(tmp_path) as provider:
        with pytest.raises(OutOfMemory):
            await provider.plan("qwen3-next-tiny")


async def test_the_demos_plan_says_where_it_may_not_be_fetched(tmp_path):
    async with provided(tmp_path) as provider:
        assert "to fetch once, then 0.3 GB of weights in 16 bits" in await provider.plan("demo")
        assert await provider.plan("demo@4bit") == "93 MB to fetch once."
        provider._allow_fetch = False
        with pytest.raises(ModelLoadError, match="switched off"):
            await provider.plan("demo")


@pytest.mark.parametrize(("model", "error"), [("/no/such/folder", ModelLoadError), (" ", UnknownModel)])
async def test_a_plan_that_cannot_be_made_says_why(tmp_path, model, error):
    async with provided(tmp_path) as provider:
        with pytest.raises(error) as caught:
            await provider.plan(model)
    assert caught.value.hint


async def test_the_thread_never_waits_for_a_reader(tmp_path):
    loaded = scripted("on and ")
    async with provided(tmp_path, always(loaded)) as provider:
        stream = Stream(provider, ask(max_tokens=300))
        await stream.upto(Waiting, stage="reading")
        await until(lambda: loaded.model.forwards == 302)  # all of it, though nobody reads
        assert (await stream.rest())[-1].usage.output_tokens == 300


# ---- the queue
async def test_requests_wait_in_order_and_see_their_places_change(tmp_path):
    gate = threading.Semaphore(0)
    loaded = scripted("x" + END, gate=gate)
    async with provided(tmp_path, always(loaded)) as provider:
        first, second, third, fourth = (Stream(provider) for _ in range(4))
        await first.upto(Waiting, stage="reading")
        for place, stream in enumerate((second, third, fourth), start=1):
            assert await stream.next() == Started("demo")
            assert await stream.next() == Waiting("queued", position=place)
        await third.close()
        assert await fourth.next() == Waiting("queued", position=2)
        gate.release(1000)
        assert isinstance((await first.rest())[-1], Finished)
        assert (await fourth.next()) == Waiting("queued", position=1)
        assert said(await second.rest())[1] == said(await fourth.rest())[1] == "x"
        assert loaded.model.forwards == 3 * 4


async def test_a_request_behind_a_finished_one_is_not_told_to_queue(tmp_path):
    async with provided(tmp_path, always(scripted("x" + END))) as provider:
        for _ in range(50):
            assert not [e for e in await all_of(provider, ask()) if isinstance(e, Waiting) and e.stage == "queued"]


# ---- one model at a time
async def test_another_model_takes_the_place_of_the_first(tmp_path):
    alive = weakref.WeakValueDictionary()
    seen_at_load = []

    def load(name, report):
        gc.collect()
        seen_at_load.append(sorted(alive))
        loaded = scripted("x" + END, name=name)
        alive[name] = loaded.model
        return loaded

    async with provided(tmp_path, load) as provider:
        for name in ("demo", "demo", "a/b", "demo"):
            await all_of(provider, ask(model=name))
            assert held(provider) == name
    assert seen_at_load == [[], [], []]


async def test_unloading_frees_the_model_and_the_next_request_loads_again(tmp_path):
    loads = []

    def load(name, report):
        loads.append(weakref.ref((loaded := scripted("x" + END)).model))
        return loaded

    async with provided(tmp_path, load) as provider:
        await provider.unload()
        await all_of(provider, ask())
        await provider.unload()
        assert held(provider) is None and loads[0]() is None
        assert said(await all_of(provider, ask()))[1] == "x"
        assert len(loads) == 2


async def test_unloading_waits_for_the_present_answer(tmp_path):
    gate = threading.Semaphore(0)
    async with provided(tmp_path, always(scripted("x" + END, gate=gate))) as provider:
        stream = Stream(provider)
        await stream.upto(Waiting, stage="reading")
        unloading = asyncio.create_task(provider.unload())
        await asyncio.sleep(0.02)
        assert not unloading.done() and held(provider) == "demo"
        gate.release(1000)
        assert isinstance((await stream.rest())[-1], Finished)
        await unloading
        assert held(provider) is None


# ---- errors
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("probability tensor contains nan"), LocalModelError),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), LocalModelError),
    ],
)
async def test_a_failing_model_is_said_and_the_engine_goes_on(tmp_path, error, expected):
    loaded = scripted("x" + END)
    async with provided(tmp_path, always(loaded)) as provider:
        loaded.model.fails_with = error
        with pytest.raises(expected) as caught:
            await all_of(provider, ask())
        assert type(caught.value) is expected and caught.value.hint
        assert caught.value.__cause__ is error
        assert isinstance(error, torch.AcceleratorError) is ("GPU failed" in caught.value.message)
        loaded.model.fails_with = None
        assert said(await all_of(provider, ask()))[1] == "x"


async def test_a_failed_load_is_raised_and_tried_again_next_time(tmp_path):
    attempts = []

    def load(name, report):
        attempts.append(name)
        if len(attempts) == 1:
            raise ModelLoadError("Broken.")
        return scripted("x" + END)

    async with provided(tmp_path, load) as provider:
        with pytest.raises(ModelLoadError, match="Broken"):
            await all_of(provider, ask())
        assert held(provider) is None
        assert said(await all_of(provider, ask()))[1] == "x"


async def test_memory_of_a_failed_load_is_given_back(tmp_path):
    held = []

    def load(name, report):
        half = scripted("x")
        held.append(weakref.ref(half.model))
        raise torch.OutOfMemoryError("CUDA out of memory")

    async with provided(tmp_path, load) as provider:
        with pytest.raises(OutOfMemory) as caught:
            await all_of(provider, ask())
        assert held[0]() is None, caught  # though the error, with its tracebacks, is still in hand


async def test_bad_requests_are_said(tmp_path):
    async with provided(tmp_path, always(scripted("x" + END, context_tokens=30))) as provider:
        with pytest.raises(ContextTooLong):
            await all_of(provider, ask("one " * 60))
        with pytest.raises(BadInput):
            await all_of(provider, replace(ask(), continue_last=True))


async def test_a_missing_folder_and_weights_that_may_not_be_fetched_are_said(tmp_path):
    async with provided(tmp_path, allow_fetch=False) as provider:
        with pytest.raises(ModelLoadError, match="no folder"):
            await all_of(provider, ask(model=str(tmp_path / "nowhere")))
        with pytest.raises(ModelLoadError, match="switched off"):
            await all_of(provider, ask())
        assert [m.id for m in await provider.list_models()] == ["qwen3-next-tiny"]


async def test_a_public_host_loads_nothing_its_owner_did_not_choose_and_reads_none(tmp_path):
    folder = checkpoint(tmp_path / "tiny", OPENS)
    async with provided(tmp_path, only=frozenset({"demo"})) as provider:
        with pytest.raises(UnknownModel, match="owner chose"):
            await all_of(provider, ask(model=str(folder)))
        assert (await provider.capabilities(str(folder))).context_tokens is None


# ---- closing
async def test_closing_ends_what_runs_and_what_waits_and_frees_the_model(tmp_path):
    gate = threading.Semaphore(0)
    loaded = scripted("on and ", gate=gate)
    provider = LocalProvider(tmp_path, load=always(loaded))
    running, waiting = Stream(provider), Stream(provider)
    await running.upto(Waiting, stage="reading")
    await waiting.upto(Waiting, stage="queued")
    closing = asyncio.create_task(provider.aclose())
    await asyncio.sleep(0)
    gate.release(1000)
    await closing
    for stream in (running, waiting):
        with pytest.raises(LocalModelError, match="closed"):
            await stream.rest()
    assert loaded.model.forwards <= 2
    assert held(provider) is None
    assert not any(t.name == "local engine" and t.is_alive() for t in threading.enumerate())
    with pytest.raises(LocalModelError, match="closed"):
        await all_of(provider, ask())
    await provider.unload()
    await provider.aclose()


async def test_closing_gives_a_load_up(tmp_path):
    begun = threading.Event()

    def load(name, report):
        for _ in range(2000):
            report("fetching", 0.1)
            begun.set()
            threading.Event().wait(0.01)
        raise AssertionError("went on to the end")

    provider = LocalProvider(tmp_path, load=load)
    stream = Stream(provider)
    await stream.upto(Waiting, stage="loading")
    await provider.aclose()
    with pytest.raises(LocalModelError, match="closed"):
        await stream.rest()
    assert not any(t.name == "local engine" for t in threading.enumerate())


# ---- what it can do
async def test_the_demo_and_the_tiny_model_are_listed(tmp_path):
    async with provided(tmp_path) as provider:
        assert isinstance(provider, ListsModels)
        assert [(m.id, m.context_tokens) for m in await provider.list_models()] == [("demo", 8192), ("qwen3-next-tiny", 4096)]


@pytest.mark.parametrize(
    ("model", "thinking", "context", "known"),
    [
        ("demo", "never", 8192, True),
        ("Qwen/Qwen3-0.6B", "switch", 40960, True),
        ("Qwen/Qwen3-0.6B@4bit", "switch", 40960, True),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", "always", 262144, True),
        ("someone/unheard-of", "unknown", None, False),
    ],
)
async def test_capabilities_come_from_the_catalogue(tmp_path, monkeypatch, model, thinking, context, known):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    async with provided(tmp_path) as provider:
        found = await provider.capabilities(model)
    assert (found.name, found.thinking, found.context_tokens, found.known) == (f"local:{model}", thinking, context, known)
    assert found.can_continue and found.engine == "local"


async def test_capabilities_of_a_folder_are_read_from_its_files(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    (tmp_path / "chat_template.jinja").write_text(OPENS)
    async with provided(tmp_path) as provider:
        found = await provider.capabilities(str(tmp_path))
    assert (found.thinking, found.context_tokens) == ("always", 2048)
    assert found.parameters["max_tokens"].max == 2048


async def test_capabilities_of_a_hub_model_are_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--someone--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"max_position_embeddings": 777}))
    async with provided(tmp_path) as provider:
        assert (await provider.capabilities("someone/tiny")).context_tokens == 777


async def test_capabilities_of_the_model_in_memory_are_its_own(tmp_path):
    async with provided(tmp_path, always(scripted("x" + END, OPENS, context_tokens=99, name="a/b"))) as provider:
        await all_of(provider, ChatRequest("a/b", (Message("user", "?"),), GenerationParameters(max_tokens=4)))
        found = await provider.capabilities("a/b")
    assert (found.context_tokens, found.thinking) == (99, "always")
