"""The shipped catalogue is sound, an unknown model is described honestly, and a request is judged by what its model takes."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest
from pydantic import ValidationError

from backend.catalogue import Catalogue, ModelCard, catalogue
from backend.checking import NUMERIC_PARAMETERS, check
from backend.errors import BadInput
from backend.settings import REGION_HOSTS
from backend.types import ChatRequest, GenerationParameters, Message, Usage

CATALOGUE = catalogue()
CARDS = pytest.mark.parametrize("card", CATALOGUE.models, ids=lambda c: f"{c.engine}:{c.id}")
THINKING = CATALOGUE.capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
INSTRUCT = CATALOGUE.capabilities("dashscope", "qwen3-next-80b-a3b-instruct")
SERVER = CATALOGUE.capabilities("server", "someone/unheard-of")


def homes(card: ModelCard) -> list[str]:
    return ["server", "local"] if card.engine == "checkpoint" else [card.engine]


# ---------------------------------------------------------------- the shipped cards
@CARDS
def test_recommended_values_lie_in_the_range_of_every_engine_that_has_them(card):
    for engine in homes(card):
        for name, value in card.defaults.items():
            spec = CATALOGUE.engines[engine].parameters.get(name)
            assert spec is None or spec.min <= value <= spec.max, (engine, name)
        assert any(name in CATALOGUE.engines[e].parameters for e in homes(card) for name in card.defaults)


@CARDS
def test_every_recommended_value_names_a_parameter(card):
    assert set(card.defaults) <= set(NUMERIC_PARAMETERS)


@CARDS
def test_ranges_on_each_engine_are_ranges(card):
    for engine in homes(card):
        for name, spec in CATALOGUE.capabilities(engine, card.id).parameters.items():
            assert spec.min < spec.max and 0 < spec.step <= spec.max, name
            assert spec.default is None or spec.min <= spec.default <= spec.max, name
            assert not spec.integer or spec.default is None or spec.default == int(spec.default), name


@CARDS
def test_prices_are_dated_positive_and_of_a_region_that_exists(card):
    assert len({p.region for p in card.prices}) == len(card.prices)
    for price in card.prices:
        assert date(2025, 1, 1) <= date.fromisoformat(price.as_of)
        assert price.region in REGION_HOSTS and price.input > 0 and price.output > 0
        assert (price.output_thinking is None) or (card.thinking == "switch" and price.output_thinking >= price.output)
        assert price.currency == ("CNY" if price.region == "beijing" else "USD")


@CARDS
def test_a_sibling_exists_names_this_one_back_and_thinks_otherwise(card):
    if card.sibling is None:
        return
    engine, _, name = card.sibling.partition(":")
    other = CATALOGUE.card(engine, name)
    assert other is not None and other.sibling == f"{card.engine}:{card.id}"
    assert {card.thinking, other.thinking} == {"always", "never"}


@CARDS
def test_limits_fit_together(card):
    assert card.context_tokens is not None and card.max_output_tokens is not None
    assert card.max_output_tokens <= card.context_tokens
    assert card.max_input_tokens is None or card.max_input_tokens <= card.context_tokens
    assert (card.thinks_by_default is not None) == (card.thinking == "switch")
    assert card.max_thinking_tokens is None or card.thinking in ("always", "switch")


def test_no_name_leads_to_two_cards():
    for engine in ("dashscope", "server", "local"):
        mine = [c for c in CATALOGUE.models if engine in homes(c)]
        names = [n.casefold() for c in mine for n in {c.id.casefold(), *(n.casefold() for n in c.names)}]
        assert len(names) == len(set(names))


def test_every_engine_of_a_name_is_described():
    assert {"dashscope", "server", "local", "replay"} <= set(CATALOGUE.engines)


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-Next-80B-A3B-Thinking", "qwen3-next-80b-a3b-thinking", "QWEN/QWEN3-NEXT-80B-A3B-THINKING-FP8"]
)
def test_a_server_may_list_a_checkpoint_under_any_of_its_names(name):
    found = CATALOGUE.capabilities("server", name)
    assert found.known and found.thinking == "always" and found.context_tokens == 262144 and found.name == f"server:{name}"


# ---------------------------------------------------------------- unknown models
@pytest.mark.parametrize("engine", ["dashscope", "server", "local"])
def test_an_unknown_model_is_described_honestly(engine):
    found = CATALOGUE.capabilities(engine, "someone/unheard-of")
    assert (found.known, found.thinking, found.thinks_by_default, found.title) == (False, "unknown", None, "someone/unheard-of")
    assert found.context_tokens is found.max_output_tokens is found.max_input_tokens is None and found.prices == ()
    assert found.thinks(GenerationParameters()) is None and "thinking_budget" not in found.parameters
    assert found.cost(Usage(10, 10, 0), "singapore") is None


def test_what_the_engine_itself_told_goes_before_the_card():
    found = CATALOGUE.capabilities("server", "someone/unheard-of", context_tokens=4096, thinking="always")
    assert (found.context_tokens, found.thinking, found.parameters["max_tokens"].max) == (4096, "always", 4096)


def test_a_checkpoint_of_a_server_is_no_model_of_dashscope():
    assert CATALOGUE.card("dashscope", "Qwen/Qwen3-0.6B") is None


def test_parameters_are_limited_by_the_model_and_by_the_engine():
    assert THINKING.parameters["max_tokens"].max == 32768
    assert CATALOGUE.capabilities("local", "demo").parameters["max_tokens"].max == 2048
    assert CATALOGUE.capabilities("dashscope", "qwen3-32b").parameters["thinking_budget"].max == 38912
    assert "thinking_budget" not in INSTRUCT.parameters and "min_p" not in THINKING.parameters


@pytest.mark.parametrize(
    ("model", "switch", "thinks"),
    [("qwen3-32b", None, True), ("qwen3-32b", False, False), ("qwen-plus", None, False), ("qwen-plus", True, True)],
)
def test_a_hybrid_thinks_as_it_is_told_or_by_default(model, switch, thinks):
    assert CATALOGUE.capabilities("dashscope", model).thinks(GenerationParameters(enable_thinking=switch)) is thinks


def test_a_switch_changes_nothing_for_the_others():
    assert THINKING.thinks(GenerationParameters(enable_thinking=False)) is True
    assert INSTRUCT.thinks(GenerationParameters(enable_thinking=True)) is False


# ---------------------------------------------------------------- prices
@pytest.mark.parametrize(
    ("model", "usage", "region", "cost"),
    [
        ("qwen3-next-80b-a3b-thinking", Usage(1_000_000, 1_000_000, 500_000), "singapore", (6.5, "USD")),
        ("qwen3-next-80b-a3b-thinking", Usage(1_000_000, 0, 0), "beijing", (1.0, "CNY")),
        ("qwen-plus", Usage(0, 1_000_000, 10), "singapore", (4.0, "USD")),
        ("qwen-plus", Usage(0, 1_000_000, 0), "singapore", (1.2, "USD")),
        ("qwen-plus", Usage(0, 1_000_000, None), "singapore", (1.2, "USD")),
        ("qwen-plus", Usage(0, 10, 0), "hongkong", None),
        ("qwen-plus", Usage(None, 10, 0), "singapore", None),
        ("qwen-plus", Usage(10, None, None), "singapore", None),
    ],
)
def test_cost(model, usage, region, cost):
    found = CATALOGUE.capabilities("dashscope", model).cost(usage, region)
    assert found == (None if cost is None else (pytest.approx(cost[0]), cost[1]))


# ---------------------------------------------------------------- judging a request
def request(prompt: str = "hi", **given) -> ChatRequest:
    continue_last = given.pop("continue_last", False)
    return ChatRequest("m", (Message("user", prompt),), GenerationParameters(**given), continue_last=continue_last)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": 2.0}, "temperature is 2; Qwen3-Next 80B-A3B Thinking on DashScope takes 0 to 1.99"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top p"),
        ({"top_k": 2.5}, "top k must be a whole number"),
        ({"max_tokens": 0}, "max tokens"),
        ({"thinking_budget": 100_000}, "thinking budget is 100000"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"temperature": True}, "must be a number"),
        ({"temperature": "hot"}, "must be a number"),
        ({"stop": tuple("abcde")}, "5 stop strings; DashScope takes at most 4"),
        ({"continue_last": True}, "cannot write on"),
        ({"prompt": " \n"}, "The prompt is empty"),
    ],
)
def test_what_a_model_does_not_take_is_refused_with_a_sentence_and_a_hint(given, words):
    with pytest.raises(BadInput) as caught:
        check(request(**given), THINKING)
    assert words in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 1.99},
        {"top_k": 100.0},
        {"seed": 0},
        {"stop": tuple("abcd")},
        {"min_p": 7.0},
        {"max_tokens": 32768},
    ],
)
def test_the_ends_of_each_range_are_taken_and_what_is_never_sent_is_not_judged(given):
    check(request(**given), THINKING)


def test_a_request_without_a_question_is_empty_whatever_else_it_holds():
    only_system = dataclasses.replace(request(), messages=(Message("system", "s"), Message("assistant", "a")))
    with pytest.raises(BadInput, match="empty"):
        check(only_system, THINKING)


def test_an_engine_that_continues_is_asked_to():
    check(request(continue_last=True), CATALOGUE.capabilities("local", "demo"))


# ---------------------------------------------------------------- the file
def test_a_misspelt_field_is_refused(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text('[engines.e]\ntitle = "E"\nmax_stop = 1\ncontinuation = false\ncolour = "red"\n[[models]]\n', encoding="utf-8")
    with pytest.raises(ValidationError):
        Catalogue.load(path)


def test_the_shipped_file_is_read_once():
    assert catalogue() is catalogue()


def test_a_checkpoint_without_a_card_brings_its_own_defaults_within_the_ranges():
    advised = {"temperature": 0.6, "top_p": 0.0, "top_k": 500}
    found = CATALOGUE.capabilities("local", "/models/mine", sampling=advised).parameters
    assert (found["temperature"].default, found["top_p"].default, found["top_k"].default) == (0.6, 0.01, 200)
    card = CATALOGUE.capabilities("local", "demo", sampling=advised).parameters
    assert card == CATALOGUE.capabilities("local", "demo").parameters
