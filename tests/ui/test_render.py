"""What is shown of turns, errors and costs: everything written by a model or a person is escaped, the unknown is a dash."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from backend import Attachment, BackendError, BadInput, Conversation, ConversationSummary, Node, ShelfEntry, Timing, Usage
from backend.catalogue import catalogue
from backend.errors import AuthError, ContextTooLong, RateLimited
from backend.history.records import AnswerError
from ui import render
from ui.history import history_view
from ui.markup import seconds
from ui.runcard import run_card
from ui.text import WORDS as W

NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
EVIL = """<img src=x onerror=alert(1)><script>alert(2)</script>" onmouseover="alert(3)' onfocus='alert(4)"""
THINKING = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
INSTRUCT = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-instruct")
LOCAL = catalogue().capabilities("local", "demo")


def node(role: str = "assistant", content: str = "An answer.", **given) -> Node:
    given = {"id": "n1", "parent_id": None, "siblings": (given.get("id", "n1"),), **given}
    return Node(conversation_id="c1", role=role, content=content, created_at=NOW, **given)


def chat(*path: Node) -> Conversation:
    return Conversation("c1", None, "", False, "dashscope:m", {}, NOW, NOW, {n.id: n for n in path}, path)


def figure(card: str, name: str) -> str:
    return re.search(rf"<b class='{name}'>([^<]*)</b>", card)[1]


class _Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(markup)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def assert_harmless(markup: str) -> None:
    """No tag or attribute of EVIL's came through as one."""
    seen = _Tags(markup)
    assert not seen.tags & {"script", "img"}
    assert not {name for name in seen.attributes if name.startswith("on")}


def test_the_check_for_markup_sees_it():
    for markup in (EVIL, f"<p title='{EVIL}'>", f'<p title="{EVIL}">'):
        with pytest.raises(AssertionError):
            assert_harmless(markup)


# ---------------------------------------------------------------- nothing written becomes markup
@pytest.mark.parametrize(
    "markup",
    [
        render.user_turn(node("user", EVIL)),
        render.user_turn(node("user", "x", attachments=(Attachment(name=EVIL, text=EVIL),))),
        render.assistant_turn(node(content=EVIL), THINKING, last=True),
        render.assistant_turn(node(thinking=EVIL), THINKING, last=True),
        render.assistant_turn(node(model=EVIL, finish_reason=EVIL), None, last=True),
        render.assistant_turn(node(error=AnswerError("AuthError", EVIL, EVIL), request_id=EVIL, status="error"), THINKING, last=True),
        render.assistant_turn(node(parameters={"seed": EVIL}), THINKING, last=True),
        render.assistant_turn(node(), THINKING, last=True, note=EVIL),
        render.assistant_turn(node(region=EVIL, usage=Usage(1, 1, 0)), THINKING, last=True),
        render.error_card(EVIL, EVIL, ("connect",), request_id=EVIL),
        render.page_error(BackendError(EVIL, hint=EVIL, request_id=EVIL)),
        render.empty_page(demo=True, recordings=[ShelfEntry(EVIL, EVIL, EVIL, False)]),
        render.siblings(node(id="n1", siblings=("n1", EVIL))),
    ],
    ids="prompt file answer trace model error seed note region card page-error recording sibling".split(),
)
def test_what_was_written_by_others_is_never_markup(markup):
    assert_harmless(markup)


def test_titles_go_to_the_lists_script_as_they_are_and_never_as_html():
    summary = ConversationSummary("c1", EVIL, "", False, NOW, "m")
    (group,) = history_view([summary], None, now=NOW)["groups"]
    assert group["entries"][0]["title"] == EVIL  # text of a text node; the script sets no innerHTML from it
    assert "html" not in group["entries"][0]


def test_a_question_is_shown_as_typed_not_as_markdown():
    assert "# no heading **no bold**" in render.user_turn(node("user", "# no heading **no bold**"))


