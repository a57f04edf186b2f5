"""A page with the app's scripts and styles and nothing else: what draws Markdown is tried there without gradio."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from ui import page_files, theme
from ui.page_files import PageFiles

PAGE = "<!doctype html><html><head><meta charset='utf-8'>{head}</head><body><div id='there' class='answer'></div></body></html>"


def drawing_app() -> Starlette:
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE.format(head=theme.head()))

    files = PageFiles()

    async def served(scope, receive, send):  # type: ignore[no-untyped-def]
        await files({**scope, "path": scope["path"], "root_path": ""}, receive, send)

    return Starlette(routes=[Route("/", page), Mount(page_files.PATH, served)])
