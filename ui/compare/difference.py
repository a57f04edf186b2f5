"""Two texts, word by word: what only one of them has is marked. The comparing is RapidFuzz's; this cuts into words and draws."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from rapidfuzz.distance import LCSseq

from backend import composed
from ui.markup import esc
from ui.text import WORDS as W

MAX_COUNTED_CHARS = 500_000
MOST_WORDS = 20_000  # of each text: the memory that is taken grows with the square
# a Chinese, Japanese or Korean character is a word of its own: their texts have no spaces
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
# vowel signs and tone marks belong to the word, though Python's \w knows them only where they are composed with their letter
_MARKS = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M")
_WORD = re.compile(rf"[{_CJK}][{_MARKS}]*|(?:[^\W{_CJK}]|[{_MARKS}])+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Difference:
    """Both texts as HTML with their own parts marked, and the share of words that both have in the same order, 0..1; `None` where
    they were not compared. `cut`: only their beginnings were."""

    left: str
    right: str
    same_share: float | None
    cut: bool


def words_of(text: str, most: int | None = None) -> list[str]:
    """Words, signs and white space, which give `text` (composed, NFC) when joined; at most the first `most`."""
    return [found[0] for found in islice(_WORD.finditer(composed(text)), most)]  # one by one: others have a turn in between


def word_count(text: str) -> int | None:
    """Words, not signs; each character of a script without spaces counts. `None` for a text that is too long to be counted."""
    if len(text) > MAX_COUNTED_CHARS:
        return None
    return sum(any(sign.isalnum() for sign in found[0]) for found in _WORD.finditer(composed(text)))


def difference(left: str, right: str) -> Difference:
    """Word-level difference of two plain texts. What is compared, and what that takes, is bounded; `ui.drawing` has it done."""
    ours, theirs = (words_of(text, MOST_WORDS + 1) for text in (left, right))
    cut = max(len(ours), len(theirs)) > MOST_WORDS
    ours, theirs = ours[:MOST_WORDS], theirs[:MOST_WORDS]
    sides: tuple[list[str], list[str]] = ([], [])
    same = 0
    for equal, mine, yours in _stretches(ours, theirs):
        same += sum(not word.isspace() for word in mine) if equal else 0
        sides[0].append(_marked("" if equal else "del", "".join(mine)))
        sides[1].append(_marked("" if equal else "ins", "".join(yours)))
    most = max(sum(not word.isspace() for word in words) for words in (ours, theirs))
    return Difference("".join(sides[0]), "".join(sides[1]), same / most if most else 1.0, cut)


def not_compared(left: str, right: str) -> Difference:
    """Both as they are, where comparing them takes too long."""
    return Difference(esc(left), esc(right), None, cut=False)


def _stretches(ours: list[str], theirs: list[str]) -> list[tuple[bool, list[str], list[str]]]:
    """Equal and different stretches by turns. White space alone between two differences belongs to them: one mark reads better."""
    found: list[tuple[bool, list[str], list[str]]] = []
    codes = list(LCSseq.opcodes(ours, theirs))
    for place, code in enumerate(codes):
        mine, yours = ours[code.src_start : code.src_end], theirs[code.dest_start : code.dest_end]
        between = 0 < place < len(codes) - 1 and all(word.isspace() for word in mine)
        equal = code.tag == "equal" and not between
        if found and found[-1][0] == equal:
            found[-1][1].extend(mine)
            found[-1][2].extend(yours)
        else:
            found.append((equal, mine, yours))
    return found


def _marked(tag: str, text: str) -> str:
    if not tag or not text or text.isspace():
        return html.escape(text)
    return f"<{tag}>{html.escape(text)}</{tag}>"


def diff_view(left: tuple[str, str], right: tuple[str, str], compare: Callable[[str, str], Difference] = difference) -> str:
    """Both (name, text) side by side."""
    if not left[1].strip() or not right[1].strip():
        return f"<p class='hint'>{html.escape(W.diff_none)}</p>"
    found = compare(left[1], right[1])
    if found.same_share is None:
        note = W.diff_too_long
    elif found.same_share == 1.0 and found.left == found.right:
        note = W.diff_same
    else:
        note = W.diff_share.format(share=f"{min(99, round(100 * found.same_share))}")  # 100 is said of equal texts only
    note += " " + W.diff_cut.format(n=f"{MOST_WORDS:,}") if found.cut else ""
    columns = "".join(
        f"<div class='diff-side' dir='auto'><h6>{html.escape(name)}</h6><div class='diff-text'>{body}</div></div>"
        for name, body in ((left[0], found.left), (right[0], found.right))
    )
    return f"<p class='hint diff-note'>{html.escape(note)}</p><div class='diff-sides'>{columns}</div>"
