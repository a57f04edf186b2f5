"""What is answered: scenarios, markers, budgets, recordings, faults, and what the emulator tells about it."""

from __future__ import annotations

import json
import random
import re

import pytest

from backend.catalogue import catalogue
from backend.errors import ConfigError
from backend.mock import compatible
from backend.mock.config import MockConfig
from backend.mock.faults import Fault, Faults, parse
from backend.mock.pacing import Pace, Part, paced, tokens
from backend.mock.scenarios import SCENARIOS, compose
from backend.mock.server import create_app
from backend.recording import load
from tests.backend.mock.test_framing import CHECKPOINT, COMPATIBLE, INSTRUCT, KEY, SERVER, THINKING, flat
from tests.emulator import http

RECORDINGS = {path.stem: load(path) for path in MockConfig().recordings.glob("*.jsonl")}


def script(prompt: str, model: str = THINKING, turns=(), **parameters):
    messages = [*turns, {"role": "user", "content": prompt}]
    call = compatible.read({"model": model, "messages": messages, "stream": True, **parameters}, {})
    card = catalogue().card("dashscope", model)
    assert card is not None
    return compose(call, card, MockConfig(), RECORDINGS, random.Random(1))


@pytest.mark.parametrize("text", ["", " ", "a", " two  words\n", "混合 text 中文。", "x" * 100, "tab\tand\u2028line", "\n\n end \n"])
def test_tokens_give_the_text_when_joined(text):
    assert "".join(tokens(text)) == text


def test_pace_holds_on_one_clock_whatever_the_jitter():
    pieces = ["x"] * 1000
    chunks = list(paced([Part("thinking", pieces), Part("answer", pieces)], Pace(0.5, 100.0, 0.3, 3), random.Random(2)))
    assert sum(c.tokens for c in chunks) == 2000 and {c.kind for c in chunks} == {"thinking", "answer"}
    done = 0
    for chunk in chunks:
        assert abs(chunk.at_s - (0.5 + done / 100)) <= 0.3 * chunk.tokens / 100 + 1e-9
        done += chunk.tokens
    assert max(c.tokens for c in chunks) == 5 and chunks[0].at_s >= 0.5


def test_default_answer_repeats_the_prompt_and_says_that_no_model_ran():
    said = script("What is up?")
    assert "> What is up?" in said.text("answer") and "no model ran" in said.text("answer") and said.text("thinking")


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_is_sent_whole(name):
    said = script(f"[[scenario:{name}]]")
    assert (said.text("thinking"), said.text("answer")) == SCENARIOS[name]


@pytest.mark.parametrize(("prompt", "name"), [("Write Python please", "code"), ("show me a table", "table"), ("what is 17 * 24", "maths")])
def test_a_word_in_the_prompt_chooses_a_scenario(prompt, name):
    assert script(prompt).text("answer") == SCENARIOS[name][1]


def test_an_unknown_scenario_is_answered_with_the_known_ones():
    assert "markdown" in script("[[scenario:nope]]").text("answer") and "maths-thinking" in script("[[recording:nope]]").text("answer")


def test_only_the_last_user_turn_commands():
    turns = [{"role": "user", "content": "[[scenario:table]]"}, {"role": "assistant", "content": "done"}]
    assert "turns so far: 3" in script("and now?", turns=turns).text("answer")


@pytest.mark.parametrize(
    ("parameters", "thinking", "answer", "reason"),
    [
        ({}, 50, 40, "stop"),
        ({"thinking_budget": 20}, 20, 40, "stop"),
        ({"max_tokens": 10}, 50, 10, "length"),
        ({"max_tokens": 40}, 50, 40, "stop"),
        ({"thinking_budget": 5, "max_tokens": 1}, 5, 1, "length"),
    ],
)
def test_budget_cuts_the_trace_and_max_tokens_the_answer(parameters, thinking, answer, reason):
    said = script("[[think:50]] [[words:40]]", **parameters)
    assert (said.tokens("thinking"), said.tokens("answer"), said.reason) == (thinking, answer, reason)


@pytest.mark.parametrize(("most", "completion"), [(30, 30), (60, 60), (200, 90)])
def test_a_server_counts_thinking_into_max_tokens(url, most, completion):
    answer = flat(url, "[[think:50]] [[words:40]]", CHECKPOINT, SERVER, stream=False, max_tokens=most).json()
    assert answer["usage"]["completion_tokens"] == completion
    assert answer["choices"][0]["finish_reason"] == ("stop" if most == 200 else "length")


@pytest.mark.parametrize(("path", "model", "thinks"), [(SERVER, "Qwen/Qwen3-0.6B", False), (COMPATIBLE, "qwen3-32b", True)])
def test_chat_template_kwargs_switch_a_server_s_thinking_and_are_nothing_to_dashscope(url, path, model, thinks):
    text = flat(url, "hi", model, path, chat_template_kwargs={"enable_thinking": False}).text
    assert ('"reasoning_content":"' in text) == thinks


def test_a_stop_string_ends_the_answer_before_it():
    said = script("[[words:40]]", model=INSTRUCT, stop=["nowhere", "for the"])
    assert (said.text("answer"), said.reason) == ("This sentence was written ", "stop")


