"""The emulator against the real clients: dashscope's 1.x API, its v2 clients on both protocols, and openai's."""

from __future__ import annotations

from itertools import pairwise

import aiohttp
import dashscope
import openai
import pytest
from dashscope import AioGeneration, Generation
from dashscope.v2.errors import DashScopeError

THINKING, INSTRUCT = "qwen3-next-80b-a3b-thinking", "qwen3-next-80b-a3b-instruct"
KEY = "sk-anything"
SHORT = "[[think:6]] [[words:5]] hello"


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def native(url: str, text: str, **more) -> dict:
    given = {"model": THINKING, "result_format": "message", "incremental_output": True, "stream": True}
    return {**given, "messages": ask(text), "api_key": KEY, "base_address": f"{url}/api/v1", **more}


def told(items) -> tuple[str, str, str]:
    """(thinking, answer, last finish reason) of a native stream."""
    messages = [item.output.choices[0].message for item in items]
    thinking = "".join(m.get("reasoning_content") or "" for m in messages)
    return thinking, "".join(m["content"] for m in messages), items[-1].output.choices[0].finish_reason


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(api_key=KEY, base_url=f"{url}/compatible-mode/v1", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(url):
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/compatible-mode/v1", max_retries=0) as made:
        yield made


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as made:
        yield made


def v2(url: str, protocol: str, kind=dashscope.Client):
    path = {"native": "/api/v1", "openai": "/compatible-mode/v1"}[protocol]
    return kind(api_key=KEY, base_url=url + path, protocol=protocol, max_retries=0)


class TestDashScope1:
    def test_stream_tells_thinking_then_answer_with_usage_in_every_frame(self, url):
        items = list(Generation.call(**native(url, SHORT)))
        thinking, answer, reason = told(items)
        assert thinking.startswith("This sentence was") and answer.startswith("This sentence was") and reason == "stop"
        assert all(item.status_code == 200 and item.usage.input_tokens for item in items)
        usage = items[-1].usage
        assert (usage.output_tokens, usage.output_tokens_details["reasoning_tokens"]) == (11, 6)
        assert {i.output.choices[0].finish_reason for i in items[:-1]} == {"null"}

    def test_whole_answer(self, url):
        item = Generation.call(**native(url, "[[words:5]]", model=INSTRUCT, stream=False))
        assert item.output.choices[0].message.content == "This sentence was written for"
        assert (item.output.choices[0].finish_reason, item.usage.output_tokens) == ("stop", 5)

    def test_text_format_is_cumulative_where_the_client_asks_for_whole_texts(self, url):
        given = native(url, "[[words:5]]", model="qwen-plus", result_format="text", incremental_output=None)
        texts = [item.output.text for item in Generation.call(**given)]
        assert texts[-1] == "This sentence was written for" and all(b.startswith(a) for a, b in pairwise(texts))

    @pytest.mark.parametrize("stream", [True, False])
    def test_error_comes_as_an_item(self, url, stream):
        found = Generation.call(**native(url, "hi", model=INSTRUCT, stream=stream, temperature=3.0))
        item = next(found) if stream else found
        assert (item.status_code, item.code) == (400, "InvalidParameter")
        assert item.message == "Temperature should be in [0.0, 2.0)" and item.request_id

    def test_mid_stream_error_frame_is_recognised(self, url):
        items = list(Generation.call(**native(url, f"[[fault:error@3]] {SHORT}")))
        assert items[-1].code == "Throttling" and items[0].status_code == 200 and len(items) > 1

    def test_cut_connection_raises(self, url, seen):
        with pytest.raises(Exception, match=r"(?i)ended prematurely|incomplete|connection broken"):
            list(Generation.call(**native(url, f"[[fault:cut@3]] {SHORT}")))
        assert seen.run()["state"] == "failed"

    def test_html_from_a_proxy_has_no_code(self, url):
        item = next(Generation.call(**native(url, "[[fault:html]]")))
        assert item.status_code == 502 and "502 Bad Gateway" in item.message

    def test_closing_the_generator_ends_the_run(self, url, seen):
        stream = Generation.call(**native(url, "[[words:5000]] [[rate:50]] [[first:0]]"))
        next(stream)
        stream.close()
        run = seen.run()
        assert run["state"] == "disconnected" and run["tokens_sent"] < 1000

    async def test_async_stream(self, url, session):
        items = [item async for item in await AioGeneration.call(**native(url, SHORT), session=session)]
        thinking, answer, reason = told(items)
        assert thinking and answer and reason == "stop"

    async def test_async_whole_and_error(self, url, session):
        item = await AioGeneration.call(**native(url, "[[words:5]]", model=INSTRUCT, stream=False), session=session)
        assert item.output.choices[0].message.content == "This sentence was written for"
        item = await AioGeneration.call(**native(url, "hi", model=INSTRUCT, stream=False, top_p=0), session=session)
        assert (item.status_code, item.message) == (400, "Range of top_p should be (0.0, 1.0]")
        stream = await AioGeneration.call(**native(url, "hi", model="no-such-model"), session=session)
        assert [(i.status_code, i.code) async for i in stream] == [(404, "ModelNotFound")]


@pytest.mark.parametrize("protocol", ["native", "openai"])
class TestDashScope2:
    def test_stream(self, url, protocol):
        chunks = list(v2(url, protocol).chat.completions.create(model=THINKING, messages=ask(SHORT), stream=True))
        deltas = [c.choices[0].delta for c in chunks if c.choices]
        assert "".join(d.reasoning_content or "" for d in deltas).startswith("This sentence")
        assert "".join(d.content or "" for d in deltas).startswith("This sentence")
        assert "stop" in [c.choices[0].finish_reason for c in chunks if c.choices]

    def test_whole_answer(self, url, protocol):
        done = v2(url, protocol).chat.completions.create(model=INSTRUCT, messages=ask("[[words:5]]"))
        assert done.choices[0].message.content == "This sentence was written for" and done.choices[0].finish_reason == "stop"

    @pytest.mark.parametrize("stream", [True, False])
    def test_error_raises_with_its_status(self, url, protocol, stream):
        with pytest.raises(DashScopeError) as caught:
            list(v2(url, protocol).chat.completions.create(model=INSTRUCT, messages=ask("[[fault:429-rate]]"), stream=stream))
        assert caught.value.status_code == 429 and caught.value.request_id

    async def test_async_stream_and_error(self, url, protocol):
        client = v2(url, protocol, dashscope.AsyncClient)
        stream = await client.chat.completions.create(model=THINKING, messages=ask(SHORT), stream=True)
        deltas = [c.choices[0].delta async for c in stream if c.choices]
        assert "".join(d.content or "" for d in deltas).startswith("This sentence")
        with pytest.raises(DashScopeError):
            await client.chat.completions.create(model="no-such-model", messages=ask("hi"))
        await client.aclose()


class TestOpenAI:
    def test_stream_tells_thinking_answer_and_usage_on_request(self, client):
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(model=THINKING, messages=ask(SHORT), stream=True, stream_options=options))
        deltas = [c.choices[0].delta for c in chunks if c.choices]
        thinking = [getattr(d, "reasoning_content", None) for d in deltas]
        assert "".join(t or "" for t in thinking).startswith("This sentence was")
        assert "".join(d.content or "" for d in deltas).startswith("This sentence was")
        assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].choices == []
        usage = chunks[-1].usage
        assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (11, 6)
        assert usage.total_tokens == usage.prompt_tokens + 11 and all(c.usage is None for c in chunks[:-1])

    def test_no_usage_unless_asked(self, client):
        chunks = list(client.chat.completions.create(model=THINKING, messages=ask(SHORT), stream=True))
        assert all(c.usage is None and c.choices for c in chunks)

    def test_whole_answer(self, client):
        done = client.chat.completions.create(model=INSTRUCT, messages=ask("[[words:5]]"))
        assert done.choices[0].message.content == "This sentence was written for" and done.usage.completion_tokens == 5

    @pytest.mark.parametrize(
        ("fault", "kind", "code"),
        [
            ("401", openai.AuthenticationError, "invalid_api_key"),
            ("403", openai.PermissionDeniedError, "access_denied"),
            ("free-tier", openai.PermissionDeniedError, "AllocationQuota.FreeTierOnly"),
            ("404", openai.NotFoundError, "model_not_found"),
            ("429", openai.RateLimitError, "Throttling"),
            ("429-rate", openai.RateLimitError, "limit_requests"),
            ("429-burst", openai.RateLimitError, "limit_burst_rate"),
            ("429-quota", openai.RateLimitError, "insufficient_quota"),
            ("429-free", openai.RateLimitError, "insufficient_quota"),
            ("arrearage", openai.BadRequestError, "Arrearage"),
            ("inspection", openai.BadRequestError, "data_inspection_failed"),
            ("500", openai.InternalServerError, "internal_error"),
            ("503", openai.InternalServerError, "ModelUnavailable"),
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    def test_refusals_raise_with_their_code(self, client, seen, fault, kind, code, stream):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(model=INSTRUCT, messages=ask(f"[[fault:{fault}]]"), stream=stream)
        assert (caught.value.code, caught.value.request_id) == (code, seen.run()["id"])

    def test_the_bad_key_and_no_key_are_refused(self, url):
        made = openai.OpenAI(api_key="sk-wrong", base_url=f"{url}/compatible-mode/v1", max_retries=0)
        for headers in ({}, {"Authorization": openai.Omit()}):
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
                made.models.list(extra_headers=headers)

    def test_models(self, client):
        assert {THINKING, INSTRUCT, "qwen-plus"} <= {m.id for m in client.models.list()}

    def test_html_from_a_proxy(self, client):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model=INSTRUCT, messages=ask("[[fault:html]]"), stream=True)
        assert caught.value.status_code == 502 and caught.value.code is None

    def test_a_counted_fault_lets_the_third_attempt_through(self, client, seen):
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(model=INSTRUCT, messages=ask("[[fault:503x2]] [[words:2]]"))
        done = client.chat.completions.create(model=INSTRUCT, messages=ask("[[fault:503x2]] [[words:2]]"))
        assert done.choices[0].message.content == "This sentence"
        assert [run["status"] for run in seen.state()["runs"]] == [503, 503, 200]

    async def test_async_stream(self, async_client):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(SHORT), stream=True)
        deltas = [c.choices[0].delta async for c in stream]
        assert "".join(d.content or "" for d in deltas).startswith("This sentence")

    async def test_async_whole_and_error(self, async_client):
        done = await async_client.chat.completions.create(model=INSTRUCT, messages=ask("[[words:2]]"))
        assert done.choices[0].message.content == "This sentence"
        with pytest.raises(openai.BadRequestError, match="only support stream mode"):
            await async_client.chat.completions.create(model=THINKING, messages=ask("hi"))

    async def test_leak_frame_comes_as_a_chunk_without_choices(self, async_client):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(f"[[fault:leak@3]] {SHORT}"), stream=True)
        last = [c async for c in stream][-1]
        assert last.choices is None and last.model_extra["code"] == "Arrearage"

    @pytest.mark.parametrize(("fault", "code"), [("error", "Throttling"), ("inspection-stream", "data_inspection_failed")])
    async def test_mid_stream_error_raises_with_its_code(self, async_client, fault, code):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(f"[[fault:{fault}@3]]"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            assert [c async for c in stream]
        assert caught.value.code == code and not isinstance(caught.value, openai.APIStatusError)

    @pytest.mark.parametrize("fault", ["cut@3", "cut-first"])
    async def test_cut_connection_raises(self, async_client, seen, fault):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(f"[[fault:{fault}]]"), stream=True)
        with pytest.raises(openai.APIConnectionError):
            assert [c async for c in stream]
        assert seen.run()["state"] == "failed"

    async def test_bad_json_raises(self, async_client):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask("[[fault:bad-json@3]]"), stream=True)
        with pytest.raises(ValueError, match=r"Unterminated|JSON|EOF"):
            assert [c async for c in stream]

    async def test_missing_finish_reason_ends_in_silence(self, async_client):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(f"[[fault:no-finish]] {SHORT}"), stream=True)
        assert {c.choices[0].finish_reason async for c in stream} == {None}

    @pytest.mark.parametrize("wait", ["[[first:60]]", "[[fault:hang]]", "[[fault:slow@60]]"])
    async def test_a_client_that_goes_before_the_first_token_is_noticed(self, async_client, seen, wait):
        stream = await async_client.chat.completions.create(model=THINKING, messages=ask(wait), stream=True)
        assert seen.state()["active"] == 1
        await stream.close()
        run = seen.run()
        assert (run["state"], run["tokens_sent"]) == ("disconnected", 0) and run["closed_after_s"] < 55

    def test_a_client_that_goes_mid_way_is_noticed(self, client, seen):
        stream = client.chat.completions.create(model=INSTRUCT, messages=ask("[[words:9000]] [[rate:100]]"), stream=True)
        next(stream)
        stream.close()
        run = seen.run()
        assert run["state"] == "disconnected" and run["tokens_sent"] < 5000

    def test_a_client_that_does_not_wait_for_a_whole_answer_is_noticed(self, client, seen):
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model=INSTRUCT, messages=ask("[[first:60]]"), timeout=0.03)
        assert seen.run()["state"] == "disconnected"