# ---------------------------------------------------------------- run card
def test_what_is_unknown_is_a_dash_and_never_zero():
    card = run_card(node(), None, elem_id=None)
    for name in "ttft thinking-time answer-time tokens-thinking tokens-answer decode-rate context-share cost".split():
        assert figure(card, name) == "-", name
    assert "0" not in re.sub(r"<[^>]*>", "", card)


def test_a_zero_that_is_known_is_shown():
    card = run_card(node(usage=Usage(5, 7, 0)), INSTRUCT, elem_id=None)
    assert (figure(card, "tokens-thinking"), figure(card, "tokens-answer")) == ("0", "7")


def test_the_known_figures_of_a_run():
    timing = Timing(ttft_s=0.345, thinking_s=2.5, answer_s=12.0, decode_s=10.0, total_s=15.0)
    card = run_card(
        node(usage=Usage(10_000, 1001, 600), timing=timing, region="singapore", finish_reason="stop"), THINKING, elem_id="run-card"
    )
    shown = {
        n: figure(card, n) for n in "ttft thinking-time answer-time tokens-thinking tokens-answer decode-rate context-share cost".split()
    }
    assert shown == {
        "ttft": "0.34 s", "thinking-time": "2.5 s", "answer-time": "12.0 s", "tokens-thinking": "600", "tokens-answer": "401",
        "decode-rate": "100", "context-share": "8.4 %", "cost": "$0.0110",
    }  # fmt: skip
    assert "data-reason='stop'" in card and "id='run-card'" in card and "2026-07-02" in card


@pytest.mark.parametrize(
    ("region", "cost"),
    [
        ("singapore", f"${(1000 * 0.5 + 2000 * 6) / 1e6:.4f}"),
        ("beijing", f"¥{(1000 * 1 + 2000 * 10) / 1e6:.4f}"),
        ("virginia", "-"),
        (None, "-"),
    ],
)
def test_the_cost_is_that_of_the_region_or_unknown(region, cost):
    assert figure(run_card(node(usage=Usage(1000, 2000, 500), region=region), THINKING, elem_id=None), "cost") == cost


@pytest.mark.parametrize("usage", [None, Usage(), Usage(input_tokens=5), Usage(output_tokens=5)])
def test_a_cost_without_both_counts_is_unknown(usage):
    assert figure(run_card(node(usage=usage, region="singapore"), THINKING, elem_id=None), "cost") == "-"


def test_a_model_on_this_machine_costs_nothing_known():
    assert figure(run_card(node(usage=Usage(5, 5, 0), region=None), LOCAL, elem_id=None), "cost") == "-"


def test_output_of_a_model_whose_split_is_unknown_is_not_called_answer():
    assert figure(run_card(node(usage=Usage(5, 7, None)), THINKING, elem_id=None), "tokens-answer") == "-"
    assert figure(run_card(node(usage=Usage(5, 7, None)), INSTRUCT, elem_id=None), "tokens-answer") == "7"


@pytest.mark.parametrize(
    ("status", "finish", "reason"),
    [
        ("done", "length", "length"),
        ("done", None, "unknown"),
        ("stopped", None, "stopped"),
        ("error", "stop", "error"),
        ("interrupted", None, "interrupted"),
    ],
)
def test_the_reason_of_the_end(status, finish, reason):
    card = run_card(node(status=status, finish_reason=finish), THINKING, elem_id=None)
    assert f"data-reason='{reason}'" in card and W.finish_reasons[reason] in card


def test_the_seed_is_shown_where_one_was_used():
    assert figure(run_card(node(parameters={"seed": 0}), THINKING, elem_id=None), "seed") == "0"
    assert "class='seed'" not in run_card(node(parameters={"seed": None}), THINKING, elem_id=None)


# ---------------------------------------------------------------- turns
def test_only_the_last_answer_carries_the_ids():
    path = [node("user", "q1", id="u1"), node(id="a1"), node("user", "q2", id="u2"), node(id="a2")]
    view = render.conversation_view(chat(*path), {})
    assert "id='run-card'" not in view["turns"][1]["html"] and "id='run-card'" in view["turns"][3]["html"]
    everything = "".join(turn["html"] for turn in view["turns"])
    ids = re.findall(r" id='([^']*)'", everything)
    assert len(ids) == len(set(ids))


