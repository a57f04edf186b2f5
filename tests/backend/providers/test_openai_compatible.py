"""The compatible engine against bytes as services send them: frames, envelopes, cuts and pages that are no answer."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx2
import openai
import pytest
from pydantic import SecretStr

from backend.errors import (
    AuthError,
    BackendError,
    BadInput,
    ContextTooLong,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    StreamBroken,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from backend.providers.connection import key_text, quoted, shown_address
from backend.providers.openai_compatible import OpenAICompatibleProvider, dashscope, openai_server
from backend.types import (
    AnswerWasThinking,
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
HOSTED, ALWAYS, HYBRID, NEVER, NOBODY_KNOWS = (
    "qwen3-next-80b-a3b-thinking",
    "Qwen/Qwen3-Next-80B-A3B-Thinking",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "someone/some-model",
)
SSE = {"content-type": "text/event-stream"}
PAGE = "<html><body>502 Bad Gateway</body></html>"


class Body(httpx2.AsyncByteStream):
    """Parts of a body, one network read each; an exception among them is raised in its place."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts, self.closed = parts, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self) -> None:
        self.closed = True


def delta(**fields) -> bytes:
    return frame({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def ending(reason: str = "stop", **usage) -> bytes:
    end = frame({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}]})
    return end + (frame({"choices": [], "usage": usage}) if usage else b"") + b"data: [DONE]\n\n"


def frame(data: object) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def streamed(*parts: bytes | Exception, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, headers={**SSE, **headers}, stream=Body(*parts))


def client(*answers: httpx2.Response | Exception, seen: list[httpx2.Request] | None = None) -> httpx2.AsyncClient:
    rest = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        found = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(found, Exception):
            raise found
        return found

    return openai.DefaultAsyncHttpx2Client(transport=httpx2.MockTransport(answer), follow_redirects=False)


def hosted(*answers: httpx2.Response | Exception) -> OpenAICompatibleProvider:
    return dashscope("http://dashscope.test", KEY, region="beijing", http_client=client(*answers))


def server(*answers: httpx2.Response | Exception) -> OpenAICompatibleProvider:
    return openai_server("http://user:word@host.test:8000/v1", KEY, name="box", http_client=client(*answers))


def asking(model: str, **parameters) -> ChatRequest:
    return ChatRequest(model, (Message("user", "hi"),), GenerationParameters(**parameters))


async def events(provider: OpenAICompatibleProvider, model: str = ALWAYS, **parameters) -> list[Event]:
    async with aclosing(provider.stream(asking(model, **parameters))) as stream:
        return [event async for event in stream]


async def failure(provider: OpenAICompatibleProvider, model: str = ALWAYS) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await events(provider, model)
    told = f"{caught.value!r} {caught.value.message} {caught.value.hint} {caught.value.code}"
    assert KEY.get_secret_value() not in told and "word@" not in told
    assert caught.value.message and caught.value.hint
    return caught.value


def shown(found: list[Event]) -> tuple[str, str]:
    """(thinking, answer) as a page would hold them at the end."""
    thinking = answer = ""
    for event in found:
        match event:
            case ThinkingDelta(text=text):
                thinking += text
            case TextDelta(text=text):
                answer += text
            case AnswerWasThinking():
                thinking, answer = thinking + answer, ""
    return thinking, answer


