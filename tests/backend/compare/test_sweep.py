"""Sweeps: what a person typed becomes points or a sentence, every combination becomes a lane, and what it costs is counted by hand."""

from __future__ import annotations

import tomllib
import unicodedata
from dataclasses import replace

import pytest

from backend.catalogue import ASSETS, Capabilities, catalogue
from backend.chat import Choices
from backend.compare.sweep import MOST_AXES, MOST_SEEDS, MOST_VALUES, SWEPT, Axis, Estimate, agreement_rate, axis_from, estimate, lanes_of
from backend.errors import BadInput
from backend.types import GenerationParameters

INSTRUCT, THINKING = "qwen3-next-80b-a3b-instruct", "qwen3-next-80b-a3b-thinking"
HYBRID, NO_THINKING_LIMIT, ONE_REGION = "qwen-plus", "qwen-flash", "qwen3-30b-a3b"
RAW = tomllib.loads((ASSETS / "models.toml").read_text(encoding="utf-8"))


def caps(model: str = INSTRUCT, engine: str = "dashscope") -> Capabilities:
    return catalogue().capabilities(engine, model)


def given(model: str = INSTRUCT, **parameters) -> Choices:
    return Choices(f"dashscope:{model}", GenerationParameters(**parameters), "Be brief.")


def price(model: str, region: str) -> dict:
    """As it stands in the file."""
    card = next(each for each in RAW["models"] if (each["engine"], each["id"]) == ("dashscope", model))
    return next(each for each in card["prices"] if each["region"] == region)


# ---- what a person typed
@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("temperature", "0.2, 0.7, 1.0", (0.2, 0.7, 1.0)),
        ("temperature", "  0.2;0.7\t1\n", (0.2, 0.7, 1.0)),
        ("temperature", "1 0.2 0.7", (0.2, 0.7, 1.0)),
        ("temperature", ",, 0.7,, ", (0.7,)),
        ("temperature", "0.7, 0.70, 7e-1, .7", (0.7,)),
        ("temperature", "0, 1.99", (0.0, 1.99)),
        ("temperature", "0.1 0.2 0.3 0.4 0.5 0.5", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("presence_penalty", "2, -2, 0", (-2.0, 0.0, 2.0)),
        ("top_k", "20, 5, 20.0", (5, 20)),
        ("max_tokens", "1, 32768", (1, 32_768)),
        ("max_tokens", "10,20,4096", (10, 20, 4096)),
        ("temperature", "0.2,0.7,1", (0.2, 0.7, 1.0)),
    ],
)
def test_values_are_read_in_any_order_and_each_once(name, text, values):
    assert axis_from(name, text, caps()) == Axis(name, values)


def test_whole_numbers_stay_whole():
    axis = axis_from("top_k", "5.0, 7", caps())
    assert [type(value) for value in axis.values] == [int, int]
    assert all(type(value) is float for value in axis_from("temperature", "0, 1", caps()).values)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("temperature", "0.2, warm", "'warm' is no number."),
        ("temperature", "0.2-0.7", "'0.2-0.7' is no number."),
        ("temperature", "0x1", "'0x1' is no number."),
        ("temperature", "", "temperature has no values to go through."),
        ("top_p", " ,; \n", "top p has no values to go through."),
        ("temperature", "0.2, 2", "temperature takes 0 to 1.99, not 2."),
        ("temperature", "-0.1", "temperature takes 0 to 1.99, not -0.1."),
        ("temperature", "nan", "temperature takes 0 to 1.99, not nan."),
        ("temperature", "inf", "temperature takes 0 to 1.99, not inf."),
        ("top_p", "0", "top p takes 0.01 to 1, not 0."),
        ("top_k", "1e999", "top k takes 0 to 100, not 1e999."),
        ("top_k", "2.5", "top k takes whole numbers, not 2.5."),
        ("max_tokens", "32769", "max tokens takes 1 to 32768, not 32769."),
        ("temperature", "0 .1 .2 .3 .4 .5", "6 values of temperature; a sweep takes at most 5."),
        ("temperature", "0,1", "0,1 may be one number or two."),
        ("temperature", "0,2; 0,7", "0,2 may be one number or two."),
        ("temperature", "0.5, 1,5", "1,5 may be one number or two."),
        ("max_tokens", "1,000 2,000", "1,000 may be one number or two."),
        ("seed", "1, 2", "Qwen3-Next 80B-A3B Instruct on DashScope takes no seed."),
        ("min_p", "0.1", "Qwen3-Next 80B-A3B Instruct on DashScope takes no min p."),
        ("thinking_budget", "100", "Qwen3-Next 80B-A3B Instruct on DashScope takes no thinking budget."),
        ("draft_tokens", "1", "Qwen3-Next 80B-A3B Instruct on DashScope takes no draft tokens."),
        ("stop", "1", "Qwen3-Next 80B-A3B Instruct on DashScope takes no stop."),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(name, text, said):
    with pytest.raises(BadInput) as raised:
        axis_from(name, text, caps())
    assert raised.value.message == said
    assert raised.value.hint.endswith(".")


