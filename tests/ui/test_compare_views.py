"""What is shown of answers side by side: differences, figures, results, panes. Hidden names stay hidden, and nothing written is markup."""

from __future__ import annotations

import html
import json
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import count

import pytest

from backend import (
    Ballot,
    Choices,
    Comparison,
    Contestant,
    Conversation,
    GenerationParameters,
    Node,
    Pane,
    Timing,
    Usage,
    Vote,
    duels,
    standings,
    subject_of,
)
from backend.catalogue import Capabilities, Price, catalogue
from backend.compare.ratings import wilson
from backend.history.records import AnswerError
from ui.compare import bench, table
from ui.compare import difference as diff
from ui.compare.results import NO_TAG, contestant_name, results_view
from ui.compare.table import Column, Row, rows_of, table_view
from ui.text import WORDS as W

NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
EVIL = """<img src=x onerror=alert(1)><script>alert(2)</script>" onmouseover="alert(3)' onfocus='alert(4)"""
THINKING = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
INSTRUCT = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-instruct")
LOCAL = catalogue().capabilities("local", "demo")
KNOWN = {each.name: each for each in (THINKING, INSTRUCT)}


class Seen(HTMLParser):
    """Markup as a browser would see it: tags, attributes, text, and tables as rows of cells."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._in_cell = False
        self.tables: list[list[list[str]]] = []
        self.options: list[tuple[str, bool]] = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True
        elif tag == "option":
            self.options.append((dict(attrs)["value"], "selected" in dict(attrs)))

    def handle_endtag(self, tag) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data) -> None:
        self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def assert_harmless(markup: str) -> None:
    """No tag or attribute of EVIL's came through as one."""
    seen = Seen(markup)
    assert not seen.tags & {"script", "img"}
    assert not {name for name in seen.attributes if name.startswith("on")}


# ---------------------------------------------------------------- difference
@pytest.mark.parametrize(
    ("left", "right", "ours", "theirs", "share"),
    [
        ("a b c", "a x c", "a <del>b</del> c", "a <ins>x</ins> c", 2 / 3),
        ("a b c", "a b c", "a b c", "a b c", 1.0),
        ("a b", "a b c d", "a b", "a b<ins> c d</ins>", 0.5),
        ("one two three", "uno dos three", "<del>one two</del> three", "<ins>uno dos</ins> three", 1 / 3),
        ("one two", "three", "<del>one two</del>", "<ins>three</ins>", 0.0),
        ("one", "", "<del>one</del>", "", 0.0),
        ("", "one two", "", "<ins>one two</ins>", 0.0),
        ("", "", "", "", 1.0),
        (" \n", "", " \n", "", 1.0),
        ("a  b\n", "a b", "a  b\n", "a b", 1.0),  # white space is shown, and no difference
        ("Hello, world!", "Hello world", "Hello<del>,</del> world<del>!</del>", "Hello world", 0.5),
        ("Tôi yêu Hà Nội.", "Tôi yêu Huế.", "Tôi yêu <del>Hà Nội</del>.", "Tôi yêu <ins>Huế</ins>.", 3 / 5),
        ("我喜欢北京。", "我爱北京。", "我<del>喜欢</del>北京。", "我<ins>爱</ins>北京。", 4 / 6),
        ("Qwen是模型", "Qwen不是模型", "Qwen是模型", "Qwen<ins>不</ins>是模型", 4 / 5),
        ("ひらカタ", "ひらカナ", "ひらカ<del>タ</del>", "ひらカ<ins>ナ</ins>", 3 / 4),
        ("<b>x</b>", "<b>y</b>", "&lt;b&gt;<del>x</del>&lt;/b&gt;", "&lt;b&gt;<ins>y</ins>&lt;/b&gt;", 7 / 8),
        ("A", "a", "<del>A</del>", "<ins>a</ins>", 0.0),
    ],
)  # fmt: skip
def test_what_only_one_text_has_is_marked_word_by_word(left, right, ours, theirs, share):
    found = diff.difference(left, right)
    assert (found.left, found.right, found.cut) == (ours, theirs, False)
    assert found.same_share == pytest.approx(share)


def test_words_that_both_have_in_another_order_are_not_the_same():
    assert diff.difference("one two", "two one").same_share == 0.5


def test_the_share_is_the_same_from_either_side():
    left, right = "Một hai ba bốn", "hai ba, năm"
    assert diff.difference(left, right).same_share == diff.difference(right, left).same_share


def test_vietnamese_letters_are_the_same_however_they_are_composed():
    text = "Tổng kết: đường đến Huế, ngữ nghĩa, Nguyễn Ưng"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    found = diff.difference(text, decomposed)
    assert found.left == found.right == text and found.same_share == 1.0
    assert diff.words_of(decomposed) == diff.words_of(text)


def test_a_word_of_decomposed_letters_is_one_word():
    assert diff.words_of(unicodedata.normalize("NFD", "ngữ nghĩa")) == ["ngữ", " ", "nghĩa"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("你好，世界", ["你", "好", "，", "世", "界"]),
        ("用Qwen3写诗", ["用", "Qwen3", "写", "诗"]),
        ("한국어 말", ["한", "국", "어", " ", "말"]),
        ("snake_case x2  \n\tend", ["snake_case", " ", "x2", "  \n\t", "end"]),
        ("(a+b)*2!", ["(", "a", "+", "b", ")", "*", "2", "!"]),
        ("", []),
    ],
)
def test_text_is_cut_into_words_signs_and_white_space_and_cjk_into_characters(text, words):
    assert diff.words_of(text) == words


ALPHABET = [*"ab Zđềữ0_ \n\t中文字かカ한.,!?<>&\"'/-", "\u3000", "\u00a0", "👩", "\u200d", "word", "<del>", "</ins>", "&amp;"]


