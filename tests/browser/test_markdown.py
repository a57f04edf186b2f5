"""What models write, as Chromium shows it: Markdown drawn right, nothing of a model's HTML alive, a growing text without a raw moment."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Page

# what stands on the page, without KaTeX's spans: a formula by its TeX between ⟦ ⟧
SHOWN = """(text) => { const box = document.createElement('div'); box.innerHTML = finished(text).join('\\n');
  for (const k of box.querySelectorAll('.katex')) k.replaceWith('⟦' + k.querySelector('annotation').textContent + '⟧');
  for (const f of box.querySelectorAll('.formula, .katex-display')) f.replaceWith(...f.childNodes);
  for (const e of box.querySelectorAll('*')) { for (const name of ['dir', 'rel', 'target', 'tabindex', 'class']) e.removeAttribute(name); }
  return box.innerHTML.replace(/\\n<br>|<br>\\n/g, '<br>').trim(); }"""


def shown(page: Page, text: str) -> str:
    made: str = page.evaluate(SHOWN, text)
    return made


MATHS = [
    # (text, what of it is TeX), by where models put it
    ("\\[\nx = 1\n\\]", ["x = 1"]), ("We start from\n\\[\nx = 1\n\\]\nand go on.", ["x = 1"]), ("1. First:\n   \\[\n   a = 1\n   \\]", ["a = 1"]),
    ("2. Second: \\[ b = 2 \\]", ["b = 2"]), ("So \\[ c = 3 \\] follows.", ["c = 3"]), ("> quoted\n> \\[\n> q\n> \\]", ["q"]),
    ("\\[x\\]\n\\[y\\]", ["x", "y"]), ("a \\(x\\) b \\(y\\)", ["x", "y"]), ("$$a$$ $$b$$", ["a", "b"]), ("Here $$a$$ and $$b$$.", ["a", "b"]),
    ("$$\na\n\n= b\n$$", ["a\n\n= b"]), ("Then: $$\na\n- b\n= c\n$$\nDone", ["a\n- b\n= c"]), ("text \\[\n+ 1\n- 2\n\\] more", ["+ 1\n- 2"]),
    ("- $$x$$\n- $$\n  y\n  $$", ["x", "y"]), ("```math\n\\frac12\n```", ["\\frac12"]), ("$\\ce{H2O}$, $\\pu{3 m s-1}$", ["\\ce{H2O}", "\\pu{3 m s-1}"]),
    ("\\begin{align}\na &= b\\\\\nc &= d\n\\end{align}", ["\\begin{align}\na &= b\\\\\nc &= d\n\\end{align}"]),
    ("so \\begin{cases} 1 \\\\ 2 \\end{cases} holds", ["\\begin{cases} 1 \\\\ 2 \\end{cases}"]),
    ("$$\\begin{aligned} x &= 1 \\\\ y &= 2 \\end{aligned}$$", ["\\begin{aligned} x &= 1 \\\\ y &= 2 \\end{aligned}"]),
    ("| $|x|$ | $a|b$ |\n|---|---|\n| $P(A|B)$ | `a||b` |", ["|x|", "a|b", "P(A|B)"]), ("**$x$** and *\\(y\\)*", ["x", "y"]),
    ("# Title $x$", ["x"]), ("第2$a$个", ["a"]), ("公式$E=mc^2$中", ["E=mc^2"]), ("the $n$th and $2n$-th", ["n", "2n"]), ("$ x + y $", ["x + y"]), ("$ \\alpha $", ["\\alpha"]),
    ("$a$1", []), ("it costs $x$, or $y$.", ["x", "y"]), ("($x$)", ["x"]), ("$\\$5$", ["\\$5"]), ("$$x$$。", ["x"]), ("\\[x\\].", ["x"]),
    ("$\\text{面积} = \\text{chiều dài}$", ["\\text{面积} = \\text{chiều dài}"]), ("$x\\\\$", ["x\\\\"]), ("$f(x) = \\begin{cases}1\\\\2\\end{cases}$", ["f(x) = \\begin{cases}1\\\\2\\end{cases}"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "formulas"), MATHS, ids=[text[:24] for text, _ in MATHS])
def test_a_formula_is_one_wherever_models_put_it(drawing, text, formulas):
    made = shown(drawing, text)
    found = [re.sub(r"&amp;", "&", each).replace("&lt;", "<") for each in re.findall(r"⟦(.*?)⟧", made, re.DOTALL)]
    assert [each.strip() for each in found] == formulas
    if formulas and "`" not in text:
        assert "$" not in re.sub(r"⟦.*?⟧", "", made, flags=re.DOTALL) and "\\" not in re.sub(r"⟦.*?⟧", "", made, flags=re.DOTALL)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.", "$5 to $10", "$1,000 vs $2,000", "US$20–$30", "from $5/month to $8/month", "I paid $5 for one and 6$ for two.", "20$ and 30$",
        "`$HOME`", "echo $HOME/bin:$PATH", "set $A and $B", "${VAR} and ${OTHER}", "$HOME and $USER", "cost: $ 5 or $ 6", "a \\$5 b \\$6", "`$x$`", "```\n$x$\n```",
        "US$5 and C$6", "$5 million, then $6 million", "for $12.50 per 1,000 tokens, not $15", "$PATH:$HOME", "awk '{print $1, $2}'", "$1 and $2 in a regex",
    ],
)  # fmt: skip
def test_money_variables_and_code_stay_text(drawing, text):
    made = shown(drawing, text)
    assert "⟦" not in made and made.count("$") == text.count("$")


DRAWN = [
    # CJK
    ("**步骤一：**打开", "<p><strong>步骤一：</strong>打开</p>"), ("他提到**“专家混合”**这个词", "<p>他提到<strong>“专家混合”</strong>这个词</p>"),
    ("**门控（gate）**来", "<p><strong>门控（gate）</strong>来</p>"), ("**「強調」**で", "<p><strong>「強調」</strong>で</p>"), ('**"강조"**입니다', '<p><strong>"강조"</strong>입니다</p>'),
    ("这是*（斜体）*的", "<p>这是<em>（斜体）</em>的</p>"), ("**`代码`**后", "<p><strong><code>代码</code></strong>后</p>"), ("~~旧的。~~新的", "<p><s>旧的。</s>新的</p>"),
    ("**Note:**text", "<p><strong>Note:</strong>text</p>"), ("**Bước 1:**Mở", "<p><strong>Bước 1:</strong>Mở</p>"), ("**Bold:**text中文**粗体。**后面", "<p><strong>Bold:</strong>text中文<strong>粗体。</strong>后面</p>"),
    ("*Note:*text", "<p><em>Note:</em>text</p>"), ("2 * 3 * 4 and x**(n)**y", "<p>2 * 3 * 4 and x**(n)**y</p>"), ("f(*args, **kwargs)", "<p>f(*args, **kwargs)</p>"), ("snake_case_name", "<p>snake_case_name</p>"),
    # newlines, tags
    ("Roses are red,\nviolets are blue.", "<p>Roses are red,<br>violets are blue.</p>"), ("a<br>b<br/>c<BR />d", "<p>a<br>b<br>c<br>d</p>"),
    ("H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>, <mark>m</mark>, <u>u</u>", "<p>H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>, <mark>m</mark>, <u>u</u></p>"),
    ("x<sup>**2**</sup>", "<p>x<sup><strong>2</strong></sup></p>"), ("<sub>a<sub>b</sub></sub>", "<p><sub>a<sub>b</sub></sub></p>"), ("<sub>open", "<p>&lt;sub&gt;open</p>"), ("</sub>", "<p>&lt;/sub&gt;</p>"),
    ("<sub onclick=x>a</sub>", "<p>&lt;sub onclick=x&gt;a&lt;/sub&gt;</p>"), ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"), ("`<br>`", "<p><code>&lt;br&gt;</code></p>"),
    ("<details>\n<summary>More **here**</summary>\n\nHidden `x`\n\n- a\n\n</details>\n\nAfter", "<details><summary>More <strong>here</strong></summary><p>Hidden <code>x</code></p><ul><li><p>a</p></li></ul></details>\n<p>After</p>"),
    ("<details><summary>S</summary>one</details>", "<details><summary>S</summary><p>one</p></details>"),
    ("<details ontoggle=alert(1)>\nx\n</details>", "<p>&lt;details ontoggle=alert(1)&gt;<br>x<br>&lt;/details&gt;</p>"),
    # GFM
    ("- [x] a\n- [ ] b\n- [z] c", '<ul><li><p><input type="checkbox" disabled="" checked=""> a</p></li><li><p><input type="checkbox" disabled=""> b</p></li><li><p>[z] c</p></li></ul>'),
    ("~~no~~ 10~20", "<p><s>no</s> 10~20</p>"), ("# a\n## b\n#### c", "<h1>a</h1>\n<h2>b</h2>\n<h4>c</h4>"), ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
    ("| a | b |\n|:-|-:|\n| 1<br>2 | 3 |", '<div><table><thead><tr><th style="text-align:left">a</th><th style="text-align:right">b</th></tr></thead><tbody><tr><td style="text-align:left">1<br>2</td><td style="text-align:right">3</td></tr></tbody></table></div>'),
    ("a[^1] b[^1]\n\n[^1]: Note *here*", '<p>a<sup><a data-note="1" role="button">1</a></sup> b<sup><a data-note="1" role="button">1</a></sup></p>\n<section><ol><li data-note-id="1"><p>Note <em>here</em></p></li></ol></section>'),
    ("[^1]: https://example.com\n\nx[^1]", '<p>x<sup><a data-note="1" role="button">1</a></sup></p>\n<section><ol><li data-note-id="1"><p><a href="https://example.com">https://example.com</a></p></li></ol></section>'),
    ("[^a-z] is a class", "<p>[^a-z] is a class</p>"), ("x^[2]", "<p>x^[2]</p>"),
    # links
    ("请看 https://example.com/docs，然后（https://example.com/a）说", '<p>请看 <a href="https://example.com/docs">https://example.com/docs</a>，然后（<a href="https://example.com/a">https://example.com/a</a>）说</p>'),
    ("见https://zh.wikipedia.org/wiki/量子。", '<p>见<a href="https://zh.wikipedia.org/wiki/%E9%87%8F%E5%AD%90">https://zh.wikipedia.org/wiki/量子</a>。</p>'), ("**https://example.com**", '<p><strong><a href="https://example.com">https://example.com</a></strong></p>'),
    ("[a](/x) [b](#c)", '<p><a title="/x">a</a> <a title="#c">b</a></p>'), ("main.py, me@example.com", "<p>main.py, me@example.com</p>"), ("![cat](https://e.test/p.png)", '<p><a href="https://e.test/p.png">cat</a></p>'),
    ("[t][1]\n\n[1]: https://example.com", '<p><a href="https://example.com">t</a></p>'), ("a || b", "<p>a || b</p>"), ("", ""), (" \n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DRAWN, ids=[text[:24] for text, _ in DRAWN])
def test_markdown_is_drawn_as_chat_pages_have_it(drawing, text, expected):
    assert shown(drawing, text) == expected


NASTY = [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<details open ontoggle=alert(1)>x</details>", "<sub/onmouseover=alert(1)>x</sub>",
        "[x](javascript:alert(1))", "![x](javascript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "<a href='javascript:1'>x</a>", "[x](JaVaScRiPt:alert(1))",
        r"$\text{<img src=x onerror=alert(1)>}$", r"$\href{javascript:alert(1)}{x}$", r"$\text{</math><script>alert(1)</script>}$", r"$\htmlData{onclick=alert(1)}{x}$",
        r"$$\style{position:fixed;inset:0}{x}$$", "<div style='position:fixed;inset:0'>x</div>", "<form action=//evil.test><input></form>", r"$\includegraphics{https://evil.test/x.png}$",
        '```"onmouseover=alert(1)\nx\n```', "<svg/onload=alert(1)>", "<iframe src=//evil.test></iframe>", "&lt;script&gt;alert(1)&lt;/script&gt;", '[x](https://e.test "\\"onclick=alert(1)")',
        "<style>*{display:none}</style>", "| <img src=x onerror=1> |\n|---|\n| <b onclick=1>x |", "<https://e.test/\"onclick=alert(1)>", "```mermaid\n<img src=x onerror=alert(1)>\n```",
        "<details>\n<summary><img src=x onerror=alert(1)></summary>\n<script>1</script>\n</details>", "[^1]\n\n[^1]: <img src=x onerror=alert(1)>", "- [x] <img src=x onerror=1>", "![x](data:image/svg+xml,<svg/onload=1>)",
        "```html\n<script>alert(1)</script>\n```", "`<script>alert(1)</script>`", "[a](<javascript:alert(1)>)", r"$\url{javascript:alert(1)}$", "\ue07c<script>", "<u><script>1</script></u>", "www.evil.test <x@y.z>",
]  # fmt: skip
LIVING = """(text) => { const box = document.createElement('div'); const bad = [];
  for (const made of [finished(text).join(''), fenced(text).join('')]) { box.innerHTML = made;
    for (const e of box.querySelectorAll('*')) {
      if (['SCRIPT', 'IMG', 'IFRAME', 'FORM', 'STYLE', 'LINK', 'OBJECT', 'EMBED', 'B'].includes(e.tagName.toUpperCase())) bad.push(e.tagName);
      if (e.tagName === 'INPUT' && !(e.type === 'checkbox' && e.disabled)) bad.push('input');
      for (const a of e.attributes) if (/^on/i.test(a.name) || /^\\s*(javascript|data|vbscript):/i.test(a.value) && ['href', 'src'].includes(a.name) || (a.name === 'style' && /position:fixed/.test(a.value))) bad.push(a.name + '=' + a.value);
    } } return bad; }"""


@pytest.mark.parametrize("text", NASTY)
def test_nothing_of_a_models_html_becomes_alive(drawing, text):
    assert drawing.evaluate(LIVING, text) == []


@pytest.mark.parametrize("text", [r"\begin{broken} x", r"\frac{1", r"\unknowncommand{x}", "x_{", "a & b", "{", "x" * 5001])
def test_maths_that_cannot_be_read_is_shown_as_it_was_written_and_marked(drawing, text):
    made = drawing.evaluate("(text) => finished('$$' + text + '$$').join('')", text)
    assert f'<code class="tex" dir="ltr">{text.replace("&", "&amp;")}</code>' in made


# ---- a text in the making
LONG = r"""# Title

