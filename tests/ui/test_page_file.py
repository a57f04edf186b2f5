"""A comparison saved as a file: everything is in it, nothing in it runs or loads, and nothing secret is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backend import Node, Timing, Usage
from backend.catalogue import ASSETS, catalogue
from backend.history.records import AnswerError
from ui.compare.page_file import POLICY, Side, page_file
from ui.text import WORDS as W

NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
THINKING = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
INSTRUCT = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-instruct")
LOADING = {"src", "srcset", "srcdoc", "data", "action", "formaction", "poster", "background", "ping", "manifest", "xlink:href", "cite"}
FORBIDDEN = set(
    "script img iframe frame object embed link base form input button textarea select svg video audio source track picture template "
    "portal annotation-xml foreignobject".split()
)
HOSTILE = [
    "<script>window.hacked = 1</script>", "<img src=x onerror=alert(1)>", "</style><script>alert(1)</script>", "</title><script>alert(1)</script>",
    "</details></article></main><script>alert(1)</script>", "<iframe srcdoc='<script>alert(1)</script>'></iframe>", "<base href='https://evil.test/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.test/'>", "<link rel=stylesheet href=https://evil.test/x.css>",
    "<p style='position:fixed;inset:0;background:url(https://evil.test/x)'>x</p>", "<svg/onload=alert(1)>", "<form action=//evil.test><button>x</button></form>",
    "[x](javascript:alert(1))", "[x]( JaVaScRiPt:alert(1) )", "![x](javascript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "![x](data:image/png;base64,AAAA)",
    "![a\"b](https://evil.test/p.png\"onerror=alert(1) \"t'onload=alert(1)\")", "[x](https://evil.test/'onmouseover='alert(1) \"'onclick='alert(1)\")",
    "[x](//evil.test/share)", "[x](../secret.html)", "<https://evil.test/?\"onclick=alert(1)>", "`````<script>\nx\n`````", '```"onclick="alert(1)\nx\n```',
    r"$\text{</math><script>alert(1)</script>}$", r"$\href{javascript:alert(1)}{x}$", r"$$\style{position:fixed;inset:0}{x}$$",
    "' onmouseover='alert(1)' x='", '" onmouseover="alert(1)" x="', "<!--", "<![CDATA[<script>alert(1)</script>]]>", "</textarea><plaintext>", "{policy} {style} {body} {0}",
]  # fmt: skip


class Seen(HTMLParser):
    """The elements, attributes and text that a browser would find."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data) -> None:
        if self.tags and self.tags[-1] == "style" and not self.style:
            self.style = data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def assert_inert(markup: str) -> Seen:
    """No script, nothing that loads, no address but plain links, one style sheet."""
    seen = Seen(markup)
    assert not set(seen.tags) & FORBIDDEN
    assert [seen.tags.count(tag) for tag in ("html", "head", "body", "title", "style", "meta")] == [1, 1, 1, 1, 1, 3]
    assert not re.search(r"url\(|@import|expression|</", seen.style)
    for tag, name, value in seen.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in LOADING, (tag, name)
        if name == "href":
            assert tag == "a" and re.match(r"(https?://|mailto:)", value), (tag, value)
        if name == "style":
            assert tag in ("td", "th") and re.fullmatch(r"text-align:(left|right|center)", value), value
        if name == "http-equiv":
            assert value == "Content-Security-Policy"
    return seen


def node(content: str = "An answer.", **given) -> Node:
    return Node(id="n", conversation_id="c", parent_id=None, role="assistant", content=content, created_at=NOW, **given)


def side(
    *answers: Node | None, name: str = "1 · A", model: str = "dashscope:a", settings=None, capabilities=THINKING, in_turn=False
) -> Side:
    return Side(name, model, settings or {}, answers, capabilities, in_turn)


def made(*sides: Side, prompts=("A question?",), votes=None, versions: str = "Playground 1.0") -> str:
    return page_file(prompts, sides, votes or {}, made_at=NOW, versions=versions)


