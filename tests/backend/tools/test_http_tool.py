"""Tools that an address answers: what is sent to it, and every answer that is none."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx2
import pytest

from backend.tools.http_tool import MOST_BYTES, HttpTool, call_http
from backend.tools.running import ToolFailed

HERE = "http://127.0.0.1:9/api"


def answering(response, seen=None):
    def handle(request):
        if seen is not None:
            seen.append(request)
        if isinstance(response, Exception):
            raise response
        return response

    return httpx2.MockTransport(handle)


async def call(response, tool=None, arguments=None, seen=None, **where):
    tool = tool or HttpTool(HERE)
    return await call_http(tool, arguments or {}, **{"allow_private": True, **where}, transport=answering(response, seen))


async def test_arguments_fill_the_address_then_go_into_the_body():
    seen = []
    tool = HttpTool("http://127.0.0.1:9/city/{city}?days={days}&unit={unit}", headers={"X-Key": "k"})
    result = await call(httpx2.Response(200, json={"grad": 20}), tool, {"city": "Huế / VN", "days": 3, "note": "ghi chú"}, seen)
    assert json.loads(result) == {"grad": 20}
    assert seen[0].method == "POST"
    assert str(seen[0].url) == "http://127.0.0.1:9/city/Hu%E1%BA%BF%20%2F%20VN?days=3"
    assert json.loads(seen[0].content) == {"note": "ghi chú"}
    assert seen[0].headers["x-key"] == "k"


async def test_a_get_has_them_in_its_query_beside_its_own():
    seen = []
    await call(httpx2.Response(200, text="ok"), HttpTool(f"{HERE}?a=1", "GET"), {"q": "北京 & more", "on": True, "list": [1, "b"]}, seen)
    assert seen[0].url.params.multi_items() == [("a", "1"), ("q", "北京 & more"), ("on", "true"), ("list", "1"), ("list", "b")]
    assert not seen[0].content


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (httpx2.Response(200, html="<p>hello"), "a web page"),
        (httpx2.Response(200, text="<!DOCTYPE html><p>hello"), "a web page"),
        (httpx2.Response(200, content=b"x" * (5 * MOST_BYTES)), "more than 1 MB"),
        (httpx2.Response(200, content=b"\x00\x01", headers={"content-type": "image/png"}), "image/png that is no text"),
        (httpx2.Response(422, json={"detail": "no such city"}), 'status 422: {"detail":"no such city"}'),
        (httpx2.Response(502, html="<p>Bad gateway"), "status 502$"),
        (httpx2.Response(302, headers={"location": "http://169.254.169.254/"}), "sends callers on"),
        (httpx2.ConnectError("refused"), "cannot be reached"),
        (httpx2.ReadTimeout("slow"), "did not answer within 30 s"),
    ],
)
async def test_what_is_no_answer_is_said(response, why):
    with pytest.raises(ToolFailed, match=why):
        await call(response)


async def test_nothing_and_odd_encodings_are_answers():
    assert await call(httpx2.Response(204)) == "[The tool returned nothing.]"
    odd = httpx2.Response(200, content="Huế".encode(), headers={"content-type": "text/plain; charset=nonsense"})
    assert await call(odd) == "Huế"


async def test_a_missing_argument_of_the_address_is_named():
    with pytest.raises(ToolFailed, match="needs the argument city"):
        await call(httpx2.Response(200), HttpTool("http://127.0.0.1:9/{city}"))


@pytest.mark.parametrize(
    ("url", "allow_private"),
    [
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://[fe80::1]/", True),
        ("http://[::ffff:169.254.169.254]/", True),
        ("http://127.0.0.1:8000/", False),
        ("http://10.0.0.1/", False),
        ("http://localhost/", False),
    ],
)
async def test_addresses_inside_are_not_called(url, allow_private):
    seen = []
    with pytest.raises(ToolFailed, match=r"inside the network|private addresses"):
        await call(httpx2.Response(200), HttpTool(url), seen=seen, allow_private=allow_private)
    assert seen == []


async def test_an_argument_cannot_change_the_host():
    seen = []
    await call(httpx2.Response(200, text="ok"), HttpTool("http://127.0.0.1:9/{path}", "GET"), {"path": "@evil.example/../x?y#z"}, seen)
    assert seen[0].url.host == "127.0.0.1"
    assert seen[0].url.raw_path == b"/%40evil.example%2F..%2Fx%3Fy%23z"


async def test_a_strangers_packed_answer_is_not_unpacked(monkeypatch):
    async def anywhere(request):
        """No look at the address."""

    monkeypatch.setattr("backend.addresses.pin", anywhere)
    seen = []
    packed = httpx2.Response(200, stream=httpx2.ByteStream(gzip.compress(b"x" * 10_000_000)), headers={"content-encoding": "gzip"})
    with pytest.raises(ToolFailed, match="packs its answers"):
        await call(packed, seen=seen, allow_private=False)
    assert seen[0].headers["accept-encoding"] == "identity"


async def test_an_answer_that_drips_is_given_up(monkeypatch):
    class Dripping(httpx2.AsyncByteStream):
        async def __aiter__(self):
            while True:
                await asyncio.sleep(0.01)
                yield b"x"

    monkeypatch.setattr("backend.tools.http_tool.TIME_S", 0.2)
    with pytest.raises(ToolFailed, match="did not answer within"):
        await call(httpx2.Response(200, stream=Dripping()))
