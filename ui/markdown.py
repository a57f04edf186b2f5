"""Model text to safe HTML within a budget of time.

Safe by construction: raw HTML is escaped, images become plain links (nothing remote loads by itself), links keep only
harmless schemes. What the budget leaves no time for is shown as it was written. The budget is looked at between steps: a single
step of a library that takes for ever is ended from outside (`ui.drawing`). Knows nothing of turns, runs, processes or gradio.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import StringIO
from typing import Any

import nh3
from latex2mathml.converter import convert as latex_to_mathml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore, block, normalize
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import LEXERS, get_lexer_by_name

from ui.blocks import BlockBorders
from ui.markup import esc
from ui.text import WORDS as W

DOCUMENT_S = 0.5  # of processor time for one text
COLOURS_S = 0.05  # of it for colouring code: many lexers take time that grows with the square of the code's length
MAX_COLOURED_CHARS = 30_000  # of one code block, about 800 lines
MAX_TEX_CHARS = 5_000  # of one formula
MAX_BLOCK_CHARS = 200_000  # of what is laid out as one piece: one paragraph, list, table
_PIECE_CHARS = 50_000  # a longer text is laid out in pieces of about this length, cut between blocks
MATHML_TAGS = set(
    "math mrow mi mn mo mtext ms mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts mprescripts "
    "mtable mtr mtd mstyle mpadded mphantom menclose merror".split()
)
MATHML_ATTRIBUTES = set(
    "xmlns display mathvariant mathcolor mathsize stretchy fence separator lspace rspace minsize maxsize accent accentunder width "
    "height depth linethickness columnalign rowalign rowspacing columnspacing columnlines rowlines displaystyle scriptlevel notation "
    "movablelimits largeop symmetric form".split()
)


class OutOfTimeError(Exception):
    """The budget is spent."""


class Budget:
    """Processor time of one text, in seconds of `clock`: by default of the thread, so that others' work does not count."""

    def __init__(self, document_s: float = DOCUMENT_S, colours_s: float = COLOURS_S, clock: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self._until_s = clock() + document_s
        self._colours_s = colours_s

    def check(self) -> None:
        """Raises `OutOfTimeError`."""
        if self.clock() > self._until_s:
            raise OutOfTimeError

    def while_colouring(self, tokens: Iterator[tuple[int, Any, str]]) -> Iterator[tuple[Any, str]]:
        """Kinds and values of a lexer's tokens, as far as there is time for them."""
        last_s = self.clock()
        while self._colours_s > 0 and (token := next(tokens, None)) is not None:
            yield token[1], token[2]
            now_s = self.clock()
            self._colours_s -= now_s - last_s
            last_s = now_s


def _math(source: str, options: dict[str, Any]) -> str:
    """MathML, which every current browser draws by itself; what the converter cannot read is shown as it was written.

    The converter passes text, href and style through as they are, so its output is cleaned down to plain presentation MathML.
    """
    try:
        if len(source) > MAX_TEX_CHARS:
            raise ValueError("too long")
        mathml = latex_to_mathml(source, display="block" if options.get("display_mode") else "inline")
        return nh3.clean(mathml, tags=MATHML_TAGS, attributes={"*": MATHML_ATTRIBUTES}, link_rel=None)
    except Exception:  # the converter raises many kinds, a bare IndexError among them
        return f"<code class='tex'>{esc(source)}</code>"


def _tex(*, display: bool) -> Callable[..., str]:
    def rule(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        env["budget"].check()
        return _math(tokens[index].content, {"display_mode": display})

    return rule


@lru_cache(maxsize=1)
def _languages() -> frozenset[str]:
    """Names that Pygments itself knows; for any other it would look through every installed package each time."""
    return frozenset(alias.lower() for _, _, aliases, _, _ in LEXERS.values() for alias in aliases)


def _coloured(code: str, language: str, budget: Budget) -> str:
    """As HTML, coloured from the start for as long as there is time."""
    if language.lower() not in _languages() or len(code) > MAX_COLOURED_CHARS:
        return esc(code)
    lexer: Lexer = get_lexer_by_name(language)
    taken: list[tuple[Any, str]] = []
    length = 0
    try:
        for kind, value in budget.while_colouring(iter(lexer.get_tokens_unprocessed(code))):
            if not code.startswith(value, length):  # a lexer that changes the text is not to be trusted with it
                return esc(code)
            taken.append((kind, value))
            length += len(value)
    except Exception:  # several hundred lexers, by many hands
        return esc(code)
    coloured = StringIO()
    HtmlFormatter(nowrap=True).format(taken, coloured)
    text = coloured.getvalue()
    return (text if taken and taken[-1][1].endswith("\n") else text.removesuffix("\n")) + esc(code[length:])


def _code_block(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    env["budget"].check()
    code, language = tokens[index].content, (tokens[index].info or "").strip().split(" ")[0]
    return (
        f"<div class='code'><div class='code-bar'><span>{esc(language)}</span><button type='button' data-copy-code>Copy</button></div>"
        f"<pre><code>{_coloured(code, language, env['budget'])}</code></pre></div>\n"
    )


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    address, alt = str(token.attrs.get("src", "")), renderer.renderInlineAsText(token.children or [], options, env)
    return f"<a href='{html.escape(address)}' rel='noopener noreferrer nofollow' target='_blank'>{html.escape(alt or address)}</a>"


def _link_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrs.update(rel="noopener noreferrer nofollow", target="_blank")
    return renderer.renderToken(tokens, index, options, env)


def _check_at_line(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    state.env["budget"].check()
    return False


def _check_at_sign(state: StateInline, silent: bool) -> bool:
    state.env["budget"].check()
    return False


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
    # looked at for every line and every place where something may begin
    md.block.ruler.before("table", "budget", _check_at_line, {"alt": ["paragraph", "reference", "blockquote", "list", "table"]})
    md.inline.ruler.before("text", "budget", _check_at_sign)
    md.add_render_rule("fence", _code_block)
    md.add_render_rule("code_block", _code_block)
    md.add_render_rule("image", _image)
    md.add_render_rule("link_open", _link_open)
    return md


def to_html(text: str, budget: Budget | None = None) -> str:
    """Markdown (CommonMark, tables, strikethrough, code, TeX between `$$`, `\\(`, `\\[` and tight `$`) as safe HTML."""
    return "".join(part for part, _ in rendered(normalized(text), budget or Budget()))


def normalized(text: str) -> str:
    """With the line ends that `rendered` counts by."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def plain(text: str, *, note: bool = True) -> str:
    """What there is no time to lay out, as it was written; `note` says so."""
    said = f"<p class='note'>{esc(W.shown_as_written)}</p>" if note else ""
    return f"{said}<pre class='plain'>{esc(text)}</pre>\n" if text.strip() else ""


def rendered(text: str, budget: Budget) -> Iterator[tuple[str, int]]:
    """A text (`normalized`) block by block: HTML, and where in the text that ends. The last ends at the text's end."""
    done, noted, env = 0, False, {"budget": budget}
    try:
        for start, end in _pieces(text, budget):
            if end - start > MAX_BLOCK_CHARS:
                yield plain(text[start:end], note=not noted), end
                done, noted = end, True
                continue
            for part, length in _blocks(text[start:end], env):
                done = start + length
                yield part, done
    except (OutOfTimeError, RecursionError):
        yield plain(text[done:], note=not noted), len(text)


def _pieces(text: str, budget: Budget) -> Iterator[tuple[int, int]]:
    """From where to where: the whole text, or a long one cut between blocks. Names of links hold in their piece and after it."""
    start = before = 0
    if len(text) > _PIECE_CHARS:
        for border in BlockBorders().passed(text):
            budget.check()
            if border > before and border - start > _PIECE_CHARS:
                if before > start:
                    yield start, before
                    start = before
                if border - start > _PIECE_CHARS:
                    yield start, border
                    start = border
            before = border
        if len(text) - start > _PIECE_CHARS and before > start:
            yield start, before
            start = before
    if start < len(text):
        yield start, len(text)


def _blocks(text: str, env: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """HTML of each block, and where it ends. Raises `OutOfTimeError` after the last one that is whole."""
    md = _markdown()
    later_rules = [rule for rule in md.core.ruler.getRules("") if rule not in (normalize, block)]
    tokens: list[Token] = []
    state = StateBlock(text, md, env, tokens)
    out_of_time: OutOfTimeError | None = None
    try:
        md.block.tokenize(state, 0, state.lineMax)
    except OutOfTimeError as error:
        out_of_time = error
    first = 0
    for index, token in enumerate(tokens):
        if token.level or token.nesting > 0:
            continue
        own, lines = tokens[first : index + 1], tokens[first].map
        first = index + 1
        core = StateCore(text, md, env, own)
        for rule in later_rules:
            rule(core)
        part = md.renderer.render(core.tokens, md.options, env)
        last = first == len(tokens) and out_of_time is None
        yield part, len(text) if last or lines is None else min(state.bMarks[lines[1]], len(text))
    if out_of_time is not None:
        raise out_of_time
