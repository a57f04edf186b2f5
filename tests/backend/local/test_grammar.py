"""Answers that are held to a schema or to a call, by a model that would write anything else."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from tokenizers import AddedToken

from backend.catalogue import ASSETS
from backend.errors import BadInput
from backend.local.generation import generate
from backend.local.grammar import Grammar, grammar_tokenizer, of_calls
from backend.providers.local import LocalProvider
from backend.tool_calls import CallJoiner
from backend.types import (
    AnswerFormat,
    ChatRequest,
    Finished,
    GenerationParameters,
    Message,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCallDelta,
    Tools,
)
from tests.backend.local.tiny import END, OPENS, PLAIN, scripted
from tests.backend.local.tiny import tokenizer as tokenizer_of

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "count": {"type": "integer", "minimum": 1, "maximum": 3}, "ok": {"type": "boolean"}},
    "required": ["mood", "count", "ok"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(
        "add",
        "Adds",
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99, "minimum": 0}},
            "required": ["a"],
            "additionalProperties": False,
        },
    ),
    Tool("clock", "", {"type": "object", "properties": {}, "additionalProperties": False}),
)


def run(loaded, **asked):
    parameters = asked.pop("parameters", GenerationParameters(temperature=1.5, seed=3))
    request = ChatRequest("demo", (Message("user", "Hello"),), parameters, **asked)
    events = list(generate(loaded, request, 400, lambda: False))
    joiner = CallJoiner()
    for event in events:
        if isinstance(event, ToolCallDelta):
            joiner.add(event)
    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    thought = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    assert isinstance(events[-1], Finished)
    return thought, text, joiner.calls, events[-1]


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_keeps_to_its_schema_whatever_the_model_would_say(seed):
    loaded = scripted(f"I will not.{END}")
    _, text, _, finished = run(loaded, format=AnswerFormat(SCHEMA), parameters=GenerationParameters(temperature=2.0, top_k=0, seed=seed))
    answer = json.loads(text)
    assert answer["mood"] in ("good", "bad") and 1 <= answer["count"] <= 3 and isinstance(answer["ok"], bool) and len(answer) == 3
    assert finished.reason == "stop"


def test_any_object_where_no_schema_is_given():
    _, text, _, _ = run(scripted(f'{{"a": [1, 2]}} and more{END}'), format=AnswerFormat(), parameters=GenerationParameters(temperature=0.0))
    assert json.loads(text) == {"a": [1, 2]}


def test_the_trace_stays_free():
    thought, text, _, _ = run(scripted(f'Free {{thought}} "here".\n</think>\n\nno{END}', OPENS), format=AnswerFormat(SCHEMA))
    assert thought.strip() == 'Free {thought} "here".' and json.loads(text).keys() == {"mood", "count", "ok"}


@pytest.mark.parametrize("template", [PLAIN, OPENS])
def test_a_call_is_made_where_one_is_required(template):
    said = f"Never.{END}" if template is PLAIN else f"Hm.\n</think>\n\nNever.{END}"
    _, text, calls, finished = run(scripted(said, template), tools=Tools(TOOLS, "required"))
    assert text == "" and len(calls) == 1 and finished.reason == "tool_calls"
    assert calls[0].name in ("add", "clock") and isinstance(json.loads(calls[0].arguments), dict)


def test_the_named_tool_is_called():
    for name in ("add", "clock"):
        _, _, calls, _ = run(scripted(f"Never.{END}"), tools=Tools(TOOLS, "named", name))
        assert [c.name for c in calls] == [name]
    assert json.loads(calls[0].arguments) == {}


def test_tags_that_are_single_tokens_are_written_by_number():
    words = copy.deepcopy(tokenizer_of(PLAIN))
    assert of_calls(words, Tools(TOOLS, "required")).count('"<tool_call>"') == 1
    words.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("</tool_call>", special=False)])
    lark = of_calls(words, Tools(TOOLS, "named", "clock"))
    end = words.eos_token_id
    grammar = Grammar(grammar_tokenizer(words, frozenset({end}), len(words)), lark, torch.device("cpu"), len(words))
    for token in words('<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>', add_special_tokens=False)["input_ids"]:
        assert grammar.allowed()[token]
        grammar.take(token)
    assert grammar.ended


def test_a_schema_that_cannot_be_enforced_is_refused_with_its_keyword():
    with pytest.raises(BadInput, match="unevaluatedProperties"):
        run(scripted(f"x{END}"), format=AnswerFormat({"type": "object", "unevaluatedProperties": False}))


def test_nothing_is_fetched_for_a_schema():
    with pytest.raises(BadInput, match="cannot be enforced"):
        run(scripted(f"x{END}"), format=AnswerFormat({"$ref": "http://127.0.0.1:9/schema.json"}))


async def test_the_tiny_model_calls_a_tool_and_keeps_to_a_schema(tmp_path):
    provider = LocalProvider(tmp_path)
    asked = (Message("user", "What is 12 + 30?"),)
    called = [e async for e in provider.stream(ChatRequest("qwen3-next-tiny", asked, tools=Tools(TOOLS, "named", "add")))]
    joiner = CallJoiner()
    for event in called:
        if isinstance(event, ToolCallDelta):
            joiner.add(event)
    assert 0 <= json.loads(joiner.calls[0].arguments)["a"] <= 99 and called[-1].reason == "tool_calls"
    answered = [e async for e in provider.stream(ChatRequest("qwen3-next-tiny", asked, format=AnswerFormat(SCHEMA)))]
    assert json.loads("".join(e.text for e in answered if isinstance(e, TextDelta))).keys() == SCHEMA["properties"].keys()
    assert any(isinstance(e, ThinkingDelta) for e in answered)
    await provider.aclose()
    assert (ASSETS / "qwen3-next-tiny").is_dir()
