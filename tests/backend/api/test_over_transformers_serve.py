"""The official client against `/v1` over a real `transformers serve`. Run with `-m slow`."""

from __future__ import annotations

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.running_api import running_api
from tests.transformers_serve import transformers_serve

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """(our address, the model's name here)"""
    settings = {"data_dir": tmp_path_factory.mktemp("api"), "demo": False}
    with transformers_serve(tmp_path_factory) as (base_url, model), running_api(openai_base_url=base_url, **settings) as (url, _):
        yield f"{url}/v1", f"server:default/{model}"


def test_sync_streaming_and_not(through):
    url, model = through
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        whole = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=20, temperature=0.0)
        stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=20, temperature=0.0, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        assert "Paris" in whole.choices[0].message.content and text == whole.choices[0].message.content
        assert whole.usage is not None and whole.usage.completion_tokens > 0
        assert model in {found.id for found in client.models.list()}


async def test_async_with_tools_offered(through):
    url, model = through
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        answer = await client.chat.completions.create(model=model, messages=QUESTION, tools=[CLOCK], max_tokens=30)
        message = answer.choices[0].message
        assert message.content or message.tool_calls


def test_errors_have_their_class(through):
    url, model = through
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=model, messages=QUESTION, temperature=9)
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="server:default/nobody/knows-this", messages=QUESTION)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="server:nowhere/x", messages=QUESTION)
