"""A real `transformers serve` over the demo's weights: an OpenAI-compatible server to test against. Run with `-m slow`."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from openai import AsyncOpenAI

from backend import Access, ChatRequest, GenerationParameters, Message, Server
from backend.providers.openai_compatible import openai_server
from backend.types import Finished, Started, TextDelta
from tests.transformers_serve import transformers_serve
from tests.ui.tab import House

pytestmark = pytest.mark.slow

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(base URL, the model's name there)"""
    with transformers_serve(tmp_path_factory) as found:
        yield found


def asked(model):
    return ChatRequest(model=model, messages=(Message("user", QUESTION),), parameters=GenerationParameters(max_tokens=20, temperature=0.0))


async def test_the_openai_client_streams_a_chat(served):
    base_url, model = served
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=20, stream=True
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "Paris" in text
    assert chunks[-1].choices[0].finish_reason == "stop" or chunks[-1].usage is not None


async def test_our_provider_streams_a_chat_in_order_to_one_end(served):
    base_url, model = served
    provider = openai_server(base_url, None, name="box")
    try:
        events = [event async for event in provider.stream(asked(model))]
    finally:
        await provider.aclose()
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    assert all(isinstance(event, TextDelta) for event in events[1:-1]) and len(events) > 3
    assert "Paris" in "".join(event.text for event in events[1:-1])
    assert events[-1].reason in ("stop", "length")


async def test_our_provider_stopped_in_the_middle_leaves_the_server_usable(served):
    base_url, model = served
    provider = openai_server(base_url, None, name="box")
    try:
        async with aclosing(provider.stream(asked(model))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        again = [event async for event in provider.stream(asked(model))]
    finally:
        await provider.aclose()
    assert isinstance(again[-1], Finished)


async def test_a_chat_on_the_page_with_the_server_typed_in(served, tmp_path):
    base_url, model = served
    house = House(data_dir=tmp_path)
    try:
        tab = house.tab(model=f"server:box/{model}")
        tab.session.access = Access().with_server(Server(name="box", base_url=base_url))
        await tab.send(QUESTION)
        assert tab.live["state"] == "done", tab.last["html"]
        assert "Paris" in tab.last["html"]
    finally:
        await house.backend.aclose()
