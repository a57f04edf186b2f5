"""Text into tokens, and tokens into chunks with a due time each. Knows no wire format and never sleeps.

A token here is a piece of at most twelve characters between white space, or one CJK character: close enough for pace and
budgets, and the same everywhere in the emulator, so that usage always equals what was sent.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["thinking", "answer", "call"]

_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]{{1,12}})|\s+\Z")


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens a second after the first one; a frame carries 1 .. 2 * `chunk_tokens` - 1 tokens."""

    first_token_s: float
    tokens_per_s: float
    jitter: float
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one frame carries, due `at_s` seconds after the request. Of a call, `text` is a part of its arguments; the frame that
    opens it brings its name."""

    at_s: float
    kind: Kind
    text: str
    tokens: int
    call: int = 0
    opens: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the answer: its pieces are sent in order. `name` is a call's, `call` its place among the calls."""

    kind: Kind
    pieces: Sequence[str]
    call: int = 0
    name: str | None = None


def tokens(text: str) -> list[str]:
    """Pieces that give `text` when joined."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def paced(parts: Sequence[Part], pace: Pace, rng: random.Random) -> Iterator[Chunk]:
    """Chunks in order, due on one clock: token n (from 0) is due at `first_token_s` + n / rate, so pace never drifts."""
    sent = 0
    for part in parts:
        place = 0
        if part.name is not None:  # the name is a token too
            yield Chunk(pace.first_token_s + sent / pace.tokens_per_s, part.kind, "", 1, part.call, part.name)
            sent += 1
        while place < len(part.pieces):
            size = rng.randint(1, 2 * pace.chunk_tokens - 1) if pace.chunk_tokens > 1 else 1
            pieces = part.pieces[place : place + size]
            late = rng.uniform(-pace.jitter, pace.jitter) * len(pieces) if pace.jitter else 0.0
            at_s = pace.first_token_s + max(0.0, sent + late) / pace.tokens_per_s
            yield Chunk(at_s, part.kind, "".join(pieces), len(pieces), part.call)
            place += len(pieces)
            sent += len(pieces)
