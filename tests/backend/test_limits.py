"""Every cap at its own number: as many as it says, not one more, and all of it given back. Caps of one module each are tested there too:
providers (test_provider_pool.py), answers (test_answer_limits.py, ui/test_flows.py), events and pages (ui/test_events.py), uploads
(ui/test_uploads.py), batches and judges (compare/)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from backend.api.app import MOST_AT_ONCE, HttpApi
from backend.api.errors import ApiError
from backend.api.requests import Asked
from backend.attachments import MAX_BYTES, MAX_CHARS, read_attachment
from backend.catalogue import catalogue
from backend.engines import Engines
from backend.errors import BadInput
from backend.settings import load_settings
from backend.tools.mcp_client import MOST_CONNECTIONS, MOST_PER_OWNER, McpConnections
from backend.tools.mcp_transport import McpServer
from backend.types import ChatRequest, Message

MODEL = "dashscope:qwen-plus"


# ---- answers over /v1
def api() -> HttpApi:
    settings = load_settings(dashscope_api_key="sk-test")
    return HttpApi(settings, Engines(settings, catalogue()))


def asked(choices: int = 1) -> Asked:
    return Asked(ChatRequest("qwen-plus", (Message("user", "hi"),)), stream=True, include_usage=False, choices=choices, ignored=())


async def test_so_many_answers_over_the_http_api_and_not_one_more():
    host = api()
    jobs = [await host._job(MODEL, asked(), "r") for _ in range(MOST_AT_ONCE)]
    with pytest.raises(ApiError) as refused:
        await host._job(MODEL, asked(), "r")
    assert refused.value.status == 429 and refused.value.headers["retry-after"]
    jobs[0].done()
    again = await host._job(MODEL, asked(), "r")
    for job in (*jobs[1:], again):
        job.done()
    assert host._active == 0


async def test_choices_of_one_request_count_each_and_are_given_back_together():
    host = api()
    job = await host._job(MODEL, asked(MOST_AT_ONCE), "r")
    with pytest.raises(ApiError):
        await host._job(MODEL, asked(), "r")
    job.done()
    (await host._job(MODEL, asked(MOST_AT_ONCE - 1), "r")), (await host._job(MODEL, asked(), "r"))
    with pytest.raises(ApiError):
        await host._job(MODEL, asked(2), "r")


@pytest.mark.parametrize("end", ["finished", "failed", "gone"])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_gives_its_place_back_however_it_ends(scripted, monkeypatch, end, stream):
    """Through the whole route, with a caller who leaves in the middle among them."""
    host = api()
    waiting = asyncio.Event()
    script = {"finished": [], "failed": [ValueError("no")], "gone": [waiting.wait]}[end]
    provider = scripted(script)

    async def pipeline(name, access):
        return provider

    monkeypatch.setattr(host._engines, "pipeline", pipeline)
    body = b'{"model":"%s","messages":[{"role":"user","content":"hi"}],"stream":%s}' % (MODEL.encode(), b"true" if stream else b"false")
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop(0)
        if end != "gone":
            await asyncio.Event().wait()
        while not provider.requests:
            await asyncio.sleep(0)
        assert host._active == 1
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(30):
        response = await host.chat(Request(scope, receive), "r")
        await response(scope, receive, send)
    assert host._active == 0 and provider.closed == 1


# ---- MCP servers
class Session:
    """A connection to an MCP server that answers nothing."""

    def __init__(self, closed: list[str], name: str) -> None:
        self.listed, self.alive, self._closed, self._name = (), True, closed, name

    async def aclose(self) -> None:
        self._closed.append(self._name)

    async def call(self, name, arguments, limit_s):
        return SimpleNamespace(content=[], structuredContent=None, isError=False)


@pytest.fixture
def mcp(monkeypatch) -> tuple[McpConnections, list[str]]:
    closed: list[str] = []
    connections = McpConnections(allow_stdio=False, allow_private=True)

    async def opened(server):
        return Session(closed, server.name)

    monkeypatch.setattr(connections, "_open", opened)
    return connections, closed


async def connect(connections: McpConnections, owner: str, name: str) -> None:
    await connections.connect(owner, McpServer(name, url="http://127.0.0.1:1/mcp"))


async def test_an_owner_has_so_many_mcp_servers_and_one_more_closes_one(mcp):
    connections, closed = mcp
    for n in range(MOST_PER_OWNER):
        await connect(connections, "me", f"s{n}")
    assert closed == []
    await connect(connections, "me", "one more")
    assert closed == ["s0"]
    await connect(connections, "you", "theirs")
    assert closed == ["s0"]
    await connections.disconnect("me", "s1")
    await connect(connections, "me", "in its place")
    assert closed == ["s0", "s1"]


async def test_all_owners_together_have_so_many(mcp):
    connections, closed = mcp
    for n in range(MOST_CONNECTIONS):
        await connect(connections, f"owner {n}", f"s{n}")
    assert closed == []
    await connect(connections, "one more", "s")
    assert closed == ["s0"]
    await connections.aclose()
    assert len(closed) == MOST_CONNECTIONS + 1 and len(set(closed)) == len(closed)


# ---- attachments
@pytest.mark.parametrize(("size", "taken"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
async def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(tmp_path, size, taken):
    file = tmp_path / "a.txt"
    file.write_bytes(b"line of text\n" * (size // 13) + b"x" * (size % 13))
    if taken:
        assert (await read_attachment(file, name="a.txt")).truncated
    else:
        with pytest.raises(BadInput, match="too large"):
            await read_attachment(file, name="a.txt")


@pytest.mark.parametrize(("length", "truncated"), [(MAX_CHARS, False), (MAX_CHARS + 1, True)])
async def test_a_text_of_the_greatest_length_is_whole_and_one_character_more_is_cut(tmp_path, length, truncated):
    file = tmp_path / "a.txt"
    file.write_text("ă" * length, encoding="utf-8")
    attachment = await read_attachment(file, name="a.txt")
    assert (len(attachment.text), attachment.truncated) == (MAX_CHARS, truncated)
