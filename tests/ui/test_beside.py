"""The HTTP API's place beside the page, also where a proxy puts a prefix before both."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from backend.api.described import address_of
from ui.beside import BesideThePage


async def address(scope, receive, send):
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    await PlainTextResponse(f"{scope['path']} at {address_of(scope, headers)}")(scope, receive, send)


@pytest.mark.parametrize(
    ("prefix", "path", "told"),
    [
        ("", "/docs", "/docs at http://play.example"),
        ("/play", "/play/docs", "/docs at http://play.example/play"),
        ("/play", "/docs", "/docs at http://play.example/play"),
        ("", "/docs/x", "/docs/x at http://play.example"),
    ],
)
def test_the_prefix_is_taken_off_the_path_and_kept_in_the_address(prefix, path, told):
    app = BesideThePage(Starlette(), app_beside=address, paths=["/docs"])
    with TestClient(app, base_url="http://play.example", root_path=prefix) as client:
        assert client.get(path).text == told


def test_all_else_is_the_pages():
    app = BesideThePage(Starlette(), app_beside=address, paths=["/docs"])
    with TestClient(app) as client:
        assert client.get("/documents").status_code == 404
