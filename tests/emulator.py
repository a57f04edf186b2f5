"""The DashScope emulator on a free loopback port, for any test: `with running_emulator() as base_url: ...`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from backend.mock.config import MockConfig
from backend.mock.server import create_server

http = httpx.Client(verify=False, trust_env=False, timeout=30)  # one for all: a new client costs 50 ms for certificates
FAST: dict[str, Any] = {"first_token_s": 0.0, "tokens_per_s": 2000.0, "jitter": 0.0}


@contextmanager
def running_emulator(**config: Any) -> Iterator[str]:
    """Yields `http://127.0.0.1:PORT`. Paced fast; every field of `MockConfig` may be given."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = create_server("127.0.0.1", 0, MockConfig(**{**FAST, **config}), log_level="critical")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="emulator")
        thread.start()
        try:
            deadline_s = time.monotonic() + 30
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline_s:
                    raise RuntimeError("the emulator did not start")
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def bodies(base_url: str) -> list[dict[str, Any]]:
    """What was asked of it, oldest first."""
    return [request["body"] for request in http.get(f"{base_url}/mock/state").json()["requests"]]


def runs(base_url: str) -> list[dict[str, Any]]:
    """What became of its answers, oldest first."""
    found: list[dict[str, Any]] = http.get(f"{base_url}/mock/state").json()["runs"]
    return found
