"""A server of OpenAI's API that answers with what it is given to say, at a model's pace: whatever a model might write, drawn by the page.

What to say is the prompt itself, after a first line `say [RATE [AT_ONCE]]`: a rate in characters a second, and how many come at once before
that. The part before a line `</think>` is sent as the trace.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.serving import serving

MODEL = "say-what-is-asked"
CHARS_PER_S = 600.0
PIECE_CHARS = 5  # about a token


def _text_of(body: dict[str, Any]) -> tuple[float, int, str, str]:
    """(characters a second, characters at once, trace, answer)."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    head, _, rest = text.partition("\n")
    _, rate, at_once = (*head.split(), "", "")[:3]
    thinking, mark, answer = rest.partition("\n</think>\n")
    return float(rate or CHARS_PER_S), int(at_once or 0), *((thinking, answer) if mark else ("", rest))


async def _stream(body: dict[str, Any]) -> AsyncIterator[str]:
    rate, at_once, thinking, answer = _text_of(body)
    begun_s, sent = asyncio.get_running_loop().time(), 0
    for field, text in (("reasoning_content", thinking), ("content", answer)):
        for at in range(0, len(text), PIECE_CHARS):
            piece = text[at : at + PIECE_CHARS]
            sent += len(piece)
            await asyncio.sleep(max(0.0, begun_s + max(0, sent - at_once) / rate - asyncio.get_running_loop().time()))
            yield _event({"delta": {field: piece}, "finish_reason": None})
    yield _event({"delta": {}, "finish_reason": "stop"})
    yield "data: [DONE]\n\n"


def _event(choice: dict[str, Any]) -> str:
    chunk = {"id": "said", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [{"index": 0, **choice}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


async def _completions(request: Request) -> StreamingResponse:
    return StreamingResponse(_stream(await request.json()), media_type="text/event-stream")


async def _models(request: Request) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"}]})


@contextmanager
def saying() -> Iterator[str]:
    """Its base URL, `/v1` included."""
    app = Starlette(routes=[Route("/v1/chat/completions", _completions, methods=["POST"]), Route("/v1/models", _models)])
    with serving(app) as base_url:
        yield f"{base_url}/v1"
