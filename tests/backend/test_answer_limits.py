"""How long one answer may be, whatever writes it."""

from __future__ import annotations

import pytest

from backend import answer_limits
from backend.errors import StreamBroken
from backend.pipeline import Pipeline, Route
from backend.types import ChatRequest, Finished, Message, Started, TextDelta, ThinkingDelta, ToolCallDelta

ASK = ChatRequest("m", (Message("user", "hi"),))


async def played(scripted, *events):
    """The events that came through, and the error that ended them."""
    provider, got = scripted([Started("m"), *events, Finished("stop")]), []
    try:
        async for event in Pipeline([Route(provider, "m")]).stream(ASK):
            got.append(event)
    except StreamBroken as error:
        assert provider.closed == 1 and len(provider.requests) == 1  # ended there, and not asked again
        return got[1:], error
    return got[1:], None


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ([ThinkingDelta("1234"), TextDelta("56789"), TextDelta("0")], None),
        ([ThinkingDelta("1234"), TextDelta("567890x")], [ThinkingDelta("1234"), TextDelta("567890")]),
        ([TextDelta("1234567890"), TextDelta("x")], [TextDelta("1234567890"), TextDelta("")]),
        ([ThinkingDelta("1234567890x", 3)], [ThinkingDelta("1234567890", 3)]),
        ([TextDelta("1234"), ToolCallDelta(0, "id", "f", "567")], None),
        ([TextDelta("1234"), ToolCallDelta(0, "id", "f", "5678")], [TextDelta("1234"), ToolCallDelta(0, "id", "f", "567")]),
        ([ToolCallDelta(0, "i" * 10, "f", "")], [ToolCallDelta(0, "i" * 10, "f", "")]),
    ],
)
async def test_characters(scripted, monkeypatch, events, kept):
    monkeypatch.setattr(answer_limits, "MAX_ANSWER_CHARS", 10)
    got, error = await played(scripted, *events)
    if kept is None:
        assert error is None and got[:-1] == events
    else:
        assert got == kept and error is not None and "longer than 10 characters" in error.message and error.hint


@pytest.mark.parametrize("extra", [0, 1])
async def test_pieces(scripted, monkeypatch, extra):
    monkeypatch.setattr(answer_limits, "MAX_ANSWER_EVENTS", 5)
    got, error = await played(scripted, *[TextDelta("a")] * (4 + extra))  # beside them Finished
    assert [event.text for event in got if isinstance(event, TextDelta)] == ["a"] * (4 + extra)
    got, error = await played(scripted, *[TextDelta("a")] * (5 + extra))
    assert (error is not None and "longer than 5 pieces" in error.message) is bool(extra)


async def test_each_answer_has_the_whole_limit(scripted, monkeypatch):
    monkeypatch.setattr(answer_limits, "MAX_ANSWER_CHARS", 3)
    for _ in range(3):
        assert (await played(scripted, TextDelta("abc")))[1] is None


def test_what_real_models_write_fits():
    assert answer_limits.MAX_ANSWER_EVENTS > 2 * (81_920 + 32_768) and answer_limits.MAX_ANSWER_CHARS > 8 * (81_920 + 32_768)