A paragraph with **bold**, `code`, *it* and $x < y$ maths, H<sub>2</sub>O.

1. **One**: use `x`

   more of one
2. two
   - inner [link](https://example.com/a)
3. \(a\)

- [x] done
- [ ] open

```python
def f(a):

    '''Text
    over lines.'''
    return {"a": 1}  # note
```

| a | **b** |
|---|---|
| 1 | $|x|$ |
| `c||d` | x<br>y |

$$
\int_0^1 x\,dx

= \frac12
$$

Then
\[
a
- b
\]
and so on.

<details>
<summary>More</summary>

hidden

</details>

**步骤一：**这是中文，见 https://example.com/a，好。Đây là tiếng Việt. مرحبا بالعالم.

> quote
> - a

~~~
tilde
~~~

The end."""
NOTES = "One[^1], two[^b] and [name].\n\n- a\n\n[^1]: First\n[^b]: Second **x**\n\n[name]: https://example.com\n\nEnd."
GROWN = """async ({ text, step }) => {
  const box = document.querySelector('#there'); box.innerHTML = '<div class="drawn"></div>';
  const drawn = box.firstChild, view = new playground.GrowingText(drawn), frames = [];
  const idle = () => new Promise((done) => { const look = () => (view.busy || view.wanted ? setTimeout(look) : done()); look(); });
  for (let at = step; at < text.length + step; at += step) { view.show(text.slice(0, at), false); await idle(); frames.push([Math.min(at, text.length), drawn.innerText, drawn.firstChild]); }
  const last = drawn.innerHTML;
  view.show(text, true); await idle();
  return { last, end: drawn.innerHTML, finished: finished(text).join(''), texts: frames.map(([at, words]) => [at, words]), kept: frames.slice(3).every(([, , node]) => node === frames[3][2]) };
}"""


@pytest.mark.parametrize("step", [1, 7, 60])
@pytest.mark.parametrize("text", [LONG, NOTES], ids=["long", "notes"])
def test_the_last_frame_of_a_stream_is_the_finished_turn(drawing, text, step):
    grown = drawing.evaluate(GROWN, {"text": text, "step": step})
    assert grown["last"] == grown["end"]  # nothing jumps as the answer ends
    assert (
        drawing.evaluate(
            "(html) => { const d = document.createElement('div'); d.innerHTML = html; return d.innerHTML; }", grown["finished"]
        )
        == grown["end"]
    )


def test_what_is_finished_of_a_growing_text_is_not_touched_again(drawing):
    assert drawing.evaluate(GROWN, {"text": LONG, "step": 5})["kept"]


RAW = re.compile(r"\*\*|``|\|--|^\s*[-#>|]|^\s*\d+\.\s|\]\(|<(?:sub|br|details|summary)|\\\[|\\\(|\$\$|^\[[ x]\]", re.MULTILINE)


def test_there_is_no_moment_of_raw_markdown(drawing):
    text = LONG.replace("`c||d`", "`cd`").replace("- b\n", "+ b\n")
    raw = [
        (text[max(0, at - 30) : at], words[-80:])
        for at, words in drawing.evaluate(GROWN, {"text": text, "step": 1})["texts"]
        if RAW.search(words)
    ]
    assert raw == []


# ---- formulas as KaTeX draws them
FORMULAS = (Path(__file__).parent / "formulas.txt").read_text(encoding="utf-8").splitlines()
WRITTEN = (
    "$${}$$",
    "\\[{}\\]",
    "Text \\({}\\) goes on.",
    "So:\n\\[\n{}\n\\]\nand",
    "1. First:\n   \\[\n   {}\n   \\]",
    "```math\n{}\n```",
    "> $$\n> {}\n> $$",
)
DISPLAYED = re.compile(r"\\begin\{(?:align|alignat|gather|equation|split|CD)\*?\}|\\tag\b")  # in a line, too
DRAW = """({ texts, own }) => { const box = document.querySelector('#there'); box.innerHTML = ''; box.style.cssText = 'width:860px;background:#fff';
  for (const [text, tex, display] of texts) { const row = document.createElement('div'); row.style.cssText = 'padding:4px;min-height:20px'; box.append(row);
    if (own) katex.render(tex, row, { displayMode: display, strict: 'ignore', trust: false });
    else { const made = document.createElement('div'); made.innerHTML = finished(text).join(''); const drawn = made.querySelectorAll(display ? '.katex-display' : '.katex'); if (drawn.length !== 1) row.textContent = 'NOT ONE: ' + text; else row.append(drawn[0]); } }
  box.getBoundingClientRect();
  return new Promise((frame) => requestAnimationFrame(() => requestAnimationFrame(frame))).then(() => document.fonts.ready).then(() => [...box.children].map((row) => row.textContent.startsWith('NOT ONE') ? row.textContent : '').filter(Boolean)); }"""


ANTIALIASING = 80  # of 255: the edge of a letter is drawn a little lighter or darker from one picture to the next


def difference(one: bytes, other: bytes) -> int:
    """The largest difference of two pictures in one point, 255 where their sizes differ."""
    left, right = (Image.open(BytesIO(picture)).convert("L") for picture in (one, other))
    return 255 if left.size != right.size else int(ImageChops.difference(left, right).getextrema()[1])


def test_120_formulas_look_as_katex_itself_draws_them(drawing):
    assert len(FORMULAS) >= 120
    texts = []
    for number, tex in enumerate(FORMULAS):
        written = WRITTEN[number % len(WRITTEN)].format(tex)
        texts.append((written, tex, "\\(" not in written or bool(DISPLAYED.search(tex))))
    box = drawing.locator("#there")
    wrong = []
    for first in range(0, len(texts), 10):  # a picture of ten at a time: large enough to be quick, small enough to say where it differs
        part = texts[first : first + 10]
        assert drawing.evaluate(DRAW, {"texts": part, "own": False}) == []
        ours = box.screenshot()
        drawing.evaluate(DRAW, {"texts": part, "own": True})
        if difference(box.screenshot(), ours) > ANTIALIASING:
            wrong.append([tex for _, tex, _ in part])
    drawing.evaluate("() => { const box = document.querySelector('#there'); box.innerHTML = ''; box.style.cssText = ''; }")
    assert wrong == []


def test_the_pictures_tell_two_formulas_apart(drawing):
    box = drawing.locator("#there")
    pictures = []
    for tex in ("x^2", "x^3"):
        drawing.evaluate(DRAW, {"texts": [("", tex, True)], "own": True})
        pictures.append(box.screenshot())
    assert difference(*pictures) > 2 * ANTIALIASING
