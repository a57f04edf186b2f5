"""Tool calls as they arrive: pieces joined by index, and calls told apart from raw text. Knows no engine and runs no tool.

Qwen writes a call into its text as `<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>` (its chat template teaches
this; the format is that of NousResearch's Hermes). Servers with a tool parser take it out; elsewhere `CallSplitter` does.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import regex

from backend.types import TextDelta, Tool, ToolCall, ToolCallDelta

OPEN, CLOSE = "<tool_call>", "</tool_call>"
# what is held back is looked through again with each piece of text
MAX_BLANKS = 1000  # before a call
MAX_HEAD_CHARS = 10_000  # up to a call's arguments
MAX_BLOCK_CHARS = 200_000  # of a call whose parts come in another order
_HEAD = regex.compile(r'\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"arguments"\s*:\s*(?=\S)')
Piece = TextDelta | ToolCallDelta


def tool_json(tool: Tool) -> dict[str, Any]:
    """A tool as requests and chat templates have it."""
    function: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass
class _Joined:
    id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)


class CallJoiner:
    """Pieces to whole calls, in the order of their index. A call that came without an id gets one."""

    def __init__(self) -> None:
        self._calls: dict[int, _Joined] = {}

    def add(self, piece: ToolCallDelta) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            own = piece.id or new_call_id()
            taken = any(other.id == own for other in self._calls.values())  # some servers call each call_0
            call = self._calls[piece.index] = _Joined(f"{own}_{piece.index}" if taken else own)  # the same wherever the pieces are joined
        call.name = call.name or piece.name or ""  # told once; some servers tell it again with every piece
        if piece.arguments:
            call.pieces.append(piece.arguments)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(c.id, c.name, "".join(c.pieces)) for _, c in sorted(self._calls.items()))

    def __len__(self) -> int:
        return len(self._calls)


class CallSplitter:
    """Raw text to text and calls, while it arrives: a call's name as soon as it is whole, its arguments piece by piece.

    What opens like a call and turns out to be none is given out as text, tags included. Arguments that never close, or that are
    followed by anything but the block's end, stay arguments as far as they came: whoever checks them says what is wrong.
    """

    def __init__(self) -> None:
        self._held = self._before = ""
        self._inside = False
        self._arguments: _Braces | None = None
        self._closing = self._after_call = False
        self.found = 0

    @property
    def held_chars(self) -> int:
        """How much text waits for more of it."""
        return len(self._held)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain after `text`."""
        out: list[Piece] = []
        for start in range(0, len(text), MAX_HEAD_CHARS):  # each call in a piece is cut off its beginning
            self._held += text[start : start + MAX_HEAD_CHARS]
            while self._step(out):
                pass
        return out

    def close(self) -> list[Piece]:
        """What was held back, at the end of the text: a call that was cut off before its name was whole is shown as it came."""
        held, self._held = self._held, ""
        if self._arguments is not None:
            out: list[Piece] = []
            self._extra(out, held)
            return out
        text = f"{self._opened}{held}" if self._inside else held.lstrip() if self._after_call else held
        self._inside = False
        return [TextDelta(text)] if text else []

    def _step(self, out: list[Piece]) -> bool:
        """Moves on by one state; False when more text is needed."""
        if self._closing:
            return self._after_arguments(out)
        if self._arguments is not None:
            return self._in_arguments(out, self._arguments)
        return self._at_head(out) if self._inside else self._in_text(out)

    def _in_text(self, out: list[Piece]) -> bool:
        """White space before a call and after one belongs to the calls."""
        place = self._held.find(OPEN)
        text = self._held[: len(self._held) - _begun(self._held, OPEN) if place < 0 else place]
        sure = text.rstrip()
        if len(text) - len(sure) > MAX_BLANKS:
            sure = text[:-MAX_BLANKS]
        if said := sure.lstrip() if self._after_call else sure:
            out.append(TextDelta(said))
            self._after_call = False
        if place < 0:
            self._held = self._held[len(sure) :]
            return False
        self._before, self._held, self._inside = text[len(sure) :], self._held[place + len(OPEN) :], True
        return True

    def _at_head(self, out: list[Piece]) -> bool:
        head = _HEAD.match(self._held, partial=True) if len(self._held) <= MAX_HEAD_CHARS else None
        if head is not None and not head.partial:
            self._open_call(out, json.loads(f'"{head[1]}"', strict=False))
            self._held, self._arguments = self._held[head.end() :], _Braces()
            return True
        if head is not None:
            return False
        return self._in_another_order(out)

    def _in_another_order(self, out: list[Piece]) -> bool:
        """What begins like an object may be a call whose parts come in another order, which shows at its end; all else is text."""
        place = self._held.find(CLOSE)
        if place < 0 and len(self._held) <= MAX_BLOCK_CHARS and self._held.lstrip().startswith("{") and OPEN not in self._held:
            return False
        call = _call_in(self._held[:place]) if place >= 0 else None
        self._inside = False
        if call is None:
            out.append(TextDelta(self._opened))
            self._after_call = False
            return bool(self._held)
        self._open_call(out, call[0], call[1])
        self._held, self._after_call = self._held[place + len(CLOSE) :], True
        return bool(self._held)

    @property
    def _opened(self) -> str:
        """The tag that was taken out of the text, to be put back where it opened no call."""
        return OPEN if self._after_call else f"{self._before}{OPEN}"

    def _open_call(self, out: list[Piece], name: str, arguments: str = "") -> None:
        out.append(ToolCallDelta(self.found, new_call_id(), name, arguments))
        self.found += 1

    def _in_arguments(self, out: list[Piece], arguments: _Braces) -> bool:
        sure = arguments.feed(self._held)
        if sure:
            out.append(ToolCallDelta(self.found - 1, arguments=self._held[:sure]))
            self._held = self._held[sure:]
        if arguments.ended:
            self._closing = True
            return bool(self._held)
        return False

    def _after_arguments(self, out: list[Piece]) -> bool:
        """The block's end, or the next one's beginning where a model forgot it."""
        ends = [place for tag in (CLOSE, OPEN) if (place := self._held.find(tag)) >= 0]
        if not ends:
            if len(self._held) > MAX_HEAD_CHARS:
                self._extra(out, self._held[: -len(CLOSE)])
                self._held = self._held[-len(CLOSE) :]
            return False
        place = min(ends)
        self._extra(out, self._held[:place])
        self._held = self._held[place:].removeprefix(CLOSE)
        self._inside = self._closing = False
        self._arguments, self._after_call = None, True
        return bool(self._held)

    def _extra(self, out: list[Piece], rest: str) -> None:
        """After the arguments there is the call's own brace. Anything else makes them wrong, which is better shown than hidden."""
        if rest.strip() not in ("", "}"):
            out.append(ToolCallDelta(self.found - 1, arguments=rest.rstrip()))


class _Braces:
    """Finds the end of one JSON value without reading it: brackets are counted, strings passed over."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False
        self.ended = False

    def feed(self, text: str) -> int:
        """How much of `text` belongs to the value. A scalar ends before the brace that closes the call."""
        for place, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
                continue
            if character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                if self._depth == 0:  # closes the call: the value was a scalar
                    self.ended = True
                    return place
                self._depth -= 1
                if self._depth == 0:
                    self.ended = True
                    return place + 1
        return len(text)


def _begun(text: str, tag: str) -> int:
    """Length of the end of `text` that could still become `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)


def _call_in(text: str) -> tuple[str, str] | None:
    """Name and arguments of a block whose parts come in any order; `None` where it is no call."""
    try:
        block = json.loads(text)
    except ValueError:
        return None
    if not isinstance(block, dict) or not isinstance(name := block.get("name"), str):
        return None
    arguments = block.get("arguments", {})
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
