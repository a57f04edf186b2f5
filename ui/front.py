"""What every request passes before gradio sees it, from the outside in: whom this host answers, the HTTP API beside the page, the
visitor, what may be posted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from backend import HTTP_PATHS, Backend, BackendError
from ui import mcp_server, page_files
from ui.beside import BesideThePage
from ui.bodies import BoundedBodies, refuse
from ui.events import Blocks
from ui.page_files import PageFiles
from ui.uploads import BoundedUploads
from ui.visitor import PageHeaders, Visitors

log = logging.getLogger(__name__)


def front(page: ASGIApp, backend: Backend, blocks: Blocks, *, listens_at: str) -> ASGIApp:
    """`page`, which serves `blocks`, with all that stands before it."""
    visitors, files = Visitors.of(backend), blocks.uploads
    page = BesideThePage(page, app_beside=PageFiles(), paths=(page_files.PATH,))
    bodies = BoundedBodies(McpForCallers(page, admit=backend.asking.admit), admit=blocks.admit)
    address_of = lambda scope: visitors.address(Request(scope))  # noqa: E731
    bounded = BoundedUploads(bodies, files=files, owner_of=visitors.owner_of, address_of=address_of)
    headers = PageHeaders(
        bounded, visitors=visitors, on_page=backend.runs.expect, sessions=(backend.runs, blocks.open_pages), owners=(files,)
    )
    beside = BesideThePage(headers, app_beside=backend.http_api(), paths=HTTP_PATHS)
    return OneLine(backend.own_pages_only(beside, listens_at=listens_at))


class McpForCallers:
    """ASGI middleware: gradio's MCP server opens a stream for every GET; ours are for those who may call the HTTP API. What is posted
    there is looked at by the tools themselves."""

    def __init__(self, app: ASGIApp, *, admit: Callable[[Any, Any], None]) -> None:
        self._app, self._admit = app, admit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = str(scope.get("path", "")).removeprefix(scope.get("root_path") or "")
        if scope["type"] == "http" and scope["method"] == "GET" and f"{path}/".startswith(mcp_server.PATH):
            try:
                self._admit(scope, Headers(scope=scope))
            except BackendError as error:
                return await refuse(send, 401, error.message)
        await self._app(scope, receive, send)


class OneLine:
    """ASGI middleware: what a request breaks is one line of the log. The server would write a traceback for each, and anybody can send
    what no page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = False

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            words = " ".join(str(error)[:200].split())
            log.warning("%s %.100s could not be answered: %s: %s", scope["method"], scope["path"], type(error).__name__, words)
            if not begun:
                await refuse(send, 500, "Something went wrong inside the app. Its log has the details.")
