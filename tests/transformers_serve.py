"""A real `transformers serve` over the demo's weights, for any slow test: `with transformers_serve(factory) as (base_url, model): ...`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from backend.local import demo
from tests.backend.local.real_demo import real_demo
from tests.running_page import free_port

STARTS_WITHIN_S = 120


@contextmanager
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder, port = real_demo(tmp_path_factory) / "models" / demo.FOLDER, free_port()
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            until_s = time.monotonic() + STARTS_WITHIN_S
            while not _healthy(port):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < until_s, log.read_text()[-2000:]
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            process.terminate()


def _healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
