"""The panel fits the model, and what it says becomes the request's parameters."""

from __future__ import annotations

import re
from dataclasses import fields

import gradio as gr
import pytest

from backend import BadInput, ChatRequest, Message
from backend.catalogue import catalogue
from backend.checking import check
from ui import parameters
from ui.parameters import BUILT_IN_PRESETS, LOWEST, SLIDERS, Panel, build, choices_from, for_model
from ui.text import WORDS as W
from ui.tools.panel import tool_list

CATALOGUE = catalogue()
THINKING = CATALOGUE.capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
INSTRUCT = CATALOGUE.capabilities("dashscope", "qwen3-next-80b-a3b-instruct")
HYBRID = CATALOGUE.capabilities("dashscope", "qwen-plus")
SERVER = CATALOGUE.capabilities("server", "someone/some-model")
REPLAY = CATALOGUE.capabilities("replay", "x")
TINY = CATALOGUE.capabilities("local", "qwen3-next-tiny", drafts=True)
TAKERS = {"min_p": SERVER, "draft_tokens": TINY}  # what DashScope does not take
EVERY = [
    *(CATALOGUE.capabilities("dashscope", c.id) for c in CATALOGUE.models if c.engine == "dashscope"),
    *(CATALOGUE.capabilities(e, c.id) for e in ("server", "local") for c in CATALOGUE.models if c.engine == "checkpoint"),
    CATALOGUE.capabilities("local", "demo"), SERVER, REPLAY, TINY,
]  # fmt: skip


@pytest.fixture(scope="module")
def panel() -> Panel:
    with gr.Blocks():
        return build(THINKING, tool_list(shown=True))


def updates(panel: Panel, capabilities, values=None) -> dict[str, dict]:
    found = for_model(panel, capabilities, values or {})
    return {f.name: found[getattr(panel, f.name)] for f in fields(Panel) if getattr(panel, f.name) in found}


def panel_values(panel: Panel, capabilities, **changed) -> list:
    shown = updates(panel, capabilities)
    values = {f.name: shown.get(f.name, {}).get("value", getattr(panel, f.name).value) for f in fields(Panel)}
    return list({**values, **changed}.values())


# ---------------------------------------------------------------- the panel fits the model
@pytest.mark.parametrize("capabilities", EVERY, ids=lambda c: c.name)
def test_ranges_and_values_are_those_of_the_card(panel, capabilities):
    shown = updates(panel, capabilities)
    for name in SLIDERS:
        spec, slider = capabilities.parameters.get(name), shown[name]
        if spec is None:
            assert slider["interactive"] is False
            continue
        assert (slider["minimum"], slider["maximum"]) == (LOWEST.get(name, spec.min), spec.max)
        assert slider["minimum"] <= slider["value"] <= slider["maximum"]
        assert spec.default is None or slider["value"] == spec.default


@pytest.mark.parametrize("capabilities", [c for c in EVERY if c.engine != "replay"], ids=lambda c: c.name)
def test_the_recommended_values_are_a_request_that_the_model_takes(panel, capabilities):
    choices = choices_from(capabilities.name, capabilities, panel_values(panel, capabilities))
    check(ChatRequest("m", (Message("user", "hi"),), choices.parameters), capabilities)
    for name in SLIDERS:
        if name not in capabilities.parameters:
            assert getattr(choices.parameters, name) is None


def test_what_a_model_does_not_take_is_dimmed_with_its_reason(panel):
    shown = updates(panel, INSTRUCT)
    assert (shown["min_p"]["interactive"], shown["min_p"]["info"]) == (False, "not taken by DashScope")
    assert (shown["thinking_budget"]["interactive"], shown["thinking_budget"]["info"]) == (False, W.not_for_model)
    assert shown["extra"]["visible"] is False


@pytest.mark.parametrize(("capabilities", "visible"), [(HYBRID, True), (THINKING, False), (INSTRUCT, False), (SERVER, False)])
def test_the_thinking_switch_is_there_only_for_hybrids(panel, capabilities, visible):
    assert updates(panel, capabilities)["enable_thinking"]["visible"] is visible


def test_a_recording_has_a_speed_and_no_sampling(panel):
    shown = updates(panel, REPLAY)
    assert shown["replay_speed"]["visible"] is True
    assert not any(shown[name]["visible"] for name in (*SLIDERS, "seed", "stop", "extra"))


def test_stored_values_go_before_the_recommended_ones(panel):
    shown = updates(
        panel, SERVER, {"temperature": 0.0, "seed": 0, "stop": ["a", "b"], "extra": {"k": "ü"}, "system": "s", "resend_thinking": True}
    )
    assert (shown["temperature"]["value"], shown["seed"]["value"], shown["stop"]["value"]) == (0.0, 0, "a\nb")
    assert (shown["extra"]["value"], shown["system"], shown["resend"]) == ('{"k": "ü"}', "s", True)


def test_without_stored_words_the_system_prompt_is_left_alone(panel):
    assert "system" not in updates(panel, THINKING)


def test_every_built_in_preset_is_in_range_of_every_model(panel):
    for capabilities in EVERY:
        for values in BUILT_IN_PRESETS.values():
            for name, value in values.items():
                spec = capabilities.parameters.get(name)
                assert spec is None or spec.min <= value <= spec.max


# ---------------------------------------------------------------- from the panel to the request
def chosen(panel: Panel, capabilities=THINKING, **changed):
    return choices_from("m", capabilities, panel_values(panel, capabilities, **changed))