@pytest.mark.parametrize("seed", range(20))
def test_joined_words_give_the_text_back(seed):
    rng = random.Random(seed)
    text = "".join(rng.choices([*ALPHABET, "\u0301", "e\u0302\u0309", "\x1c", "\ud83d", "हिन्दी", "ไทย"], k=300))
    assert "".join(diff.words_of(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("seed", range(20))
def test_without_the_marks_each_side_is_its_text_and_without_what_is_marked_both_are_alike(seed):
    rng = random.Random(seed)
    left = rng.choices(ALPHABET, k=200)
    right = [rng.choice(ALPHABET) if rng.random() < 0.2 else each for each in left if rng.random() > 0.1]
    texts = ["".join(side) for side in (left, right)]
    found = diff.difference(*texts)
    alike, most = [], 0
    for text, shown, tag in zip(texts, (found.left, found.right), ("del", "ins"), strict=True):
        assert html.unescape(re.sub(f"</?{tag}>", "", shown)) == text
        assert_harmless(shown)
        marked = [html.unescape(each) for each in re.findall(f"<{tag}>(.*?)</{tag}>", shown, re.DOTALL)]
        words = [word for word in diff.words_of(text) if not word.isspace()]
        same = len(words) - sum(not word.isspace() for each in marked for word in diff.words_of(each))
        left_over = html.unescape(re.sub(f"<{tag}>.*?</{tag}>", "", shown, flags=re.DOTALL))
        alike.append((same, "".join(left_over.split())))
        most = max(most, len(words))
    assert alike[0] == alike[1]
    assert found.same_share == pytest.approx(alike[0][0] / most) and 0.3 < found.same_share < 1


@pytest.mark.parametrize(
    ("left", "right", "ours", "cut"),
    [
        ("a b c", "a b c", "a b c", False),
        ("a b c ", "a b c", "a b c", True),
        ("a", "a b c d e", "a", True),
        ("一二三四五六", "一二三四五七", "一二三四五", True),
    ],
)
def test_long_texts_are_compared_as_far_as_the_most_words(monkeypatch, left, right, ours, cut):
    monkeypatch.setattr(diff, "MOST_WORDS", 5)
    found = diff.difference(left, right)
    assert (found.left, found.cut) == (ours, cut) and found.same_share == (1.0 if len(right) < 9 else 1 / 3)
    assert (W.diff_cut.format(n="5") in diff.diff_view(("l", left), ("r", right))) == cut


def test_what_is_cut_off_is_neither_shown_nor_counted(monkeypatch):
    monkeypatch.setattr(diff, "MOST_WORDS", 3)
    found = diff.difference("a b tail", "a b other end")
    assert (found.left, found.right, found.same_share) == ("a b", "a b", 1.0)


def test_equal_texts_are_said_to_be_equal():
    view = diff.diff_view(("Model A", "Xin chào"), ("Model B", "Xin chào"))
    assert W.diff_same in view and "%" not in view and view.count("Xin chào") == 2


@pytest.mark.parametrize("right", ["one  two", "one two three", "one"])
def test_texts_that_differ_are_not_said_to_be_equal(right):
    assert W.diff_same not in diff.diff_view(("l", "one two"), ("r", right))


def test_the_share_of_same_words_is_told():
    assert W.diff_share.format(share="67") in diff.diff_view(("l", "a b c"), ("r", "a x c"))


def test_where_a_word_differs_not_all_words_are_said_to_be_the_same():
    many = " ".join(["word"] * 400)
    view = diff.diff_view(("l", f"{many} left"), ("r", f"{many} right"))
    assert "<del>left</del>" in view and W.diff_share.format(share="100") not in view


@pytest.mark.parametrize(("left", "right"), [("", "text"), ("text", ""), ("", ""), (" \n", "text")])
def test_a_side_without_text_is_said_to_have_none(left, right):
    view = diff.diff_view(("l", left), ("r", right))
    assert W.diff_none in view and "text" not in view.replace(W.diff_none, "")


def test_names_and_texts_in_a_difference_are_no_markup():
    assert_harmless(diff.diff_view((EVIL, f"a {EVIL} b"), (EVIL, f"{EVIL} c {EVIL}")))
    assert Seen(diff.diff_view((EVIL, "a"), ("r", EVIL))).text.count(EVIL) == 2


# ---------------------------------------------------------------- table
def node(content: str = "An answer.", **given) -> Node:
    given = {"id": "n1", "conversation_id": "c1", "parent_id": None, "role": "assistant", "created_at": NOW, **given}
    return Node(content=content, **{"siblings": (given["id"],), **given})


def columns(*nodes: Node | None, capabilities: Capabilities | None = THINKING, **given) -> list[Column]:
    return [Column(f"{place + 1}", each, capabilities, **given) for place, each in enumerate(nodes)]


def timed(*ttft: float | None) -> list[Column]:
    return columns(*(node(timing=Timing(ttft_s=each)) for each in ttft))


def row(given: Sequence[Column], name: str) -> Row:
    (found,) = [each for each in rows_of(given) if each.name == name]
    return found


def test_the_figures_of_two_answers_side_by_side():
    left = node("Một hai ba", usage=Usage(10_000, 1001, 600, drafted_tokens=8, accepted_tokens=6), region="singapore", finish_reason="stop",
                timing=Timing(0.345, 2.5, 12.0, 10.0, 150.4), parameters={"seed": 1234567})  # fmt: skip
    right = node("Four", usage=Usage(500, 11, 0), region="singapore", finish_reason="length", timing=Timing(0.5, None, 1.0, 2.0, 1.5))
    shown = [(each.label, each.cells) for each in rows_of(columns(left, right))]
    assert shown == [
        ("state", ("finished", "hit the token limit")), ("first token", ("0.34 s", "0.50 s")), ("thinking", ("2.5 s", "-")),
        ("answer", ("12.0 s", "1.0 s")), ("total", ("150 s", "1.5 s")), ("input tokens", ("10,000", "500")),
        ("thinking tokens", ("600", "0")), ("answer tokens", ("401", "11")), ("tokens/s", ("100.0", "5.0")),
        ("guesses right", ("75.0 %", "-")), ("context", ("8.4 %", "0.4 %")), ("about", ("$0.0110", "$0.0003")),
        ("seed", ("1234567", "-")), ("words", ("3", "1")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ttft", "best", "spread"),
    [
        ((0.2, 0.9), {0}, "4.5 ×"),
        ((0.9, 0.2, 0.5), {1}, "4.5 ×"),
        ((0.2, 0.2, 0.4), {0, 1}, "2.0 ×"),
        ((0.3401, 0.3404, 0.9), {0, 1}, "2.6 ×"),  # both show 0.34 s
        ((0.3404, 0.9, 0.3401), {0, 2}, "2.6 ×"),
        ((0.3401, 0.3404), set(), "1.0 ×"),  # nobody sees which is shorter
        ((0.3401, 0.3404, None), set(), "1.0 ×"),
        ((0.2, 0.2), set(), "1.0 ×"),
        ((0.2, None), set(), "-"),
        ((None, None), set(), "-"),
        ((None, 0.2, 0.4), {1}, "2.0 ×"),
        ((0.0, 0.5), {0}, "-"),  # nothing is a multiple of none
    ],
)
def test_the_best_of_a_row_and_how_far_the_panes_lie_apart(ttft, best, spread):
    found = row(timed(*ttft), "ttft_s")
    assert (found.best, found.spread) == (best, spread)


@pytest.mark.parametrize("status", ["error", "stopped", "interrupted"])
def test_an_answer_that_did_not_finish_is_not_the_fastest(status):
    failed, *others = (
        node(status="done" if place else status, timing=Timing(ttft_s=0.1 + place, total_s=0.02 + place)) for place in (0, 1, 2)
    )
    for name in ("ttft_s", "total_s"):
        found = row(columns(failed, *others), name)
        assert found.best == {1} and found.spread.startswith("1.9" if name == "ttft_s" else "2.0") and found.cells[0] != "-"
        assert (row(columns(failed, others[0]), name).best, row(columns(failed, others[0]), name).spread) == (set(), "-")


def test_more_tokens_a_second_are_better():
    nodes = [node(usage=Usage(1, tokens), timing=Timing(decode_s=1.0)) for tokens in (11, 31, 21)]
    assert row(columns(*nodes), "tokens_per_s").best == {1} and row(columns(*nodes), "tokens_per_s").spread == "3.0 ×"


@pytest.mark.parametrize("name", ["state", "input_tokens", "thinking_tokens", "answer_tokens", "guesses_right", "seed", "words"])
def test_where_neither_end_is_better_nothing_is_marked_and_no_spread_told(name):
    usage = (Usage(10, 20, 5, drafted_tokens=4, accepted_tokens=1), Usage(100, 200, 50, drafted_tokens=4, accepted_tokens=3))
    nodes = [node("word " * (place + 1), usage=each, parameters={"seed": place}) for place, each in enumerate(usage)]
    found = row(columns(*nodes), name)
    assert ((found.best, found.spread) == (set(), "") and found.cells[0] != found.cells[1]) or name == "state"


@pytest.mark.parametrize(
    ("regions", "best", "cells"),
    [
        (("singapore", "singapore"), {1}, ("$0.0125", "$0.0063")),
        (("beijing", "beijing"), {1}, ("¥0.0210", "¥0.0105")),
        (("singapore", "beijing"), set(), ("$0.0125", "¥0.0105")),  # dollars and yuan have no smallest
        (("beijing", "singapore"), set(), ("¥0.0210", "$0.0063")),
    ],
)
def test_costs_are_compared_in_one_currency_only(regions, best, cells):
    usage = (Usage(1000, 2000, 500), Usage(500, 1000, 500))
    found = row(columns(*(node(usage=each, region=region) for each, region in zip(usage, regions, strict=True))), "cost")
    assert (found.cells, found.best) == (cells, best)
    assert found.spread == ("2.0 ×" if best else "")


def test_a_cost_that_is_unknown_is_of_no_currency():
    nodes = [node(usage=Usage(1000, 2000, 500), region=region) for region in ("singapore", None)]
    nodes.append(node(usage=Usage(500, 1000, 500), region="singapore"))
    found = row(columns(*nodes), "cost")
    assert (found.cells, found.best, found.spread) == (("$0.0125", "-", "$0.0063"), {2}, "2.0 ×")


def test_what_is_unknown_is_a_dash_and_never_zero():
    for found in rows_of(columns(node(""), None)):
        assert found.cells == (("0", "-") if found.name == "words" else ("-", "-")), found.name
        assert found.best == set()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("guesses_right", {"usage": Usage(drafted_tokens=2, accepted_tokens=1)}),
        ("seed", {"parameters": {"seed": 0}}),
        ("context_share", {"usage": Usage(1, 1)}),
    ],
)
def test_rows_that_few_look_for_are_left_out_until_a_pane_knows_them(name, known):
    assert name not in [each.name for each in rows_of(columns(node(), node()))]
    assert row(columns(node(), node(**known)), name).cells[0] == "-"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"finish_reason": "stop"}, "finished"),
        ({"finish_reason": "content_filter"}, "cut by the content filter"),
        ({"status": "stopped", "finish_reason": "stop"}, "stopped by you"),
        ({"status": "error"}, "error"),
        ({"status": "interrupted"}, "interrupted"),
        ({}, "-"),
        ({"finish_reason": "of_a_later_version"}, "of_a_later_version"),
    ],
)
def test_the_state_tells_how_an_answer_ended(given, words):
    assert row(columns(node(**given)), "state").cells == (words,)


