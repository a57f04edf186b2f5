"""Names of hosts and origins of web pages, as browsers and people write them. Resolves and calls nothing."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_][a-z0-9._-]{0,252})(?::([0-9]{1,5}))?")
DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class HostName:
    """A name or address as URLs have it, in lower case, with its port; `port` is empty where none was written."""

    name: str
    port: str = ""


def host_name(text: str) -> HostName | None:
    """What stands in a `Host` header or behind `://` of an origin; `None` for anything else, as a user, a path, a space."""
    found = _HOST.fullmatch(text.lower())
    return HostName(found[1], found[2] or "") if found else None


def origin_of(text: str) -> str | None:
    """An origin as browsers write it: lower case, without a slash at its end or a port that is the scheme's own. `None` for what no
    page comes from, as an address with a path, or `null`."""
    scheme, separator, rest = text.lower().rstrip("/").partition("://")
    host = host_name(rest)
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or host is None:
        return None
    port = "" if host.port in ("", DEFAULT_PORTS.get(scheme)) else f":{host.port}"
    return f"{scheme}://{host.name}{port}"


def is_loopback(address: str) -> bool:
    """Whether who listens at `address` (an IP address or a name) is reached by programs on this machine alone."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"