@pytest.mark.parametrize(
    ("engine", "model", "name", "low", "high"),
    [
        ("dashscope", THINKING, "thinking_budget", 1, 81_920),
        ("dashscope", "qwen3-32b", "thinking_budget", 1, 38_912),
        ("dashscope", "qwen3-32b", "max_tokens", 1, 16_384),
        ("server", "Qwen/Qwen3-Next-80B-A3B-Instruct", "temperature", 0, 2),
        ("server", "anything", "min_p", 0, 0.5),
        ("local", "demo", "max_tokens", 1, 2_048),
    ],
)
def test_ranges_are_those_of_the_model_on_its_engine(engine, model, name, low, high):
    capabilities = caps(model, engine)
    assert axis_from(name, f"{low} {high}", capabilities).values == (low, high)
    for outside in (low - 1, high + 1):
        with pytest.raises(BadInput, match=f"takes {low:g} to {high:g}, not {outside}"):
            axis_from(name, str(outside), capabilities)


def test_a_recorded_run_has_nothing_to_sweep():
    for name in SWEPT:
        with pytest.raises(BadInput, match="on recorded run takes no"):
            axis_from(name, "1", caps("any", "replay"))


# ---- lanes
@pytest.mark.parametrize(("values", "seeds", "lanes"), [((1,), 1, 1), ((3,), 2, 6), ((2, 3), 1, 6), ((5, 5), 5, 125)])
def test_there_is_a_lane_for_every_combination_and_seed(values, seeds, lanes):
    axes = [Axis(name, tuple(n / 10 for n in range(1, count + 1))) for name, count in zip(("temperature", "top_p"), values, strict=False)]
    made = lanes_of(given(), axes, seeds)
    assert len(made) == lanes
    assert len({(*sorted(lane.point.items()), lane.choices.parameters.seed) for lane in made}) == lanes
    assert len({lane.label for lane in made}) == lanes


def test_lanes_stand_in_the_order_of_their_points_seeds_innermost():
    made = lanes_of(given(max_tokens=64), [Axis("temperature", (0.1, 1.5)), Axis("top_k", (1, 40))], 2)
    told = [(lane.choices.parameters.temperature, lane.choices.parameters.top_k, lane.choices.parameters.seed) for lane in made]
    assert told == [(t, k, seed) for t in (0.1, 1.5) for k in (1, 40) for seed in (1, 2)]
    assert [lane.label for lane in made][:3] == [
        "temperature 0.1, top k 1, seed 1",
        "temperature 0.1, top k 1, seed 2",
        "temperature 0.1, top k 40, seed 1",
    ]
    assert made[-1].point == {"temperature": 1.5, "top_k": 40}


def test_points_differ_in_nothing_but_their_values():
    choices = given(temperature=0.7, top_p=0.8, seed=99, max_tokens=64, stop=("x",))
    made = lanes_of(choices, [Axis("temperature", (0.1, 0.7, 1.0))], 3)
    assert [lane.choices.parameters.seed for lane in made] == [1, 2, 3] * 3
    for lane in made:
        back = replace(lane.choices.parameters, temperature=choices.parameters.temperature, seed=choices.parameters.seed)
        assert replace(lane.choices, parameters=back) == choices


@pytest.mark.parametrize("seeds", [-1, 0, MOST_SEEDS + 1])
def test_a_number_of_seeds_out_of_range_is_refused(seeds):
    with pytest.raises(BadInput) as raised:
        lanes_of(given(), [Axis("temperature", (0.1,))], seeds)
    assert raised.value.message == f"A sweep takes 1 to {MOST_SEEDS} seeds, not {seeds}."


@pytest.mark.parametrize("names", [[], ["temperature", "temperature"], ["temperature", "top_p", "top_k"]], ids=["none", "twice", "three"])
def test_axes_are_one_or_two_different_ones(names):
    with pytest.raises(BadInput, match=f"one or {MOST_AXES} different parameters"):
        lanes_of(given(), [Axis(name, (1,)) for name in names], 1)


def test_what_a_sweep_may_take_at_most_stays_small():
    assert MOST_VALUES**MOST_AXES * MOST_SEEDS <= 125


