"""What may be posted to the page's endpoints: JSON of a bounded size and depth, looked at before anything parses it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_BODY_BYTES = 10 * 2**20  # as of the HTTP API: the longest prompt with its files is far smaller
MAX_DEPTH = 64  # objects and arrays inside one another; parsers and checkers of JSON are recursive
UPLOAD_PATH = "/gradio_api/upload"
_PIECE_BYTES = 16_384  # looked at in one go: a few milliseconds at the worst
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")


class JsonDepth:
    """How deep the JSON goes that is fed to it, piece by piece; text in quotes does not count. Knows no other rule of JSON."""

    def __init__(self) -> None:
        self.deepest = 0
        self._depth = 0
        self._quoted = False
        self._rest = b""  # a backslash whose letter is still to come

    def feed(self, piece: bytes) -> None:
        piece = _ESCAPED.sub(b"", self._rest + piece)
        self._rest = b"\\" if piece.endswith(b"\\") else b""
        for place, part in enumerate(piece.translate(None, _NOT_STRUCTURE).split(b'"')):
            self._quoted ^= place > 0
            if not self._quoted:
                self._count(part)

    def _count(self, brackets: bytes) -> None:
        for bracket in brackets:
            self._depth += 1 if bracket in b"[{" else -1
            self.deepest = max(self.deepest, self._depth)


class BoundedBodies:
    """ASGI middleware before the page: refuses bodies that are too large, too deep or no JSON. Uploads have a middleware of their own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY or scope["path"].endswith(UPLOAD_PATH):
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        if _declared(headers) > MAX_BODY_BYTES:
            return await refuse(send, 413, f"The body is larger than {MAX_BODY_BYTES >> 20} MB.")
        body, depth = bytearray(), JsonDepth()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None  # the caller is gone
            piece = message.get("body", b"")
            if len(body) + len(piece) > MAX_BODY_BYTES:
                return await refuse(send, 413, f"The body is larger than {MAX_BODY_BYTES >> 20} MB.")
            body += piece
            for start in range(0, len(piece), _PIECE_BYTES):
                depth.feed(piece[start : start + _PIECE_BYTES])
                if depth.deepest > MAX_DEPTH:
                    return await refuse(send, 413, f"The body is nested more than {MAX_DEPTH} levels deep.")
            if not message.get("more_body"):
                break
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if body and kind != b"application/json":  # a page elsewhere may send any other kind without asking first
            return await refuse(send, 415, "The body must be sent as application/json.")
        await self._app(scope, _again(bytes(body), receive), send)


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