def text_of(*sides: Side, **given) -> str:
    return assert_inert(made(*sides, **given)).text


def table(markup: str, name: str) -> list[list[str]]:
    """The cells of the first table of a class, as text."""
    found = re.search(rf'<(?:section|table) class="{name}.*?</table>', markup, re.S)[0]
    return [[Seen(cell).text for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in re.findall(r"<tr.*?</tr>", found, re.S)]


# ---------------------------------------------------------------- nothing runs, nothing loads
@pytest.mark.parametrize(
    "markup",
    ["<script>1</script>", "<img src=x>", "<p onclick='x'>", "<a href='javascript:1'>", "<a href='//x'>", "<a href='x.html'>", "<p style='color:red'>",
     "<style>p{}</style>", "<base href='/'>", "<meta http-equiv=refresh content=0>", "<meta name=x>", "<iframe srcdoc=x>", "<link href=x>", "<q cite=x>"],
)  # fmt: skip
def test_the_check_for_markup_sees_it(markup):
    page = made(side(node()))
    assert_inert(page)
    with pytest.raises(AssertionError):
        assert_inert(page.replace("</main>", markup + "</main>"))


def test_the_check_for_addresses_in_the_style_sees_them():
    with pytest.raises(AssertionError):
        assert_inert(made(side(node())).replace("</style>", "p { background:url(https://x) }</style>"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_wherever_it_stands(text):
    everywhere = node(
        text, thinking=text, model=text, region=text, finish_reason=text, request_id=text, usage=Usage(1, 2, 1), status="error",
        error=AnswerError(text, text, text), parameters={"temperature": text, "system": text},
    )  # fmt: skip
    settings = {"temperature": text, "system": text, "stop": [text], "extra": {text: 1}, "seed": text, text: text, "thinking_budget": text}
    sides = [
        Side(text, text, settings, (everywhere, node(f"a {text}", thinking=f"| {text} |\n|---|\n| {text} |")), THINKING, True),
        Side(text, text, settings, (node(f"- {text}\n\n> {text}"), None), None),
    ]
    assert_inert(made(*sides, prompts=[text, f"more {text}"], votes={0: text, 1: text}, versions=text))


@pytest.mark.parametrize(
    ("text", "times"),
    [("<script>window.hacked = 1</script>", 10), ("<b onclick='x'>bold</b>", 10), ("a < b & c > d", 10), ("&lt;script&gt;", 10)],
)
def test_what_looks_like_markup_is_shown_as_it_was_written(text, times):
    seen = text_of(side(node(text, thinking=text), name=text, model=text, settings={"system": text}), prompts=[text], votes={0: text})
    # title, prompt, vote, model and system prompt; the name over settings, pane and figures
    assert seen.count(text) == times


def test_nothing_is_allowed_before_the_policy_and_the_policy_is_the_strict_one():
    page = made(side(node()))
    head = page[page.index("<head>") + 6 :].lstrip()
    assert head.startswith(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">')
    assert POLICY == "default-src 'none'; style-src 'unsafe-inline'; font-src data:; img-src data:"
    assert page.startswith("<!doctype html>") and '<html lang="en">' in page and '<meta charset="utf-8">' in page[:1024]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page


def test_buttons_that_would_do_nothing_are_left_out():
    failed = node("```python\nx = 1\n```", status="error", error=AnswerError("RateLimited", "Busy.", "Wait."), siblings=("n", "m"))
    seen = text_of(side(failed))
    assert "x = 1" in seen and "Busy. Wait." in seen
    assert "Copy" not in seen and W.error_actions["regenerate"] not in seen


def test_half_a_surrogate_pair_does_not_break_the_file():
    page = made(side(node("cut \ud83d", thinking="\ud83d"), name="\ud83d"), prompts=["\ud83d"], votes={0: "\ud83d"})
    assert "cut ?" in page and page.encode("utf-8")


# ---------------------------------------------------------------- everything is in it
def test_answers_in_every_script_are_there_as_they_were_written():
    answer = "# Kết quả\n\nĐây là **tiếng Việt**, 这是中文。 $$\\frac{a}{b}$$\n\n| số | n |\n|---|---:|\n| sáu | 166 |\n"
    page = made(side(node(answer)))
    assert f"<markdown-text>{answer}</markdown-text>" in page and assert_inert(page)


def test_a_long_trace_is_there_whole_and_folded():
    thinking = "\n\n".join(f"Bước {i}: xét **số {i}**." for i in range(2000)) + "\n\n```\nfirst\n\nlast\n```"
    page = made(side(node(thinking=thinking, usage=Usage(1, 900, 512), timing=Timing(thinking_s=3.2))))
    trace = re.search(r'<details class="trace thinking"><summary>(.*?)</summary>(.*?)</details>', page, re.S)
    assert W.thought.format(seconds="3.2") in trace[1] and "512 tokens" in trace[1]
    seen = Seen(trace[2])
    assert [f"số {i}" for i in range(2000)] == re.findall(r"số \d+", seen.text)
    assert not re.search(r"<details[^>]*\sopen", page)


def test_what_is_only_thought_is_not_in_the_answer():
    page = made(side(node("said", thinking="secret thought")))
    assert "secret thought" not in re.search(r'<div class="answer".*?</div>', page, re.S)[0] and "secret thought" in page


def test_prompts_stand_as_they_were_typed_and_in_their_order():
    prompts = ["# no heading\n**no bold**", "Và bây giờ?", "最后一个"]
    page = made(side(node("one"), node("two"), node("three")), prompts=prompts)
    seen = assert_inert(page.replace(re.search(r"<title>.*</title>", page)[0], "<title></title>")).text
    places = [seen.index(words) for words in ("# no heading **no bold**", "one", "Và bây giờ?", "two", "最后一个", "three")]
    assert places == sorted(places)
    assert W.file_prompt_of.format(n=3, all=3) in seen


def test_the_title_says_what_was_asked_when_and_with_what():
    page = made(side(node()), prompts=["Why is\nthe sky blue? " + "x" * 100], versions="Playground 0.9 <b>")
    title = re.search(r"<title>(.*?)</title>", page)[1]
    assert title.startswith("Why is the sky blue? xxx") and title.endswith(f"… – {W.product}") and len(title) < 100
    assert "2026-07-20 12:00 UTC" in page and "Playground 0.9 &lt;b&gt;" in page


def test_panes_stand_in_their_order_with_their_names_and_run_cards():
    cards = [Usage(10, 20, 5), Usage(10, 40, 0)]
    sides = [side(node(f"answer {i}", usage=usage, model=f"model-{i}"), name=f"{i + 1} · M{i}") for i, usage in enumerate(cards)]
    panes = re.findall(r'<article class="pane">.*?</article>', made(*sides), re.S)
    assert [f"{i + 1} · M{i}" in pane and f"answer {i}" in pane and f"model-{i}" in pane for i, pane in enumerate(panes)] == [True, True]
    assert '<b class="tokens-answer">15</b>' in panes[0] and '<b class="tokens-answer">40</b>' in panes[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, W.file_not_asked), (node(""), W.file_nothing), (node("", thinking="hm"), W.empty_answer), (node("", status="stopped"), W.empty_stopped),
        (node("half", status="stopped"), W.file_stopped), (node("half", status="interrupted"), W.interrupted), (node("", status="interrupted"), W.interrupted),
        (node("half", status="streaming"), W.file_streaming), (node("", status="streaming"), W.file_streaming),
        (node("half", status="error", error=AnswerError("StreamBroken", "The line broke.", "Ask again.")), "The line broke."),
        (node("cut", finish_reason="length"), W.finish_reasons["length"]),
    ],
)  # fmt: skip
def test_an_answer_that_is_missing_or_cut_says_so(answer, words):
    pane = re.search(r'<article class="pane">.*?</article>', made(side(answer), side(node(), name="2 · B")), re.S)[0]
    seen = Seen(pane).text
    assert words in seen and (answer is None or answer.content in seen)
    notes = {W.file_not_asked, W.file_nothing, W.file_stopped, W.file_streaming, W.empty_answer, W.empty_stopped, W.interrupted}
    assert {note for note in notes if note in seen} == notes & {words}


def test_a_whole_answer_has_no_note():
    assert 'class="note"' not in made(side(node()))


def test_a_pane_with_fewer_answers_than_prompts_was_not_asked():
    assert text_of(side(node("one"), name="1 · A"), prompts=["first", "second"]).count(W.file_not_asked) == 1


def test_figures_stand_side_by_side_with_the_best_marked_and_the_spread():
    fast, slow = Timing(ttft_s=0.5, total_s=2.0), Timing(ttft_s=2.0, total_s=8.0)
    page = made(side(node(timing=slow), name="1 · A"), side(node(timing=fast), name="2 · B", in_turn=True))
    rows = {row[0]: row[1:] for row in table(page, "figures")}
    assert rows[W.table_figure] == ["1 · A", "2 · B", W.table_spread]
    assert rows[W.figures["ttft_s"]] == ["2.0 s", "0.50 s ✓", "4.0 ×"]
    assert re.search(r'class="ttft_s best">0.50 s', page) and W.in_turn in rows[W.figures["state"]][1]


def test_times_of_an_answer_that_waited_for_others_are_marked_in_its_pane():
    panes = re.findall(r'<article class="pane">.*?</article>', made(side(node()), side(node(), name="2 · B", in_turn=True)), re.S)
    assert ['class="in-turn"' in pane for pane in panes] == [False, True]


def test_each_turn_has_its_own_figures_and_one_that_nobody_was_asked_has_none():
    page = made(side(node("a"), None, node("b")), side(node("c"), None, node("d"), name="2 · B"), prompts=["q1", "q2", "q3"])
    turns = re.findall(r'<section class="turn">.*?</section>', page, re.S)
    assert ["<table" in turn for turn in turns] == [True, False, True]
    assert W.table_empty not in page


def test_the_first_two_answers_are_compared_word_by_word_folded():
    page = made(side(None, name="1 · A"), side(node("the red house"), name="2 · B"), side(node("the blue house"), name="3 · C"))
    found = re.search(r'<details class="difference"><summary>(.*?)</summary>(.*?)</details>', page, re.S)
    assert found[1] == W.file_difference.format(left="2 · B", right="3 · C")
    assert "<del>red</del>" in found[2] and "<ins>blue</ins>" in found[2]


@pytest.mark.parametrize("others", [(), (side(None, name="2 · B"),), (side(node(" \n"), name="2 · B"),)])
def test_one_answer_alone_is_compared_with_nothing(others):
    page = made(side(node("the red house")), *others)
    assert 'class="difference"' not in page and W.diff_none not in page


def test_votes_stand_under_the_turn_that_they_are_about():
    page = made(side(node("a"), node("b")), prompts=["q1", "q2"], votes={1: "Voted a tie."})
    turns = re.findall(r'<section class="turn">.*?</section>', page, re.S)
    assert ["Voted a tie." in turn for turn in turns] == [False, True] and page.count('class="vote"') == 1


@pytest.mark.parametrize(("prompts", "sides"), [((), ()), ((), (side(),)), (("q",), ())])
def test_an_empty_comparison_is_still_a_page(prompts, sides):
    assert W.file_title in text_of(*sides, prompts=prompts)


# ---------------------------------------------------------------- settings
SETTINGS = {
    "temperature": 0.6, "top_k": 20, "max_tokens": 4096, "enable_thinking": False, "stop": ["\n\n", "HẾT"], "seed": 0,
    "system": "Be brief.\nAnswer in the language of the question.", "resend_thinking": True,
}  # fmt: skip


def test_the_settings_of_all_panes_stand_in_one_table():
    page = made(side(settings=SETTINGS, model="dashscope:a"), side(name="2 · B", settings={"temperature": 1.0}, model="local:b"))
    head, *rows = table(page, "settings")
    assert head == [W.file_setting, "1 · A", "2 · B"]
    assert {row[0]: row[1:] for row in rows} == {
        W.model: ["dashscope:a", "local:b"],
        W.parameters["temperature"]: ["0.6", "1"],
        W.parameters["top_k"]: ["20", "-"],
        W.parameters["max_tokens"]: ["4096", "-"],
        W.parameters["enable_thinking"]: [W.file_no, "-"],
        W.parameters["stop"]: ['"\\n\\n", "HẾT"', "-"],
        W.parameters["seed"]: ["0", "-"],
        W.system_prompt: ["Be brief. Answer in the language of the question.", "-"],
        W.resend: [W.file_yes, "-"],
    }


def test_texts_among_the_extra_fields_are_left_out_and_the_file_says_so():
    extra = {"logprobs": True, "n": 2, "none": None, "user_token": "sk-secret", "deep": {"key": "sk-secret"}, "list": ["sk-secret"]}
    page = made(side(node(parameters={"extra": extra}), settings={"extra": extra}))
    assert "sk-secret" not in page
    (row,) = [row for row in table(page, "settings") if row[0] == W.parameters["extra"]]
    assert row[1] == W.file_texts_left_out.format(values='{"logprobs": true, "n": 2, "none": null}')
    assert W.file_texts_left_out.format(values="") not in made(side(settings={"extra": {"n": 2}}))


@pytest.mark.parametrize("name", ["api_key", "headers", "something_new"])
def test_settings_that_the_panel_does_not_know_are_not_told(name):
    assert "sk-secret" not in made(side(node(parameters={name: "sk-secret"}), settings={name: "sk-secret"}))


def test_an_answer_made_with_other_settings_than_the_pane_has_now_says_which():
    now = {"temperature": 0.6, "top_k": 20}
    seen = text_of(side(node(parameters={"temperature": 1.0, "seed": 7, "system": "Be brief."}), settings=now))
    told = f"{W.parameters['temperature']} 1; {W.parameters['top_k']} -; {W.system_prompt} Be brief."
    assert W.file_other_settings.format(settings=told) in seen


@pytest.mark.parametrize("parameters", [{}, SETTINGS, {**SETTINGS, "stop": tuple(SETTINGS["stop"])}])
def test_an_answer_made_with_the_panes_settings_has_no_such_note(parameters):
    assert W.file_other_settings.split("{")[0] not in text_of(side(node(parameters=parameters), settings=SETTINGS))


def test_a_seed_that_was_drawn_for_the_answer_is_no_other_setting():
    drawn = {**SETTINGS, "seed": 1234}
    unset = {name: value for name, value in SETTINGS.items() if name != "seed"}
    assert W.file_other_settings.split("{")[0] not in text_of(side(node(parameters=drawn), settings=unset))
    assert W.file_other_settings.split("{")[0] in text_of(side(node(parameters=drawn), settings=SETTINGS))


# ---------------------------------------------------------------- the look
def tokens(path: Path, start: str) -> dict[str, str]:
    """The custom properties of the first rule from `start` on."""
    text = path.read_text(encoding="utf-8")
    rule = text[text.index(start) :]
    return dict(re.findall(r"(--[\w-]+):([^;]+);", rule[: rule.index("}")]))


@pytest.mark.parametrize(("here", "there"), [(":root {", ":root {"), ("@media screen and (prefers-color-scheme: dark)", ".dark {")])
def test_the_files_colours_are_the_pages(here, there):
    own, pages = tokens(ASSETS / "page" / "export.css", here), tokens(ASSETS / "page" / "page.css", there)
    assert len(own) > 10 and own == {name: pages.get(name) for name in own}