# ---- what it costs
@pytest.mark.parametrize("region", ["singapore", "beijing"])
@pytest.mark.parametrize("model", [INSTRUCT, "qwen3-30b-a3b-instruct-2507"])
def test_the_estimate_is_price_times_tokens(model, region):
    per_million = price(model, region)
    lane = (given(model, max_tokens=1_000), caps(model), region)
    told = estimate([lane, lane], prompts=30, input_tokens=6_000, likely_tokens=250)
    assert (told.answers, told.currency) == (60, per_million["currency"])
    assert told.most == pytest.approx(2 * (6_000 * per_million["input"] + 30 * 1_000 * per_million["output"]) / 1e6)
    assert told.likely == pytest.approx(2 * (6_000 * per_million["input"] + 30 * 250 * per_million["output"]) / 1e6)


def test_lanes_are_counted_each_by_its_own_limit_and_price():
    first, second = price(INSTRUCT, "singapore"), price("qwen3-30b-a3b-instruct-2507", "singapore")
    lanes = [
        (given(INSTRUCT, max_tokens=100), caps(INSTRUCT), "singapore"),
        (given("qwen3-30b-a3b-instruct-2507", max_tokens=9_000), caps("qwen3-30b-a3b-instruct-2507"), "singapore"),
    ]
    told = estimate(lanes, prompts=2, input_tokens=50, likely_tokens=500)
    assert told.most == pytest.approx((50 * (first["input"] + second["input"]) + 200 * first["output"] + 18_000 * second["output"]) / 1e6)
    # the first lane's answers are no longer than they may be
    assert told.likely == pytest.approx((50 * (first["input"] + second["input"]) + 200 * first["output"] + 1_000 * second["output"]) / 1e6)


@pytest.mark.parametrize("likely_tokens", [None, 0])
def test_without_a_likely_length_only_the_most_is_told(likely_tokens):
    told = estimate([(given(max_tokens=100), caps(), "singapore")], 1, 10, likely_tokens)
    assert told.likely is None and told.most is not None


@pytest.mark.parametrize(
    ("model", "parameters", "tokens"),
    [
        (THINKING, {"max_tokens": 1_000, "thinking_budget": 500}, 1_500),
        (THINKING, {"max_tokens": 1_000}, 1_000 + 81_920),
        ("qwen3-30b-a3b-thinking-2507", {"max_tokens": 1_000, "thinking_budget": 500}, 1_500),
    ],
)
def test_thinking_comes_on_top_where_the_limit_is_of_the_answer_alone(model, parameters, tokens):
    per_million = price(model, "singapore")
    told = estimate([(given(model, **parameters), caps(model), "singapore")], 3, 100, 10)
    assert told.most == pytest.approx((100 * per_million["input"] + 3 * tokens * per_million["output"]) / 1e6)


def test_where_the_limit_holds_for_thinking_too_nothing_comes_on_top():
    per_million = price(THINKING, "singapore")
    limited = caps(THINKING).model_copy(update={"max_tokens_limits_thinking": True})
    told = estimate([(given(THINKING, max_tokens=1_000, thinking_budget=500), limited, "singapore")], 1, 100, None)
    assert told.most == pytest.approx((100 * per_million["input"] + 1_000 * per_million["output"]) / 1e6)


@pytest.mark.parametrize("model", [HYBRID, "qwen3-32b"])
def test_a_hybrid_model_that_thinks_pays_its_thinking_price_for_all_it_may_write(model):
    per_million = price(model, "singapore")
    lane = (given(model, max_tokens=1_000, thinking_budget=500, enable_thinking=True), caps(model), "singapore")
    told = estimate([lane], 2, 100, 300)
    assert told.most == pytest.approx((100 * per_million["input"] + 2 * 1_500 * per_million["output_thinking"]) / 1e6)
    assert told.likely == pytest.approx((100 * per_million["input"] + 2 * 300 * per_million["output_thinking"]) / 1e6)


@pytest.mark.parametrize("switch", [False, None], ids=["off", "off by default"])
def test_a_hybrid_model_that_does_not_think_pays_the_plain_price(switch):
    per_million = price(HYBRID, "singapore")
    lane = (given(HYBRID, max_tokens=1_000, thinking_budget=500, enable_thinking=switch), caps(HYBRID), "singapore")
    assert estimate([lane], 2, 100, None).most == pytest.approx((100 * per_million["input"] + 2 * 1_000 * per_million["output"]) / 1e6)


