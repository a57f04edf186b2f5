"""The emulator's scripted texts. Every one says or shows that no model ran; the page must be able to draw each of them."""

from __future__ import annotations

THOUGHT = (
    'The user wrote: "{prompt}". Nothing is computed here: this is the emulator, so I only show the shape of a trace. '
    "First I say what I am. Then I repeat the request in one line, so that a reader can see that it arrived. "
    "Last I add a short list, so that the page has some Markdown to draw. That will do."
)
ANSWER = """**This is an emulated answer: no model ran.** The request that arrived reads:

> {prompt}

- It came to the `{model}` endpoint of the emulator.
- The turns so far: {turns}.
- Ask with `[[scenario:table]]`, `[[words:300]]` or `[[fault:429x2]]` in the prompt to see other things happen.
"""
SHORT_THOUGHT = "The emulator was asked for a fixed sample. There is nothing to work out, so this trace stays short."
FILLER = (
    "This sentence was written for the emulator and says nothing new. It is here so that an answer of any length can be sent. "
    "Each one takes its place in the line, and the page has to keep up with all of them. No model ran to make it. "
)

MARKDOWN = """# Everything at once

A paragraph with *emphasis*, **weight**, `code`, ~~a mistake~~ and [a link](https://example.org/).

1. First
2. Second
   - nested
   - twice

> A quotation
> of two lines.

```python
def double(n: int) -> int:
    return 2 * n
```

| left | right |
|:-----|------:|
| a    |     1 |
| b    |    20 |

Inline $a^2 + b^2 = c^2$ and displayed:

$$\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}$$
"""
TABLE = """Three planets, from the emulator's fixed sample:

| planet | radius (km) | moons |
|--------|------------:|------:|
| Mars   |       3,390 |     2 |
| Earth  |       6,371 |     1 |
| Venus  |       6,052 |     0 |
"""
CODE = '''A fixed sample of code:

```python
def gcd(a: int, b: int) -> int:
    """Greatest common divisor by Euclid's algorithm."""
    while b:
        a, b = b, a % b
    return abs(a)


print(gcd(84, 36))  # 12
```
'''
MATHS_THOUGHT = (
    "I need 17 * 24. Split it: 17 * 20 = 340 and 17 * 4 = 68. Together 340 + 68 = 408. "
    "Check by the other way: 24 * 17 = 24 * 10 + 24 * 7 = 240 + 168 = 408. Both agree."
)
MATHS = "$17 \\times 24 = 340 + 68 = \\mathbf{408}$. (A fixed sample: no model ran.)\n"
UNICODE = (
    "Tiếng Việt: Đường về nhà em thật đẹp. 中文：今天天气很好。日本語：猫がいます。العربية: مرحبا. हिन्दी: नमस्ते. "
    "Emoji: 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇻🇳. Combining: e\u0301 a\u0302\u0301. Line separator:\u2028then on. Maths: ∑ ∞ ≠ √2.\n"
)
HTML = (
    "<script>document.title = 'emulator ran a script'</script>\n\n"
    "<img src=x onerror=\"document.title='emulator ran a handler'\"> <b>bold?</b> [click](javascript:document.title=1) "
    "</think> <think> &lt;kept&gt;\n"
)
