"""The files that the page asks for beside itself: its Markdown worker, and what that takes from npm (assets/vendor).

Their address holds a version, made of their contents, so that a browser keeps them for good and never mixes two versions.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2s
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from backend.catalogue import ASSETS

PATH = "/page"  # `/assets` is gradio's
FOLDERS = ("page", "vendor")
_KEPT = (b"cache-control", b"public, max-age=31536000, immutable")


@cache
def version() -> str:
    told = blake2s(digest_size=6)
    for file in (ASSETS / "vendor" / "vendor.json", *sorted((ASSETS / "page").iterdir())):  # the former tells each vendored file's hash
        told.update(file.name.encode() + file.read_bytes())
    return told.hexdigest()


class PageFiles:
    """ASGI app: `/page/VERSION/FOLDER/FILE`. Another version, of a page that is open while the app is renewed, is not kept."""

    def __init__(self) -> None:
        self._folders = {name: StaticFiles(directory=ASSETS / name) for name in FOLDERS}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        _, asked, folder, file = (*scope["path"].removeprefix(PATH).split("/", 3), "", "", "")[:4]
        if folder not in self._folders or not file.endswith((".js", ".css", ".woff2")) or "node_modules" in file:
            return await PlainTextResponse("Not found", 404)(scope, receive, send)

        async def kept(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200 and asked == version():
                message = {**message, "headers": [*message["headers"], _KEPT]}
            await send(message)

        await self._folders[folder]({**scope, "path": f"/{file}", "root_path": ""}, receive, kept)
