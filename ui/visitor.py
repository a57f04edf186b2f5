"""Who is looking: the owner of the chats a request may see, and what one browser session holds in memory."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from backend import UNKNOWN_VISITOR, Access, Backend, Comparison, PromptSet, client_address, is_from_here
from ui.bodies import refuse

COOKIE = "qnp_visitor"
LOCAL_OWNER = "local"
MAX_VIEWS = 10_000  # as many pages as gradio keeps state for; programs that open no connection are never seen to leave
HEARTBEAT = "/gradio_api/heartbeat/"
# what gradio serves beside the page and the page does not use: figures of all visitors, files of their inputs, code from a model
NOT_SERVED = tuple(
    f"{start}{path}"
    for start in ("/", "/gradio_api/")
    for path in "monitoring deep_link process_recording stream/ vibe- undo-vibe- run-history runs proxy= custom_component dev/".split()
)
AT_ONCE_BYTES = 1 << 20  # of a response
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


class Visitors:
    """Who asks. Everyone on a private host is its owner; on a public one each browser is, by a cookie that scripts cannot read and
    that this host has signed: who has none has not opened the page, and may look at it but ask for nothing."""

    def __init__(self, key: bytes, *, public: bool, proxies: int | None = None) -> None:
        self._key, self.public, self._proxies = key, public, proxies

    @classmethod
    def of(cls, backend: Backend) -> Visitors:
        return cls(backend.visitor_key, public=backend.settings.public, proxies=backend.settings.proxies)

    def owner(self, request: gr.Request) -> str:
        """Whose chats a request of the page may see."""
        return self.known(request.cookies.get(COOKIE, "")) or f"{UNKNOWN_VISITOR}{getattr(request, 'session_hash', '')}"

    def known(self, cookie: str) -> str | None:
        """The owner behind a cookie's value; `None` for a visitor of a public host whom it does not know."""
        if not self.public:
            return LOCAL_OWNER
        token, _, signature = cookie.partition(".")
        good = _TOKEN.match(token) and hmac.compare_digest(signature.encode(), self._signature(token).encode())
        return f"visitor:{token}" if good else None

    def owner_of(self, scope: Any) -> str | None:
        """The visitor behind a request before gradio sees it; `None` for one whom a public host does not know."""
        return self.known(cookie_in(scope))

    def signed(self, token: str) -> str:
        """The value of the cookie."""
        return f"{token}.{self._signature(token)}"

    def _signature(self, token: str) -> str:
        return hmac.new(self._key, token.encode(), sha256).hexdigest()

    def address(self, request: Any) -> str:
        """The address that limits go by; empty on a private host, which has none."""
        if not self.public:
            return ""
        scope = request.scope
        return client_address(scope, Headers(scope=scope), self._proxies)

    def access(self, session: Session, request: gr.Request) -> Access:
        """What was typed in on this page, and where from."""
        return replace(session.access, address=self.address(request.request))


def from_here(request: gr.Request) -> bool:
    """Whether the page is open on the machine that serves it."""
    scope = request.request.scope
    return is_from_here(scope, Headers(scope=scope))