def test_json_mode_answers_with_json():
    said = script("as json", model=INSTRUCT, response_format={"type": "json_object"})
    assert json.loads(said.text("answer"))["prompt"] == "as json"


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_a_recording_is_sent_with_its_own_timing(name):
    events = [(at_s, e) for at_s, e in RECORDINGS[name].events if type(e).__name__ in ("ThinkingDelta", "TextDelta")]
    thinks = any(type(e).__name__ == "ThinkingDelta" for _, e in events)
    said = script(f"[[recording:{name}]]", model=THINKING if thinks else INSTRUCT)
    assert [(c.at_s, c.text) for c in said.chunks] == [(at_s, e.text) for at_s, e in events]


def test_a_recording_loses_its_trace_on_a_model_that_does_not_think_and_keeps_its_budget():
    whole = script("[[recording:maths-thinking]]")
    plain = script("[[recording:maths-thinking]]", model=INSTRUCT)
    assert plain.text("thinking") == "" and plain.text("answer") == whole.text("answer")
    assert plain.chunks[0].at_s == pytest.approx(whole.chunks[0].at_s)
    assert script("[[recording:maths-thinking]]", thinking_budget=30).tokens("thinking") == 30
    assert script("[[recording:maths-thinking]] [[words:7]]").tokens("answer") == 7


def test_echo_answers_with_the_body_as_received(url):
    answer = flat(url, "[[echo]]", INSTRUCT, stream=False, top_k=7, x_unknown={"a": [1]}).json()
    content = answer["choices"][0]["message"]["content"]
    body = json.loads(content.removeprefix("```json\n").removesuffix("\n```\n"))
    assert (body["top_k"], body["x_unknown"], body["model"]) == (7, {"a": [1]}, INSTRUCT)


def test_usage_is_what_was_sent(url):
    text = flat(url, "[[scenario:unicode]]", stream_options={"include_usage": True}).text
    deltas = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    answer = "".join(c["choices"][0]["delta"].get("content") or "" for c in deltas if c["choices"])
    usage = deltas[-1]["usage"]
    assert answer == SCENARIOS["unicode"][1]
    assert usage["completion_tokens"] - usage["completion_tokens_details"]["reasoning_tokens"] == len(tokens(answer))


def test_state_shows_the_request_without_its_key(url, seen):
    http.post(url + COMPATIBLE, headers={"authorization": "Bearer very-secret"}, json={"model": INSTRUCT, "messages": [], "seed": 4})
    state = seen.state()
    assert "very-secret" not in json.dumps(state)
    assert (state["requests"][-1]["body"]["seed"], state["requests"][-1]["id"]) == (4, state["runs"][-1]["id"])
    run = state["runs"][-1]
    assert (run["state"], run["status"], run["code"], run["tokens_sent"]) == ("failed", 400, "InvalidParameter", 0)


def test_half_a_surrogate_pair_in_a_prompt_breaks_nothing(url, seen):
    content = json.dumps({"model": INSTRUCT, "messages": [{"role": "user", "content": "a\ud83d"}]})
    assert http.post(url + COMPATIBLE, headers=KEY, content=content).status_code == 200
    assert seen.run()["state"] == "done"


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("429", Fault("429")),
        ("429-ratex2", Fault("429-rate", None, 2)),
        ("cut@20", Fault("cut", 20.0)),
        ("slow@0.5x3", Fault("slow", 0.5, 3)),
    ],
)
def test_a_fault_is_written_with_its_place_and_count(written, fault):
    assert parse(written) == fault


def test_an_unknown_fault_is_refused_with_the_known_ones(url):
    assert "429-burst" in flat(url, "[[fault:nope]]").json()["error"]["message"]
    with pytest.raises(ConfigError, match="429-burst"):
        create_app(MockConfig(fault="nope"))


def test_header_goes_before_the_prompt_and_the_prompt_before_the_switch():
    call = compatible.read({"model": "m", "messages": [{"role": "user", "content": "[[fault:cut]]"}]}, {})
    plain = compatible.read({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, {})
    faults = Faults(MockConfig(fault="500"), random.Random(0))
    found = [faults.for_call(call, "hang"), faults.for_call(call, None), faults.for_call(plain, None)]
    assert [f.name for f in found if f] == ["hang", "cut", "500"]


def test_the_switch_meets_its_share_of_requests():
    plain = compatible.read({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, {})
    faults = Faults(MockConfig(fault="500", fault_probability=0.25), random.Random(0))
    assert 180 < sum(faults.for_call(plain, None) is not None for _ in range(1000)) < 320


def test_a_count_is_kept_for_each_prompt_and_starts_again_once_it_got_through():
    faults = Faults(MockConfig(), random.Random(0))
    one, other = (compatible.read({"model": "m", "messages": [{"role": "user", "content": f"{n} [[fault:429x2]]"}]}, {}) for n in "ab")
    fails = [faults.for_call(call, None) is not None for call in (one, other, one, one, other, one)]
    assert fails == [True, True, True, False, True, True]


def test_retry_after_is_sent_only_by_its_own_fault(url):
    assert flat(url, "[[fault:429-after]]").headers["retry-after"] == "1"
    assert "retry-after" not in flat(url, "[[fault:429]]").headers


@pytest.mark.parametrize("fault", ["no-finish", "bad-json"])
def test_stream_faults_without_an_error_frame(url, fault):
    text = flat(url, f"[[fault:{fault}@2]] [[words:5]]", INSTRUCT).text
    assert ('"finish_reason":"stop"' in text) == (fault == "bad-json")
    assert bool(re.search(r'half a fra\n\ndata: \{"choices"', text)) == (fault == "bad-json")