def test_answers_that_waited_for_each_other_are_marked():
    given = [Column("1", node(finish_reason="stop"), LOCAL, in_turn=True), Column("2", node(finish_reason="stop"), LOCAL)]
    assert row(given, "state").cells == (f"finished, {W.in_turn}", "finished")
    assert row([Column("1", None, in_turn=True)], "state").cells == ("-",)


@pytest.mark.parametrize(
    ("content", "words"),
    [("Xin chào các bạn", "4"), ("  one\n\ntwo  ", "2"), ("", "0"), ("你好世界", "4"), ("你好，世界！", "4"), ("yes — no.", "2")],
)
def test_words_are_counted_in_every_script(content, words):
    assert row(columns(node(content)), "words").cells == (words,)


def test_the_table_marks_the_best_cells_and_no_other():
    view = table_view(timed(0.3401, 0.9, 0.3404, None))
    assert re.findall(r"<td class='(\S+) best'>", view) == ["ttft_s", "ttft_s"]
    rows = {cells[0]: cells[1:] for cells in Seen(view).tables[0]}
    assert rows["first token"] == ["0.34 s ✓", "0.90 s", "0.34 s ✓", "-", "2.6 ×"]
    assert rows["total"] == ["-"] * 5
    assert not [cell for name, cells in rows.items() for cell in cells if "✓" in cell and name != "first token"]


