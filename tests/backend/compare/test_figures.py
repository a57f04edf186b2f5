"""The figures of an answer: what is known and nothing else, in seconds, tokens and money as counted by hand; and which is the best."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.catalogue import Capabilities, Price, catalogue
from backend.compare.figures import FIGURES, answer_tokens, best, contestant, context_share, figures_of
from backend.compare.votes import Contestant
from backend.history import Node
from backend.types import Timing, Usage

THINKING, INSTRUCT, LOCAL = (
    catalogue().capabilities(engine, model)
    for engine, model in (("dashscope", "qwen3-next-80b-a3b-thinking"), ("dashscope", "qwen3-next-80b-a3b-instruct"), ("local", "demo"))
)
PRICES = (
    Price(region="here", currency="USD", input=2.0, output=3.0, output_thinking=5.0, as_of="2026-01-01"),
    Price(region="there", currency="CNY", input=10.0, output=20.0, as_of="2026-01-01"),
)
PRICED = Capabilities(name="e:m", title="M", engine="e", engine_title="E", thinking="switch", context_tokens=4000, prices=PRICES)
USAGE = Usage(input_tokens=100, output_tokens=900, reasoning_tokens=600, drafted_tokens=80, accepted_tokens=60, forward_passes=500)
TIMING = Timing(ttft_s=0.5, thinking_s=6.0, answer_s=3.0, decode_s=9.0, total_s=10.0)


def node(**given) -> Node:
    given = {"model": "e:m", "usage": USAGE, "timing": TIMING, "region": "here", "parameters": {"seed": 7, "temperature": 0.5}, **given}
    return Node("n1", "c1", None, "assistant", "An answer.", datetime(2026, 7, 20, tzinfo=UTC), **given)


# ---------------------------------------------------------------- what is known
def test_all_that_is_known_of_an_answer():
    assert figures_of(node(), PRICED) == pytest.approx({
        "ttft_s": 0.5, "thinking_s": 6.0, "answer_s": 3.0, "total_s": 10.0, "input_tokens": 100, "thinking_tokens": 600,
        "answer_tokens": 300, "tokens_per_s": 899 / 9, "guesses_right": 0.75, "context_share": 0.25,
        "cost": (100 * 2 + 900 * 5) / 1e6, "seed": 7,
    })  # fmt: skip


def test_every_figure_has_a_row_and_every_row_a_figure():
    assert list(figures_of(node(), PRICED)) == [figure.name for figure in FIGURES]


@pytest.mark.parametrize("given", [{}, {"usage": Usage(), "timing": Timing()}])
def test_what_is_unknown_is_left_out(given):
    empty = {"usage": None, "timing": None, "region": None, "parameters": {}, **given}
    assert figures_of(node(**empty), None) == {} == figures_of(node(**empty), PRICED)


def test_a_zero_that_is_known_stays():
    given = node(usage=Usage(0, 0, 0), timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0), parameters={"seed": 0})
    assert figures_of(given, PRICED) == {
        "ttft_s": 0, "thinking_s": 0, "answer_s": 0, "total_s": 0, "input_tokens": 0, "thinking_tokens": 0, "answer_tokens": 0,
        "context_share": 0, "cost": 0, "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"usage": replace(USAGE, input_tokens=None)}, {"input_tokens", "context_share", "cost"}),
        ({"usage": replace(USAGE, output_tokens=None)}, {"answer_tokens", "tokens_per_s", "context_share", "cost"}),
        ({"usage": replace(USAGE, reasoning_tokens=None)}, {"thinking_tokens", "answer_tokens"}),
        ({"usage": replace(USAGE, drafted_tokens=0)}, {"guesses_right"}),
        ({"usage": replace(USAGE, accepted_tokens=None)}, {"guesses_right"}),
        ({"usage": replace(USAGE, output_tokens=1, reasoning_tokens=0)}, {"tokens_per_s"}),
        ({"timing": replace(TIMING, decode_s=0.0)}, {"tokens_per_s"}),
        ({"timing": replace(TIMING, thinking_s=None)}, {"thinking_s"}),
        ({"region": "nowhere"}, {"cost"}),
        ({"region": None}, {"cost"}),
        ({"parameters": {"seed": None}}, {"seed"}),
    ],
)
def test_one_thing_that_is_unknown_takes_only_what_needs_it(given, missing):
    assert {figure.name for figure in FIGURES} - set(figures_of(node(**given), PRICED)) == missing


@pytest.mark.parametrize("seed", ["7", "<b>", True, [7], {}])
def test_a_seed_that_is_no_number_is_no_figure(seed):  # files that others made may hold anything
    assert "seed" not in figures_of(node(parameters={"seed": seed}), PRICED)


def test_of_an_unknown_model_only_what_it_told_is_known():
    assert {figure.name for figure in FIGURES} - set(figures_of(node(), None)) == {"context_share", "cost"}


@pytest.mark.parametrize(
    ("usage", "region", "cost"),
    [
        (Usage(1000, 2000, 500), "here", (1000 * 2 + 2000 * 5) / 1e6),  # it thought: all output at that price
        (Usage(1000, 2000, 0), "here", (1000 * 2 + 2000 * 3) / 1e6),
        (Usage(1000, 2000, None), "here", (1000 * 2 + 2000 * 3) / 1e6),
        (Usage(1000, 2000, 500), "there", (1000 * 10 + 2000 * 20) / 1e6),
    ],
)
def test_the_cost_is_that_of_the_answers_region(usage, region, cost):
    assert figures_of(node(usage=usage, region=region), PRICED)["cost"] == pytest.approx(cost)


# ---------------------------------------------------------------- tokens
@pytest.mark.parametrize(
    ("usage", "capabilities", "tokens"),
    [
        (Usage(5, 70, 20), THINKING, 50),
        (Usage(5, 70, 70), THINKING, 0),
        (Usage(5, 70, None), THINKING, None),
        (Usage(5, 70, None), INSTRUCT, 70),
        (Usage(5, 70, 0), INSTRUCT, 70),
        (Usage(5, 70, 20), INSTRUCT, 50),
        (Usage(5, None, None), INSTRUCT, None),
        (Usage(5, 70, None), PRICED, None),
        (Usage(5, 70, None), None, None),
        (Usage(5, 70, 20), None, 50),
    ],
)
def test_the_tokens_of_the_answer_are_those_that_are_surely_no_thinking(usage, capabilities, tokens):
    assert answer_tokens(usage, capabilities) == tokens
    assert figures_of(node(usage=usage), capabilities).get("answer_tokens") == tokens


@pytest.mark.parametrize(
    ("usage", "context_tokens", "share"),
    [
        (Usage(100, 900), 4000, 0.25),
        (Usage(0, 0), 4000, 0.0),
        (Usage(3000, 3000), 4000, 1.5),
        (Usage(100, None), 4000, None),
        (Usage(None, 900), 4000, None),
        (Usage(100, 900), None, None),
    ],
)
def test_the_share_of_the_context_is_of_question_and_answer(usage, context_tokens, share):
    assert context_share(usage, PRICED.model_copy(update={"context_tokens": context_tokens})) == share


def test_without_a_known_model_the_share_of_the_context_is_unknown():
    assert context_share(USAGE, None) is None


# ---------------------------------------------------------------- as a vote keeps it
def test_a_vote_keeps_model_parameters_figures_and_whose_answer_it_was():
    given = node()
    kept = contestant(given, PRICED)
    assert kept == Contestant("e:m", {"seed": 7, "temperature": 0.5}, figures_of(given, PRICED), "n1")


def test_what_a_vote_keeps_does_not_change_with_the_answer():
    given = node()
    kept = contestant(given, None)
    given.parameters["temperature"] = 2.0
    assert kept.parameters["temperature"] == 0.5


def test_an_answer_without_a_model_is_kept_without_a_name():
    assert contestant(node(model=None, usage=None, timing=None, parameters={}), None) == Contestant("", {}, {}, "n1")


# ---------------------------------------------------------------- the best
@pytest.mark.parametrize(
    ("values", "better", "places"),
    [
        ({0: 1.0, 1: 2.0, 2: 3.0}, "low", {0}),
        ({0: 1.0, 1: 2.0, 2: 3.0}, "high", {2}),
        ({0: 2.0, 1: 1.0, 3: 1.0}, "low", {1, 3}),
        ({0: 2.0, 1: 2.0, 3: 1.0}, "high", {0, 1}),
        ({1: 0.0, 3: 0.5}, "low", {1}),
        ({0: -1.0, 1: 1.0}, "low", {0}),
        ({0: 1, 1: 2.0}, "high", {1}),
        ({0: 1.0, 1: 2.0}, None, set()),
        ({0: 1.0, 1: 1.0}, "low", set()),
        ({0: 1, 1: 1.0, 2: 1}, "high", set()),
        ({2: 1.0}, "low", set()),
        ({}, "high", set()),
    ],
)
def test_the_best_are_those_that_are_better_than_another(values, better, places):
    assert best(values, better) == places


def test_less_time_money_and_context_is_better_and_more_tokens_a_second():
    assert {figure.name: figure.better for figure in FIGURES} == {
        "ttft_s": "low", "thinking_s": "low", "answer_s": "low", "total_s": "low", "input_tokens": None, "thinking_tokens": None,
        "answer_tokens": None, "tokens_per_s": "high", "guesses_right": None, "context_share": "low", "cost": "low", "seed": None,
    }  # fmt: skip


def test_a_model_on_this_machine_has_figures_but_no_price():
    assert "cost" not in figures_of(node(region=None), LOCAL) and figures_of(node(region=None), LOCAL)["total_s"] == 10.0
