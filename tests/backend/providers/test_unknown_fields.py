"""A strict server names the fields that it does not know; the request goes out again without them, and later ones at once."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
from pydantic import SecretStr

from backend.errors import RequestRejected
from backend.providers.openai_compatible import OpenAICompatibleProvider, dashscope, openai_server
from backend.providers.unknown_fields import unknown_fields
from backend.types import ChatRequest, Finished, GenerationParameters, Message, Retrying, TextDelta

BODY = {"model": "m", "messages": [], "temperature": 0.7, "top_k": 20, "min_p": 0.0, "seed": 1}
ANSWER = b'data: {"choices": [{"index": 0, "delta": {"content": "four"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
ASKED = ChatRequest("m", (Message("user", "2+2?"),), GenerationParameters(temperature=0.5, top_k=5, min_p=0.1, repetition_penalty=1.1))


@pytest.mark.parametrize(
    ("status", "said", "found"),
    [
        (422, "{\"detail\": \"Unexpected fields in the request: {'min_p', 'top_k'}\"}", {"min_p", "top_k"}),
        (400, '{"error": {"message": "Unrecognized request argument supplied: top_k"}}', {"top_k"}),
        (422, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', {"seed"}),
        (400, '{"error": {"message": "top_k must be at least 1"}}', set()),
        (400, '{"error": {"message": "Unsupported value: temperature does not support 0.7"}}', set()),
        (400, '{"error": {"message": "unknown model"}}', set()),
        (500, '{"error": {"message": "unexpected top_k"}}', set()),
        (400, '{"error": {"message": "unexpected my_top_k_field"}}', set()),
    ],
)
def test_only_what_the_server_says_it_does_not_know_is_found(status, said, found):
    assert unknown_fields(status, said, BODY) == found


class Strict:
    """A server that knows OpenAI's own fields only, and names one stranger at a time."""

    def __init__(self, status: int = 400, known: tuple[str, ...] = ("model", "messages", "stream", "temperature")) -> None:
        self.status, self.known, self.bodies = status, known, []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        strange = [name for name in body if name not in self.known]
        if strange:
            return httpx2.Response(self.status, json={"error": {"message": f"Unrecognized request argument supplied: {strange[0]}"}})
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=ANSWER)

    def client(self) -> httpx2.AsyncClient:
        return openai.DefaultAsyncHttpx2Client(transport=httpx2.MockTransport(self))


async def events_of(provider: OpenAICompatibleProvider) -> list:
    return [event async for event in provider.stream(ASKED)]


async def test_the_answer_comes_without_the_strange_fields_and_the_panel_loses_them():
    strict = Strict()
    provider = openai_server("http://host.test/v1", None, name="box", http_client=strict.client())
    assert "top_k" in provider._capabilities("m").parameters
    events = await events_of(provider)
    told = [event.reason for event in events if isinstance(event, Retrying)]
    assert len(told) == 4 and all("does not take" in reason for reason in told)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "four" and isinstance(events[-1], Finished)
    assert set(strict.bodies[-1]) == {"model", "messages", "stream", "temperature"} and strict.bodies[-1]["temperature"] == 0.5
    assert not {"top_k", "min_p", "repetition_penalty"} & provider._capabilities("m").parameters.keys()


async def test_the_next_request_leaves_them_out_at_once():
    strict = Strict()
    provider = openai_server("http://host.test/v1", None, name="box", http_client=strict.client())
    await events_of(provider)
    before = len(strict.bodies)
    assert not any(isinstance(event, Retrying) for event in await events_of(provider))
    assert len(strict.bodies) == before + 1


async def test_a_field_that_cannot_be_left_out_is_an_error_and_asked_once():
    strict = Strict(known=("model", "messages", "stream"))
    provider = openai_server("http://host.test/v1", None, name="box", http_client=strict.client())
    with pytest.raises(RequestRejected, match="temperature"):
        await events_of(provider)
    assert len(strict.bodies) == 2  # stream_options was left out, temperature cannot be


async def test_dashscope_is_never_asked_again_without_a_field():
    strict = Strict()
    provider = dashscope("http://dashscope.test", SecretStr("sk"), region="beijing", http_client=strict.client())
    with pytest.raises(RequestRejected):
        await events_of(provider)
    assert len(strict.bodies) == 1
