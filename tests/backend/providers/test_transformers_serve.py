"""A real `transformers serve` over the demo's weights: an OpenAI-compatible server to test against. Run with `-m slow`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import httpx2
import pytest
from openai import AsyncOpenAI

from backend.local import demo
from tests.backend.local.real_demo import real_demo

pytestmark = pytest.mark.slow

STARTS_WITHIN_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(base URL, the model's name there)"""
    folder, port = real_demo(tmp_path_factory) / "models" / demo.FOLDER, free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            until_s = time.monotonic() + STARTS_WITHIN_S
            while not healthy(port):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < until_s, log.read_text()[-2000:]
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            process.terminate()


def healthy(port):
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


async def test_it_streams_a_chat(served):
    base_url, model = served
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            max_tokens=20,
            stream=True,
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "Paris" in text
    assert chunks[-1].choices[0].finish_reason == "stop" or chunks[-1].usage is not None
