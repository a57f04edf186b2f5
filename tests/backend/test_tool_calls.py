"""Calls out of raw text, cut at every place; pieces joined by index."""

from __future__ import annotations

import json

import pytest

from backend import tool_calls
from backend.tool_calls import MAX_HEAD_CHARS, CallJoiner, CallSplitter
from backend.types import TextDelta, ToolCall, ToolCallDelta

WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Hà Nội", "note": "a } and a \\" and </tool_call>"}}\n</tool_call>'
ARGUMENTS = '{"city": "Hà Nội", "note": "a } and a \\" and </tool_call>"}'
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": [1, {"b": 2}]}}\n</tool_call>'


def split(*texts: str) -> tuple[str, list[tuple[str, str]]]:
    splitter, joiner, text = CallSplitter(), CallJoiner(), ""
    pieces = [piece for t in texts for piece in splitter.feed(t)] + splitter.close()
    for piece in pieces:
        if isinstance(piece, TextDelta):
            assert piece.text
            text += piece.text
        else:
            joiner.add(piece)
    assert splitter.found == len(joiner)
    return text, [(call.name, call.arguments) for call in joiner.calls]


CASES = [
    ("no call at all", "Just 1 < 2 and <tool> text.\n", ("Just 1 < 2 and <tool> text.\n", [])),
    ("one call", WEATHER, ("", [("weather", ARGUMENTS)])),
    ("text, then a call", f"I look it up. \n\n{WEATHER}", ("I look it up.", [("weather", ARGUMENTS)])),
    ("two calls", f"{WEATHER}\n{ADD}", ("", [("weather", ARGUMENTS), ("add", '{"a": [1, {"b": 2}]}')])),
    ("text after a call", f"{ADD}\n\nDone.", ("Done.", [("add", '{"a": [1, {"b": 2}]}')])),
    ("no end of the first", f"{ADD.removesuffix('</tool_call>')}{ADD}", ("", [("add", '{"a": [1, {"b": 2}]}')] * 2)),
    ("compact", '<tool_call>{"name":"f","arguments":{}}</tool_call>', ("", [("f", "{}")])),
    ("a scalar as arguments", '<tool_call>{"name": "f", "arguments": "x"}</tool_call>', ("", [("f", '"x"')])),
    ("something after the arguments", '<tool_call>{"name": "f", "arguments": {}, "x": 1}</tool_call>', ("", [("f", '{}, "x": 1}')])),
    ("no end at all", '<tool_call>{"name": "f", "arguments": {}}', ("", [("f", "{}")])),
    ("another order", '<tool_call>{"arguments": {"x": 1}, "name": "f"}</tool_call>', ("", [("f", '{"x": 1}')])),
    ("an escaped name", '<tool_call>{"name": "\\u0066", "arguments": {}}</tool_call>', ("", [("f", "{}")])),
    ("cut in the arguments", '<tool_call>\n{"name": "f", "arguments": {"x": "ab', ("", [("f", '{"x": "ab')])),
    ("cut in the name", 'So: <tool_call>\n{"name": "fo', ('So: <tool_call>\n{"name": "fo', [])),
    ("cut in the tag", "So: <tool_ca", ("So: <tool_ca", [])),
    ("a quoted tag", "The tag <tool_call> opens a call.", ("The tag <tool_call> opens a call.", [])),
    ("no JSON", "<tool_call>\n{city: Paris}\n</tool_call>", ("<tool_call>\n{city: Paris}\n</tool_call>", [])),
    ("no name", '<tool_call>{"arguments": {}}</tool_call>', ('<tool_call>{"arguments": {}}</tool_call>', [])),
]


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_split_is_the_same_wherever_the_text_is_cut(text, expected):
    assert split(text) == expected
    assert split(*text) == expected
    for place in range(len(text)):
        assert split(text[:place], text[place:]) == expected


def test_name_and_arguments_come_before_the_call_is_whole():
    splitter = CallSplitter()
    assert splitter.feed('<tool_call>\n{"name": "f", "arguments": ') == []
    opened = splitter.feed("{")
    assert [(p.index, p.name, p.arguments) for p in opened] == [(0, "f", ""), (0, None, "{")]
    assert opened[0].id and splitter.feed('"x": 1') == [ToolCallDelta(0, arguments='"x": 1')]


def test_white_space_that_may_precede_a_call_waits_for_what_follows():
    splitter = CallSplitter()
    assert splitter.feed("One.\n\n") == [TextDelta("One.")]
    assert splitter.feed("Two.") == [TextDelta("\n\nTwo.")]


def test_pieces_are_joined_by_index_and_empty_ids_overwrite_nothing():
    joiner = CallJoiner()
    for piece in (
        ToolCallDelta(1, "b", "g", "{"),
        ToolCallDelta(0, "a", "f"),
        ToolCallDelta(0, None, None, '{"x":'),
        ToolCallDelta(1, None, None, "}"),
        ToolCallDelta(0, None, "f", "1}"),
    ):
        joiner.add(piece)
    assert joiner.calls == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"))


def test_a_call_without_an_id_gets_one():
    joiner = CallJoiner()
    joiner.add(ToolCallDelta(0, None, "f", "{}"))
    assert joiner.calls[0].id.startswith("call_") and json.loads(joiner.calls[0].arguments) == {}


def test_calls_of_one_id_are_told_apart_alike_wherever_they_are_joined():
    pieces = [ToolCallDelta(0, "call_0", "f", "{}"), ToolCallDelta(1, "call_0", "g", "{"), ToolCallDelta(1, "call_0", None, "}")]
    joiners = [CallJoiner(), CallJoiner()]
    for joiner in joiners:
        for piece in pieces:
            joiner.add(piece)
    assert joiners[0].calls == joiners[1].calls == (ToolCall("call_0", "f", "{}"), ToolCall("call_0_1", "g", "{}"))


def test_a_name_without_an_end_is_text_and_is_not_looked_through_at_every_piece():
    splitter = CallSplitter()
    out = splitter.feed('<tool_call>{"name": "' + "a" * MAX_HEAD_CHARS)
    assert not any(isinstance(piece, ToolCallDelta) for piece in [*out, *splitter.feed('", "arguments": {}'), *splitter.close()])


HELD = {
    "a name without end": ['<tool_call>{"name":"', *["a" * 1000] * 400],
    "another order without end": ['<tool_call>{"x":"', *["a" * 1000] * 400],
    "blanks after a call is opened": ["<tool_call>", *[" " * 1000] * 400],
    "no end after the arguments": ['<tool_call>{"name":"a","arguments":{}}', *["a" * 1000] * 400],
    "blanks": ["x", *[" " * 1000] * 400],
    "many that are none, in one piece": ["<tool_call>x</tool_call>" * 40_000],
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_back_is_bounded_and_nothing_is_lost(monkeypatch, name):
    """Each piece of text looks through it again: without a bound a long answer takes time that grows with its square."""
    splitter, out, most = CallSplitter(), [], []
    step = CallSplitter._step
    monkeypatch.setattr(CallSplitter, "_step", lambda self, out: (most.append(len(self._held)), step(self, out))[1])
    for piece in HELD[name]:
        out += splitter.feed(piece)
    out += splitter.close()
    assert max(most) <= max(tool_calls.MAX_BLOCK_CHARS, tool_calls.MAX_HEAD_CHARS) + 2 * tool_calls.MAX_HEAD_CHARS
    told = "".join(each.text if isinstance(each, TextDelta) else each.arguments for each in out)
    assert abs(len(told) - len("".join(HELD[name]))) <= len('<tool_call>{"name":"a","arguments":')