def test_the_error_of_an_earlier_answer_has_no_id():
    failed = AnswerError("RateLimited", "Busy.", "Wait.")
    path = [
        node("user", "q1", id="u1"),
        node(id="a1", error=failed, status="error"),
        node("user", "q2", id="u2"),
        node(id="a2", error=failed),
    ]
    htmls = [turn["html"] for turn in render.conversation_view(chat(*path), {})["turns"]]
    assert "id='error-card'" not in htmls[1] and "class='err'" in htmls[1] and "id='error-card'" in htmls[3]


def test_the_answer_in_the_making_is_left_out_and_no_other_takes_its_ids():
    path = [node("user", "q1", id="u1"), node(id="a1"), node("user", "q2", id="u2"), node(id="a2", status="streaming")]
    view = render.conversation_view(chat(*path), {}, live_node="a2", follow=True)
    assert [turn["id"] for turn in view["turns"]] == ["u1", "a1", "u2"] and view["follow"] is True
    assert "id='run-card'" not in "".join(turn["html"] for turn in view["turns"])


def test_a_turn_that_changed_gets_another_key_and_one_that_did_not_keeps_it():
    keys = [render.conversation_view(chat(node("user", text, id="u1")), {})["turns"][0]["key"] for text in ("a", "a", "b")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("conversation", [None, chat()])
def test_a_chat_without_turns_shows_the_empty_page(conversation):
    view = render.conversation_view(conversation, {}, empty_html="<p>hello</p>")
    assert [(t["role"], t["html"]) for t in view["turns"]] == [("empty", "<p>hello</p>")] and view["chat"] is None


def test_the_copy_of_a_turn_is_its_source_and_not_its_trace():
    view = render.conversation_view(chat(node(content="**bold**", thinking="secret thought")), {})
    assert view["turns"][0]["copy"] == "**bold**" and "secret thought" not in view["turns"][0]["html"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"content": "", "thinking": "hm", "status": "done"}, W.empty_answer),
        ({"content": "", "thinking": "hm", "status": "stopped"}, W.empty_stopped),
        ({"content": "", "status": "stopped"}, W.empty_stopped),
        ({"content": "half", "status": "interrupted"}, W.interrupted),
    ],
)
def test_an_answer_that_is_missing_or_cut_says_so(given, words):
    markup = render.assistant_turn(node(**given), THINKING, last=True)
    assert words in markup and ("class='answer'" in markup) == bool(given["content"])


@pytest.mark.parametrize("content", ["", "   \n"])
def test_an_empty_answer_without_thinking_has_no_empty_box(content):
    assert "class='answer'" not in render.assistant_turn(node(content=content), INSTRUCT, last=True)


def test_the_folded_trace_tells_time_tokens_and_share_of_the_budget():
    given = node(thinking="hm", timing=Timing(thinking_s=3.26), usage=Usage(1, 900, 512), parameters={"thinking_budget": 1024})
    markup = render.trace_summary(given)
    assert W.thought.format(seconds="3.3") in markup and "512 tokens" in markup and "width:50%" in markup and "of 1,024" in markup


def test_a_trace_of_unknown_length_claims_none():
    assert re.sub(r"<[^>]*>", "", render.trace_summary(node(thinking="hm"))) == W.thought_unknown
    assert re.sub(r"<[^>]*>", "", render.trace_summary(node(content="", thinking="hm"))) == W.thought_stopped