class TestReading:
    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    async def test_a_trace_in_a_field_of_its_own(self, name):
        parts = [delta(role="assistant", content=""), delta(**{name: "Hm", "content": None}), delta(content="\n\n4 </think> 5")]
        found = await events(server(streamed(*parts, ending())))
        assert found[1:-1] == [ThinkingDelta("Hm"), TextDelta("\n\n4 </think> 5")]

    @pytest.mark.parametrize(
        ("model", "parameters", "raw", "expected"),
        [
            (ALWAYS, {}, ["Let me", " see\n</th", "ink>\n\n4"], ("Let me see", "4")),
            (ALWAYS, {}, ["<think>\nboth</think>4"], ("both", "4")),
            (ALWAYS, {}, ["never closed"], ("never closed", "")),
            (NEVER, {}, ["a </think> b"], ("", "a </think> b")),
            (HYBRID, {}, ["<thi", "nk>\nhm\n</think>\n\n4"], ("hm", "4")),
            (HYBRID, {"enable_thinking": False}, ["plain <think> text"], ("", "plain <think> text")),
            (NOBODY_KNOWS, {}, ["plain text"], ("", "plain text")),
            (NOBODY_KNOWS, {}, ["<think>hm</think>4"], ("hm", "4")),
            (NOBODY_KNOWS, {}, ["opened by the template", "</think>4"], ("opened by the template", "4")),
        ],
    )
    async def test_a_trace_inside_the_text(self, model, parameters, raw, expected):
        found = await events(server(streamed(*(delta(content=text) for text in raw), ending())), model, **parameters)
        assert shown(found) == expected

    async def test_white_space_before_a_reasoning_field_does_not_make_the_answer_a_trace(self):
        parts = [delta(content="\n"), delta(reasoning_content="Hm"), delta(content="4")]
        assert shown(await events(server(streamed(*parts, ending())))) == ("Hm", "4")

    async def test_dashscope_tells_traces_apart_itself(self):
        found = await events(hosted(streamed(delta(content="no trace"), ending())), HOSTED)
        assert shown(found) == ("", "no trace")

    async def test_chunks_without_text_say_nothing(self):
        parts = [delta(role="assistant"), delta(content="", reasoning_content=None), frame({"choices": [], "usage": None})]
        found = await events(server(streamed(b": keep-alive\n\n", *parts, delta(content="4"), ending())), NEVER)
        assert [type(e) for e in found] == [Started, TextDelta, Finished]

    async def test_every_cut_of_the_bytes_reads_the_same(self):
        raw = delta(reasoning_content="Nghĩ 🙂") + delta(content="思考") + ending(prompt_tokens=3)
        for place in range(len(raw)):
            found = await events(server(streamed(raw[:place], raw[place:])))
            assert shown(found) == ("Nghĩ 🙂", "思考") and found[-1].usage.input_tokens == 3

    async def test_tool_calls_come_in_pieces(self):
        pieces = [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
            {"index": 0, "id": "", "function": {"arguments": '{"city": '}},
            {"index": 0, "id": "", "function": {"arguments": '"Huế"}'}},
            {"index": 0, "id": "", "function": {}},
        ]
        found = await events(hosted(streamed(*(delta(tool_calls=[piece]) for piece in pieces), ending("tool_calls"))), HOSTED)
        assert found[1:-1] == [
            ToolCallDelta(0, "call_1", "weather", ""),
            ToolCallDelta(0, None, None, '{"city": '),
            ToolCallDelta(0, None, None, '"Huế"}'),
            ToolCallDelta(0, None, None, ""),
        ]
        assert found[-1].reason == "tool_calls"

    @pytest.mark.parametrize(
        ("told", "reason"),
        [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos_token", "unknown")],
    )
    async def test_finish_reasons(self, told, reason):
        assert (await events(server(streamed(delta(content="4"), ending(told))), NEVER))[-1].reason == reason

    async def test_the_string_null_is_no_finish_reason(self):
        parts = frame({"choices": [{"delta": {"content": "4"}, "finish_reason": "null"}]})
        assert isinstance(await failure(server(streamed(parts)), NEVER), StreamBroken)

    @pytest.mark.parametrize(
        ("model", "usage", "expected"),
        [
            (ALWAYS, {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(9, 5, None, None)),
            (NEVER, {"prompt_tokens": 9, "completion_tokens": 5}, Usage(9, 5, 0, None)),
            (NOBODY_KNOWS, {"prompt_tokens": 9, "completion_tokens": 5}, Usage(9, 5, None, None)),
            (
                ALWAYS,
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 5,
                    "completion_tokens_details": {"reasoning_tokens": 2},
                    "prompt_tokens_details": {"cached_tokens": 4},
                },
                Usage(9, 5, 2, 4),
            ),
            (ALWAYS, {}, Usage()),
        ],
    )
    async def test_usage_is_what_was_told_and_unknown_else(self, model, usage, expected):
        assert (await events(server(streamed(delta(content="4"), ending(**usage))), model))[-1].usage == expected

    async def test_the_request_id_is_the_header_or_the_chunks_own(self):
        assert (await events(server(streamed(delta(content="4"), ending(), **{"x-request-id": "r-1"}))))[-1].request_id == "r-1"
        assert (await events(server(streamed(delta(content="4"), ending()))))[-1].request_id == "chatcmpl-1"

    async def test_a_server_that_does_not_stream_is_understood(self):
        message = {"role": "assistant", "reasoning_content": "Hm", "content": "4", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
        body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
        found = await events(server(httpx2.Response(200, json=body)))
        assert found[1:-1] == [ThinkingDelta("Hm"), TextDelta("4"), ToolCallDelta(0, "c", "f")]
        assert found[-1].usage.output_tokens == 2

    async def test_a_stream_that_is_left_is_closed(self):
        body = Body(*(delta(content="4") for _ in range(1000)), ending())
        provider = server(httpx2.Response(200, headers=SSE, stream=body))
        stream = provider.stream(asking(NEVER))
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        assert not body.closed
        await stream.aclose()
        assert body.closed


LEAK = b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"request_id":"req-1","code":"Arrearage","type":"Arrearage","message":"Access"}\n\n'
IN_STREAM = [
    (hosted, LEAK, QuotaExhausted),
    (hosted, frame({"error": {"code": "data_inspection_failed", "message": "Output data"}, "request_id": "r"}), BackendError),
    (hosted, frame({"choices": None, "code": "Throttling", "message": "slow"}), RateLimited),
    (hosted, frame({"choices": [], "code": "ModelServingError", "message": "busy"}), Unavailable),
    (server, frame({"error": {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}}), RequestRejected),
    (server, frame({"error": {"message": "busy", "type": "RateLimitError", "code": 429}}), RateLimited),
    (server, frame({"error": {"message": "overloaded", "code": "503"}}), Unavailable),
    (server, frame({"error": "out of memory"}), ProtocolError),
]


class TestErrorsInTheStream:
    @pytest.mark.parametrize(("build", "bad", "kind"), IN_STREAM)
    @pytest.mark.parametrize("before", [b"", delta(content="some text")])
    async def test_an_error_frame_is_told_by_its_code(self, build, bad, kind, before):
        assert isinstance(await failure(build(streamed(before, bad)), NEVER if build is server else HOSTED), kind)

    @pytest.mark.parametrize(
        "bad",
        [
            b'data: {"choices": [{"delta": \n\n',
            b"data: \xff\xfe\n\n",
            frame([1, 2]),
            frame({"anything": 1}),
            frame({"choices": ["x"]}),
            frame({"choices": [{"delta": {"content": [{"text": "parts"}]}}]}),
            frame({"choices": {"0": {}}}),
        ],
    )
    async def test_what_is_no_frame_breaks_a_begun_answer_and_is_no_answer_before(self, bad):
        begun = await failure(server(streamed(delta(content="some text"), bad)), NEVER)
        assert type(begun) is StreamBroken and begun.request_id == "chatcmpl-1"
        assert type(await failure(server(streamed(bad)), NEVER)) is ProtocolError

    @pytest.mark.parametrize("error", [httpx2.ReadError("cut"), httpx2.RemoteProtocolError("incomplete"), httpx2.ReadTimeout("slow")])
    async def test_a_cut_breaks_a_begun_answer_and_may_be_tried_again_before(self, error):
        assert type(await failure(server(streamed(delta(content="some text"), error)), NEVER)) is StreamBroken
        before = await failure(server(streamed(delta(role="assistant"), error)), NEVER)
        assert type(before) is (TimedOut if isinstance(error, httpx2.ReadTimeout) else Unavailable) and before.retryable

    async def test_an_end_without_a_finish_reason(self):
        assert type(await failure(server(streamed(delta(content="some text"), b"data: [DONE]\n\n")), NEVER)) is StreamBroken
        assert type(await failure(server(streamed(delta(role="assistant"))), NEVER)) is ProtocolError


REFUSALS = [
    # status, headers, body, error, part of its message
    (401, {}, {"error": {"message": "no", "type": "x", "code": "invalid_api_key"}}, AuthError, ""),
    (403, {}, {"detail": "Forbidden"}, AuthError, "Forbidden"),
    (404, {}, {"detail": "Not Found"}, UnknownModel, "Not Found"),
    (400, {}, {"error": {"message": "x", "type": "BadRequestError", "param": "input_tokens", "code": 400}}, ContextTooLong, ""),
    (400, {}, {"error": {"message": "x", "code": "context_length_exceeded"}}, ContextTooLong, ""),
    (400, {}, {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error", "n_ctx": 9}}, ContextTooLong, ""),
    (400, {}, {"error": {"message": "Unrecognized request argument: top_k", "code": None}}, RequestRejected, "top_k"),
    (422, {}, {"detail": [{"loc": ["body", "top_k"], "msg": "extra"}]}, RequestRejected, "top_k"),
    (429, {"retry-after": "7"}, {"error": {"message": "slow down", "code": None}}, RateLimited, "slow down"),
    (402, {}, {"error": {"message": "credits", "code": 402}}, QuotaExhausted, "credits"),
    (503, {}, {"error": {"message": "loading model", "type": "unavailable_error", "code": 503}}, Unavailable, "loading model"),
    (500, {}, {"error": "CUDA out of memory"}, Unavailable, "CUDA"),
    (502, {}, PAGE, Unavailable, "502"),
    (404, {}, PAGE, ProtocolError, "404"),
    (307, {"location": "https://user:pw@other.test/v1/chat?key=1"}, "", ProtocolError, "https://other.test/v1/chat."),
    (413, {}, "", ProtocolError, "413"),
]


class TestRefusals:
    @pytest.mark.parametrize(("status", "headers", "body", "kind", "part"), REFUSALS)
    async def test_status_and_body_of_a_server(self, status, headers, body, kind, part):
        content = {"text": body} if isinstance(body, str) else {"json": body}
        error = await failure(server(httpx2.Response(status, headers=headers, **content)))
        assert type(error) is kind and part in error.message
        assert error.retry_after_s == (7.0 if headers.get("retry-after") else None)

    @pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"])
    async def test_a_retry_after_that_is_no_number_of_seconds_is_unknown(self, value):
        answer = httpx2.Response(429, headers={"retry-after": value}, json={"error": {"message": "x"}})
        assert (await failure(server(answer))).retry_after_s is None

    async def test_dashscope_may_refuse_with_an_event_stream(self):
        answer = httpx2.Response(400, headers={**SSE, "x-request-id": "r-1"}, content=LEAK)
        error = await failure(hosted(answer), HOSTED)
        assert type(error) is QuotaExhausted and (error.code, error.request_id) == ("Arrearage", "r-1")

    async def test_a_request_id_in_the_body_is_kept(self):
        answer = httpx2.Response(401, json={"error": {"message": "no", "code": "invalid_api_key"}, "request_id": "r-2"})
        error = await failure(hosted(answer), HOSTED)
        assert type(error) is AuthError and error.request_id == "r-2" and "beijing" in error.hint

    @pytest.mark.parametrize("status", [200, 400])
    async def test_an_error_in_a_json_body_counts_with_any_status(self, status):
        answer = httpx2.Response(status, json={"error": {"message": "x", "code": "model_not_found"}})
        assert type(await failure(server(answer))) is UnknownModel

    @pytest.mark.parametrize("answer", [httpx2.Response(200, html=PAGE), httpx2.Response(200, text="hello"), httpx2.Response(204)])
    async def test_what_is_no_such_server_names_the_address_as_the_thing_to_check(self, answer):
        error = await failure(server(answer))
        assert type(error) is ProtocolError and "address" in error.hint

    @pytest.mark.parametrize("error", [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow")])
    async def test_nobody_there_names_the_address_without_its_secrets(self, error):
        found = await failure(server(error))
        assert type(found) is Unavailable and "http://host.test:8000/v1" in found.message
        assert "http://dashscope.test" in (await failure(hosted(error), HOSTED)).message

    async def test_a_service_that_repeats_the_key_or_the_whole_request_is_cut_short(self):
        said = f"wrong key {KEY.get_secret_value()} " + "x" * 100_000
        error = await failure(server(httpx2.Response(400, json={"error": {"message": said}})))
        assert "wrong key [key]" in error.message and len(error.message) < 1000

    async def test_nothing_is_tried_twice_and_no_redirect_followed(self):
        for answer in (httpx2.Response(503), httpx2.Response(307, headers={"location": "http://10.0.0.1/"})):
            seen: list[httpx2.Request] = []
            provider = openai_server("http://host.test/v1", None, name="box", http_client=client(answer, seen=seen))
            await failure(provider)
            assert len(seen) == 1

    async def test_the_providers_own_client_follows_no_redirect(self):
        assert openai_server("http://host.test/v1", None, name="box")._client._client.follow_redirects is False


class TestModels:
    async def test_lists_with_the_context_that_each_kind_of_server_tells(self):
        data = [
            {"id": "vllm", "max_model_len": 4096},
            {"id": "llama.cpp", "meta": {"n_ctx_train": 8192}},
            {"id": "router", "context_length": 131072},
            {"id": "plain", "meta": None},
            {"object": "no model"},
        ]
        found = await server(httpx2.Response(200, json={"data": data})).list_models()
        assert [(m.id, m.context_tokens) for m in found] == [
            ("vllm", 4096), ("llama.cpp", 8192), ("router", 131072), ("plain", None),
        ]  # fmt: skip

    @pytest.mark.parametrize(("body", "count"), [({"data": None}, 0), ({"data": []}, 0), ([{"id": "bare"}], 1)])
    async def test_other_shapes_of_a_list(self, body, count):
        assert len(await server(httpx2.Response(200, json=body)).list_models()) == count

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (httpx2.Response(404, json={"detail": "Not Found"}), ProtocolError),
            (httpx2.Response(200, html=PAGE), ProtocolError),
            (httpx2.Response(200, headers={"content-type": "application/json"}, text="{"), ProtocolError),
            (httpx2.Response(200, json={"models": []}), ProtocolError),
            (httpx2.Response(401, json={"error": {"message": "no"}}), AuthError),
            (httpx2.ConnectError("refused"), Unavailable),
        ],
    )
    async def test_a_list_that_cannot_be_had(self, answer, kind):
        with pytest.raises(BackendError) as caught:
            await server(answer).list_models()
        assert type(caught.value) is kind and caught.value.hint

    async def test_capabilities_hold_what_the_server_told_and_it_is_asked_once(self):
        seen: list[httpx2.Request] = []
        listed = httpx2.Response(200, json={"data": [{"id": NOBODY_KNOWS, "max_model_len": 4096}]})
        provider = openai_server("http://host.test/v1", None, name="box", http_client=client(listed, seen=seen))
        for _ in range(3):
            capabilities = await provider.capabilities(NOBODY_KNOWS)
        assert (capabilities.context_tokens, capabilities.known, capabilities.thinking) == (4096, False, "unknown")
        assert capabilities.name == f"server:box/{NOBODY_KNOWS}" and len(seen) == 1

    async def test_a_server_without_a_list_still_has_capabilities_and_is_not_asked_again(self):
        seen: list[httpx2.Request] = []
        provider = openai_server("http://host.test/v1", None, name="box", http_client=client(httpx2.Response(404), seen=seen))
        assert (await provider.capabilities(ALWAYS)).thinking == "always"
        await provider.capabilities(ALWAYS)
        assert len(seen) == 1

    async def test_dashscopes_capabilities_ask_nobody(self):
        capabilities = await hosted(AssertionError("asked")).capabilities(HOSTED)
        assert capabilities.name == f"dashscope:{HOSTED}" and capabilities.context_tokens == 131072


class TestRequest:
    async def test_the_key_is_a_bearer_token_and_nothing_else_carries_it(self, caplog):
        seen: list[httpx2.Request] = []
        answer = streamed(delta(content="4"), ending())
        provider = dashscope("http://dashscope.test", KEY, region="beijing", http_client=client(answer, seen=seen))
        with caplog.at_level(logging.DEBUG):
            await events(provider, HOSTED)
        assert str(seen[0].url) == "http://dashscope.test/compatible-mode/v1/chat/completions"
        assert seen[0].headers["authorization"] == f"Bearer {KEY.get_secret_value()}"
        assert KEY.get_secret_value() not in seen[0].content.decode() + caplog.text + repr(provider)

    async def test_half_an_emoji_does_not_break_a_request(self):
        seen: list[httpx2.Request] = []
        provider = openai_server(
            "http://host.test/v1", None, name="box", http_client=client(streamed(delta(content="4"), ending()), seen=seen)
        )
        async with aclosing(provider.stream(ChatRequest(NEVER, (Message("user", "cut \ud83d here 🙂"),)))) as stream:
            assert isinstance([e async for e in stream][-1], Finished)
        assert json.loads(seen[0].content)["messages"][0]["content"] == "cut ? here 🙂"

    @pytest.mark.parametrize("key", ["sk-with space", "sk-newline\n", "“sk-quoted”", "sk-ế"])
    def test_a_key_that_no_header_holds_is_refused_without_being_shown(self, key):
        for build in (lambda k: dashscope("http://h.test", k, region="beijing"), lambda k: openai_server("http://h.test", k, name="b")):
            with pytest.raises(AuthError) as caught:
                build(SecretStr(key))
            assert "sk-" not in f"{caught.value!r} {caught.value.hint}"

    def test_no_key_and_an_empty_key_are_the_same(self):
        assert key_text(None) is key_text(SecretStr("")) is None

    @pytest.mark.parametrize("url", ["http://[", "http://host:notaport/v1"])
    def test_an_address_that_is_none(self, url):
        with pytest.raises(BadInput):
            openai_server(url, None, name="box")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://u:p@h:1/v1?key=s#f", "http://h:1/v1"),
        ("https://h/v1", "https://h/v1"),
        ("/v1/chat", "/v1/chat"),
        ("http://[", "an address that is none"),
    ],
)
def test_shown_address(url, address):
    assert shown_address(url) == address


def test_quoted():
    assert quoted(None, None) == "" and quoted({"a": 1}, None) == "{'a': 1}" and quoted("k and k", "k") == "[key] and [key]"
