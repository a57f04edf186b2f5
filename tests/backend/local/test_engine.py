"""The engine's thread outlives whatever a model does to it; two threads that begin at once do not trip over each other."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import torch

import app
from backend.errors import BackendError, LocalModelError
from backend.local import plan, tiny
from backend.local.engine import Engine
from backend.local.names import parse
from backend.types import ChatRequest, Finished, GenerationParameters, Message

ASKED = ChatRequest("m", (Message("user", "?"),), GenerationParameters())


async def outcome(engine):
    job = engine.submit(ASKED)
    while True:
        async with asyncio.timeout(30):
            item = await job.outbox.get()
        if isinstance(item, BackendError | Finished):
            return item


async def test_a_gpu_that_refuses_even_to_free_memory_is_said_each_time_and_nobody_waits_for_ever():
    def lost(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = Engine(lambda name, report: name, lost, lambda error: LocalModelError("The GPU failed."), lost)
    for _ in range(2):
        assert (await outcome(engine)).message == "The GPU failed."
    async with asyncio.timeout(30):
        await engine.unload()
    assert engine.held is None
    await engine.aclose()


def test_a_plan_leaves_the_default_dtype_of_the_process_alone(monkeypatch):
    """It is one for all threads: a load beside the plan would take it."""
    monkeypatch.setattr(torch, "set_default_dtype", lambda dtype: (_ for _ in ()).throw(AssertionError(dtype)))
    assert plan.make(parse(tiny.NAME), tiny.FOLDER).weights_bytes > 0


BOTH = """
import asyncio
from pathlib import Path
from backend.providers.local import LocalProvider
from backend.types import ChatRequest, GenerationParameters, Message
from backend.warmup import warm_up

async def ask(provider):
    request = ChatRequest("qwen3-next-tiny", (Message("user", "What is 12 + 30?"),), GenerationParameters(max_tokens=3))
    return [type(event).__name__ async for event in provider.stream(request)][-1]

async def main():
    provider = LocalProvider(Path("none"), allow_fetch=False)
    warm_up("local:qwen3-next-tiny")
    asked = asyncio.create_task(ask(provider))
    await asyncio.sleep(0.5)
    print(*await asyncio.gather(asked, provider.plan("qwen3-next-tiny"), return_exceptions=True))
    await provider.aclose()

asyncio.run(main())
"""


def test_a_first_question_a_plan_and_the_warm_up_may_import_at_once():
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", BOTH], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Finished ") and "are free" in done.stdout