@pytest.mark.parametrize(
    ("given", "capabilities", "shown", "enabled"),
    [
        ({"status": "done", "finish_reason": "stop"}, LOCAL, False, False),
        ({"status": "stopped"}, LOCAL, True, True),
        ({"status": "done", "finish_reason": "length"}, LOCAL, True, True),
        ({"status": "stopped"}, THINKING, True, False),
        ({"status": "stopped"}, None, True, False),
        ({"status": "stopped", "content": ""}, LOCAL, False, False),
    ],
)
def test_continue_is_offered_for_unfinished_answers_and_dimmed_with_a_reason(given, capabilities, shown, enabled):
    button = re.search(r"<button[^>]*data-op='continue'[^>]*>", render.assistant_turn(node(**given), capabilities, last=True))
    assert bool(button) == shown
    if button:
        assert ("disabled" not in button[0]) == enabled and ("cannot write on" in button[0]) != enabled


def test_versions_are_numbered_and_the_ends_disabled():
    first, last = (render.siblings(node(id=i, siblings=("a", "b", "c"))) for i in "ac")
    assert "1/3" in first and "3/3" in last and "data-to='b'" in first and "data-to='b'" in last
    assert first.count("disabled") == last.count("disabled") == 1
    assert render.siblings(node(id="a", siblings=("a",))) == ""


def test_a_files_unknown_size_is_a_dash():
    assert "about - tokens" in render.user_turn(node("user", "q", attachments=(Attachment(name="a.txt", text="x"),)))


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("error", "actions"),
    [(AuthError("x"), {"connect"}), (BadInput("x"), {"parameters"}), (ContextTooLong("x"), {"new"}), (RateLimited("x"), {"dismiss"})],
)
def test_a_page_error_has_the_button_that_helps(error, actions):
    markup = render.page_error(error)
    assert {a for a in W.error_actions if W.error_actions[a] in markup} == actions


def test_an_error_card_is_announced_and_names_its_request():
    markup = render.error_card("Sentence.", "Hint.", ("regenerate",), request_id="r-1")
    assert "role='alert'" in markup and "<b>Sentence.</b>" in markup and "Hint." in markup and "r-1" in markup
    assert "request id" not in render.error_card("Sentence.", "Hint.", ())


# ---------------------------------------------------------------- context
@pytest.mark.parametrize(
    ("used", "total", "level", "words"),
    [
        (1000, 131072, "ok", "1,000 of 131,072 tokens"),
        (80, 100, "warn", "80 of 100 tokens"),
        (100, 100, "bad", "may not fit"),
        (500, 100, "bad", "may not fit"),
    ],
)
def test_the_context_meter(used, total, level, words):
    line = render.context_line(used, total)
    assert f"data-level='{level}'" in line and words in line
    assert float(re.search(r"width:([\d.]+)%", line)[1]) <= 100


def test_a_context_of_unknown_size_has_no_meter():
    assert "1,234 tokens" in render.context_line(1234, None) and "meter" not in render.context_line(1234, None)
    assert render.context_line(None, 100) == ""


# ---------------------------------------------------------------- chats
def test_chats_are_grouped_by_day_and_pinned_ones_come_under_their_own_title():
    ages = {"p": 0, "t": 0, "y": 1, "w": 3, "o": 30}
    found = [ConversationSummary(i, None, i, i == "p", NOW - timedelta(days=d), "m") for i, d in ages.items()]
    view = history_view(found, "t", now=NOW)
    assert [(g["title"], [e["id"] for e in g["entries"]]) for g in view["groups"]] == [
        (W.pinned, ["p"]), (W.today, ["t"]), (W.yesterday, ["y"]), (W.this_week, ["w"]), (W.older, ["o"]),
    ]  # fmt: skip
    assert view["current"] == "t" and view["empty"] == ""


def test_recordings_are_listed_but_not_while_searching():
    shelf = [ShelfEntry("r", "A run", "q", True)]
    assert [g["title"] for g in history_view([], None, recordings=shelf)["groups"]] == [W.recorded]
    assert history_view([], None, recordings=shelf, searching=True) == {"groups": [], "current": None, "empty": W.no_matches}


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.00 s"), (0.5, "0.50 s"), (12.34, "12.3 s"), (1234.0, "1,234 s")])
def test_seconds(value, text):
    assert seconds(value) == text
