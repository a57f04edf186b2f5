"""A LangChain tool agent over `/v1`, as its users write one: two steps, each with a tool, then the answer."""

from __future__ import annotations

from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.emulator import bodies

MODEL = "dashscope:qwen3-next-80b-a3b-thinking"


@pytest.fixture
def no_tracing(monkeypatch):
    """LangSmith is told nothing."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


def chat(api: str, model: str = MODEL, **options) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{api}/v1", api_key="any", model=model, max_retries=0, **options)


@tool
def find_city(person: str) -> str:
    """The city a person lives in."""
    return "Đà Nẵng"


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "29 °C, 晴"


def test_an_agent_completes_a_task_of_two_steps(api, api_emulator, no_tracing):
    agent = create_agent(chat(api), [find_city, weather])
    found = agent.invoke({"messages": [("user", "How is the weather where Lan lives? [[steps:find_city,weather]]")]})["messages"]
    assert [type(m).__name__ for m in found] == ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage", "ToolMessage", "AIMessage"]
    assert [m.tool_calls[0]["name"] for m in found if isinstance(m, AIMessage) and m.tool_calls] == ["find_city", "weather"]
    assert [m.content for m in found if isinstance(m, ToolMessage)] == ["Đà Nẵng", "29 °C, 晴"]
    assert "29 °C, 晴" in found[-1].content and found[-1].usage_metadata["output_token_details"]["reasoning"] > 0
    assert [m["role"] for m in bodies(api_emulator)[-1]["messages"]] == ["user", "assistant", "tool", "assistant", "tool"]


async def test_an_agent_streams(api, no_tracing):
    agent = create_agent(chat(api), [weather])
    pieces = []
    async for piece, _ in agent.astream({"messages": [("user", "Weather? [[tool:weather]]")]}, stream_mode="messages"):
        pieces.append(piece)
    calls = [c for p in pieces for c in getattr(p, "tool_call_chunks", [])]
    assert len(calls) > 1 and calls[0]["name"] == "weather"
    assert "29 °C" in "".join(p.content for p in pieces if type(p).__name__ == "AIMessageChunk")


class Mood(BaseModel):
    happy: bool
    level: Literal[1, 2, 3]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("model", ["dashscope:qwen3-next-80b-a3b-instruct", "local:qwen3-next-tiny"])
def test_structured_output(api, no_tracing, model, method):
    assert isinstance(chat(api, model, seed=1).with_structured_output(Mood, method=method).invoke("How are you?"), Mood)
