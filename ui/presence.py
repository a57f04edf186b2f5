"""Which pages are open: gradio's pages hold a connection each for as long as they are."""

from __future__ import annotations

import re
from typing import Any

from backend import Backend

_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/([^/]+)/?\Z")


class Presence:
    """ASGI middleware: tells the runs when a page's connection opens and closes."""

    def __init__(self, app: Any, *, backend: Backend) -> None:
        self._app, self._runs = app, backend.runs

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = _HEARTBEAT.search(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            return await self._app(scope, receive, send)
        self._runs.arrive(found[1])
        try:
            await self._app(scope, receive, send)
        finally:
            self._runs.leave(found[1])
