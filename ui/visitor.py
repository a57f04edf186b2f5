"""Who is looking: the owner of the chats a request may see, and what one browser session holds in memory."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import gradio as gr
from starlette.datastructures import Headers

from backend import Access, Comparison, PromptSet, is_from_here

COOKIE = "qnp_visitor"
LOCAL_OWNER = "local"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,64}\Z")


@dataclass
class SideBySide:
    """The Compare tab's part: the open comparison, the pane whose settings are shown (from 0), whether parameters are set in all."""

    comparison: Comparison | None = None
    focus: int | None = None
    linked: bool = False
    live_nodes: frozenset[str] = frozenset()  # the answers that the finished turns leave to the live part
    notes: dict[str, str] = field(default_factory=dict)  # what is said under a comparison's panes, HTML, by its id
    prompts: PromptSet | None = None  # a set that was read and not started yet
    batches: dict[str, str] = field(default_factory=dict)  # the run that is shown, by kind
    judged: list[tuple[int, int, int]] = field(default_factory=list)  # pairs of it, for undoing
    skipped: set[tuple[int, int, int]] = field(default_factory=set)


@dataclass
class Session:
    """What one tab holds: the open chat and what its visitor typed in. Lives in `gr.State`, ends with the tab."""

    conversation_id: str | None = None
    access: Access = field(default_factory=Access)
    live_node: str | None = None  # the answer that the turns on the page leave to the live part
    side_by_side: SideBySide = field(default_factory=SideBySide)


def owner_of(request: gr.Request, *, public: bool) -> str:
    """Everyone on a private host is its owner; on a public one each browser is, by a cookie that scripts cannot read."""
    if not public:
        return LOCAL_OWNER
    token = request.cookies.get(COOKIE, "")
    return f"visitor:{token}" if _TOKEN.match(token) else f"session:{request.session_hash}"


def from_here(request: gr.Request) -> bool:
    """Whether the page is open on the machine that serves it."""
    scope = request.request.scope
    return is_from_here(scope, Headers(scope=scope))


class Views:
    """Which chat each browser session shows right now, so that following an answer ends when the page moves on."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def move(self, session: str) -> str:
        """The page of `session` shows something new; returns a name for this view that is used only once."""
        self._shown[session] = secrets.token_hex(4)
        return self._shown[session]

    def shows(self, session: str, view: str) -> bool:
        return self._shown.get(session) == view

    def of(self, session: str) -> str | None:
        return self._shown.get(session)

    def forget(self, session: str) -> None:
        self._shown.pop(session, None)


class PageHeaders:
    """ASGI middleware: the visitor's cookie, headers that keep model text harmless, and a note that a visitor is (re)loading.

    The policy lets nothing load from elsewhere (a picture's address in an answer would otherwise tell its server what was
    written), and lets a Space's page be framed by the hub only.
    """

    def __init__(self, app: Any, *, public: bool, on_page: Any) -> None:
        self._app, self._public, self._on_page = app, public, on_page
        frames = "'self' https://huggingface.co https://*.hf.space" if public else "'self'"
        policy = (
            "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; form-action 'self'; "
            f"base-uri 'self'; object-src 'none'; frame-ancestors {frames}"
        )
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["path"].startswith("/gradio_api/monitoring") or scope["path"].startswith("/monitoring"):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            return await send({"type": "http.response.body", "body": b""})
        extra = list(self._headers)
        if scope["path"] in ("/", ""):
            token, fresh = self._token(scope)
            self._on_page(f"visitor:{token}" if self._public else LOCAL_OWNER)
            if fresh and self._public:
                same_site = "SameSite=None; Secure; Partitioned" if self._secure(scope) else "SameSite=Lax"
                cookie = f"{COOKIE}={token}; Path=/; HttpOnly; Max-Age=31536000; {same_site}"
                extra.append((b"set-cookie", cookie.encode()))

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        return await self._app(scope, receive, with_headers)

    @staticmethod
    def _secure(scope: Any) -> bool:
        headers = dict(scope["headers"])
        return scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto") == b"https"

    @staticmethod
    def _token(scope: Any) -> tuple[str, bool]:
        raw = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
        morsel = SimpleCookie(raw).get(COOKIE)
        if morsel is not None and _TOKEN.match(morsel.value):
            return morsel.value, False
        return secrets.token_urlsafe(32), True
