"""Our tools as other programs see them: an MCP client lists and calls them over HTTP, with and without the token."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from pydantic import SecretStr

from backend import MOST_PANES
from backend.errors import BackendError
from backend.tools.mcp_client import McpConnections, McpServer
from backend.tools.running import ToolFailed
from tests.emulator import http, running_emulator
from tests.running_page import running_page
from ui.mcp_server import PATH

INSTRUCT, THINKING, TINY = "dashscope:qwen3-next-80b-a3b-instruct", "dashscope:qwen3-next-80b-a3b-thinking", "local:qwen3-next-tiny"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    with (
        running_emulator() as emulator,
        running_page(dashscope_base_url=emulator, dashscope_api_key="emulated", data_dir=data, demo=False) as (url, backend),
    ):
        yield url, backend


@pytest.fixture
async def connections():
    made = McpConnections(allow_stdio=False, allow_private=True)
    yield made
    await made.aclose()


@pytest.fixture
async def call(page, connections):
    await connections.connect("me", McpServer("page", url=page[0] + PATH))

    async def call(tool, **arguments):
        return json.loads(await connections.call("me", "page", tool, arguments))

    return call


async def test_only_our_tools_are_listed_and_each_argument_is_described(page, connections):
    tools = await connections.connect("me", McpServer("page", url=page[0] + PATH))
    assert [tool.name for tool in tools] == ["list_models", "chat", "compare"]
    for tool in tools:
        assert "request" not in tool.parameters["properties"]
        assert all(schema["description"] for schema in tool.parameters["properties"].values())
    most = ("one", "two", "three", "four", "five", "six")[MOST_PANES - 1]
    assert f"Two to {most} names" in tools[2].parameters["properties"]["models"]["description"]
    assert [tool.parameters.get("required") for tool in tools] == [None, ["prompt"], ["prompt", "models"]]


async def test_a_client_asks_one_model_and_several(call, page):
    assert {INSTRUCT, THINKING, TINY} <= {model["name"] for model in await call("list_models")}
    answered = await call("chat", prompt="Chào 你好", model=INSTRUCT)
    assert "Chào 你好" in answered["answer"]
    assert answered["output_tokens"] > 0
    assert "thinking" not in answered
    assert "thinking" in await call("chat", prompt="Hi", with_thinking=True), "the default is the model that thinks"
    both = await call("compare", prompt="Hi", models=[INSTRUCT, "local:nothing", THINKING], max_tokens=20)
    assert [each["model"] for each in both] == [INSTRUCT, "local:nothing", THINKING]
    assert "error" in both[1]
    assert both[0]["output_tokens"] <= 20
    conversations = await (await page[1].open()).history.conversations("me")
    assert conversations == []


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("chat", {"prompt": " "}, "There is no prompt"),
        ("chat", {"prompt": "Hi", "model": "nothing"}, "'nothing' is not a model's name"),
        ("chat", {"prompt": "Hi", "max_tokens": -4}, "max tokens is -4"),
        ("compare", {"prompt": "Hi", "models": []}, "0 models; 1 to"),
        ("compare", {"prompt": "Hi", "models": ["local:demo"] * 5}, "5 models; 1 to 4"),
        ("chat", {}, "prompt"),
        ("nothing", {}, "no tool named nothing"),
    ],
)
async def test_bad_calls_get_a_sentence(call, tool, arguments, why):
    with pytest.raises(ToolFailed, match=why) as told:
        await call(tool, **arguments)
    assert "Traceback" not in str(told.value) and not str(told.value).startswith("'There")


async def test_a_caller_that_goes_ends_its_answer(page):
    url, audit = page[0] + PATH, page[1].engines.audit
    arguments = {"prompt": "[[words:3000]] [[rate:20]] Hi", "model": INSTRUCT}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "chat", "arguments": arguments}}
    async with asyncio.timeout(30):
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", url, json=call, headers={"Accept": "application/json, text/event-stream"}) as response,
        ):
            assert response.status_code == 200
            while "playground_requests_active 1.0" not in audit.prometheus().decode():
                await asyncio.sleep(0.02)
        while "playground_requests_active 0.0" not in audit.prometheus().decode():
            await asyncio.sleep(0.02)


async def test_the_token_of_the_api_guards_both_ways(page, connections, monkeypatch):
    url, backend = page
    monkeypatch.setattr(backend.asking, "_settings", backend.settings.model_copy(update={"api_token": SecretStr("t0ken")}))
    await connections.connect("me", McpServer("page", url=url + PATH))
    with pytest.raises(ToolFailed, match="asks for its token"):
        await connections.call("me", "page", "list_models", {})
    refused = http.post(f"{url}/gradio_api/run/list_models", json={"data": []})
    assert refused.status_code == 500
    with http.stream("GET", url + PATH, headers={"accept": "text/event-stream"}) as stream:
        assert stream.status_code == 401  # no stream is held open for a stranger
    await connections.connect("me", McpServer("page", url=url + PATH, headers={"Authorization": SecretStr("Bearer t0ken")}))
    assert json.loads(await connections.call("me", "page", "list_models", {}))


async def test_a_web_page_elsewhere_cannot_call_without_a_token(page, connections):
    await connections.connect("me", McpServer("page", url=page[0] + PATH))
    with pytest.raises(BackendError, match="status 403"):
        await connections.connect("me", McpServer("page", url=page[0] + PATH, headers={"Origin": SecretStr("https://evil.example")}))