def test_the_head_of_the_table_names_the_panes_in_order():
    head = Seen(table_view(columns(node(), None, node()))).tables[0][0]
    assert head == [W.table_figure, "1", "2", "3", W.table_spread]


@pytest.mark.parametrize("given", [[], columns(None, None)])
def test_without_an_answer_there_is_no_table(given):
    view = table_view(given)
    assert html.escape(W.table_empty) in view and "<table" not in view


@pytest.mark.parametrize(
    "given",
    [
        Column(EVIL, node(), THINKING),
        Column("1", node(finish_reason=EVIL), THINKING),
        Column("1", node(model=EVIL, region=EVIL, content=EVIL), THINKING),
        Column("1", node(parameters={"seed": EVIL}), THINKING),
    ],
    ids="name finish model seed".split(),
)
def test_what_others_wrote_is_no_markup_in_the_table(given):
    assert_harmless(table_view([given, Column("2", node())]))


def test_a_hostile_name_is_shown_as_it_is():
    assert Seen(table_view([Column(EVIL, node())])).tables[0][0][1] == EVIL


def test_a_currency_without_a_sign_shows_the_number_alone(monkeypatch):
    monkeypatch.setattr(table, "SIGNS", {"USD": "$"})
    assert row(columns(node(usage=Usage(500, 1000, 500), region="beijing")), "cost").cells == ("0.0105",)


# ---------------------------------------------------------------- results
answer_ids = count()


def contestants(*models: str, **parameters) -> tuple[Contestant, ...]:
    return tuple(Contestant(model, dict(parameters), answer_id=f"a{next(answer_ids)}") for model in models)


def vote(verdict: str, *given: str | Contestant, **more) -> Vote:
    shown = tuple(each if isinstance(each, Contestant) else contestants(each)[0] for each in given)
    return Vote(subject_of(shown), "Which?", verdict, shown, **more)


def random_votes(seed: int, number: int = 60, models: str = "xyz") -> list[Vote]:
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        shown = rng.sample(models, rng.choice((2, 3)))
        verdict = rng.choices(("1", "2", "tie", "bad"), (6, 3, 2, 1))[0]
        found.append(vote(verdict, *shown))
    return found


def sections(view: str) -> dict[str, list[list[list[str]]]]:
    """By title: the rows of standings and pairs, without their heads."""
    found = {}
    for each in re.findall(r"<section class='results'>(.*?)</section>", view, re.DOTALL):
        title = html.unescape(re.search(r"<h5>(.*?) <span", each)[1])
        found[title] = [rows[1:] for rows in Seen(each).tables]
    return found


def votes_told(view: str) -> list[str]:
    return re.findall(r"<span class='hint'>(.*?)</span></h5>", view)


def numbers(cell: str) -> list[int] | None:
    """`67 % (31–90)` and `1012 (950–1070)` as numbers; `None` for a dash."""
    return None if cell == "-" else [int(each) for each in re.findall(r"-?\d+", cell)]


def percents(rate: float | None, interval: tuple[float, float] | None) -> list[int] | None:
    return None if rate is None else [round(100 * each) for each in (rate, *interval)]


@pytest.mark.parametrize("seed", range(5))
def test_standings_and_pairs_are_those_of_the_ratings(seed):
    votes = random_votes(seed)
    ballots = [Ballot(tuple(each.model for each in one.contestants), one.winner, bad=one.verdict == "bad") for one in votes]
    (shown_standings, shown_pairs) = sections(results_view(votes))[W.results_people]
    expected = standings(ballots)
    assert [cells[0] for cells in shown_standings] == [each.name for each in expected]
    for cells, each in zip(shown_standings, expected, strict=True):
        told = each.rating
        assert numbers(cells[1]) == [round(value) for value in (told.value, told.low, told.high)]
        assert numbers(cells[2]) == percents(each.win_rate, each.interval)
        assert [int(cell) for cell in cells[3:]] == [each.wins, each.losses, each.ties, each.bad]
    met = duels(ballots)
    assert [cells[0] for cells in shown_pairs] == [f"{first} : {second}" for first, second in sorted(met)]
    for cells, duel in zip(shown_pairs, (met[pair] for pair in sorted(met)), strict=True):
        assert numbers(cells[1]) == percents(duel.win_rate, duel.interval)
        assert [int(cell) for cell in cells[2:]] == [duel.wins, duel.losses, duel.ties, duel.bad]


def test_who_won_is_counted_by_hand():
    votes = [vote("2", "b", "a"), vote("1", "a", "b"), vote("1", "b", "a"), vote("tie", "a", "b"), vote("bad", "a", "b")]
    shown_standings, shown_pairs = sections(results_view(votes))[W.results_people]
    assert [(cells[0], *cells[3:]) for cells in shown_standings] == [("a", "2", "1", "1", "1"), ("b", "1", "2", "1", "1")]
    (pair,) = shown_pairs
    low, high = wilson(2, 3)
    assert pair == ["a : b", f"67 % ({100 * low:.0f}–{100 * high:.0f})", "2", "1", "1", "1"]


def test_undecided_votes_have_no_win_rate():
    shown_standings, (pair,) = sections(results_view([vote("tie", "a", "b"), vote("bad", "a", "b")]))[W.results_people]
    assert [cells[2] for cells in shown_standings] == ["-", "-"] and pair[1] == "-"