def test_what_is_free_of_thinking_and_what_thinks_cost_differently_in_one_sweep():
    per_million = price(HYBRID, "singapore")
    lanes = [(given(HYBRID, max_tokens=100, enable_thinking=on, thinking_budget=50), caps(HYBRID), "singapore") for on in (False, True)]
    told = estimate(lanes, 1, 10, None)
    assert told.most == pytest.approx(
        (20 * per_million["input"] + 100 * per_million["output"] + 150 * per_million["output_thinking"]) / 1e6
    )


PRICED = (given(max_tokens=100), caps(), "singapore")


@pytest.mark.parametrize(
    "lane",
    [
        (given(), caps(), "singapore"),
        (given(max_tokens=100), None, "singapore"),
        (given(max_tokens=100), caps(), "virginia"),
        (given(max_tokens=100), caps(), None),
        (given(ONE_REGION, max_tokens=100, thinking_budget=9), caps(ONE_REGION), "singapore"),
        (Choices("local:demo", GenerationParameters(max_tokens=100)), caps("demo", "local"), None),
        (Choices("server:a/b", GenerationParameters(max_tokens=100)), caps("b", "server"), None),
        (given(NO_THINKING_LIMIT, max_tokens=100, enable_thinking=True), caps(NO_THINKING_LIMIT), "singapore"),
        (given(max_tokens=100), caps(), "beijing"),
    ],
    ids=[
        "no max_tokens", "unknown model", "no price there", "no region", "priced elsewhere only", "this machine", "a server",
        "thinking without a limit", "another currency",
    ],
)  # fmt: skip
def test_one_lane_without_a_price_leaves_the_number_of_answers_only(lane):
    assert estimate([PRICED], 4, 10, 5).most is not None
    for lanes in ([PRICED, lane], [lane, PRICED]):
        assert estimate(lanes, 4, 10, 5) == Estimate(8)


def test_lanes_in_one_currency_that_is_not_the_first_are_added_up():
    lane = (given(max_tokens=100), caps(), "beijing")
    assert estimate([lane, lane], 1, 10, None).currency == "CNY"


def test_nothing_costs_nothing_that_is_told():
    assert estimate([], 4, 10, 5) == Estimate(0)


# ---- agreement
@pytest.mark.parametrize(
    ("answers", "rate"),
    [
        ([], None),
        (["42"], None),
        (["42", "42"], 1.0),
        (["42", "43"], 0.0),
        (["a", "a", "b"], 1 / 3),
        (["a", "a", "a", "b"], 1 / 2),
        (["a", "a", "b", "b"], 1 / 3),
        (["Yes.", "yes", "  YES! ", "**yes**"], 1.0),
        (["The answer is: 42", "the  answer\nis 42."], 1.0),
        (["42 apples", "42 pears"], 0.0),
        (["4 2", "42"], 0.0),
        (["Straße", "STRASSE"], 1.0),
        (["", ""], 1.0),
        (["", "a"], 0.0),
        (["Xin chào!", "xin chào"], 1.0),
        (["má", "mà"], 0.0),
        (["你好。", "你好！"], 1.0),
        (["你好", "您好"], 0.0),
        (["5", "-5"], 0.0),
        (["x = -5", "x=\u22125", "**x = -5**"], 1.0),
        (["2+2", "2-2", "2 < 2", "2 > 2"], 0.0),
        (["well-known", "well known"], 1.0),
        (["- 5 apples", "5 apples", "* 5 apples", "> 5 apples", "+ 5 apples", "## 5 apples"], 1.0),
        (["5 - 3", "5-3", "5 − 3", "5 – 3"], 1.0),
        (["5 - 3", "5 3"], 0.0),
        (["2/3", "2*3", "2^3", "2 3"], 0.0),
        (["2 * 3", "2*3", "2×3"], 1.0),
        (["50%", "50 %", "50 percent"], 1.0),
        (["50%", "50"], 0.0),
        (["x/2", "x / 2"], 1.0),
        (["*5* apples", "**5** apples", "5 apples"], 1.0),
    ],
)
def test_agreement_is_the_share_of_pairs_that_say_the_same(answers, rate):
    told = agreement_rate(answers)
    assert told == (None if rate is None else pytest.approx(rate))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_tones_tell_words_apart_in_whatever_form_they_are_written(form):
    assert agreement_rate([unicodedata.normalize(form, word) for word in ("má", "mà", "mả", "ma")]) == 0.0


def test_the_same_word_agrees_with_itself_in_another_form():
    assert agreement_rate([unicodedata.normalize(form, "Tiếng Việt") for form in ("NFC", "NFD")]) == 1.0


def test_vowel_signs_that_are_letters_of_their_own_tell_words_apart():
    assert agreement_rate(["की", "का"]) == 0.0
