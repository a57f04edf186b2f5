"""Where the blocks of a Markdown text end: the cut between what is finished and what still grows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_LINE_BEGINNING = 1000  # characters that tell what an unfinished line begins
_MATH_ENVIRONMENT = re.compile(r"^\s*\\begin\{")


class BlockBorders:
    """Where the blocks of a growing text that cannot change any more end, each line looked at once.

    A border is a blank line outside code fences and display maths, followed by the beginning of a line that continues
    neither a list nor an indented block.
    """

    def __init__(self) -> None:
        self.border = self._at = 0
        self._blank_at, self._fence, self._maths, self._in_list = -1, "", "", False

    def advance(self, text: str, most_lines: int | None = None) -> int:
        """The last border in the whole text so far; at most so many further lines are looked at."""
        for _ in islice(self.passed(text), most_lines):
            pass
        return self.border

    def passed(self, text: str) -> Iterator[int]:
        """The border after each further line, the same one again where it has not moved."""
        while self._at < len(text):
            end = text.find("\n", self._at) + 1
            if not end:
                self._look(text[self._at : self._at + _LINE_BEGINNING], complete=False)
                yield self.border
                return
            line = text[self._at : end]
            self._look(line, complete=True)
            self._at = end
            self._take(line)
            yield self.border

    def _look(self, line: str, *, complete: bool) -> None:
        """Whether a line shows that what stands before it is finished."""
        if self._blank_at < 0 or self._fence or self._maths or not line.strip():
            return
        indented = line[0] in " \t"
        if not indented and not (self._in_list and (_LIST_ITEM.match(line) or _may_become_item(line, complete))):
            self.border, self._in_list = self._blank_at, False

    def _take(self, line: str) -> None:
        stripped = line.strip()
        if not stripped:
            if not self._fence and not self._maths:
                self._blank_at = self._at
            return
        self._blank_at = -1
        self._fence, self._maths = _after_line(line, stripped, self._fence, self._maths)
        self._in_list = self._in_list or bool(_LIST_ITEM.match(line))


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
