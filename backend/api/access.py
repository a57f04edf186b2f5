"""Who may call the HTTP API: the holder of `PLAYGROUND_API_TOKEN`; without one, programs on this machine."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from backend.api.errors import ApiError
from backend.api.hosts import LOOPBACK_NAMES
from backend.origins import host_name

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


def client_address(scope: Scope, headers: Mapping[str, str], proxies: int | None) -> str:
    """Who calls, for limits by address: the peer, or what the nearest of `proxies` (their number, from this host outwards) saw. Not
    told how many there are, a peer inside a network is taken for one: a browser of the internet never is. What stands further to the
    left in the header is the caller's own word. An IPv6 address stands for its network of 64 bits, which is one household's."""
    peer = str((scope.get("client") or ("",))[0])
    told_lines = headers.getlist("x-forwarded-for") if isinstance(headers, Headers) else [headers.get("x-forwarded-for", "")]
    forwarded = [part.strip() for part in ",".join(told_lines).split(",") if part.strip()]  # a proxy may add a line of its own
    if proxies is None:
        proxies = 0 if _address(peer) is None or _address(peer).is_global else 1  # type: ignore[union-attr]
    told = forwarded[-min(proxies, len(forwarded))] if proxies and forwarded else peer
    address = _address(told.rpartition(":")[0] if told.count(":") == 1 else told)  # some proxies add the port
    if address is None:
        return peer
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _calls_itself(headers: Mapping[str, str]) -> bool:
    """By a name of loopback, and not for a page of another: a name that the owner gave leads to a proxy here, which calls for others
    and mostly says so in a header."""
    if any(name in headers for name in _OF_PROXIES):
        return False
    called = [host_name(headers.get("host", ""))]
    if "origin" in headers:
        called.append(host_name(headers["origin"].partition("://")[2]))
    return all(each is not None and each.name in LOOPBACK_NAMES for each in called)