def test_a_model_beside_itself_has_no_rating_and_no_pair():
    shown_standings, shown_pairs = sections(results_view([vote("1", "a", "a")]))[W.results_people]
    assert [cells[:3] for cells in shown_standings] == [["a", "-", "-"]] and shown_pairs == []


def test_votes_are_counted_in_words():
    assert votes_told(results_view([vote("1", "a", "b")])) == [W.results_vote]
    assert votes_told(results_view([vote("1", "a", "b"), vote("2", "a", "b")])) == [W.results_votes.format(n=2)]


def test_without_votes_there_is_a_hint_and_no_table():
    view = results_view([])
    assert html.escape(W.results_empty) in view and "<table" not in view and "<select" not in view


TAGGED = [vote("1", "a", "b", tag="vi"), vote("2", "a", "b", tag="vi"), vote("1", "a", "b", tag="数学"), vote("tie", "a", "b")]


@pytest.mark.parametrize(("tag", "told"), [("", "4 votes"), ("vi", "2 votes"), ("数学", "1 vote"), (NO_TAG, "1 vote"), ("gone", "0 votes")])
def test_a_tag_chooses_its_votes(tag, told):
    assert votes_told(results_view(TAGGED, tag=tag)) == [told]


def test_every_tag_is_offered_whichever_is_chosen():
    for tag in ("", "vi", NO_TAG):
        options = Seen(results_view(TAGGED, tag=tag)).options
        assert [value for value, _ in options[:4]] == ["", NO_TAG, "vi", "数学"]
        assert [value for value, selected in options[:4] if selected] == [tag]


def test_every_vote_is_found_under_one_of_the_tags():
    votes = [vote("1", "a", "b", tag=tag) for tag in ("", "-", "--", " ", "vi")]
    told = []
    for value, _ in Seen(results_view(votes)).options[:-2]:  # the last two are not tags
        if value:
            told += votes_told(results_view(votes, tag=value))
    assert sum(int(each.split()[0]) for each in told) == len(votes)


def test_settings_make_contestants_of_one_model():
    hot, cold = contestants("m", temperature=1.0)[0], contestants("m", temperature=0.2)[0]
    votes = [vote("2", hot, cold), vote("2", hot, cold), vote("1", hot, cold)]
    by_model, _ = sections(results_view(votes))[W.results_people]
    assert [cells[0] for cells in by_model] == ["m"]
    by_setting, pairs = sections(results_view(votes, settings=True))[W.results_people]
    assert [(cells[0], *cells[3:5]) for cells in by_setting] == [("m (temperature 0.2)", "2", "1"), ("m (temperature 1)", "1", "2")]
    assert [cells[0] for cells in pairs] == ["m (temperature 0.2) : m (temperature 1)"]


@pytest.mark.parametrize("settings", [False, True])
def test_what_is_chosen_stays_chosen(settings):
    options = Seen(results_view(TAGGED, tag="vi", settings=settings)).options
    assert [value for value, selected in options if selected] == ["vi", "yes" if settings else ""]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "m"),
        ({"seed": 7, "resend_thinking": False, "system": ""}, "m"),
        ({"temperature": 0.20, "seed": 7}, "m (temperature 0.2)"),
        ({"temperature": 1.0}, "m (temperature 1)"),
        ({"temperature": 0.0, "thinking_budget": 0}, "m (temperature 0, thinking budget 0)"),
        ({"top_k": 20, "max_tokens": None, "enable_thinking": False}, "m (enable thinking False, top k 20)"),
        ({"system": "Ngắn gọn.", "stop": ["终"]}, "m (stop ['终'], system Ngắn gọn.)"),
    ],
)
def test_a_contestant_is_named_by_what_was_set(parameters, name):
    assert contestant_name(Contestant("m", parameters), settings=True) == name
    assert contestant_name(Contestant("m", parameters), settings=False) == "m"


def test_the_same_settings_with_another_seed_are_one_contestant():
    votes = [vote("1", contestants("m", seed=seed)[0], "n") for seed in (1, 2, 3)]
    shown, _ = sections(results_view(votes, settings=True))[W.results_people]
    assert sorted((cells[0], cells[3]) for cells in shown) == [("m", "3"), ("n", "0")]


# ---- judges
def judged(pairs: Sequence[tuple[str, str]], *, turned: bool = False, **given) -> list[Vote]:
    """Of (a person's, a judge model's) verdict on as many answers of a and b; "a" and "b" are who is best. `turned`: the judge saw b first."""
    found = []
    for person, judge in pairs:
        shown = contestants("a", "b")
        theirs = shown[::-1] if turned else shown
        places = {"a": "1", "b": "2"}
        found.append(vote(places.get(person, person), *shown, **given))
        found.append(vote({"a": "2", "b": "1"}.get(judge, judge) if turned else places.get(judge, judge), *theirs, judge="j", **given))
    return found


def agreement_told(view: str) -> str:
    """The sentence, and nothing where there is none."""
    found = re.search(r"<p class='agreement'>(.*?)</p>", view)
    return html.unescape(found[1]) if found else ""


def test_judge_models_stand_apart_from_people_and_from_each_other():
    votes = [vote("1", "a", "b"), vote("2", "a", "b", judge="k"), vote("2", "a", "b", judge="j"), vote("2", "a", "b", judge="j")]
    shown = sections(results_view(votes))
    assert list(shown) == [W.results_people, W.results_judge.format(judge="j"), W.results_judge.format(judge="k")]
    assert [[(cells[0], cells[3]) for cells in tables[0]] for tables in shown.values()] == [
        [("a", "1"), ("b", "0")], [("b", "2"), ("a", "0")], [("b", "1"), ("a", "0")],
    ]  # fmt: skip


def test_where_only_models_judged_there_is_no_section_of_people():
    assert list(sections(results_view([vote("1", "a", "b", judge="j")]))) == [W.results_judge.format(judge="j")]


