"""The official `openai` client against `/v1`, sync and async, streaming and not, over every engine that a test can have."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.emulator import bodies, runs

THINKING = "dashscope:qwen3-next-80b-a3b-thinking"
INSTRUCT = "dashscope:qwen3-next-80b-a3b-instruct"
SERVED = "server:default/Qwen/Qwen3-Next-80B-A3B-Thinking"
TINY = "local:qwen3-next-tiny"
MODELS = [THINKING, INSTRUCT, SERVED, TINY]
SUM = [{"role": "user", "content": "What is 12 + 30?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Hà Nội"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def joined(chunks):
    """(text, trace, finish reason, usage) of a stream."""
    text, trace, reason, usage = "", "", None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            trace += getattr(choice.delta, "reasoning_content", None) or ""
            reason = choice.finish_reason or reason
    return text, trace, reason, usage


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_in_one_piece(client, model):
    answer = client.chat.completions.create(model=model, messages=SUM)
    choice = answer.choices[0]
    assert choice.message.content and choice.finish_reason == "stop" and answer.model == model
    assert answer.usage.completion_tokens > 0 and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    thought = getattr(choice.message, "reasoning_content", None)
    assert bool(thought) is (model != INSTRUCT) and "</think>" not in choice.message.content
    if model == TINY:
        assert "42" in choice.message.content and answer.usage.completion_tokens_details.reasoning_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_says_the_same_as_the_whole(client, model):
    asked = {"model": model, "messages": SUM, "seed": 5, "temperature": 0.0}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text, trace, reason, usage = joined(chunks)
    assert text == whole.choices[0].message.content and trace == (getattr(whole.choices[0].message, "reasoning_content", None) or "")
    assert reason == "stop" and usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[0].choices[0].delta.role == "assistant" and len({c.id for c in chunks}) == 1
    assert chunks[-1].choices == [] and all(c.usage is None for c in chunks[:-1])


def test_without_asking_for_it_no_usage_comes(client):
    chunks = list(client.chat.completions.create(model=INSTRUCT, messages=SUM, stream=True))
    assert all(c.usage is None and c.choices for c in chunks)


@pytest.mark.parametrize("model", [INSTRUCT, TINY])
async def test_the_async_client_streams(api, model):
    async with AsyncOpenAI(base_url=f"{api}/v1", api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(model=model, messages=SUM, stream=True)
        text, _, reason, _ = joined([chunk async for chunk in stream])
        whole = await client.chat.completions.create(model=model, messages=SUM)
    assert text and whole.choices[0].message.content and reason == "stop"


def test_the_stream_helper_of_the_client_understands_it(client):
    with client.chat.completions.stream(model=THINKING, messages=SUM) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds and final.choices[0].message.content


def test_a_tool_call_and_its_result(client):
    """A whole loop, by the caller: the call streams in, its result goes back, the answer comes."""
    messages = [{"role": "user", "content": "How is it? [[tool]]"}]
    call: dict = {"id": None, "name": None, "arguments": ""}
    for chunk in client.chat.completions.create(model=THINKING, messages=messages, tools=[WEATHER], stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            call["id"], call["name"] = piece.id or call["id"], piece.function.name or call["name"]
            call["arguments"] += piece.function.arguments or ""
        reason = chunk.choices[0].finish_reason
    assert reason == "tool_calls" and call["name"] == "weather" and json.loads(call["arguments"]) == {"city": "Paris"}
    called = {"id": call["id"], "type": "function", "function": {"name": "weather", "arguments": call["arguments"]}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call["id"], "content": "18 °C, 晴"},
    ]
    answer = client.chat.completions.create(model=THINKING, messages=messages, tools=[WEATHER])
    assert "18 °C, 晴" in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", [INSTRUCT, TINY])
def test_a_named_tool_is_called_in_one_piece(client, model):
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = client.chat.completions.create(model=model, messages=SUM, tools=[WEATHER], tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Paris", "Hà Nội") and call.id
    assert answer.choices[0].message.content is None and answer.choices[0].finish_reason == "tool_calls"


class Mood(BaseModel):
    happy: bool
    level: Literal[1, 2, 3]


@pytest.mark.parametrize("model", [INSTRUCT, TINY, SERVED])
def test_json_that_keeps_to_a_pydantic_model(client, model):
    answer = client.chat.completions.parse(model=model, messages=SUM, response_format=Mood, max_tokens=600)
    assert isinstance(answer.choices[0].message.parsed, Mood)


def test_several_choices(client, api_emulator):
    answer = client.chat.completions.create(model=INSTRUCT, messages=SUM, n=3, seed=7)
    assert [c.index for c in answer.choices] == [0, 1, 2] and all(c.message.content for c in answer.choices)
    assert {body["seed"] for body in bodies(api_emulator)[-3:]} == {7, 8, 9}
    chunks = list(client.chat.completions.create(model=INSTRUCT, messages=SUM, n=2, stream=True))
    assert {c.choices[0].index for c in chunks} == {0, 1}
    assert sum(c.choices[0].finish_reason == "stop" for c in chunks) == 2


def test_log_probabilities_belong_to_the_answer(client):
    answer = client.chat.completions.create(model=TINY, messages=SUM, logprobs=True, top_logprobs=3, temperature=0.0)
    told = answer.choices[0].logprobs.content
    assert "".join(t.token for t in told if t.token != "<|im_end|>") == answer.choices[0].message.content
    assert all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in told)
    streamed = client.chat.completions.create(model=TINY, messages=SUM, logprobs=True, temperature=0.0, stream=True)
    tokens = [t.token for c in streamed if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert "".join(tokens) == answer.choices[0].message.content


def test_stop_and_seed_and_max_tokens(client):
    stopped = client.chat.completions.create(model=TINY, messages=SUM, stop=["="], temperature=0.0)
    assert "=" not in stopped.choices[0].message.content and stopped.choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(model=TINY, messages=SUM, max_completion_tokens=5)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5
    same = {client.chat.completions.create(model=TINY, messages=SUM, seed=3, temperature=1.5).choices[0].message.content for _ in range(2)}
    assert len(same) == 1


def test_the_model_writes_on_from_a_text(client):
    whole = client.completions.create(model=TINY, prompt="12 + 30\nOnes: 2+0=", max_tokens=8, temperature=0.0)
    assert whole.object == "text_completion" and whole.choices[0].text.startswith("2") and whole.usage.completion_tokens <= 8
    stream = client.completions.create(model=TINY, prompt="12 + 30\nOnes: 2+0=", max_tokens=8, temperature=0.0, stream=True)
    assert "".join(c.choices[0].text for c in stream if c.choices) == whole.choices[0].text
    with pytest.raises(openai.BadRequestError, match="no plain text"):
        client.completions.create(model=INSTRUCT, prompt="Once")


def test_models_are_listed_and_looked_up(client):
    listed = {model.id for model in client.models.list()}
    assert {THINKING, INSTRUCT, TINY, SERVED} <= listed
    found = client.models.retrieve(THINKING)
    assert found.id == THINKING and found.owned_by == "dashscope" and found.model_extra["thinking"] == "always"


def test_a_parameter_that_the_engine_lacks_is_named_in_a_header(client):
    answer = client.chat.completions.with_raw_response.create(
        model=INSTRUCT, messages=SUM, extra_body={"min_p": 0.1, "nobody_knows": 1, "user": "me"}
    )
    assert answer.headers["x-ignored-parameters"] == "min_p, nobody_knows" and answer.headers["x-request-id"].startswith("req_")


def test_a_server_gets_the_fields_that_only_it_may_know(client, api_emulator):
    tools = [{"type": "function", "function": {"name": "f", "strict": True}}]
    more = {"top_k": 7, "guided_regex": "a+", "verbosity": "low", "chat_template_kwargs": {"style": "short"}}
    client.chat.completions.create(model=SERVED, messages=SUM, frequency_penalty=0.5, reasoning_effort="high", tools=tools, extra_body=more)
    body = bodies(api_emulator)[-1]
    asked = {"frequency_penalty": 0.5, "top_k": 7, "guided_regex": "a+", "verbosity": "low", "reasoning_effort": "high"}
    assert {name: body[name] for name in asked} == asked
    assert body["model"] == SERVED.partition("/")[2]
    assert body["chat_template_kwargs"] == {"style": "short"}
    assert body["tools"][0]["function"]["strict"] is True


def test_a_system_prompt_alone_is_a_question_and_text_the_only_modality(client, api_emulator):
    client.chat.completions.create(model=INSTRUCT, messages=[{"role": "system", "content": "Say hello."}], modalities=["text"])
    assert bodies(api_emulator)[-1]["messages"] == [{"role": "system", "content": "Say hello."}]


ERRORS = [
    ({"model": "dashscope:none"}, openai.NotFoundError, "model_not_found"),
    ({"model": "nothing"}, openai.NotFoundError, "model_not_found"),
    ({"model": "local:/no/such/folder"}, openai.InternalServerError, "local_model_failed"),
    ({"temperature": 9}, openai.BadRequestError, "invalid_value"),
    ({"frequency_penalty": 1}, openai.BadRequestError, "unsupported_parameter"),
    ({"messages": [{"role": "user", "content": "[[fault:429]]"}]}, openai.RateLimitError, "rate_limit_exceeded"),
    ({"messages": [{"role": "user", "content": "[[fault:arrearage]]"}]}, openai.RateLimitError, "insufficient_quota"),
    ({"messages": [{"role": "user", "content": "[[fault:html]]"}]}, openai.InternalServerError, "unavailable"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("asked", "kind", "code"), ERRORS)
def test_errors_have_their_class(client, asked, kind, code, stream, monkeypatch):
    monkeypatch.setattr("backend.pipeline.FIRST_WAIT_S", 0.001)
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{"model": INSTRUCT, "messages": SUM, "stream": stream, **asked})
    assert raised.value.code == code and raised.value.body["message"] and raised.value.request_id.startswith("req_")


def test_an_error_in_the_middle_is_raised_and_what_came_is_kept(client):
    text = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in client.chat.completions.create(
            model=INSTRUCT, messages=[{"role": "user", "content": "[[words:50]] [[fault:cut]]"}], stream=True
        ):
            text += chunk.choices[0].delta.content or ""
    assert text and raised.value.code == "stream_broken"


async def streaming(emulator: str, count: int) -> None:
    """Waits until the emulator writes so many answers."""
    async with asyncio.timeout(30):
        while sum(r["state"] == "streaming" for r in await asyncio.to_thread(runs, emulator)) != count:
            await asyncio.sleep(0.02)


async def test_a_caller_who_leaves_ends_the_run_upstream(api, api_emulator, api_engines):
    async with AsyncOpenAI(base_url=f"{api}/v1", api_key="any", max_retries=0) as client:
        asked = {"model": INSTRUCT, "messages": [{"role": "user", "content": "[[words:100000]] [[rate:50]]"}]}
        stream = await client.chat.completions.create(**asked, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await streaming(api_emulator, 0)
        waiting = asyncio.create_task(client.chat.completions.create(**asked))
        await streaming(api_emulator, 1)
        waiting.cancel()
        await streaming(api_emulator, 0)
    assert [r["state"] for r in await asyncio.to_thread(runs, api_emulator)][-2:] == ["disconnected"] * 2
