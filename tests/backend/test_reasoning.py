"""The split of raw text into thinking and answer is the same wherever the text is cut."""

from __future__ import annotations

import pytest

from backend import reasoning
from backend.reasoning import ReasoningSplitter
from backend.types import AnswerWasThinking, TextDelta, ThinkingDelta

CASES = [
    # starts in thinking, raw text, thinking, answer
    (True, "\nOkay, 2+2.\nIt is 4.\n</think>\n\nThe answer is 4.", "Okay, 2+2.\nIt is 4.", "The answer is 4."),
    (True, "<think>\nboth tags\n</think>\n\nyes", "both tags", "yes"),
    (True, "</think>\n\nno thought", "", "no thought"),
    (True, "<think>\n\n</think>\n\nempty", "", "empty"),
    (True, "never closed <", "never closed <", ""),
    (True, "a < b, </thin and </th ink> stay </think>x", "a < b, </thin and </th ink> stay", "x"),
    (True, "one</think>In code: `</think>` and <think> stay.", "one", "In code: `</think>` and <think> stay."),
    (True, "Nghĩ tiếng Việt 思考🙂</think>Trả lời 答案🙂", "Nghĩ tiếng Việt 思考🙂", "Trả lời 答案🙂"),
    (False, "plain </think> text <think>", "", "plain </think> text <think>"),
    (None, "just an answer with < and <t", "", "just an answer with < and <t"),
    (None, "<think>hm</think>yes", "hm", "yes"),
    (None, "opened in the prompt\n</think>\n\nyes", "opened in the prompt", "yes"),
    (None, "</think>\n\nyes", "", "yes"),
    (None, "  indented\n", "", "  indented\n"),
    (None, "two\n\nparagraphs\n", "", "two\n\nparagraphs\n"),
    (None, "", "", ""),
    (None, "<", "", "<"),
    (True, "why\n</think>\r\n\r\n    indented code\n", "why", "    indented code\n"),
    (True, "spaced \n\n out\n \n</think>\n", "spaced \n\n out", ""),
    (True, "twice</think>a</think>b", "twice", "a</think>b"),
    (True, "  \n", "", ""),
]


def split(starts: bool | None, pieces: list[str]) -> tuple[str, str]:
    splitter, thinking, answer = ReasoningSplitter(starts), "", ""
    for piece in [*pieces, None]:
        for delta in splitter.close() if piece is None else splitter.feed(piece):
            match delta:
                case ThinkingDelta(text=text):
                    assert text
                    thinking += text
                case TextDelta(text=text):
                    assert text
                    answer += text
                case AnswerWasThinking():
                    thinking, answer = thinking + answer, ""
    return thinking, answer


@pytest.mark.parametrize(("starts", "raw", "thinking", "answer"), CASES)
def test_at_once(starts, raw, thinking, answer):
    assert split(starts, [raw]) == (thinking, answer)


@pytest.mark.parametrize(("starts", "raw", "thinking", "answer"), CASES)
def test_cut_at_every_place_and_every_pair_of_places(starts, raw, thinking, answer):
    for first in range(len(raw) + 1):
        assert split(starts, [raw[:first], raw[first:]]) == (thinking, answer)
        for second in range(first, len(raw) + 1, 3):
            assert split(starts, [raw[:first], raw[first:second], raw[second:]]) == (thinking, answer)


@pytest.mark.parametrize(("starts", "raw", "thinking", "answer"), CASES)
def test_character_by_character(starts, raw, thinking, answer):
    assert split(starts, list(raw)) == (thinking, answer)


def test_nothing_is_called_thinking_afterwards_where_nothing_was_shown():
    assert ReasoningSplitter(None).feed("</think>yes") == [TextDelta("yes")]
    assert ReasoningSplitter(None).feed("hm</think>yes") == [TextDelta("hm"), AnswerWasThinking(), TextDelta("yes")]


def test_text_is_let_out_as_soon_as_it_is_certain():
    splitter = ReasoningSplitter(True)
    fed = [splitter.feed(piece) for piece in ("Let", " me", " see <", "/thin", "g>", "</think>", "A")]
    assert [[d.text for d in deltas] for deltas in fed] == [["Let"], [" me"], [" see"], [], [" </thing>"], [], ["A"]]


@pytest.mark.parametrize("raw", [case[1] for case in CASES if case[0]])
def test_no_piece_of_the_first_closing_tag_is_ever_shown(raw):
    splitter = ReasoningSplitter(True)
    shown = "".join(d.text for character in raw for d in splitter.feed(character) if isinstance(d, ThinkingDelta))
    assert "</think>" not in shown and not shown.endswith(("</", "</think"))


@pytest.mark.parametrize("starts", [True, None])
def test_blanks_without_end_are_not_all_held_back_and_none_is_lost(starts):
    splitter, out = ReasoningSplitter(starts), []
    for piece in ["x", *[" " * 500] * 40, "y"]:
        out += splitter.feed(piece)
        assert len(splitter._held) <= reasoning.MAX_BLANKS + 8
    assert "".join(delta.text for delta in [*out, *splitter.close()]) == "x" + " " * 20_000 + "y"


def test_blanks_before_everything_are_not_all_held_back():
    splitter = ReasoningSplitter(None)
    told = [splitter.feed(" " * 500) for _ in range(40)]
    assert any(told) and len(splitter._held) <= reasoning.MAX_BLANKS + 8
