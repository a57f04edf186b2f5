"""An open page is one whose own connection is open."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from ui.presence import Presence


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def arrive(self, session: str) -> None:
        self.told.append(("arrive", session))

    def leave(self, session: str) -> None:
        self.told.append(("leave", session))


def beside(app, heard: Heard) -> Presence:
    return Presence(app, backend=SimpleNamespace(runs=heard))


async def call(presence: Presence, path: str, kind: str = "http") -> None:
    await presence({"type": kind, "path": path}, None, None)


@pytest.mark.parametrize("path", ["/gradio_api/heartbeat/abc1", "/prefix/gradio_api/heartbeat/abc1", "/gradio_api/heartbeat/abc1/"])
async def test_a_page_is_there_for_as_long_as_its_connection(path):
    heard, over = Heard(), asyncio.Event()

    async def stream(scope, receive, send) -> None:
        await over.wait()

    connection = asyncio.create_task(call(beside(stream, heard), path))
    await asyncio.sleep(0)
    assert heard.told == [("arrive", "abc1")]
    over.set()
    await connection
    assert heard.told == [("arrive", "abc1"), ("leave", "abc1")]


async def test_a_connection_that_breaks_is_a_page_that_left():
    heard = Heard()

    async def breaks(scope, receive, send) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await call(beside(breaks, heard), "/gradio_api/heartbeat/abc1")
    assert heard.told == [("arrive", "abc1"), ("leave", "abc1")]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "http"), ("/gradio_api/queue/data", "http"), ("/gradio_api/heartbeat/", "http"), ("/gradio_api/heartbeat/x", "lifespan")],
)
async def test_other_requests_tell_nothing(path, kind):
    heard, passed = Heard(), []

    async def app(scope, receive, send) -> None:
        passed.append(scope["path"])

    await call(beside(app, heard), path, kind)
    assert heard.told == [] and passed == [path]
