"""The HTTP API alone on a free loopback port, without the page: `with running_api(dashscope_base_url=...) as (url, engines): ...`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from backend import load_settings
from backend.api.app import HttpApi
from backend.catalogue import catalogue
from backend.engines import Engines


@contextmanager
def running_api(**settings: Any) -> Iterator[tuple[str, Engines]]:
    chosen = load_settings(**settings)
    engines = Engines(chosen, catalogue())
    options = {"lifespan": "off", "access_log": False, "log_level": "critical", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(HttpApi(chosen, engines).asgi(), **options))

    async def serve(listening: socket.socket) -> None:
        await server.serve(sockets=[listening])
        await engines.aclose()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(serve(listening)), name="api")
        thread.start()
        try:
            until_s = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive() and time.monotonic() < until_s, "the API did not start"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", engines
        finally:
            server.should_exit = True
            thread.join(timeout=15)
