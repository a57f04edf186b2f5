"""Where a URL leads: to the internet, into this host's network, or to the host itself. Resolves names, calls nobody."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from backend.errors import BadInput

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


async def is_private(url: str) -> bool:
    """Whether a URL's host is, or resolves to, anything but a public address. Unresolvable counts as private."""
    found = await _addresses(url)
    return not found or any(not address.is_global for address in found)


async def is_link_local(url: str) -> bool:
    """Whether it is, or resolves to, an address where clouds hand out the keys of the host (169.254.169.254 and its like)."""
    mapped = [getattr(address, "ipv4_mapped", None) or address for address in await _addresses(url)]
    return any(address.is_link_local for address in mapped)


async def pin(request: Any) -> None:
    """A hook of an httpx client: sends the request to the very address that was looked at, since a name may mean another one the next
    time it is asked for. Raises `BadInput` where that is no public one."""
    found = await _addresses(str(request.url))
    if not found or any(not address.is_global for address in found):
        message = "This page, which is open to others, does not call private addresses."
        raise BadInput(message, hint="Use an address that the internet reaches.")
    request.extensions = {**request.extensions, "sni_hostname": request.url.host}  # the certificate is still the name's
    request.url = request.url.copy_with(host=str(min(found, key=lambda address: address.version)))


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