@pytest.mark.parametrize("turned", [False, True])
def test_agreement_is_counted_over_what_both_judged_in_whatever_order_they_saw_it(turned):
    both = [("a", "a"), ("b", "b"), ("a", "b"), ("tie", "tie"), ("bad", "tie"), ("tie", "a")]
    votes = [*judged(both, turned=turned), vote("1", "a", "b"), vote("1", "a", "b", judge="j")]
    low, high = wilson(3, 6)
    told = agreement_told(results_view(votes))
    assert told.startswith(W.results_agreement.format(share="50", n=6, low=f"{100 * low:.0f}", high=f"{100 * high:.0f}", kappa="")[:-1])


def test_another_models_agreement_is_its_own():
    shown = contestants("a", "b")
    votes = [vote("1", *shown), vote("1", *shown, judge="j"), vote("2", *shown, judge="k")]
    parts = results_view(votes).split("<section")
    assert ["100 % of 1" in part for part in parts] == [False, False, True, False] and "0 % of 1" in parts[3]


def test_without_common_answers_there_is_no_agreement():
    assert agreement_told(results_view([vote("1", "a", "b"), vote("1", "a", "b", judge="j")])) == ""


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        ([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")], "0.00"),  # as much as chance gives
        ([("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")], "1.00"),
        ([("a", "b"), ("b", "a")], "-1.00"),
        ([("a", "a")] * 3 + [("b", "b")] * 3 + [("a", "b"), ("b", "a")], "0.50"),
        ([("a", "a"), ("a", "a")], "-"),  # neither ever said anything else
    ],
)
def test_kappa_is_how_far_the_agreement_goes_beyond_chance(pairs, kappa, turned):
    assert agreement_told(results_view(judged(pairs, turned=turned))).endswith(f"kappa {kappa}.")


@pytest.mark.parametrize("settings", [False, True])
def test_what_others_wrote_is_no_markup_in_the_results(settings):
    bad = Contestant(EVIL, {"system": EVIL}, answer_id="x")
    votes = [vote("1", bad, "b", tag=EVIL), vote("2", bad, "b", judge=EVIL, tag=EVIL)]
    for tag in ("", EVIL):
        view = results_view(votes, tag=tag, settings=settings)
        assert_harmless(view)
        assert EVIL in Seen(view).text and (EVIL, tag == EVIL) in Seen(view).options


# ---------------------------------------------------------------- panes
THINKS = Choices(THINKING.name, GenerationParameters(temperature=0.37, seed=424242, thinking_budget=4321), "Secret orders.")
OWN = Choices("server:gpu/own-model", GenerationParameters(temperature=1.25))
RUN = {
    "model": THINKING.name, "usage": Usage(1234, 2468, 1111), "timing": Timing(0.77, 8.8, 6.6, 5.0, 16.2), "region": "singapore",
    "finish_reason": "length", "parameters": THINKS.stored(),
}  # fmt: skip
FAILED = {
    "model": OWN.model, "status": "error", "parameters": OWN.stored(),
    "error": AnswerError("AuthError", "own-model refused the key.", "Mend the key of gpu."),
}  # fmt: skip


def asked(choices: Choices, *answers: Node, first_turn: int = 0) -> tuple[Pane, Conversation]:
    """A pane with a question before each of its answers, numbered from its first turn on."""
    pane = Pane(choices, first_turn=first_turn, asked=True)
    path: list[Node] = []
    for turn, answer in enumerate(answers, first_turn + 1):
        path += [replace(answer, id=f"u{turn}", role="user", content=f"Question {turn}", thinking=None, error=None, siblings=()), answer]
    found = {each.id: each for each in path}
    return pane, Conversation(pane.conversation_id, None, "", False, choices.model, {}, NOW, NOW, found, tuple(path))


def shown(*given: tuple[Pane, Conversation] | Pane, hidden: bool = False, blind: bool = False, known=KNOWN, **more) -> dict:
    """The bench's value of a comparison of these panes."""
    panes = tuple(each if isinstance(each, Pane) else each[0] for each in given)
    conversations = {each[0].conversation_id: each[1] for each in given if not isinstance(each, Pane)}
    return bench.bench_value(Comparison(panes, blind=blind or hidden, hidden=hidden, preview="p"), conversations, known, **more)


def everything(value: object) -> str:
    return html.unescape(json.dumps(value, ensure_ascii=False))


def local(name: str = "demo") -> Choices:
    return Choices(f"local:{name}", GenerationParameters())


# no piece of an id or a hash by chance
TELLING = (
    "Qwen3-Next 80B-A3B Thinking", "dashscope", "own-model", "gpu/own", "T 0.37", "seed 424242", "424242</b>", "T 1.25", "· system",
    "0.77 s", "8.8 s", "6.6 s", "1,111", "1,357", "493</b>", "2.8 %", "$0.0154", "singapore", "hit the token limit", "run-card",
    "own-model refused the key.", "Mend the key of gpu.", W.error_actions["connect"],
)  # fmt: skip


def test_a_hidden_comparison_tells_no_name_no_setting_no_figure_and_no_error():
    panes = asked(THINKS, node(id="a1", **RUN), node(id="a2", **RUN)), asked(OWN, node("", id="b1", **FAILED))
    assert [word for word in TELLING if word not in everything(shown(*panes))] == [], "else this test finds nothing"
    value = shown(*panes, hidden=True)
    assert [word for word in TELLING if word in everything(value)] == []
    assert [(pane["name"], pane["place"], pane["setting"], pane["foot"]) for pane in value["panes"]] == [
        ("Model A", "", "", ""), ("Model B", "", "", ""),
    ]  # fmt: skip
    assert W.pane_hidden_error in value["panes"][1]["turns"][1]["html"]


def test_a_hidden_trace_tells_neither_its_time_nor_its_tokens_nor_its_budget():
    pane = asked(THINKS, node(id="a1", thinking="Let me see.", **RUN))
    telling = ("8.8", "1,111", "4,321", "width:26%")
    assert [word for word in telling if word not in shown(pane)["panes"][0]["turns"][-1]["html"]] == []
    value = shown(pane, hidden=True)
    assert "<details" in value["panes"][0]["turns"][-1]["html"]
    assert [word for word in telling if word in everything(value)] == []


