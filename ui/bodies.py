"""What may be posted to the page's endpoints: JSON of a bounded size and depth, looked at before anything parses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from backend import JsonShape

MAX_BODY_BYTES = 10 * 2**20  # as of the HTTP API: the longest prompt with its files is far smaller
MAX_VALUES = 20_000  # each becomes an object of its own, and one that is wrong a sentence; a page sends a few hundred
MAX_HELD_BYTES = 128 * 2**20  # of all bodies that are being read
TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES >> 20} MB."
UPLOAD_PATH = "/gradio_api/upload"
_PIECE_BYTES = 4_096  # looked at in one go: four milliseconds at the worst
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")


class BoundedBodies:
    """ASGI middleware before the page: refuses bodies that are too large, too deep, of too many values or no JSON. `admit` is asked
    about the page (gradio's session) that a body names, if it does, and says why its visitor may have no such page. Uploads have a
    middleware of their own."""

    def __init__(self, app: Any, *, admit: Callable[[Any, str | None], str | None] = lambda scope, session: None) -> None:
        self._app, self._admit = app, admit
        self._held_bytes = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY or scope["path"].endswith(UPLOAD_PATH):
            return await self._app(scope, receive, send)
        if _declared(dict(scope["headers"])) > MAX_BODY_BYTES:
            return await refuse(send, 413, TOO_LARGE)
        body = bytearray()
        try:
            refused = await self._read(scope, receive, body)
            if refused is not None:
                return await refuse(send, *refused) if refused[0] else None
            await self._app(scope, _again(bytes(body), receive), send)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, scope: Any, receive: Any, body: bytearray) -> tuple[int, str] | None:
        """Reads the body; why it is refused, with a status of 0 where the caller is gone."""
        shape, more = JsonShape(max_values=MAX_VALUES), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return 0, "The caller is gone."
            piece, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(piece) > MAX_BODY_BYTES:
                return 413, TOO_LARGE
            if self._held_bytes + len(piece) > MAX_HELD_BYTES:
                return 503, "Too much is being sent to this host at once. Try again in a moment."
            body += piece
            self._held_bytes += len(piece)
            for start in range(0, len(piece), _PIECE_BYTES):
                shape.feed(piece[start : start + _PIECE_BYTES])
                if (why := shape.refusal()) is not None:
                    return 413, f"The body {why}."
                if start:
                    await asyncio.sleep(0)  # others have a turn
        kind = dict(scope["headers"]).get(b"content-type", b"").split(b";")[0].strip().lower()
        if body and kind != b"application/json":  # a page elsewhere may send any other kind without asking first
            return 415, "The body must be sent as application/json."
        session = await asyncio.to_thread(_session_in, bytes(body)) if len(body) > _PIECE_BYTES else _session_in(bytes(body))
        why = self._admit(scope, session)
        return None if why is None else (503, why)


def _session_in(body: bytes) -> str | None:
    """The page that a body names; gradio keeps state for whatever it is."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # no JSON: gradio says so
        return None
    session = found.get("session_hash") if isinstance(found, dict) else None
    return None if session is None else str(session)


def _declared(headers: Mapping[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _again(body: bytes, receive: Any) -> Any:
    """The body once more as one message, then what comes after it."""
    given = False

    async def receive_again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def refuse(send: Any, status: int, why: str) -> None:
    """As gradio's own routes say no: the page shows `detail`."""
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
