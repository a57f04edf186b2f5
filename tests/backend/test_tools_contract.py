"""Function calling, JSON answers and log-probabilities over every engine that has them: the same events, whatever the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.catalogue import catalogue
from backend.checking import check
from backend.errors import BadInput
from backend.provider import Provider
from backend.providers.dashscope_native import DashScopeNativeProvider
from backend.providers.local import LocalProvider
from backend.providers.openai_compatible import dashscope, openai_server
from backend.tool_calls import CallJoiner
from backend.types import (
    AnswerFormat,
    ChatRequest,
    Detail,
    Event,
    Finished,
    Message,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Tools,
)
from tests.backend.local.tiny import END, OPENS, scripted
from tests.emulator import bodies, running_emulator

KEY = SecretStr("sk-test")
WEATHER = Tool(
    "weather",
    "The weather in a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
CLOCK = Tool("clock", "The time", {"type": "object", "properties": {}})
KNOWS_TOOLS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + OPENS.replace(
    "{{ m.role }}\n", "{{ m.role }}\n{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}"
)
CALLING = f'I look.\n</think>\n\n<tool_call>\n{{"name": "weather", "arguments": {{"city": "Paris", "days": 3}}}}\n</tool_call>{END}'
THINKING, INSTRUCT = "qwen3-next-80b-a3b-thinking", "qwen3-next-80b-a3b-instruct"


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator() as base_url:
        yield base_url


def native(url: str, _: Path) -> Provider:
    return DashScopeNativeProvider(url, KEY, region="singapore")


def compatible(url: str, _: Path) -> Provider:
    return dashscope(url, KEY, region="singapore")


def server(url: str, _: Path) -> Provider:
    return openai_server(f"{url}/v1", None, name="s")


def local(_: str, folder: Path) -> Provider:
    return LocalProvider(folder, load=lambda name, report: scripted(CALLING, KNOWS_TOOLS))


CASES = {
    "dashscope compatible": (compatible, THINKING, "[[tool]]"),
    "dashscope native": (native, THINKING, "[[tool]]"),
    "server with a tool parser": (server, "Qwen/Qwen3-Next-80B-A3B-Thinking", "[[tool]]"),
    "server without a tool parser": (server, "Qwen/Qwen3-Next-80B-A3B-Thinking", "[[tool]] [[calls:text]]"),
    "server without any parser": (server, "Qwen/Qwen3-Next-80B-A3B-Thinking", "[[tool]] [[calls:text]] [[style:inline]]"),
    "local": (local, "demo", ""),
}


async def answered(provider: Provider, request: ChatRequest) -> list[Event]:
    try:
        return [event async for event in provider.stream(request)]
    finally:
        await provider.aclose()


def calls_in(events: list[Event]) -> tuple[ToolCall, ...]:
    joiner = CallJoiner()
    for event in events:
        if isinstance(event, ToolCallDelta):
            joiner.add(event)
    return joiner.calls


@pytest.mark.parametrize("case", CASES)
async def test_a_thinking_model_calls_a_tool(emulator, tmp_path, case):
    build, model, marker = CASES[case]
    request = ChatRequest(model, (Message("user", f"How is it in Paris? {marker}"),), tools=Tools((WEATHER,)))
    events = await answered(build(emulator, tmp_path), request)
    (call,) = calls_in(events)
    assert call.name == "weather" and json.loads(call.arguments) == {"city": "Paris", "days": 3} and call.id
    last = events[-1]
    assert isinstance(last, Finished) and last.reason == "tool_calls"
    assert any(isinstance(e, ThinkingDelta) for e in events)
    assert not any("tool_call" in e.text for e in events if isinstance(e, TextDelta | ThinkingDelta))
    assert sum(isinstance(e, ToolCallDelta) for e in events) > 2, "the arguments arrive while they are written"


@pytest.mark.parametrize("case", [c for c in CASES if c != "local"])
async def test_the_result_goes_back_and_the_answer_comes(emulator, tmp_path, case):
    build, model, marker = CASES[case]
    messages = (
        Message("user", f"How is it in Paris? {marker}"),
        Message("assistant", "", "I look.", (ToolCall("c1", "weather", '{"city": "Paris"}'),)),
        Message("tool", "18 degrees, 晴", answers="c1"),
    )
    events = await answered(build(emulator, tmp_path), ChatRequest(model, messages, tools=Tools((WEATHER,))))
    assert "18 degrees, 晴" in "".join(e.text for e in events if isinstance(e, TextDelta)) and not calls_in(events)
    body = bodies(emulator)[-1]
    sent = (body.get("input") or body)["messages"]
    assert sent[1]["tool_calls"][0]["id"] == "c1" and sent[2]["tool_call_id"] == "c1" and sent[2]["role"] == "tool"


@pytest.mark.parametrize("case", [c for c in CASES if "parser" in c])
async def test_calls_in_parallel(emulator, tmp_path, case):
    build, model, marker = CASES[case]
    text = f"Both {marker.replace('[[tool]]', '[[tool:weather,clock]]')}"
    request = ChatRequest(model, (Message("user", text),), tools=Tools((WEATHER, CLOCK), parallel=True))
    calls = calls_in(await answered(build(emulator, tmp_path), request))
    assert [c.name for c in calls] == ["weather", "clock"] and calls[0].id != calls[1].id
    assert bodies(emulator)[-1]["parallel_tool_calls"] is True


@pytest.mark.parametrize("build", [compatible, native])
async def test_a_named_tool_is_called_by_instruct(emulator, tmp_path, build):
    tools = Tools((WEATHER, CLOCK), choice="named", name="clock")
    events = await answered(build(emulator, tmp_path), ChatRequest(INSTRUCT, (Message("user", "Now"),), tools=tools))
    assert [c.name for c in calls_in(events)] == ["clock"]


async def test_broken_arguments_arrive_as_the_model_wrote_them(emulator, tmp_path):
    request = ChatRequest(INSTRUCT, (Message("user", '[[tool]] [[args:{"city": ]]'),), tools=Tools((WEATHER,)))
    (call,) = calls_in(await answered(compatible(emulator, tmp_path), request))
    assert call.arguments == '{"city":'


@pytest.mark.parametrize("build", [compatible, native, server])
async def test_json_that_fits_a_schema_is_asked_for(emulator, tmp_path, build):
    model = INSTRUCT if build is not server else "Qwen/Qwen3-Next-80B-A3B-Instruct"
    wanted = AnswerFormat(WEATHER.parameters, "weather", True)
    events = await answered(build(emulator, tmp_path), ChatRequest(model, (Message("user", "JSON"),), format=wanted))
    assert json.loads("".join(e.text for e in events if isinstance(e, TextDelta))) == {"city": "Paris", "days": 3}
    body = bodies(emulator)[-1]
    sent = (body.get("parameters") or body)["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["schema"] == WEATHER.parameters and sent["json_schema"]["strict"] is True


ASKED = (Message("user", "Hello"),)
REFUSED = [
    ("dashscope", THINKING, {"tools": Tools((WEATHER,), "required")}, 'no tool choice "required" while it thinks'),
    ("dashscope", THINKING, {"tools": Tools((WEATHER,), "named", "weather")}, 'no tool choice "named" while it thinks'),
    ("dashscope", INSTRUCT, {"tools": Tools((WEATHER,), "required")}, 'no tool choice "required".'),
    ("dashscope", THINKING, {"format": AnswerFormat()}, "cannot be held to json_object while it thinks"),
    ("dashscope", INSTRUCT, {"detail": Detail(6)}, "at most 5 alternatives"),
    ("dashscope", INSTRUCT, {"prompt": "Once"}, "takes no plain text"),
    ("replay", "maths-thinking", {"tools": Tools((WEATHER,))}, "cannot call tools"),
    ("replay", "maths-thinking", {"detail": Detail(0)}, "tells no log-probabilities"),
    ("replay", "maths-thinking", {"format": AnswerFormat()}, "cannot be held to json_object"),
]


@pytest.mark.parametrize(("engine", "model", "asked", "sentence"), REFUSED)
def test_what_an_engine_cannot_do_is_refused_before_it_is_sent(engine, model, asked, sentence):
    with pytest.raises(BadInput) as refused:
        check(ChatRequest(model, ASKED, **asked), catalogue().capabilities(engine, model))
    assert sentence in refused.value.message and refused.value.hint


async def test_a_template_without_tools_takes_none(tmp_path):
    provider = LocalProvider(tmp_path, load=lambda name, report: scripted("x", OPENS))
    capabilities = await provider.capabilities("demo")
    assert not capabilities.takes_tools
    await provider.aclose()
