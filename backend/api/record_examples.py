"""Makes the calls that the documentation shows, for real: `python -m backend.api.record_examples OUT`.

The API is started on a loopback port over the emulator and the tiny model; a test makes the same calls and compares what they look like.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from backend.api.app import HttpApi
from backend.api.examples import FILE, Call, Example, Recording, Reply
from backend.catalogue import catalogue
from backend.engines import Engines
from backend.mock.config import MockConfig
from backend.mock.server import create_app
from backend.settings import load_settings

TINY, THINKING, INSTRUCT = "local:qwen3-next-tiny", "dashscope:qwen3-next-80b-a3b-thinking", "dashscope:qwen3-next-80b-a3b-instruct"
_SUM = [{"role": "user", "content": "What is 12 + 30?"}]
_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city right now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "examples": ["Hanoi"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_ASKED: dict[str, Any] = {"role": "user", "content": "How is the weather in Hanoi?"}
_CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Hanoi"}'}}
_TURNS: list[dict[str, Any]] = [
    _ASKED,
    {"role": "assistant", "content": None, "tool_calls": [_CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "content": "31 °C, humid, thunderstorms after four"},
]
_NAMED = {"type": "function", "function": {"name": "weather"}}
_DIGITS = {"type": "object", "properties": {"result": {"enum": [40, 41, 42, 43]}}, "required": ["result"], "additionalProperties": False}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "sum", "schema": _DIGITS, "strict": True}}
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def _ask(name: str, title: str, answered_by: Any, model: str, messages: list[dict[str, Any]] = _SUM, **more: Any) -> Call:
    return Call(name=name, title=title, answered_by=answered_by, body={"model": model, "messages": messages, **more})


def _write(name: str, title: str, **more: Any) -> Call:
    body = {"model": TINY, "prompt": "12 + 30\nOnes: 2+0=", "max_tokens": 8, "temperature": 0.0, **more}
    return Call(name=name, title=title, answered_by="model", path="/v1/completions", body=body)


def _get(name: str, title: str, path: str) -> Call:
    return Call(name=name, title=title, answered_by="api", method="GET", path=path)


CALLS: tuple[Call, ...] = (
    _ask("whole", "A whole answer, with its trace", "model", TINY),
    _ask("stream", "A stream, with the token counts at its end", "model", TINY, **_STREAM),
    _ask("hosted_stream", "A stream of a hosted model that thinks", "emulator", THINKING, thinking_budget=2048, **_STREAM),
    _ask("tool_call", "A tool that has to be called", "emulator", INSTRUCT, [_ASKED], tools=[_WEATHER], tool_choice=_NAMED),
    _ask("tool_result", "The tool's result goes back", "emulator", INSTRUCT, _TURNS, tools=[_WEATHER]),
    _ask("json_schema", "JSON, held to a schema token by token", "model", TINY, response_format=_SCHEMA),
    _ask("logprobs", "Log-probabilities of the answer's tokens", "model", TINY, logprobs=True, top_logprobs=2),
    _ask("ignored", "A parameter that this engine lacks, named in a header", "emulator", INSTRUCT, min_p=0.05),
    _ask("out_of_range", "Error: a number out of the model's range", "api", INSTRUCT, temperature=9),
    _ask("unsupported", "Error: a field that would change the answer", "api", INSTRUCT, frequency_penalty=1),
    _ask("unknown_model", "Error: no such model", "api", "nothing"),
    _write("completion", "A whole continuation"),
    _write("completion_stream", "A continuation, streamed", **_STREAM),
    _get("models", "What this host can use now", "/v1/models"),
    _get("model", "One model", f"/v1/models/{THINKING}"),
    Call(
        name="embeddings",
        title="Error: no embeddings",
        answered_by="api",
        path="/v1/embeddings",
        body={"model": TINY, "input": "12 + 30"},
    ),
    _get("health", "This host is up", "/healthz"),
)


def record(base_url: str) -> Recording:
    """Makes every call against a running API."""
    with httpx2.Client(base_url=base_url, timeout=60, trust_env=False) as client:
        return Recording(recorded=f"{datetime.now(UTC):%Y-%m-%d}", examples=tuple(_made(client, call) for call in CALLS))


def _made(client: httpx2.Client, call: Call) -> Example:
    headers = {} if call.body is None else {"content-type": "application/json"}
    response = client.request(call.method, call.path, json=call.body, headers=headers)
    streamed = response.headers["content-type"].startswith("text/event-stream")
    told: dict[str, Any] = {"lines": response.text.split("\n")} if streamed else {"body": response.json()}
    reply = Reply(status=response.status_code, headers=dict(response.headers), **told)
    return Example(**call.model_dump(), request_headers=headers, reply=reply)


@contextmanager
def api_of_examples() -> Iterator[str]:
    """The address of an API over the emulator and the tiny model; no setting of whoever runs it counts."""
    quick = MockConfig(first_token_s=0.0, tokens_per_s=2000.0, jitter=0.0, chunk_tokens=8, seed=1)
    with tempfile.TemporaryDirectory() as folder, serving(create_app(quick)) as emulator:
        settings = load_settings(
            dashscope_base_url=emulator, dashscope_api_key="emulated", dashscope_region="singapore", dashscope_protocol="compatible",
            openai_base_url=None, servers=(), model=None, data_dir=Path(folder), api_token=None, public=False, demo=False,
        )  # fmt: skip
        engines = Engines(settings, catalogue())
        with serving(HttpApi(settings, engines).asgi(), engines) as url:
            yield url


@contextmanager
def serving(app: ASGIApp, engines: Engines | None = None) -> Iterator[str]:
    """`app` on a free loopback port, in a thread of its own; its address. `engines` are closed with it, in its event loop."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=False, log_level="critical", timeout_graceful_shutdown=1))

    async def serve(listening: socket.socket) -> None:
        await server.serve(sockets=[listening])
        if engines is not None:
            await engines.aclose()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(serve(listening)), name="examples")
        thread.start()
        try:
            until_s = time.monotonic() + 10
            while not server.started:
                if not thread.is_alive() or time.monotonic() > until_s:
                    raise RuntimeError("the app did not start")
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=15)


def main(arguments: list[str]) -> int:
    path = Path(arguments[0]) if arguments else FILE
    with api_of_examples() as url:
        found = record(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json(indent=1, exclude_none=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