@pytest.mark.parametrize("status", ["done", "stopped", "error", "interrupted"])
@pytest.mark.parametrize("known", [KNOWN, {}], ids=["known", "unknown"])
def test_no_way_to_end_tells_a_hidden_name(status, known):
    value = shown(asked(THINKS, node(id="a1", **{**RUN, **FAILED, "status": status})), hidden=True, known=known)
    assert [word for word in (*TELLING, "qwen3-next") if word in everything(value)] == []


@pytest.mark.parametrize("place", range(4))
def test_a_hidden_pane_is_called_by_its_letter_and_a_shown_one_by_number_and_title(place):
    comparison = Comparison(tuple(Pane(THINKS) for _ in range(4)), hidden=True)
    assert bench.name_of(comparison, place, KNOWN) == f"Model {'ABCD'[place]}"
    assert bench.name_of(replace(comparison, hidden=False), place, KNOWN) == f"{place + 1} · {THINKING.title}"


@pytest.mark.parametrize(
    ("model", "title"),
    [(THINKING.name, THINKING.title), ("server:gpu/own-model", "gpu/own-model"), ("local:a:b", "a:b"), ("nonsense", "-"), ("", "-")],
)
def test_a_pane_is_called_by_its_models_title_or_else_its_name(model, title):
    assert bench.title_of(Pane(Choices(model, GenerationParameters())), KNOWN) == title


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices("m", GenerationParameters()), ""),
        (Choices("m", GenerationParameters(temperature=0.0)), "T 0"),
        (Choices("m", GenerationParameters(temperature=0.70, top_p=0.9)), "T 0.7"),
        (Choices("m", GenerationParameters(seed=0)), "seed 0"),
        (Choices("m", GenerationParameters(temperature=1.0, seed=7), "Ngắn gọn."), "T 1 · seed 7 · system"),
        (Choices("m", GenerationParameters(), " \n"), ""),
    ],
)
def test_a_panes_settings_in_a_few_signs(choices, words):
    assert bench.setting_of(Pane(choices)) == words


def test_before_the_first_question_nothing_has_an_address_and_every_pane_says_what_comes():
    value = shown(Pane(THINKS), Pane(OWN))
    assert value["id"] is None
    for pane in value["panes"]:
        assert (pane["asked"], pane["state"], pane["foot"]) == (False, "idle", "")
        assert [turn["role"] for turn in pane["turns"]] == ["empty"] and W.pane_empty in pane["turns"][0]["html"]


def test_a_pane_that_joined_later_says_so_until_it_is_asked():
    value = shown(asked(THINKS, node(id="a1", **RUN)), Pane(OWN))
    first, late = value["panes"]
    assert value["id"] is not None and (first["asked"], late["asked"]) == (True, False)
    assert W.pane_joined in late["turns"][0]["html"] and W.pane_empty not in everything(value)
    late = shown(asked(THINKS, node(id="a1"), node(id="a2")), asked(OWN, node(id="b2"), first_turn=1))["panes"][1]
    assert [turn["id"] for turn in late["turns"]] == ["u2", "b2"] and late["state"] == "done"


def test_a_pane_shows_its_turns_with_the_figures_of_the_last_answer():
    first, last = node("First **bold**.", id="a1", **RUN), node("Second.", id="a2", **{**RUN, "usage": Usage(1, 777, 0)})
    pane = shown(asked(THINKS, first, last))["panes"][0]
    assert [(turn["id"], turn["role"], turn["copy"]) for turn in pane["turns"]] == [
        ("u1", "user", "Question 1"), ("a1", "assistant", "First **bold**."), ("u2", "user", "Question 2"), ("a2", "assistant", "Second."),
    ]  # fmt: skip
    assert "<markdown-text>First **bold**." in pane["turns"][1]["html"] and "777" in pane["foot"] and "1,357" not in pane["foot"]
    assert (pane["name"], pane["place"], pane["setting"]) == (THINKING.title, "1", "T 0.37 · seed 424242 · system")


def test_the_figures_are_those_of_the_model_that_answered_not_of_the_one_that_is_chosen_now():
    pane = shown(asked(replace(THINKS, model=INSTRUCT.name), node(id="a1", **RUN)))["panes"][0]
    assert pane["name"] == INSTRUCT.title and THINKING.name in pane["foot"] and "$0.0154" in pane["foot"]


@pytest.mark.parametrize(("status", "state"), [("done", "done"), ("stopped", "stopped"), ("error", "error"), ("interrupted", "stopped")])
def test_the_state_of_a_pane_is_that_of_its_last_answer(status, state):
    panes = asked(THINKS, node(id="a1", **{**RUN, "status": "done"}), node(id="a2", **{**RUN, "status": status})), asked(OWN, node(id="b1"))
    assert [pane["state"] for pane in shown(*panes)["panes"]] == [state, "done"]
    assert [pane["state"] for pane in shown(*panes, hidden=True)["panes"]] == [state, "done"]


def test_the_answers_in_the_making_are_left_out_of_their_panes_only():
    streaming = node("half", id="a2", **{**RUN, "status": "streaming"})
    value = shown(asked(THINKS, node(id="a1", **RUN), streaming), asked(OWN, node(id="b1", **RUN)), live_nodes=frozenset({"a2", "other"}))
    first, second = value["panes"]
    assert [turn["id"] for turn in first["turns"]] == ["u1", "a1", "u2"] and "half" not in everything(first)
    assert (first["state"], first["foot"]) == ("idle", "")
    assert (second["state"], [turn["id"] for turn in second["turns"]]) == ("done", ["u1", "b1", "empty"]) and "1,357" in second["foot"]


def test_an_answer_being_made_anew_leaves_the_question():
    pane = shown(asked(THINKS, node(id="a1", **{**RUN, "status": "streaming"})), live_nodes=frozenset({"a1"}))["panes"][0]
    assert [turn["id"] for turn in pane["turns"]] == ["u1"] and pane["state"] == "idle"


