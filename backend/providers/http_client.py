"""The HTTP client of OpenAI-compatible servers: where it may go, and how much may come back. Knows no answer."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2
import openai

from backend.addresses import guard
from backend.response_limits import limit, refuse_packed

MAX_ANSWER_BYTES = 64 * 2**20  # 81,920 tokens of thinking and 32,768 of answer at 300 bytes each are 34 MB
MAX_EVENT_BYTES = 2**19  # a server that sends its whole answer in one event stays below
MAX_WHOLE_BYTES = 8 * 2**20  # of an answer that is not streamed
MAX_LIST_BYTES = 2 * 2**20  # of a model list; the longest public ones have 0.6 MB
MAX_ERROR_BYTES = 256 * 2**10

_SENT = {"host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "user-agent"}


def http_client(*, guarded: bool) -> httpx2.AsyncClient:
    """`guarded`: for an address that a stranger gave. Then only public addresses are called, at the very address that was looked at, with
    nothing of this host's environment (proxies, .netrc, the headers that the openai client takes from there), and no cookies are kept.

    Redirects are not followed: what was looked at is the address, not where that one points.
    """
    requests: list[Any] = [guard(allow_private=False), _bare] if guarded else []
    hooks = {"request": requests, "response": [_refuse_packed, _limit] if guarded else [_limit]}
    client = openai.DefaultAsyncHttpx2Client(follow_redirects=False, trust_env=not guarded, event_hooks=hooks)
    if guarded:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


async def _bare(request: httpx2.Request) -> None:
    for name in [name for name in request.headers if name.lower() not in _SENT]:
        del request.headers[name]
    request.headers["Accept-Encoding"] = "identity"


async def _refuse_packed(response: httpx2.Response) -> None:
    refuse_packed(response)


async def _limit(response: httpx2.Response) -> None:
    if response.is_error:
        limit(response, MAX_ERROR_BYTES, cut=True)
    elif response.request.method == "GET":
        limit(response, MAX_LIST_BYTES, cut=True)
    elif "application/json" in response.headers.get("content-type", ""):
        limit(response, MAX_WHOLE_BYTES)
    else:
        packed = "content-encoding" in response.headers
        limit(response, MAX_ANSWER_BYTES, max_event_bytes=None if packed else MAX_EVENT_BYTES)
