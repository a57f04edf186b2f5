"""Model text to safe HTML, and the cut between what is finished and what still grows.

Safe by construction: raw HTML is escaped, images become plain links (nothing remote loads by itself), links keep only
harmless schemes. Knows nothing of turns, runs or gradio.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import nh3
from latex2mathml.converter import convert as latex_to_mathml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST_HIGHLIGHTED = 100_000  # characters; beyond that colour is not worth the time
MATHML_TAGS = set(
    "math mrow mi mn mo mtext ms mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts mprescripts "
    "mtable mtr mtd mstyle mpadded mphantom menclose merror".split()
)
MATHML_ATTRIBUTES = set(
    "xmlns display mathvariant mathcolor mathsize stretchy fence separator lspace rspace minsize maxsize accent accentunder width "
    "height depth linethickness columnalign rowalign rowspacing columnspacing columnlines rowlines displaystyle scriptlevel notation "
    "movablelimits largeop symmetric form".split()
)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_MATH_ENVIRONMENT = re.compile(r"^\s*\\begin\{")


def _math(source: str, options: dict[str, Any]) -> str:
    """MathML, which every current browser draws by itself; what the converter cannot read is shown as it was written.

    The converter passes text, href and style through as they are, so its output is cleaned down to plain presentation MathML.
    """
    try:
        mathml = latex_to_mathml(source, display="block" if options.get("display_mode") else "inline")
        return nh3.clean(mathml, tags=MATHML_TAGS, attributes={"*": MATHML_ATTRIBUTES}, link_rel=None)
    except Exception:  # the converter raises many kinds, a bare IndexError among them
        return f"<code class='tex'>{html.escape(source)}</code>"


def _tex(*, display: bool) -> Callable[..., str]:
    return lambda renderer, tokens, index, options, env: _math(tokens[index].content, {"display_mode": display})


def _code_block(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    code, language = tokens[index].content, (tokens[index].info or "").strip().split(" ")[0]
    body = html.escape(code)
    if language and len(code) <= LONGEST_HIGHLIGHTED:
        with suppress(ClassNotFound):
            body = highlight(code, get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    label = html.escape(language)
    return (
        f"<div class='code'><div class='code-bar'><span>{label}</span><button type='button' data-copy-code>Copy</button></div>"
        f"<pre><code>{body}</code></pre></div>\n"
    )


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    address, alt = str(token.attrs.get("src", "")), renderer.renderInlineAsText(token.children or [], options, env)
    return f"<a href='{html.escape(address)}' rel='noopener noreferrer nofollow' target='_blank'>{html.escape(alt or address)}</a>"


def _link_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrs.update(rel="noopener noreferrer nofollow", target="_blank")
    return renderer.renderToken(tokens, index, options, env)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "linkify": True}).enable(["table", "strikethrough", "linkify"])
    md.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # main.py, setup.sh and node.js end as countries' domains do
    # no digits or spaces beside a dollar, so that "costs $5 and $10" stays money
    md.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True, renderer=_math)
    md.use(texmath_plugin, delimiters="brackets")
    md.use(amsmath_plugin, renderer=lambda source: _math(source, {"display_mode": True}))
    for name in ("math_inline", "math_single"):
        md.add_render_rule(name, _tex(display=False))
    for name in ("math_inline_double", "math_block", "math_block_eqno", "math_block_label"):
        md.add_render_rule(name, _tex(display=True))
    md.add_render_rule("fence", _code_block)
    md.add_render_rule("code_block", _code_block)
    md.add_render_rule("image", _image)
    md.add_render_rule("link_open", _link_open)
    return md


def to_html(text: str) -> str:
    """Markdown (CommonMark, tables, strikethrough, code, TeX between `$$`, `\\(`, `\\[` and tight `$`) as safe HTML."""
    return str(_markdown().render(text))


def finished_length(text: str, start: int = 0) -> int:
    """Where the blocks of `text` that cannot change any more end, from `start` (itself such a border); `start` if none.

    A border is a blank line outside code fences and display maths, followed by the beginning of a line that continues
    neither a list nor an indented block.
    """
    border, fence, maths, in_list = start, "", "", False
    position, blank_at = start, -1
    for line in text[start:].splitlines(keepends=True):
        complete, stripped = line.endswith("\n"), line.strip()
        if blank_at >= 0 and stripped and not fence and not maths:
            indented = line[0] in " \t"
            continues_list = in_list and (indented or _LIST_ITEM.match(line) or _may_become_item(line, complete))
            if not indented and not continues_list:
                border, in_list = blank_at, False
        if not stripped:
            if complete and not fence and not maths:
                blank_at = position + len(line)
        else:
            blank_at = -1
            if not complete:
                break
            fence, maths = _after_line(line, stripped, fence, maths)
            in_list = in_list or bool(_LIST_ITEM.match(line))
        position += len(line)
    return border


def _may_become_item(line: str, complete: bool) -> bool:
    return not complete and re.fullmatch(r" {0,3}(?:[-*+]|\d{1,9}[.)]?)", line) is not None


def _after_line(line: str, stripped: str, fence: str, maths: str) -> tuple[str, str]:
    """Which code fence and which display-maths delimiter are open after `line`."""
    if fence:
        mark = _FENCE.match(line.rstrip("\n"))
        closes = mark is not None and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not mark[2].strip()
        return ("" if closes else fence), maths
    if maths:
        return fence, "" if stripped.endswith(maths) or maths in stripped else maths
    mark = _FENCE.match(line.rstrip("\n"))
    if mark is not None and not (mark[1][0] == "`" and "`" in mark[2]):
        return mark[1], maths
    if stripped.startswith("$$") and stripped.count("$$") % 2:
        return fence, "$$"
    if stripped.startswith("\\[") and "\\]" not in stripped:
        return fence, "\\]"
    if _MATH_ENVIRONMENT.match(line) and "\\end{" not in stripped:
        return fence, "\\end{"
    return fence, maths


class LiveMarkdown:
    """An answer in the making: finished blocks as HTML, each rendered once, and the plain text that still grows."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.tail = ""
        self._done = 0

    def update(self, text: str) -> None:
        """Takes the whole text so far (it only ever grows)."""
        border = finished_length(text, self._done)
        if border > self._done:
            self.blocks = [*self.blocks, to_html(text[self._done : border])]
            self._done = border
        self.tail = text[self._done :]