def test_versions_of_an_answer_can_be_gone_through():
    pane = asked(THINKS, node(id="a1", siblings=("a0", "a1"), **RUN))
    for hidden in (False, True):
        answer = shown(pane, hidden=hidden)["panes"][0]["turns"][-1]["html"]
        assert "2/2" in answer and "data-to='a0'" in answer


def test_a_turn_that_changed_gets_another_key_and_one_that_did_not_keeps_it():
    keys = [shown(asked(THINKS, node(text, id="a1", **RUN)))["panes"][0]["turns"][1]["key"] for text in ("x", "x", "y")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("kind", "op"),
    [("AuthError", "data-panel='connect'"), ("RateLimited", "data-op='regenerate'"), ("BadInput", "data-panel='parameters'")],
)
def test_an_error_has_the_button_that_helps_and_a_hidden_one_none(kind, op):
    told = bench.error("Sentence.", "Hint.", kind, hidden=False)
    assert "<b>Sentence.</b>" in told and "Hint." in told and op in told
    kept = bench.error("Sentence.", "Hint.", kind, hidden=True)
    assert W.pane_hidden_error in kept and not [word for word in ("Sentence", "Hint", "data-op") if word in kept]


def test_the_way_out_that_is_the_chats_own_is_not_offered_in_a_pane():
    assert "data-op" not in bench.error("Too long.", "Shorten it.", "ContextTooLong", hidden=False)


# ---- one machine
@pytest.mark.parametrize(
    ("models", "places"),
    [
        (("local:demo", "local:qwen3-next-tiny"), "1, 2"),
        (("dashscope:x", "local:demo", "server:y/local:z", "local:demo"), "2, 4"),
        (("local:demo", "dashscope:x"), ""),
        (("dashscope:x", "server:y/z"), ""),
    ],
)
def test_panes_that_share_this_machine_are_named(models, places):
    panes = [Pane(Choices(model, GenerationParameters())) for model in models]
    expected = html.escape(W.in_turn_note.format(places=places)) if places else ""
    assert re.sub(r"</?p[^>]*>", "", shown(*panes)["note"]) == expected


def test_the_note_on_one_machine_gives_way_to_another_and_is_not_told_of_hidden_panes():
    panes = [Pane(local()), Pane(local("qwen3-next-tiny"))]
    assert shown(*panes, note="<p>Played.</p>")["note"] == "<p>Played.</p>"
    assert shown(*panes, hidden=True)["note"] == ""


def test_the_times_of_panes_that_share_this_machine_are_marked():
    given = {**RUN, "model": "local:demo"}
    here = asked(local(), node(id="a1", **given)), asked(local(), node(id="b1", **given))
    away = asked(OWN, node(id="c1", **RUN))
    feet = [pane["foot"] for pane in shown(*here, away)["panes"]]
    assert [f"<span class='in-turn'>{W.in_turn}</span></div>" in each for each in feet] == [True, True, False]
    assert [each.count("<div") == each.count("</div>") == 1 for each in feet] == [True] * 3
    assert W.in_turn not in everything(shown(here[0], away)["panes"])


def test_the_columns_of_the_table_are_the_last_answers_with_their_own_models_figures():
    first = asked(replace(THINKS, model="local:demo"), node(id="a1", **RUN), node(id="a2", **RUN))
    late, never = asked(local(), node(id="b2", model="local:demo"), first_turn=1), Pane(OWN)
    comparison = Comparison((first[0], late[0], never))
    conversations = {pane.conversation_id: chat for pane, chat in (first, late)}
    found = bench.columns_of(comparison, conversations, KNOWN)
    assert [(each.name, each.node.id if each.node else None, each.in_turn) for each in found] == [
        ("1 · demo", "a2", True), ("2 · demo", "b2", True), ("3 · gpu/own-model", None, False),
    ]  # fmt: skip
    assert [each.capabilities for each in found] == [THINKING, None, None]
    assert [each.name for each in bench.columns_of(replace(comparison, hidden=True), conversations, KNOWN)] == [
        "Model A",
        "Model B",
        "Model C",
    ]


# ---- the vote
@pytest.mark.parametrize(
    ("verdict", "words"), [("", ""), ("2", "Voted 2."), ("tie", f"Voted {W.verdict_tie}."), ("bad", f"Voted {W.verdict_bad}.")]
)
def test_the_vote_is_told_in_words(verdict, words):
    value = shown(Pane(THINKS), verdict=verdict)
    assert (value["verdict"], value["voted"]) == (verdict, words)


@pytest.mark.parametrize(("blind", "hidden"), [(False, False), (True, False), (True, True)])
def test_blind_and_hidden_and_the_open_settings_are_passed_on(blind, hidden):
    value = shown(Pane(THINKS), blind=blind, hidden=hidden, focus=0)
    assert (value["blind"], value["hidden"], value["focus"]) == (blind, hidden, 0)


@pytest.mark.parametrize("hidden", [False, True])
def test_what_others_wrote_is_no_markup_in_a_pane(hidden):
    given = {"model": EVIL, "region": EVIL, "finish_reason": EVIL, "parameters": {"seed": EVIL}, "usage": Usage(1, 1, 0)}
    bad = node(EVIL, id="a1", thinking=EVIL, status="error", error=AnswerError("AuthError", EVIL, EVIL), siblings=("a1", EVIL), **given)
    pane, chat = asked(replace(OWN, model=f"local:{EVIL}"), bad)
    chat = replace(chat, path=(replace(chat.path[0], content=EVIL), bad))
    value = shown((pane, chat), Pane(local()), hidden=hidden)
    assert_harmless(value["note"])
    for each in value["panes"]:
        assert_harmless(each["foot"])
        for turn in each["turns"]:
            assert_harmless(turn["html"])


def test_prices_of_other_makers_are_no_reason_to_fail():
    priced = THINKING.model_copy(update={"prices": (Price(region="r", currency="USD", input=1, output=1, as_of="2026-01-01"),)})
    assert row(columns(node(usage=Usage(1, 1), region="elsewhere"), capabilities=priced), "cost").cells == ("-",)
