"""Cards of calls and answers in JSON, from plain data to HTML: escaped, marked, with the buttons that belong to their state."""

from __future__ import annotations

import json

import pytest

from backend import BadInput, Called, Step
from ui.tools.cards import call_card, step_parts, steps_html
from ui.tools.json_answer import format_from, json_answer

NASTY = "<img src=x onerror=alert(1)> & \"quotes\" 'too'"


def call(state="done", **changes):
    return Called(**{"id": "c1", "name": "f", "arguments": '{"a": 1}', "state": state, "by": "hand", **changes})


@pytest.mark.parametrize("field", ["id", "name", "arguments", "result", "problem"])
def test_nothing_of_a_call_becomes_markup(field):
    card = call_card(call("waiting", **{field: NASTY}), live=True)
    assert "<img" not in card and "&lt;img" in card


@pytest.mark.parametrize(
    ("state", "live", "decisions"),
    [
        ("asking", True, ["allow", "deny", "always", "never"]),
        ("waiting", True, ["result", "deny"]),
        ("waiting", False, []),
        ("asking", False, []),
        ("running", True, []),
        ("done", True, []),
        ("failed", True, []),
        ("refused", True, []),
        ("called", True, []),
    ],
)
def test_a_call_has_the_buttons_of_its_state(state, live, decisions):
    card = call_card(call(state), live=live)
    assert [d for d in ("allow", "result", "deny", "always", "never") if f"data-decision='{d}'" in card] == sorted(
        decisions, key=["allow", "result", "deny", "always", "never"].index
    )
    assert ("<textarea" in card) is (state == "waiting" and live)


def test_arguments_are_laid_out_and_judged():
    assert "fit the schema" in call_card(call("waiting"), live=True)
    broken = call_card(call("waiting", arguments='{"a": ', problem="not JSON: x"), live=True)
    assert "fit the schema" not in broken and "not JSON: x" in broken and "{&quot;a&quot;: " in broken
    long = call_card(call(arguments=json.dumps({"text": "đ" * 90, "b": 1}, ensure_ascii=False)), live=False)
    assert "\n  &quot;b&quot;: 1" in long and "đđ" in long
    assert "no arguments" in call_card(call(arguments="{}"), live=False)


def test_a_long_result_is_cut_on_the_page():
    card = call_card(call(result="x" * 100_000), live=False)
    assert len(card) < 6000 and "…" in card


def test_parts_keep_their_ids_while_an_answer_grows():
    before = step_parts([Step((call("asking"),), "I think.", "Let me see.")], live=True)
    after = step_parts([Step((call("done", result="1"),), "I think.", "Let me see."), Step((call(id="c2"),))], live=True)
    assert [p["id"] for p in before] == ["0-trace", "0-text", "c1"] and [p["id"] for p in after] == ["0-trace", "0-text", "c1", "c2"]
    assert before[:2] == after[:2] and before[2] != after[2]


def test_a_step_s_trace_is_text():
    html = steps_html([Step((call(),), NASTY, thinking_s=2.34)])
    assert "<img" not in html and "2.3 s" in html


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "n": {"type": "integer", "minimum": 3},
    },
    "required": ["name", "n"],
}


def test_an_answer_that_keeps_to_its_schema():
    html = json_answer('{"name": "Hà Nội", "tags": ["a", "b"], "n": 5}', {"schema": SCHEMA})
    assert "class='fit ok'" in html and "wrong" not in html and "&quot;Hà Nội&quot;" in html and html.count("\n") >= 7


def test_every_difference_is_marked_where_it_is():
    html = json_answer('{"tags": ["a", 5], "n": 1}', {"schema": SCHEMA})
    assert "3 places" in html and html.count("class='wrong'") == 3
    lines = html.split("<span class='wrong'>")
    assert lines[1].startswith("{<") and "name" in lines[1] and "required" in lines[1]
    assert lines[2].startswith("    5<") and "not of type" in lines[2]
    assert lines[3].startswith("  &quot;n&quot;: 1<") and "minimum" in lines[3]


def test_what_is_no_json_stays_as_it_is_with_the_reason():
    html = json_answer(f"Sure! {NASTY}", {"schema": SCHEMA})
    assert "class='fit bad'" in html and "Is no JSON" in html and "<img" not in html


def test_any_object_and_a_fenced_one():
    assert "Is a JSON object." in json_answer('{"a": []}', {"schema": None})
    assert "Keeps to the schema." in json_answer('```json\n{"name": "x", "n": 3}\n```', {"schema": SCHEMA})


def test_what_the_panel_asks_for():
    assert format_from(False, "{broken") is None
    assert format_from(True, " ").schema is None
    assert format_from(True, json.dumps(SCHEMA)).schema == SCHEMA
    for text in ("{broken", "[1]", '{"type": "nothing"}'):
        with pytest.raises(BadInput) as refused:
            format_from(True, text)
        assert refused.value.hint
