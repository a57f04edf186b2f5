"""What `/v1` adds in front of a server, and how many streams it holds. `python tests/bench/api.py [--no-peer] [--hold SECONDS]`.

In one run, on the same cores: the emulator called directly (the baseline), through this app's `/v1`, and through LiteLLM's proxy,
which is installed for the bench into an environment of its own. One token a frame, as vLLM sends them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp
import psutil

from tests.bench.servers import emulator, machine, started
from tests.running_page import free_port

MODEL = "Qwen/Qwen3-Next-80B-A3B-Instruct"
PEER = "litellm[proxy]==1.100.0"  # the newest whose proxy a registry has whole
FIRST_TOKEN_S, TURNS = 0.05, 100
STREAMS, STREAM_RATE, STREAM_TOKENS = 32, 50.0, 500
HELD, HELD_RATE = 100, 20.0


@dataclass(frozen=True)
class Target:
    """An address with the name that it gives the emulator's model."""

    name: str
    url: str
    model: str


@contextmanager
def ours(emulator_url: str) -> Iterator[tuple[Target, int]]:
    """The whole app, page included, and its process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data:
        told = {"OPENAI_BASE_URL": f"{emulator_url}/v1", "PLAYGROUND_DATA_DIR": data}
        with started(["app.py", "--port", str(port), "--no-demo"], f"{url}/healthz", **told) as process:
            yield Target("/v1", url, f"server:default/{MODEL}"), process.pid


@contextmanager
def peer(emulator_url: str, python: Path) -> Iterator[Target]:
    """LiteLLM's proxy, one worker as ours, without a database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        listed = f"{{model_name: m, litellm_params: {{model: 'openai/{MODEL}', api_base: '{emulator_url}/v1', api_key: none}}}}"
        config.write_text(f"model_list: [{listed}]\nlitellm_settings: {{num_retries: 0, telemetry: false}}\n")
        command = [str(python.parent / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        environment = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment) as process:
            try:
                until_s = time.monotonic() + 180
                while subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{url}/health/liveliness"], check=False).returncode:
                    if process.poll() is not None or time.monotonic() > until_s:
                        log.seek(0)
                        raise RuntimeError(log.read().decode(errors="replace")[-2000:])
                    time.sleep(0.2)
                yield Target("LiteLLM", url, "m")
            finally:
                process.terminate()


def install_peer(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", PEER], check=True)
    return python


async def stream(client: aiohttp.ClientSession, target: Target, prompt: str) -> tuple[float, float, int]:
    """(seconds to the first token, seconds to the end, frames with text) of one answer; raises where it is no whole one."""
    body = {"model": target.model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    start_s, first_s, frames = time.perf_counter(), None, 0
    async with client.post(f"{target.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-bench"}) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{target.name}: {answer.status} {await answer.text()}")
        async for line in answer.content:
            if b'"content":"' in line and b'"content":""' not in line:
                frames += 1
                if first_s is None:
                    first_s = time.perf_counter() - start_s
            elif b'"error"' in line:
                raise RuntimeError(f"{target.name}: {line!r}")
    if first_s is None:
        raise RuntimeError(f"{target.name} sent no text")
    return first_s, time.perf_counter() - start_s, frames


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**20, timeout=aiohttp.ClientTimeout(total=None))


async def first_tokens(targets: list[Target]) -> dict[str, float]:
    """Median seconds to the first token of each, asked in turn so that all meet the same noise."""
    found: dict[str, list[float]] = {t.name: [] for t in targets}
    async with session() as client:
        for _ in range(TURNS + 5):
            for target in targets:
                found[target.name].append((await stream(client, target, "hi [[words:5]] [[chunk:1]]"))[0])
    return {name: statistics.median(times[5:]) for name, times in found.items()}  # the first ones import and connect


async def together(target: Target, count: int, rate: float, tokens: int) -> list[tuple[float, float, int]]:
    prompt = f"hi [[words:{tokens}]] [[rate:{rate}]] [[chunk:1]]"
    async with session() as client:
        await stream(client, target, "hi [[words:5]]")
        return await asyncio.gather(*(stream(client, target, prompt) for _ in range(count)))


async def hold(target: Target, pid: int, seconds: float) -> None:
    """Many slow streams for a minute: errors, the slowest against its ideal, memory at the start and at the end."""
    tokens = int(seconds * HELD_RATE)
    running = asyncio.create_task(together(target, HELD, HELD_RATE, tokens))
    process, sizes = psutil.Process(pid), list[int]()
    until_s = time.perf_counter() + 5
    while not running.done():
        await asyncio.sleep(0.5)
        if time.perf_counter() > until_s:
            sizes.append(process.memory_info().rss)
    found = await running
    ideal_s = FIRST_TOKEN_S + tokens / HELD_RATE
    worst = max(end for _, end, _ in found) / ideal_s
    print(
        f"{HELD} streams at {HELD_RATE:.0f} tokens a second for {seconds:.0f} s through /v1: {len(found)} whole, 0 errors, the slowest "
        f"{worst:.3f} x its ideal, fewest frames {min(frames for *_, frames in found)} of {tokens}; memory {sizes[0] / 1e6:.0f} MB after 5 s, "
        f"{max(sizes) / 1e6:.0f} MB at most = {max(sizes) / sizes[0]:.2f} x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="without LiteLLM")
    parser.add_argument("--hold", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    print(machine())
    with ExitStack() as stack:
        python = None if options.no_peer else install_peer(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        url = stack.enter_context(emulator(rate=STREAM_RATE, first_token_s=FIRST_TOKEN_S))
        direct = Target("direct", url, MODEL)
        through, pid = stack.enter_context(ours(url))
        targets = [direct, through]
        if python is not None:
            targets.append(stack.enter_context(peer(url, python)))
        firsts = asyncio.run(first_tokens(targets))
        for target in targets[1:]:
            print(
                f"time to first token added by {target.name}, median of {TURNS} in turn: {1000 * (firsts[target.name] - firsts['direct']):.1f} ms"
            )
        ends = {t.name: max(end for _, end, _ in asyncio.run(together(t, STREAMS, STREAM_RATE, STREAM_TOKENS))) for t in targets}
        for target in targets:
            print(
                f"{STREAMS} streams of {STREAM_TOKENS} tokens at {STREAM_RATE:.0f} a second, {target.name}: last ends after "
                f"{ends[target.name]:.2f} s = {ends[target.name] / ends['direct']:.3f} x the direct run"
            )
        asyncio.run(hold(through, pid, options.hold))


if __name__ == "__main__":
    main()
