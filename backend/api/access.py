"""Who may call the HTTP API: the holder of `PLAYGROUND_API_TOKEN`; without one, programs on this machine."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.types import Scope

from backend.api.errors import ApiError

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_OF_PROXIES = "forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip via cf-connecting-ip".split()


def check_access(scope: Scope, headers: Mapping[str, str], token: SecretStr | None, *, public: bool) -> None:
    """Raises `ApiError` 401 or 403."""
    if token is not None:
        _check_token(headers.get("authorization", ""), token.get_secret_value())
    elif public or not _is_loopback(scope) or scope.get("http_version") == "1.0":
        raise ApiError("api_closed", "This host answers its API with a token only, and none is set. Its owner sets PLAYGROUND_API_TOKEN.")
    elif not _calls_itself(headers):
        raise ApiError("api_closed", "Without PLAYGROUND_API_TOKEN only programs on this machine may call, not web pages.")


def _check_token(given: str, token: str) -> None:
    scheme, _, key = given.partition(" ")
    if not given:
        message = "This API asks for its token: send the header Authorization: Bearer TOKEN."
        raise ApiError("missing_api_key", message, headers={"www-authenticate": "Bearer"})
    if scheme.casefold() != "bearer" or not secrets.compare_digest(key.strip().encode("utf-8", "replace"), token.encode()):
        message = "The token is wrong. It is the value of PLAYGROUND_API_TOKEN on this host."
        raise ApiError("invalid_api_key", message, headers={"www-authenticate": "Bearer"})


def is_from_here(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether a program or browser on this machine calls, for itself: not a proxy for others, and not for a page from elsewhere."""
    return _is_loopback(scope) and scope.get("http_version") != "1.0" and _calls_itself(headers)  # 1.0: nginx's way to what is behind it


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _calls_itself(headers: Mapping[str, str]) -> bool:
    """A page from anywhere can have a browser here call this machine, by its address or a name that points to it; a proxy here calls for
    others, and says so in one of these headers."""
    if any(name in headers for name in _OF_PROXIES):
        return False
    hosts = [headers.get("host", "")]
    if "origin" in headers:
        hosts.append(headers["origin"].partition("://")[2])
    return all(_host_name(host) in _LOCAL_NAMES for host in hosts)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
