"""Where a URL leads: to the internet, into this host's network, or to the host itself. Resolves names, calls nobody."""

from __future__ import annotations

import asyncio
import ipaddress
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


async def is_private(url: str) -> bool:
    """Whether a URL's host is, or resolves to, anything but a public address. Unresolvable counts as private."""
    found = await _addresses(url)
    return not found or any(not address.is_global for address in found)


async def is_link_local(url: str) -> bool:
    """Whether it is, or resolves to, an address where clouds hand out the keys of the host (169.254.169.254 and its like)."""
    mapped = [getattr(address, "ipv4_mapped", None) or address for address in await _addresses(url)]
    return any(address.is_link_local for address in mapped)


async def _addresses(url: str) -> list[IPAddress]:
    """None where there is no host, or nobody knows it."""
    try:
        host = urlsplit(url).hostname
        if host is None:
            return []
        found = {info[4][0] for info in await asyncio.get_running_loop().getaddrinfo(host, None)}
    except (OSError, ValueError):  # a broken URL, or a label of a name that is too long
        return []
    return [ipaddress.ip_address(str(address).partition("%")[0]) for address in found]