@pytest.mark.parametrize(("typed", "sent"), [(-1, None), (None, None), ("", None), (0, 0), (7, 7), (7.0, 7), ("12", 12)])
def test_seed(panel, typed, sent):
    assert chosen(panel, seed=typed).parameters.seed == sent


@pytest.mark.parametrize("typed", [-2, -100.0])
def test_a_negative_seed_other_than_minus_one_is_told(panel, typed):
    with pytest.raises(BadInput, match="Seed is"):
        chosen(panel, seed=typed)


@pytest.mark.parametrize(("typed", "sent"), [(0, None), ("0", None), (None, None), (1, 1), (8192, 8192), (512.0, 512)])
def test_thinking_budget(panel, typed, sent):
    assert chosen(panel, thinking_budget=typed).parameters.thinking_budget == sent


def test_a_value_that_the_model_lacks_is_not_sent(panel):
    sent = chosen(panel, INSTRUCT, min_p=0.3, thinking_budget=5, extra='{"a": 1}', enable_thinking=True).parameters
    assert (sent.min_p, sent.thinking_budget, sent.enable_thinking, dict(sent.extra)) == (None, None, None, {})


@pytest.mark.parametrize("switch", [True, False])
def test_a_hybrid_is_told_whether_to_think(panel, switch):
    assert chosen(panel, HYBRID, enable_thinking=switch).parameters.enable_thinking is switch


@pytest.mark.parametrize("name", SLIDERS)
@pytest.mark.parametrize("typed", ["warm", "1,5", True, [1], "nan", float("inf")])
def test_what_is_no_number_is_told_by_the_name_on_the_panel(panel, name, typed):
    with pytest.raises(BadInput, match=re.escape(W.parameters[name])):
        chosen(panel, TAKERS.get(name, THINKING), **{name: typed})


@pytest.mark.parametrize(("typed", "sent"), [(-1, None), (0, 0), (3, 3)])
def test_guessing_ahead_is_left_to_the_engine_unless_a_number_is_set(panel, typed, sent):
    assert chosen(panel, TINY, draft_tokens=typed).parameters.draft_tokens == sent


def test_guessing_ahead_is_shown_only_where_the_model_has_a_head(panel):
    assert updates(panel, TINY)["draft_tokens"]["visible"] is True
    assert updates(panel, THINKING)["draft_tokens"]["visible"] is False


@pytest.mark.parametrize("typed", ["", None])
def test_an_emptied_box_sends_nothing(panel, typed):
    assert chosen(panel, temperature=typed).parameters.temperature is None


def test_a_number_out_of_range_is_handed_on_for_the_requests_own_check(panel):
    sent = chosen(panel, temperature=9).parameters
    assert sent.temperature == 9
    with pytest.raises(BadInput, match="temperature is 9"):
        check(ChatRequest("m", (Message("user", "hi"),), sent), THINKING)


def test_the_sliders_hand_over_what_was_typed():
    assert parameters.OpenSlider(minimum=0, maximum=1).preprocess(17) == 17


@pytest.mark.parametrize(("typed", "sent"), [("", ()), (None, ()), ("a\n\n b \nc", ("a", " b ", "c"))])
def test_stop_strings_are_one_a_line(panel, typed, sent):
    assert chosen(panel, stop=typed).parameters.stop == sent


@pytest.mark.parametrize(
    ("typed", "sent"), [("", {}), ("  ", {}), (None, {}), ('{"top_k": 5, "nested": {"a": [1]}}', {"top_k": 5, "nested": {"a": [1]}})]
)
def test_extra_json(panel, typed, sent):
    assert dict(chosen(panel, SERVER, extra=typed).parameters.extra) == sent


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("{", "cannot be read"),
        ("[1]", "must be an object"),
        ("5", "must be an object"),
        ("null", "must be an object"),
        ("{'a': 1}", "cannot be read"),
    ],
)
def test_extra_json_that_is_no_object_is_told(panel, typed, words):
    with pytest.raises(BadInput, match=words) as caught:
        chosen(panel, SERVER, extra=typed)
    assert caught.value.hint


@pytest.mark.parametrize("speed", [1, 4, 0])
def test_a_recordings_speed(panel, speed):
    assert dict(chosen(panel, REPLAY, replay_speed=speed).parameters.extra) == {"replay_speed": speed}


def test_system_prompt_and_resending(panel):
    choices = chosen(panel, system="Be brief.", resend=True)
    assert (choices.system, choices.resend_thinking) == ("Be brief.", True)
    assert chosen(panel, system=None).system == ""


def test_the_stored_form_gives_the_same_panel_again(panel):
    choices = chosen(panel, temperature=0.25, seed=3, stop="a\nb", system="s", resend=True)
    shown = updates(panel, THINKING, choices.stored())
    again = choices_from(
        "m",
        THINKING,
        panel_values(panel, THINKING, **{n: u["value"] if isinstance(u, dict) and "__type__" in u else u for n, u in shown.items()}),
    )
    assert again == choices


@pytest.mark.parametrize("name", ["stop", "extra", "system"])
@pytest.mark.parametrize("posted", [5, ["a"], {"a": 1}])
def test_what_is_posted_as_no_text_is_told(panel, name, posted):
    capabilities = SERVER if name == "extra" else THINKING
    with pytest.raises(BadInput, match="must be text"):
        chosen(panel, capabilities, **{name: posted})
