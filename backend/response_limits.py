"""How much an answer over HTTP may bring: hooks for the clients of httpx and httpx2. Knows no protocol but that of server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import httpx2

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
        left_bytes = self._max_bytes
        async for piece in self._stream:
            if len(piece) > left_bytes and self._cut:
                yield piece[:left_bytes]
                return
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise self._too_much(f"it answered with more than {self._max_bytes:,} bytes")
            if self._max_event_bytes is not None:
                self._count(piece, self._max_event_bytes)
            yield piece

    def _count(self, piece: bytes, max_event_bytes: int) -> None:
        self._event_bytes -= len(self._end)
        parts = _EMPTY_LINE.split(self._end + piece)
        for place, part in enumerate(parts):
            self._event_bytes = len(part) + (0 if place else self._event_bytes)
            if self._event_bytes > max_event_bytes:
                raise self._too_much(f"it sent one event of more than {max_event_bytes:,} bytes")
        self._end = parts[-1][-_LONGEST_END:]

    def _too_much(self, what: str) -> Unbounded:
        error = Unbounded(what)
        self._broken(error)
        return error

    async def aclose(self) -> None:
        await self._stream.aclose()
