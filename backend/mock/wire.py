"""The seam between answering and the surfaces: what a surface must be able to write down. Knows none of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from backend.mock.pacing import Chunk
from backend.mock.refusals import Refusal
from backend.mock.scenarios import Script

quoted = json.JSONEncoder(ensure_ascii=False).encode
SSE = "text/event-stream;charset=UTF-8"


def compact(data: object) -> str:
    """JSON without spaces, as both surfaces print it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair that came in by JSON's escapes cannot be sent and becomes a question mark."""
    return text.encode("utf-8", "replace")


@dataclass(slots=True)
class Counts:
    """Tokens so far; `thinking` is included in `output`."""

    input: int
    thinking: int = 0
    answer: int = 0

    @property
    def output(self) -> int:
        return self.thinking + self.answer

    def add(self, chunk: Chunk) -> None:
        if chunk.kind == "thinking":
            self.thinking += chunk.tokens
        else:
            self.answer += chunk.tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in one piece."""

    status: int
    media_type: str
    body: bytes


class Framer(Protocol):
    """Writes one run on one surface. Frames are complete; each is sent in one write."""

    media_type: str

    def opening(self) -> bytes: ...

    def chunk(self, chunk: Chunk, counts: Counts) -> bytes: ...

    def ending(self, reason: str, counts: Counts) -> list[bytes]:
        """Finish reason, usage, terminator."""
        ...

    def cut_short(self) -> list[bytes]:
        """How a stream ends that lost its finish reason."""
        ...

    def broken(self, refusal: Refusal) -> bytes:
        """An error frame on a stream that already answered 200."""
        ...

    def leaked(self, refusal: Refusal) -> bytes:
        """The same as the native surface writes it, whatever this surface is."""
        ...

    def garbled(self) -> bytes: ...

    def whole(self, script: Script, counts: Counts, *, finished: bool) -> bytes:
        """The body of an answer that is not streamed; without `finished` its finish reason is missing."""
        ...
