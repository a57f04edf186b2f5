"""How much an answer over HTTP may bring: hooks for the clients of httpx and httpx2. Knows no protocol but that of server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import httpx2

MAX_EVENT_LINES = 4_000_000  # of a stream of events, CR and LF each counted: 600,000 events of three lines are below
SLICE_BYTES = 2_048  # of such a stream, after which other tasks have their turn: its reader looks at every line

_EMPTY_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_LONGEST_END = 3  # bytes of an empty line that may lie in the piece before


class Unbounded(Exception):
    """More than may come from an address; the end of a sentence."""


def refuse_packed(response: Any) -> None:
    """Raises `Unbounded` for a compressed body, which the request did not ask for: a few bytes may unpack to gigabytes."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise Unbounded("it packs its answers, unasked")


def limit(
    response: Any,
    max_bytes: int,
    *,
    max_event_bytes: int | None = None,
    cut: bool = False,
    broken: Callable[[Exception], None] = lambda error: None,
) -> None:
    """Has the body end after `max_bytes` as they come over the wire: quietly where `cut`, else with `Unbounded`, of which `broken` is told.
    `max_event_bytes` is for one server-sent event, which its reader holds until the end."""
    if isinstance(response.stream, httpx.AsyncByteStream | httpx2.AsyncByteStream):
        response.stream = _Limited(response.stream, max_bytes, max_event_bytes, cut, broken)


class _Limited(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, stream: Any, max_bytes: int, max_event_bytes: int | None, cut: bool, broken: Callable[[Exception], None]) -> None:
        self._stream, self._max_bytes, self._max_event_bytes, self._cut, self._broken = stream, max_bytes, max_event_bytes, cut, broken
        self._event_bytes, self._end = 0, b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left_bytes, left_lines = self._max_bytes, MAX_EVENT_LINES
        async for piece in self._stream:
            if len(piece) > left_bytes and self._cut:
                yield piece[:left_bytes]
                return
            if len(piece) > left_bytes:
                yield piece[:left_bytes]
                raise self._too_much(f"it answered with more than {self._max_bytes:,} bytes")
            left_bytes -= len(piece)
            if self._max_event_bytes is None:
                yield piece
                continue
            if (fitting := self._fitting(piece, self._max_event_bytes)) < len(piece):
                yield piece[:fitting]
                raise self._too_much(f"it sent one event of more than {self._max_event_bytes:,} bytes")
            left_lines -= piece.count(b"\n") + piece.count(b"\r")
            if left_lines < 0:
                raise self._too_much(f"it sent more than {MAX_EVENT_LINES:,} lines")
            for start in range(0, len(piece), SLICE_BYTES):
                yield piece[start : start + SLICE_BYTES]
                await asyncio.sleep(0)

    def _fitting(self, piece: bytes, max_event_bytes: int) -> int:
        """How many bytes of `piece` may pass: all, or those before an event that is too long."""
        seen, begin = self._end + piece, 0
        before = self._event_bytes - len(self._end)
        for end in _EMPTY_LINE.finditer(seen):
            if before + end.start() - begin > max_event_bytes:
                break
            before, begin = 0, end.end()
        else:
            self._event_bytes, self._end = before + len(seen) - begin, seen[begin:][-_LONGEST_END:]
            if self._event_bytes <= max_event_bytes:
                return len(piece)
        return max(0, begin - (len(seen) - len(piece)))

    def _too_much(self, what: str) -> Unbounded:
        error = Unbounded(what)
        self._broken(error)
        return error

    async def aclose(self) -> None:
        await self._stream.aclose()
