"""The weights in `assets/` keep what their card says: they think, they are right, the head guesses, four bits cost next to nothing."""

from __future__ import annotations

import random
import re

import pytest

from backend.local import tiny
from backend.local.generation import generate
from backend.local.loading import load
from backend.local.names import parse
from backend.local.progress import unheard
from backend.local.tiny import exam
from backend.types import ChatRequest, Finished, GenerationParameters, Message, ThinkingDelta


def loaded(name=tiny.NAME):
    return load(parse(name), tiny.FOLDER, allow_fetch=False, report=unheard)


@pytest.fixture(scope="module")
def model():
    return loaded()


def answered(model, question, **parameters):
    request = ChatRequest("x", (Message("user", question),), GenerationParameters(temperature=0.0, **parameters))
    events = list(generate(model, request, 512, lambda: False))
    assert isinstance(events[-1], Finished)
    return events, events[-1]


def test_the_weights_take_at_most_8_mb():
    assert sum(file.stat().st_size for file in tiny.FOLDER.iterdir()) <= 8e6


def test_sums_of_problems_never_trained_on_are_right(model):
    """With an operand of four digits: such sums are no step of a word problem either."""
    drawn = exam.problems(random.Random(31), 240, "sum")
    problems = [problem for problem in drawn if re.search(r"\d{4}", problem.question)][:40]
    assert len(problems) == 40
    right = [exam.right(problem, exam.ask(model, problem.question)) for problem in problems]
    assert sum(right) >= 38, [problem.question for problem, good in zip(problems, right, strict=True) if not good]


@pytest.mark.parametrize("question", ["What is 4821 + 394?", "Tính 4821 + 394."])
def test_it_thinks_and_then_answers(model, question):
    events, finished = answered(model, question)
    assert any(isinstance(event, ThinkingDelta) for event in events)
    assert finished.reason == "stop" and 0 < finished.usage.reasoning_tokens < finished.usage.output_tokens


def test_the_head_guesses_at_least_60_percent_and_saves_forwards_in_proportion(model):
    drafted = accepted = forwards = tokens = 0
    for problem in exam.problems(random.Random(32), 20):
        usage = answered(model, problem.question, draft_tokens=1)[1].usage
        drafted, accepted = drafted + usage.drafted_tokens, accepted + usage.accepted_tokens
        forwards, tokens = forwards + usage.forward_passes, tokens + usage.output_tokens
    assert accepted / drafted >= 0.6
    assert forwards <= tokens - accepted + 2 * 20  # each right guess is one forward less; an answer begins and ends beside them


@pytest.mark.parametrize(
    "parameters", [*({"max_tokens": n} for n in (2, 3, 5, 9)), {"thinking_budget": 7}, {"stop": ("521",)}, {}], ids=str
)
def test_guesses_that_the_answer_did_not_take_are_not_counted(model, parameters):
    """Each pass gives one token and the guesses that came true; the tokens that close a trace are guessed by nobody, in one pass."""
    usage = answered(model, "What is 4821 + 394?", draft_tokens=3, **parameters)[1].usage
    closing = len(model.tokenizer("\n</think>\n\n", add_special_tokens=False)["input_ids"]) if "thinking_budget" in parameters else 1
    assert usage.output_tokens == usage.forward_passes - 1 + closing + usage.accepted_tokens
    assert 0 <= usage.accepted_tokens <= usage.drafted_tokens


@pytest.mark.slow
def test_four_bits_lose_at_most_two_points(model):
    whole, packed = exam.marks(model, 40, seed=33), exam.marks(loaded(f"{tiny.NAME}@4bit"), 40, seed=33)
    assert sum(packed.values()) / len(packed) >= sum(whole.values()) / len(whole) - 0.02, (whole, packed)
