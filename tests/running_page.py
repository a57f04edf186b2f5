"""The page on a free loopback port, for any test: `with running_page(dashscope_base_url=...) as (url, backend): ...`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from backend import Backend, load_settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_page(
    *, host: str = "127.0.0.1", root_path: str | None = None, shared: bool = False, **settings: Any
) -> Iterator[tuple[str, Backend]]:
    from ui.app import build, launch

    backend = Backend(load_settings(**settings), shared=shared)
    with ThreadPoolExecutor(1) as pool:  # Playwright's own event loop runs in the tests' thread
        choices, model, capabilities = pool.submit(asyncio.run, backend.first_choices()).result()
    demo = build(backend, choices, model, capabilities)
    try:
        yield launch(demo, backend, host=host, port=free_port(), root_path=root_path, block=False).rstrip("/"), backend
    finally:
        demo.close()
