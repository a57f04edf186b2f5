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

Kind = Literal["thinking", "answer"]

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
    """What one frame carries, due `at_s` seconds after the request."""

    at_s: float
    kind: Kind
    text: str
    tokens: int


def tokens(text: str) -> list[str]:
    """Pieces that give `text` when joined."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def paced(thinking: Sequence[str], answer: Sequence[str], pace: Pace, rng: random.Random) -> Iterator[Chunk]:
    """Chunks in order, due on one clock: token n (from 0) is due at `first_token_s` + n / rate, so pace never drifts."""
    sent = 0
    for kind, pieces in (("thinking", thinking), ("answer", answer)):
        place = 0
        while place < len(pieces):
            size = rng.randint(1, 2 * pace.chunk_tokens - 1) if pace.chunk_tokens > 1 else 1
            part = pieces[place : place + size]
            late = rng.uniform(-pace.jitter, pace.jitter) * len(part) if pace.jitter else 0.0
            at_s = pace.first_token_s + max(0.0, sent + late) / pace.tokens_per_s
            yield Chunk(at_s, kind, "".join(part), len(part))  # type: ignore[arg-type]
            place += len(part)
            sent += len(part)
