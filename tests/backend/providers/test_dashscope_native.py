"""The native engine against bytes from a loopback server: frames, errors that the vendor's SDK hides, cuts and silence."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.errors import (
    AuthError,
    BackendError,
    ContentFiltered,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    StreamBroken,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from backend.providers import dashscope_native
from backend.providers.dashscope_native import DashScopeNativeProvider
from backend.types import (
    ChatRequest,
    Event,
    Finished,
    GenerationParameters,
    Message,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
)

KEY = SecretStr("sk-secret-of-a-test")
MODEL = "qwen3-next-80b-a3b-thinking"
REQUEST = ChatRequest(MODEL, (Message("user", "hi"),), GenerationParameters(top_k=20, thinking_budget=64))
ROOT = Path(__file__).resolve().parents[3]
PAGE = b"<html><body>502 Bad Gateway</body></html>"


def frame(thinking: str = "", text: str = "", reason: str = "null", *, usage: dict | None = None, **message) -> bytes:
    said = {"content": text, "reasoning_content": thinking, "role": "assistant", **message}
    data = {"output": {"choices": [{"message": said, "finish_reason": reason}]}, "usage": usage or {}, "request_id": "r-1"}
    return f"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(data, ensure_ascii=False)}\n\n".encode()


def used(output: int, reasoning: int) -> dict:
    return {"input_tokens": 10, "output_tokens": output, "output_tokens_details": {"reasoning_tokens": reasoning}}


def error_frame(code: str, message: str = "x", status: int = 400) -> bytes:
    data = json.dumps({"code": code, "message": message, "request_id": "r-9"})
    return f"id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:{data}\n\n".encode()


def answer(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def streamed(*frames: bytes) -> bytes:
    return answer(200, "text/event-stream;charset=UTF-8", b"".join(frames))


class Loopback:
    """Answers each connection with the same bytes, then closes; with `None` it stays silent until the client leaves."""

    def __init__(self) -> None:
        self.reply: bytes | None = b""
        self.requests: list[bytes] = []
        self.left = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")).split(b":")[1])
        self.requests.append(head + await reader.readexactly(size))
        self.asked.set()
        if self.reply is None:
            await reader.read()
            self.left.set()
        else:
            writer.write(self.reply)
        writer.close()

    @property
    def body(self) -> dict:
        return json.loads(self.requests[-1].partition(b"\r\n\r\n")[2])


Provide = Callable[..., DashScopeNativeProvider]


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    served = Loopback()
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    served.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield served


async def events(loopback: Loopback, reply: bytes | None, request: ChatRequest = REQUEST) -> list[Event]:
    loopback.reply = reply
    async with aclosing(DashScopeNativeProvider(loopback.host, KEY, region="beijing").stream(request)) as stream:
        return [event async for event in stream]


async def failure(loopback: Loopback, reply: bytes | None) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await events(loopback, reply)
    assert KEY.get_secret_value() not in f"{caught.value!r} {caught.value.hint}"
    assert caught.value.message and caught.value.hint
    return caught.value


async def test_frames_as_documented(loopback):
    frames = [frame("Hm", usage=used(3, 1)), frame("", "4 🙂", usage=used(5, 1)), frame(reason="stop", usage=used(6, 1))]
    assert await events(loopback, streamed(*frames)) == [
        Started(MODEL),
        ThinkingDelta("Hm", 1),
        TextDelta("4 🙂"),
        Finished("stop", Usage(10, 6, 1, None), request_id="r-1"),
    ]


async def test_what_is_sent(loopback):
    await events(loopback, streamed(frame(text="4", reason="stop")))
    assert loopback.body == {
        "model": MODEL,
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "parameters": {"result_format": "message", "incremental_output": True, "top_k": 20, "thinking_budget": 64},
    }
    head = loopback.requests[-1].decode().lower()
    assert head.startswith("post /api/v1/services/aigc/text-generation/generation ")
    assert "x-dashscope-sse: enable" in head and f"authorization: bearer {KEY.get_secret_value()}" in head


async def test_tool_calls_come_in_pieces(loopback):
    pieces = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "id": "", "type": "function", "function": {"arguments": '{"city": "Huế"}'}},
        {"index": 0, "id": "", "type": "function", "function": {}},
    ]
    frames = [frame(tool_calls=[piece]) for piece in pieces[:2]] + [frame(reason="tool_calls", tool_calls=[pieces[2]])]
    found = await events(loopback, streamed(*frames))
    assert found[1:-1] == [ToolCallDelta(0, "call_1", "weather"), ToolCallDelta(0, arguments='{"city": "Huế"}'), ToolCallDelta(0)]
    assert found[-1].reason == "tool_calls"


async def test_an_unknown_finish_reason_and_a_missing_usage_are_unknown(loopback):
    found = await events(loopback, streamed(frame(text="4", reason="new_reason")))
    assert found[-1] == Finished("unknown", Usage(), request_id="r-1")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", RequestRejected),
        (400, "Arrearage", QuotaExhausted),
        (401, "InvalidApiKey", AuthError),
        (404, "ModelNotFound", UnknownModel),
        (429, "Throttling.RateQuota", RateLimited),
        (503, "ModelUnavailable", Unavailable),
    ],
)
async def test_a_refusal_comes_as_json_or_as_an_event_stream(loopback, status, code, kind):
    body = json.dumps({"code": code, "message": "x", "request_id": "r-9"}).encode()
    for kind_of_body, content in (("application/json", body), ("text/event-stream;charset=UTF-8", error_frame(code, status=status))):
        error = await failure(loopback, answer(status, kind_of_body, content))
        assert type(error) is kind and (error.code, error.request_id) == (code, "r-9")


@pytest.mark.parametrize(
    ("code", "kind"), [("Throttling", RateLimited), ("DataInspectionFailed", ContentFiltered), ("InternalError", Unavailable)]
)
async def test_an_error_inside_the_stream_is_told_by_its_code(loopback, code, kind):
    for before in (b"", frame("Hm")):
        error = await failure(loopback, streamed(before, error_frame(code, status=429)))
        assert type(error) is kind and error.code == code


@pytest.mark.parametrize(
    ("bad", "before", "begun"),
    [
        (b"id:2\nevent:result\ndata:{half\n\n", Unavailable, StreamBroken),  # the SDK calls such a frame a 500
        (b'id:2\nevent:result\ndata:{"code":"x"}\n\n', ProtocolError, StreamBroken),
        (b"id:2\nevent:error\ndata:{}\n\n", ProtocolError, StreamBroken),
        (b"event:result\ndata:[]\n\n", ProtocolError, StreamBroken),
        (b'event:result\ndata:{"output":{"choices":["x"]}}\n\n', ProtocolError, StreamBroken),
        (b"event:result\ndata:\xff\xfe\n\n", ProtocolError, StreamBroken),
        (b"", ProtocolError, StreamBroken),  # no finish reason
    ],
)
async def test_frames_that_the_sdk_trips_over(loopback, bad, before, begun):
    assert type(await failure(loopback, streamed(bad))) is before
    assert type(await failure(loopback, streamed(frame("Hm"), bad))) is begun


@pytest.mark.parametrize(
    ("status", "kind", "body", "expected"),
    [
        (502, "text/html", PAGE, Unavailable),
        (404, "text/html", PAGE, ProtocolError),
        (200, "text/html", PAGE, Unavailable),
        (200, "application/json", b'{"code":"InvalidApiKey","message":"x"}', ProtocolError),
        (200, "application/json", b"{", ProtocolError),
        (500, "application/json", b'{"message":"no code"}', Unavailable),
    ],
)
async def test_bodies_that_are_no_answer(loopback, status, kind, body, expected):
    assert type(await failure(loopback, answer(status, kind, body))) is expected


async def test_a_cut_breaks_a_begun_answer_and_may_be_tried_again_before(loopback):
    whole = streamed(frame("Hm"), frame("more"))
    assert type(await failure(loopback, whole[:-10])) is StreamBroken
    before = await failure(loopback, whole[: whole.index(b"\r\n\r\n") + 4])
    assert type(before) is Unavailable and before.retryable
    assert type(await failure(loopback, b"")) is Unavailable


async def test_leaving_before_the_first_frame_ends_the_connection(loopback):
    loopback.reply = None
    stream = DashScopeNativeProvider(loopback.host, KEY, region="beijing").stream(REQUEST)
    assert isinstance(await anext(stream), Started)
    waiting = asyncio.create_task(anext(stream))
    async with asyncio.timeout(30):
        await loopback.asked.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await stream.aclose()
        await loopback.left.wait()


async def test_a_service_that_says_nothing_is_given_up(loopback, monkeypatch):
    monkeypatch.setattr(dashscope_native, "READ_TIMEOUT_S", 0.05)
    error = await failure(loopback, None)
    assert type(error) is TimedOut and "in time" in error.message


async def test_an_address_that_takes_no_connection_is_given_up(monkeypatch):
    monkeypatch.setattr(dashscope_native, "CONNECT_TIMEOUT_S", 0.1)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # more than the queue holds: the next one is left hanging
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(listening.getsockname())
            provider = DashScopeNativeProvider(f"http://127.0.0.1:{listening.getsockname()[1]}", KEY, region="beijing")
            async with asyncio.timeout(30):
                with pytest.raises(Unavailable) as caught:
                    async with aclosing(provider.stream(REQUEST)) as stream:
                        [event async for event in stream]
        finally:
            for each in waiting:
                each.close()
    assert "cannot be reached at http://127.0.0.1" in caught.value.message


async def test_without_a_key_none_is_looked_for_elsewhere(loopback, monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-of-the-owner")
    with pytest.raises(AuthError):
        async with aclosing(DashScopeNativeProvider(loopback.host, None, region="beijing").stream(REQUEST)) as stream:
            [event async for event in stream]
    assert not loopback.requests


async def test_the_sdk_logs_no_tracebacks(loopback, caplog):
    with caplog.at_level(logging.WARNING):
        await failure(loopback, b"")
        await failure(loopback, answer(400, "application/json", b'{"code":"InvalidParameter","message":"x"}'))
    assert not [r for r in caplog.records if r.name == "dashscope"]


def test_the_sdk_is_imported_at_the_first_request_only():
    code = "import sys; import backend.providers.dashscope_native; print('dashscope' in sys.modules, 'aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr
