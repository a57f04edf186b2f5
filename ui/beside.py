"""Another ASGI app on the page's port: its paths never pass through gradio's own middleware, which would cost every token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class BesideThePage:
    """ASGI middleware, the outermost: hands what stands under `paths` to `app_beside`, all else to the page."""

    def __init__(self, app: Any, *, app_beside: Any, paths: Sequence[str]) -> None:
        self._page, self._beside, self._paths = app, app_beside, tuple(paths)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._page(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        if any(path == own or path.startswith(f"{own}/") for own in self._paths):
            prefix = scope.get("root_path") or ""  # what stands before the path for those outside
            return await self._beside({**scope, "path": path, "root_path": "", "playground.prefix": prefix}, receive, send)
        await self._page(scope, receive, send)
