"""What every request passes before gradio sees it, from the outside in: whom this host answers, the HTTP API beside the page, the
visitor, what may be posted."""

from __future__ import annotations

import logging
from typing import Any

from starlette.types import ASGIApp

from backend import HTTP_PATHS, Backend
from ui.beside import BesideThePage
from ui.bodies import BoundedBodies, refuse
from ui.events import Blocks
from ui.uploads import BoundedUploads, UploadedFiles
from ui.visitor import PageHeaders, Visitors

log = logging.getLogger(__name__)


def front(page: ASGIApp, backend: Backend, blocks: Blocks, *, listens_at: str) -> ASGIApp:
    """`page`, which serves `blocks`, with all that stands before it."""
    visitors, files = Visitors.of(backend), UploadedFiles(bounded=backend.settings.public)
    bounded = BoundedUploads(BoundedBodies(page, admit=blocks.admit), files=files, owner_of=visitors.owner_of)
    headers = PageHeaders(
        bounded, visitors=visitors, on_page=backend.runs.expect, sessions=(backend.runs, blocks.open_pages), owners=(files,)
    )
    beside = BesideThePage(headers, app_beside=backend.http_api(), paths=HTTP_PATHS)
    return OneLine(backend.own_pages_only(beside, listens_at=listens_at))


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
