"""Processes that the benches measure: the emulator, the page, and bare Gradio apps as baselines. Nothing here measures."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.running_page import free_port

ROOT = Path(__file__).resolve().parents[2]


def machine() -> str:
    """The line that stands beside every figure."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def wait_for(url: str, process: subprocess.Popen[bytes], timeout_s: float = 120) -> float:
    """Seconds until `url` answers with 200."""
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < timeout_s:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        try:
            if httpx2.get(url, timeout=2).status_code == 200:
                return time.perf_counter() - start_s
        except httpx2.HTTPError:
            time.sleep(0.01)
    raise TimeoutError(url)


@contextmanager
def started(arguments: list[str], url: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False", **environment}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(url, process)
            yield process
        except RuntimeError:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def emulator(*, rate: float = 100.0, first_token_s: float = 0.2) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["app.py", "mock", "--port", str(port), "--rate", str(rate), "--first-token", str(first_token_s)]
    with started(arguments, f"{url}/mock/state"):
        yield url


@contextmanager
def the_page(emulator_url: str, **environment: str) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data:
        told = {"DASHSCOPE_BASE_URL": emulator_url, "DASHSCOPE_API_KEY": "bench", "PLAYGROUND_DATA_DIR": data, **environment}
        with started(["app.py", "--port", str(port), "--no-demo"], f"{url}/config", **told):
            yield url


@contextmanager
def bare_gradio(kind: str, emulator_url: str = "") -> Iterator[str]:
    """A minimal app from `tests/bench/bare.py`: the baseline of a figure."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(["tests/bench/bare.py", kind, str(port), emulator_url], f"{url}/config"):
        yield url
