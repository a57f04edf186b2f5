"""An answer in the making as Markdown: what is finished is laid out, what still grows is plain text."""

from __future__ import annotations

from collections.abc import Callable

from ui.blocks import BlockBorders
from ui.markdown import plain, to_html

MAX_LINES = 2_000  # that are looked at in one update, a few milliseconds; the next one goes on from there
MAX_TAIL_CHARS = 50_000  # of what is still growing in a live answer


class LiveMarkdown:
    """An answer in the making: finished blocks as HTML, each rendered once, and the plain text that still grows."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.tail = ""
        self._done = self._until = 0  # what is rendered ends, and what is rendered next
        self._borders = BlockBorders()
        self._inside = False  # what is next begins in the middle of a block

    def advance(self, text: str, draw: Callable[[str], str | None]) -> None:
        """Takes the whole text so far (it only ever grows). What `draw` gives no HTML for yet stays in the tail, and is asked for again."""
        border = self._borders.advance(text, MAX_LINES)
        while border > self._done:
            self._until = self._until if self._until > self._done else border
            piece = text[self._done : self._until]
            drawn = plain(piece, note=False) if self._inside else draw(piece)
            if drawn is None:
                break
            self._freeze(drawn, self._until)
            self._inside = False
        if self._done >= border and len(text) - self._done > MAX_TAIL_CHARS:
            end = (text.rfind("\n", self._done) + 1) or len(text)
            self._freeze(plain(text[self._done : end], note=False), end)
            self._inside = True
        self.tail = text[self._done :]

    def update(self, text: str) -> None:
        """Likewise, with everything rendered at once."""
        self.advance(text, to_html)

    def _freeze(self, block: str, end: int) -> None:
        self.blocks = [*self.blocks, block]
        self._done = end
