"""Token ids to events: the trace is told apart by token id, counts are exact, stop strings hold in the answer."""

from __future__ import annotations

import pytest

from backend.local.answer import Answer
from backend.local.prompt import Prompt, think_tokens
from backend.types import AnswerWasThinking, TextDelta, ThinkingDelta
from tests.backend.local.tiny import END, ids_of, said, tokenizer

OPENED = Prompt([1, 2, 3], thinking=True)
PLAIN = Prompt([1, 2, 3])


def run(text, prompt=PLAIN, *, tags=True, stops=(), knows="unknown"):
    words = tokenizer(tags=tags)
    answer = Answer(
        lambda ids: words.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        prompt,
        think=think_tokens(words),
        end_ids={words.eos_token_id},
        stops=stops,
    )
    events = []
    for token in words(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text:
        events += answer.take(token)
        if answer.finished:
            break
    events += answer.end()
    return events, answer, answer.usage(knows)


@pytest.mark.parametrize(
    ("text", "prompt", "trace", "answer"),
    [
        ("Hà Nội" + END, PLAIN, "", "Hà Nội"),
        ("think\n</think>\n\nBắc Kinh" + END, OPENED, "think\n", "Bắc Kinh"),
        ("<think>\n想一想</think>\n北京" + END, PLAIN, "想一想", "北京"),
        ("never closed", OPENED, "never closed", ""),
        ("never closed" + END, OPENED, "never closed", ""),
        ("</think>at once" + END, OPENED, "", "at once"),
        ("a</think>b </think> c" + END, OPENED, "a", "b </think> c"),
        ("a <think> b" + END, PLAIN, "", "a <think> b"),  # not at the beginning: the model writes about tags
        ("\n\n  code" + END, PLAIN, "", "  code"),
        (" on\n" + END, Prompt([1], goes_on=True), "", " on\n"),
        ("\nnext line" + END, Prompt([1], goes_on=True), "", "\nnext line"),
    ],
)
def test_trace_and_answer(text, prompt, trace, answer):
    events, _, _ = run(text, prompt)
    assert said(events) == (trace, answer)


def test_a_quoted_tag_in_the_trace_does_not_end_it():
    quoted = [*ids_of("say <"), *ids_of("/think> now"), *ids_of("</think>"), *ids_of("done")]
    events, _, _ = run(quoted, OPENED)
    assert said(events) == ("say </think> now", "done")


def test_a_trace_that_nobody_saw_opening_is_told():
    events, _, usage = run("hidden thought</think>\n\nanswer" + END)
    told = events.index(AnswerWasThinking())
    assert "".join(e.text for e in events[:told]) == "hidden thought"
    assert said(events[told:]) == ("", "answer")
    assert usage.reasoning_tokens == len(ids_of("hidden thought</think>"))


@pytest.mark.parametrize("prompt", [Prompt([1], closed=True), Prompt([1], goes_on=True)])
def test_a_stray_closing_tag_is_text_where_the_prompt_shows_that_no_trace_is_open(prompt):
    events, _, usage = run("answer</think> more" + END, prompt)
    assert said(events) == ("", "answer</think> more")
    assert not usage.reasoning_tokens


def test_counts_are_of_all_tokens_generated():
    _, _, usage = run("<think>\n想一想</think>\n北京" + END)
    assert usage.input_tokens == 3
    assert usage.output_tokens == len(ids_of("<think>\n想一想</think>\n北京" + END))
    assert usage.reasoning_tokens == len(ids_of("<think>\n想一想</think>"))
    assert usage.answer_tokens == len(ids_of("\n北京" + END))


@pytest.mark.parametrize(
    ("tags", "knows", "prompt", "expected"),
    [
        (True, "never", PLAIN, 0),
        (False, "never", PLAIN, 0),
        (True, "switch", Prompt([1], closed=True), 0),
        (True, "unknown", PLAIN, None),
        (False, "unknown", PLAIN, None),
        (False, "always", PLAIN, None),  # it thinks, and this tokenizer does not tell where
    ],
)
def test_no_thinking_is_told_only_where_it_is_known(tags, knows, prompt, expected):
    _, _, usage = run("Hello" + END, prompt, tags=tags, knows=knows)
    assert usage.reasoning_tokens == expected


def test_the_trace_counts_up_as_it_streams():
    events, _, usage = run("one two three</think>x" + END, OPENED)
    counts = [e.tokens for e in events if isinstance(e, ThinkingDelta)]
    assert counts == sorted(set(counts)) and counts[0] == 1
    assert usage.reasoning_tokens == counts[-1] + 1  # the closing tag


def test_text_tells_how_many_tokens_were_generated_so_far():
    events, _, usage = run("think</think>one two" + END, OPENED)
    counts = [e.tokens for e in events if isinstance(e, TextDelta)]
    before = len(ids_of("think</think>"))
    assert counts == list(range(before + 1, before + 1 + len(ids_of("one two"))))
    assert usage.output_tokens == counts[-1] + 1  # the end token


def test_an_answer_that_is_cut_inside_a_character_ends_with_the_one_before():
    events, _, usage = run(ids_of("a🙂")[:-1])
    assert said(events)[1] == "a"
    assert usage.output_tokens == len(ids_of("a🙂")) - 1 > 1


def test_a_stop_string_ends_the_answer_and_is_not_shown():
    events, answer, _ = run("one two three" + END, stops=["o th"])
    assert said(events)[1] == "one tw"
    assert answer.finished


def test_a_stop_string_in_the_trace_ends_nothing():
    events, answer, _ = run("one. two</think>three. four" + END, OPENED, stops=["."])
    assert said(events) == ("one. two", "three")
    assert answer.finished


def test_what_only_began_like_a_stop_string_is_shown_at_the_end():
    events, answer, _ = run("no ##", stops=["###"])
    assert said(events)[1] == "no ##"
    assert not answer.finished


def test_the_end_token_is_no_text():
    events, _, _ = run("x" + END)
    assert events == [TextDelta("x", tokens=1)]
