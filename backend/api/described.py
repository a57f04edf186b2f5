"""`GET /openapi.json` and `GET /docs`: the API described under the address at which it was reached. Open to all, they hold no secret."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

# what may stand in code unquoted: a Host header is the caller's word, and this is the gate between it and what is shown
_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*")


async def openapi(request: Request, request_id: str) -> Response:
    body = await asyncio.to_thread(_document, address_of(request.scope, request.headers))
    return Response(body, headers=_headers(request_id), media_type="application/json")


async def docs(request: Request, request_id: str) -> Response:
    text, policy = await asyncio.to_thread(_drawn, address_of(request.scope, request.headers))
    return Response(text, headers={**_headers(request_id), "content-security-policy": policy}, media_type="text/html")


def _document(address: str) -> bytes:
    """In a thread, and imported here: what draws it costs the start of the app a tenth of a second."""
    from backend.api.openapi import document

    return json.dumps(document(address), ensure_ascii=False).encode()


def _drawn(address: str) -> tuple[str, str]:
    """The page and its policy. In a thread: the first one imports what draws it and takes a while."""
    from backend.api.page import POLICY, page

    return page(address), POLICY


def _headers(request_id: str) -> dict[str, str]:
    shared = {"cache-control": "no-cache", "vary": "Host", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    return {"x-request-id": request_id, **shared}


def address_of(scope: Scope, headers: Mapping[str, str]) -> str:
    """Where the caller has reached this host, up to the path. A proxy's word for the scheme counts where uvicorn trusts that proxy, which
    it has then written into `scope`; a Host header that is no plain name gives way to the socket's own address."""
    scheme, root = scope.get("scheme", "http"), scope.get("playground.prefix", "").rstrip("/")
    asked = f"{scheme}://{headers.get('host', '')}{root}"
    if _ADDRESS.fullmatch(asked):
        return asked
    name, port = scope.get("server") or ("localhost", None)
    own = f"[{name}]" if ":" in name else name
    made = f"{scheme}://{own}:{port}" if port else f"{scheme}://{own}"
    return made if _ADDRESS.fullmatch(made) else "http://localhost"
