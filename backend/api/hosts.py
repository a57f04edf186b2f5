"""Which names this host answers to, and which web pages may call it: one check of `Host` and `Origin` for every path.

A browser lets any page send requests to any address, also to this machine's own (`foo.localhost`, `127.0.0.2` and others lead here by
themselves, and a name of the page's own can be made to: DNS rebinding). What a page cannot do is to lie about the name that it called
(`Host`) and about where it comes from (`Origin`, `Sec-Fetch-Site`).
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.errors import ApiError
from backend.errors import ConfigError
from backend.origins import DEFAULT_PORTS, HostName, host_name, is_loopback, origin_of
from backend.settings import Settings

log = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_LOGGED = 100  # callers that are named in the log: whoever is refused must not fill it
_SHOWN_TO_CALLERS = "x-request-id, x-ignored-parameters, retry-after"
_PREFLIGHT = {"access-control-allow-methods": "GET, POST, OPTIONS", "access-control-max-age": "600", "vary": "Origin"}


@dataclass(frozen=True)
class Rules:
    """Whom this host answers.

    `public`: to any name, as the proxy in front of it sees to. Else it is somebody's own machine, which answers to the names of
    loopback, to the one address that it `listens_at`, and to `names`; where it is `shared` with the network also to the address that
    a caller reached and to the machine's own name. Pages of `origins` may call although they are other sites, the HTTP API with a
    `token` only.
    """

    public: bool = False
    listens_at: str = "127.0.0.1"
    shared: bool = False
    names: tuple[HostName, ...] = ()
    origins: frozenset[str] = frozenset()
    token: bool = False
    _own: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        own = {*LOOPBACK_NAMES}
        bound = host_name(f"[{self.listens_at}]" if ":" in self.listens_at else self.listens_at)
        if bound is not None and self.listens_at not in ("0.0.0.0", "::"):  # nosec B104: compared, not bound
            own.add(bound.name)
        if self.shared:
            machine = socket.gethostname().lower()
            own |= {machine, f"{machine}.local"}
        object.__setattr__(self, "_own", frozenset(own))

    @classmethod
    def of(cls, settings: Settings, *, listens_at: str, shared: bool) -> Rules:
        return cls(
            public=settings.public, listens_at=listens_at, shared=shared, names=settings.hosts,
            origins=frozenset(settings.origins), token=settings.api_token is not None,
        )  # fmt: skip

    def refusal(self, scope: Scope) -> str | None:
        """Why a request is refused, as a sentence; `None` where it may pass."""
        headers = Headers(scope=scope)
        if any(len(headers.getlist(name)) > 1 for name in ("host", "origin")):
            return "The request names its host or its origin twice."
        host, origin = host_name(headers.get("host", "")), headers.get("origin")
        if not self.public and not self._answers_to(host, scope):
            shown = "it was called by" if host is None else host.name
            return (
                f"This host does not answer to the name {shown}, so that no other web page can pass for it. Open it at "
                "http://localhost or http://127.0.0.1 with its port; if the name is yours, put it into PLAYGROUND_HOSTS."
            )
        if origin is None:
            from_elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            if from_elsewhere and headers.get("sec-fetch-mode") != "navigate":
                return "Other web pages may not load parts of this one."
        elif not self._is_own(origin, host, headers) and not self.lists(origin):
            return "Other web pages may not call this host. Its owner can name those that may in PLAYGROUND_ORIGINS."
        return None

    def lists(self, origin: str) -> bool:
        """Whether the owner named this origin."""
        return origin_of(origin) in self.origins

    def _answers_to(self, host: HostName | None, scope: Scope) -> bool:
        if host is None:
            return False
        if host.name in self._own or any(known.name == host.name and known.port in ("", host.port) for known in self.names):
            return True
        reached = str((scope.get("server") or ("",))[0])  # of the connection itself, whatever its caller wrote
        return self.shared and not is_loopback(reached) and host.name.strip("[]") == reached

    @staticmethod
    def _is_own(origin: str, host: HostName | None, headers: Mapping[str, str]) -> bool:
        """Whether the page that calls came from this host. The browser's own word for it goes first, since a proxy may have changed
        the name; neither that header nor the proxy's can be written by a page that does not ask first, which is refused."""
        if headers.get("sec-fetch-site") == "same-origin":
            return True
        scheme, _, rest = origin.lower().partition("://")
        caller, default = host_name(rest), DEFAULT_PORTS.get(scheme)
        if caller is None or default is None:
            return False
        outside = host_name(headers.get("x-forwarded-host", "").partition(",")[0].strip())
        own = [known for known in (host, outside) if known is not None]
        port = caller.port or default
        # nginx's $host, which gradio's own guide has, leaves the port out that its caller wrote
        left_out = port if any(name in headers for name in ("x-forwarded-host", "x-forwarded-proto", "x-forwarded-for")) else default
        return any(caller.name == known.name and port == (known.port or left_out) for known in own)


def check_listening(host: str, *, public: bool, shared: bool) -> None:
    """Raises `ConfigError` where a page of one owner would be open to a network that nobody said may see it."""
    if not (is_loopback(host) or public or shared):
        raise ConfigError(
            f"Listening at {host} opens this page, with its chats and keys, to everybody on the network.",
            hint="Set PLAYGROUND_PUBLIC=1 to keep visitors apart, or add --share-with-network if everybody there may be its owner.",
        )


class OwnPagesOnly:
    """ASGI middleware, the outermost: refuses what `rules` refuse before anything else runs, and answers CORS under `api_paths`."""

    def __init__(self, app: ASGIApp, *, rules: Rules, api_paths: Iterable[str]) -> None:
        self._app, self._rules, self._api_paths = app, rules, tuple(api_paths)
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers, refusal = Headers(scope=scope), self._rules.refusal(scope)
        origin = headers.get("origin", "")
        calls_api = self._is_api(scope) and self._rules.lists(origin)
        if refusal is None and calls_api and not self._rules.token:
            refusal = "Other web pages may call the HTTP API with a token only, and none is set. Its owner sets PLAYGROUND_API_TOKEN."
        if refusal is not None:
            return await self._refuse(refusal, scope, headers, send)
        if not calls_api:
            return await self._app(scope, receive, send)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            wanted = headers.get("access-control-request-headers", "authorization, content-type")
            allowed = {"access-control-allow-origin": origin, "access-control-allow-headers": wanted, **_PREFLIGHT}
            return await _answer(send, 204, b"", allowed)

        async def with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["access-control-allow-origin"] = origin
                answered["access-control-expose-headers"] = _SHOWN_TO_CALLERS
                answered.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, with_cors)

    def _is_api(self, scope: Scope) -> bool:
        path = str(scope["path"]).removeprefix(scope.get("root_path") or "")
        return any(path == own or path.startswith(f"{own}/") for own in self._api_paths)

    async def _refuse(self, why: str, scope: Scope, headers: Headers, send: Send) -> None:
        called = json.dumps(f"{headers.get('host', '-')} from {headers.get('origin', '-')}"[:200])
        if called not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(called)
            log.warning("refused a request to %s: %s", called, why)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if "text/html" in headers.get("accept", ""):
            return await _answer(send, 403, why.encode(), {"content-type": "text/plain; charset=utf-8"})
        await _answer(send, 403, ApiError("host_refused", why).body(), {"content-type": "application/json"})


async def _answer(send: Any, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    named = {"content-length": str(len(body)), "x-content-type-options": "nosniff", **headers}
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