class Views:
    """Which chat each browser session shows right now, so that following an answer ends when the page moves on."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}  # moved last stands last
        self._beginning: set[str] = set()  # views

    def move(self, session: str, *, begins: bool = False) -> str:
        """The page of `session` shows something new; returns a name for this view that is used only once. `begins`: it is an answer of
        which the page was not told yet, as it is by `told`."""
        self.forget(session)
        view = self._shown[session] = secrets.token_hex(4)
        if begins:
            self._beginning.add(view)
        while len(self._shown) > MAX_VIEWS:
            self.forget(next(iter(self._shown)))
        return view

    def told(self, view: str) -> None:
        self._beginning.discard(view)

    def begins(self, session: str) -> bool:
        """Whether somebody is about to tell the page of an answer that was just asked for, and follows it."""
        return self.of(session) in self._beginning

    def shows(self, session: str, view: str) -> bool:
        return self._shown.get(session) == view

    def of(self, session: str) -> str | None:
        return self._shown.get(session)

    def forget(self, session: str) -> None:
        self._beginning.discard(self._shown.pop(session, ""))


class Presence(Protocol):
    """Is told of pages that open and close; `leave` once for each `arrive`."""

    def arrive(self, who: str) -> None: ...

    def leave(self, who: str) -> None: ...


class PageHeaders:
    """ASGI middleware: the visitor's cookie, headers that keep model text harmless, and who is there.

    The policy lets nothing load from elsewhere (a picture's address in an answer would otherwise tell its server what was
    written), and lets a Space's page be framed by the hub only. `on_page` is told of a visitor who (re)loads the page, `sessions` and
    `owners` of pages as long as they are open, which each says by a request that does not end.
    """

    def __init__(
        self, app: Any, *, visitors: Visitors, on_page: Callable[[str], None], sessions: Sequence[Presence], owners: Sequence[Presence]
    ) -> None:
        self._app, self._visitors, self._on_page = app, visitors, on_page
        self._sessions, self._owners = sessions, owners
        frames = "'self' https://huggingface.co https://*.hf.space" if visitors.public else "'self'"
        # on a Space gradio's own script asks the hub whether the Space runs, and shows nothing where it may not ask
        connects = "'self' https://huggingface.co" if visitors.public else "'self'"
        policy = (
            "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: blob:; font-src 'self' data:; connect-src {connects}; worker-src 'self' blob:; form-action 'self'; "
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
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        if path.startswith(NOT_SERVED):
            return await refuse(send, 404, "Not found")
        extra = list(self._headers)
        if path in ("/", ""):
            extra += self._seen(scope)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            body = message.get("body", b"")
            rest = (max(0, len(body) - 1) // AT_ONCE_BYTES) * AT_ONCE_BYTES
            for start in range(0, rest, AT_ONCE_BYTES):  # others have a turn in between
                await send({**message, "body": body[start : start + AT_ONCE_BYTES], "more_body": True})
            await send({**message, "body": body[rest:]} if rest else message)

        if not path.startswith(HEARTBEAT):
            return await self._app(scope, receive, with_headers)
        session, owner = path.removeprefix(HEARTBEAT), self._visitors.owner_of(scope) or UNKNOWN_VISITOR
        with _there(self._sessions, session), _there(self._owners, owner):
            await self._app(scope, receive, with_headers)

    def _seen(self, scope: Any) -> list[tuple[bytes, bytes]]:
        """The page is asked for. Its visitor's cookie: one that is not signed, or by another key (of a host that was set up anew),
        keeps its token, which leads to their chats."""
        cookie = cookie_in(scope)
        known, token = self._visitors.known(cookie), cookie.partition(".")[0]
        if not known:
            token = token if _TOKEN.match(token) else secrets.token_urlsafe(32)
        self._on_page(known or f"visitor:{token}")
        if known:
            return []
        same_site = "SameSite=None; Secure; Partitioned" if self._secure(scope) else "SameSite=Lax"
        value = f"{COOKIE}={self._visitors.signed(token)}; Path=/; HttpOnly; Max-Age=31536000; {same_site}"
        return [(b"set-cookie", value.encode())]

    @staticmethod
    def _secure(scope: Any) -> bool:
        headers = dict(scope["headers"])
        return scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto") == b"https"


@contextmanager
def _there(told: Sequence[Presence], who: str) -> Iterator[None]:
    for each in told:
        each.arrive(who)
    try:
        yield
    finally:
        for each in told:
            each.leave(who)


def cookie_in(scope: Any) -> str:
    """The visitor's cookie as it was sent, empty where there is none."""
    raw = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    return cookie_parser(raw).get(COOKIE, "")  # as handlers read it, whatever cookies of others stand beside it
