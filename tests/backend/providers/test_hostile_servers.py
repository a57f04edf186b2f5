"""Servers that a stranger added: what they send without end, packed, too long or of another kind ends in a sentence, and memory stays."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from contextlib import asynccontextmanager

import httpx2
import pytest
from pydantic import SecretStr

from backend import addresses, response_limits
from backend.catalogue import catalogue
from backend.engines import Access, Engines
from backend.errors import BackendError, BadInput, ProtocolError, StreamBroken, TimedOut
from backend.pipeline import Pipeline, Route
from backend.providers import chunks, http_client, model_list, openai_compatible
from backend.providers.openai_compatible import openai_server
from backend.settings import Server, load_settings
from backend.types import ChatRequest, Finished, Message, TextDelta

SSE, JSON = "text/event-stream", "application/json"
ASK = ChatRequest("m", (Message("user", "hi"),))


def delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


END = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def serving(kind: str, *pieces: bytes, status: int = 200, headers: str = "", endless: bytes = b"", pause_s: float = 0.0):
    """A server that answers every request with `pieces`, then with `endless` until nobody listens. Yields address and requests."""
    requests: list[str] = []

    async def answer(reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            requests.append(head)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n{headers}\r\n".encode())
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests


@pytest.fixture(autouse=True)
def loopback_is_public(monkeypatch):
    async def anywhere(request):
        """The servers of these tests stand on loopback."""

    monkeypatch.setattr(addresses, "pin", anywhere)


async def answer_of(address: str, *, guarded: bool = True) -> tuple[str, BackendError | None]:
    """The text that arrived, and the error that ended it."""
    provider, text, error = openai_server(address, SecretStr("sk-x"), name="x", guarded=guarded), "", None
    try:
        async with asyncio.timeout(60):
            async for event in Pipeline([Route(provider, "m")], sleep=lambda _: asyncio.sleep(0)).stream(ASK):
                text += event.text if isinstance(event, TextDelta) else ""
    except BackendError as raised:
        error = raised
    finally:
        await provider.aclose()
    return text, error


async def models_of(address: str):
    provider = openai_server(address, None, name="x", guarded=True)
    try:
        return await provider.list_models()
    finally:
        await provider.aclose()


# ---------------------------------------------------------------- answers
async def test_a_line_without_an_end_is_ended():
    async with serving(SSE, delta("hi"), endless=b'data: {"choices": ' + b"x" * 65_536) as (address, _):
        text, error = await answer_of(address)
    assert text == "hi" and isinstance(error, StreamBroken) and "one event of more than 524,288 bytes" in error.message


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("extra", [0, 1])
async def test_an_event_may_be_as_long_as_the_limit(monkeypatch, extra, ends):
    monkeypatch.setattr(http_client, "MAX_EVENT_BYTES", 1000)
    long = delta("y").strip() + ends + b":"
    long += b"c" * (1000 + extra - len(long))
    assert len(long) == 1000 + extra
    two = ends * 2
    async with serving(SSE, delta("a").strip() + two, long[:700], long[700:] + ends, ends, END.replace(b"\n", ends)) as (address, _):
        text, error = await answer_of(address)
    assert (text, error is None) == (("ay", True) if not extra else ("a", False))


@pytest.mark.parametrize("extra", [0, 1])
async def test_an_answer_may_have_as_many_bytes_as_the_limit(monkeypatch, extra):
    whole = delta("hi") + END
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", len(whole) - extra)
    async with serving(SSE, whole[:20], whole[20:]) as (address, _):
        text, error = await answer_of(address)
    if extra:
        assert error is not None and f"more than {len(whole) - 1:,} bytes" in error.message
    else:
        assert text == "hi" and error is None


async def test_deltas_of_half_a_megabyte_end_at_two_million_characters():
    async with serving(SSE, endless=delta("x" * 500_000)) as (address, _):
        text, error = await answer_of(address, guarded=False)
    assert len(text) == 2_000_000 and isinstance(error, StreamBroken) and "2,000,000 characters" in error.message


async def test_comments_without_end_are_ended(monkeypatch):
    monkeypatch.setattr(http_client, "MAX_ANSWER_BYTES", 2_000_000)
    async with serving(SSE, endless=b": still here\n\n" * 1000) as (address, _):
        _, error = await answer_of(address)
    assert isinstance(error, ProtocolError) and "2,000,000 bytes" in error.message


@pytest.mark.parametrize("noise", [b"\n", b"\r\n", b":\n\n"])
async def test_lines_without_end_are_ended(monkeypatch, noise):
    monkeypatch.setattr(response_limits, "MAX_EVENT_LINES", 50_000)
    async with serving(SSE, endless=noise * 10_000) as (address, _):
        _, error = await answer_of(address)
    assert isinstance(error, ProtocolError) and "more than 50,000 lines" in error.message


async def test_others_have_their_turn_between_the_lines_of_one_piece():
    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self):
            yield b":\n\n" * 20_000

    response, turns, over = httpx2.Response(200, stream=Body()), 0, False

    async def other():
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    response_limits.limit(response, 10**6, max_event_bytes=10**6)
    task = asyncio.create_task(other())
    pieces = [piece async for piece in response.stream]
    over = True
    await task
    assert b"".join(pieces) == b":\n\n" * 20_000 and turns >= len(pieces) >= 60_000 // response_limits.SLICE_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x-unknown"])
async def test_packed_answers_are_not_unpacked(encoding):
    bomb = gzip.compress(delta("x" * 10_000_000))
    async with serving(SSE, bomb, headers=f"Content-Encoding: {encoding}\r\n") as (address, requests):
        text, error = await answer_of(address)
    assert text == "" and error is not None and "packs its answers" in error.message
    assert "accept-encoding: identity" in requests[0].lower()


async def test_a_whole_answer_is_bounded(monkeypatch):
    body = json.dumps({"choices": [{"message": {"content": "x" * 1000}, "finish_reason": "stop"}]}).encode()
    for limit, right in ((len(body), True), (len(body) - 1, False)):
        monkeypatch.setattr(http_client, "MAX_WHOLE_BYTES", limit)
        async with serving(JSON, body) as (address, _):
            text, error = await answer_of(address)
        assert (len(text) == 1000, error is None) == (right, right)


async def test_a_body_of_an_error_is_read_to_its_limit_and_shown_short():
    async with serving(JSON, b'{"error": {"message": "no\\u202e\\u0007 ', status=400, endless=b"x" * 65_536) as (address, _):
        _, error = await answer_of(address)
    assert error is not None and len(error.message) < 700
    body = json.dumps({"error": {"message": "no\u202e\x07\n" + "y" * 5000, "code": "c\u202e" * 300}}).encode()
    async with serving(JSON, body, status=400) as (address, _):
        _, error = await answer_of(address)
    assert error is not None and len(error.message) < 700 and not set("\u202e\x07\n") & set(error.message)
    assert error.code is not None and len(error.code) <= 120 and "\u202e" not in error.code


async def test_headers_without_end_are_ended():
    async with serving(SSE, headers="X-A: 1\r\n" * 5, endless=b"") as (address, _):
        assert (await answer_of(address))[1] is not None
    requests = 0

    async def answer(reader, writer):
        nonlocal requests
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                writer.write(b"X-Header: " + b"x" * 1000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        _, error = await answer_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert error is not None and requests


@pytest.mark.parametrize(
    "frame",
    [
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 128, "function": {"name": "a"}}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": -1, "function": {"name": "a"}}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": "0", "function": {"name": "a"}}]}}]}\n\n',
        b"data: " + b"9" * 10_000 + b"\n\n",
        b"data: \xff\n\n",
    ],
    ids=["deep", "call 129", "call -1", "call named", "long number", "no UTF-8"],
)
async def test_frames_that_are_none_are_a_sentence(frame):
    async with serving(SSE, delta("hi"), frame) as (address, _):
        text, error = await answer_of(address)
    assert text == "hi" and isinstance(error, StreamBroken)


@pytest.mark.parametrize("told", [-1, 2**40, "7", 1.5, True, [], float("nan")])
async def test_figures_that_cannot_be_are_not_known(told):
    usage = b'data: {"choices": [], "usage": ' + json.dumps({"prompt_tokens": told, "completion_tokens": 3}).encode() + b"}\n\n"
    async with serving(SSE, delta("hi"), END.partition(b"data: [DONE]")[0], usage, b"data: [DONE]\n\n") as (address, _):
        provider = openai_server(address, None, name="x", guarded=True)
        events = [event async for event in provider.stream(ASK)]
        await provider.aclose()
    assert isinstance(last := events[-1], Finished) and (last.usage.input_tokens, last.usage.output_tokens) == (None, 3)


@pytest.mark.parametrize("opened", ['<tool_call>{"name": "', '<tool_call>{"arguments": {"a": "'])
async def test_text_that_stays_undecided_is_ended(monkeypatch, opened):
    monkeypatch.setattr(chunks, "MAX_HELD_CHARS", 5_000)
    reader = chunks.ChunkReader(None, service_splits=False, calls_in_text=True)
    piece = {"choices": [{"delta": {"content": "x"}}]}
    reader.read({"choices": [{"delta": {"content": opened}}]})
    with pytest.raises(TypeError):
        for _ in range(6_000):
            reader.read(piece)


# ---------------------------------------------------------------- model lists
async def test_of_a_long_list_the_first_models_are_kept_and_it_is_said():
    entries = [{"id": f"model-{n:06}", "object": "model", "created": 1, "owned_by": "x"} for n in range(100_000)]
    async with serving(JSON, json.dumps({"object": "list", "data": entries}).encode()) as (address, _):
        models = await models_of(address)
    assert [m.id for m in models] == [f"model-{n:06}" for n in range(model_list.MAX_MODELS)] and models.cut


@pytest.mark.parametrize(
    ("names", "kept", "cut"),
    [
        (["a", "b"], 2, False),
        (["a", "b", "c"], 2, True),
        (["a", "x" * 10], 2, False),
        (["a", "x" * 11], 1, True),
        (["a", ""], 1, False),
        ([{"deep": 1}, 7, None, "a"], 1, False),
    ],
)
async def test_what_a_list_may_hold(monkeypatch, names, kept, cut):
    monkeypatch.setattr(model_list, "MAX_MODELS", 2)
    monkeypatch.setattr(model_list, "MAX_MODEL_NAME_CHARS", 10)
    async with serving(JSON, json.dumps({"data": [{"id": name} for name in names]}).encode()) as (address, _):
        models = await models_of(address)
    assert (len(models), models.cut) == (kept, cut)


async def test_a_list_without_end_is_read_to_its_limit(monkeypatch):
    monkeypatch.setattr(http_client, "MAX_LIST_BYTES", 100_000)
    monkeypatch.setattr(model_list, "MAX_LIST_BYTES", 100_000)
    async with serving(JSON, b'{"data": [', endless=b'{"id": "a"}, ' * 1000) as (address, _):
        models = await models_of(address)
    assert len(models) == model_list.MAX_MODELS and models.cut


async def test_a_list_that_drips_is_given_up(monkeypatch):
    monkeypatch.setattr(openai_compatible, "LISTING_LIMIT_S", 0.3)
    async with serving(JSON, b'{"data": [', endless=b" ", pause_s=0.01) as (address, _):
        with pytest.raises(TimedOut, match="in time"):
            await models_of(address)


@pytest.mark.parametrize("body", [b'{"data": 7}', b'{"data": [{"id"', b"[" * 100_000, b"", b"<html>", b"\xff"])
async def test_what_is_no_list_is_said(body):
    async with serving(JSON, body) as (address, _):
        with pytest.raises(ProtocolError, match="list of models"):
            await models_of(address)


async def test_a_name_is_sent_back_exactly_and_shown_cleaned():
    name = "evil\u202egpj.exe\x07" + "x" * 500
    async with serving(JSON, json.dumps({"data": [{"id": name}]}).encode()) as (address, _):
        engines = Engines(load_settings(), catalogue())
        access = Access().with_server(Server.at(address))
        choice = next(c for c in await engines.choices(access) if c.name.startswith("server:"))
        capabilities = await engines.capabilities(choice.name, access)
        await engines.aclose()
    assert choice.name.endswith("/" + name)
    for shown in (choice.title, capabilities.title):
        assert len(shown) <= 120 and not set("\u202e\x07") & set(shown)


# ---------------------------------------------------------------- addresses
async def test_nothing_of_this_hosts_environment_goes_to_a_stranger(monkeypatch, tmp_path):
    async with serving(SSE, delta("hi") + END, headers="Set-Cookie: a=b\r\n") as (address, requests):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9/")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password canary")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET"):
            monkeypatch.setenv(name, "canary")
        monkeypatch.setenv("OPENAI_ORG_ID", "canary")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "canary")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Canary: canary")
        provider = openai_server(address, None, name="x", guarded=True)
        for _ in range(2):
            assert [e.text async for e in provider.stream(ASK) if isinstance(e, TextDelta)] == ["hi"]
        await provider.aclose()
    assert len(requests) == 2 and "canary" not in "".join(requests) and "cookie" not in "".join(requests).lower()


@pytest.fixture
def turning(monkeypatch):
    """A name that is public when it is first looked at, and loopback afterwards."""
    monkeypatch.undo()
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def turned(host, port, *args, **kwargs):
        if host not in ("turning.example", b"turning.example"):
            return resolve(host, port, *args, **kwargs)
        asked.append(host)
        return [(2, 1, 6, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", turned)
    return asked


@pytest.mark.parametrize("settings", [{"public": True}, {"public": False}], ids=["public", "listens to the network"])
@pytest.mark.parametrize("reach", ["list", "stream"])
async def test_a_name_that_changes_between_look_and_call_is_not_called(turning, settings, reach):
    async with serving(SSE, delta("hi") + END) as (address, requests):
        server = Server.at(address.replace("127.0.0.1", "turning.example"), "sk-canary")
        engines = Engines(load_settings(**settings), catalogue())
        if not settings["public"]:
            engines.serve_others()
        access = Access().with_server(server)
        with pytest.raises(BadInput, match="does not call private addresses"):
            if reach == "list":
                await engines.list_models(server)
            else:
                (route,) = await engines.routes(f"server:{server.name}/m", access)
                async for _ in route.provider.stream(ASK):
                    pass
        await engines.aclose()
    assert len(turning) >= 2 and requests == []


async def test_on_ones_own_machine_and_for_the_owners_servers_names_are_free(turning):
    async with serving(JSON, b'{"data": [{"id": "m"}]}') as (address, requests):
        address = address.replace("127.0.0.1", "turning.example")
        turning.append("looked at before")
        own = Engines(load_settings(public=True, openai_base_url=address), catalogue())
        (server,) = own.settings.all_servers
        assert [m.id for m in await own.list_models(server)] == ["m"]
        home = Engines(load_settings(), catalogue())
        assert [m.id for m in await home.list_models(Server.at(address))] == ["m"]
        for each in (own, home):
            await each.aclose()
    assert len(requests) == 2
