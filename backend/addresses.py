"""Where a URL leads: to the internet, into this host's network, or to the host itself. Resolves names, calls nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from backend.errors import BadInput

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOKUP_LIMIT_S = 5.0
# Threads of their own: a stranger's name server that never answers would hold up those that read files.
_LOOKUPS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="lookup")

_HTTP = re.compile(r"(https?)://(?=[^/?#])(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NO_HOST = re.compile(r"[\x00-\x20\x7f\\^`|<>\"]")


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(word) for word in text.split())


# IANA's special-purpose registries and multicast, written out, since `is_global` differs between versions of Python. Of IPv6 only
# 2000::/3 is given out as public, so that the rest needs no list.
_NOT_PUBLIC = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 "
    "192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 "
    "240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20"
)
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# Where clouds hand out the keys of the host: link-local; Azure, Alibaba, Oracle; AWS, Google, Oracle and Scaleway over IPv6.
_METADATA = _networks(
    "169.254.0.0/16 fe80::/10 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32 "
    "fd00:ec2::/32 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128 fd00:42::42/128"
)
_MAPPED, _NAT64 = _networks("::ffff:0:0/96 64:ff9b::/96")  # these are the IPv4 address; other forms only lead there by a gateway
_LAST_32_BITS = _networks("::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96")  # compatible, mapped, translated, NAT64
_LOCAL_NAT64, _6TO4, _TEREDO = _networks("64:ff9b:1::/48 2002::/16 2001::/32")


def http_address(text: str, *, example: str = "http://host:8000/v1") -> str:
    """An address as it is stored and called: without spaces around, its scheme in small letters. Raises `BadInput` for what is none."""
    found = _HTTP.fullmatch(text.strip())
    if found is None:
        raise BadInput("An address begins with http:// or https:// and names a host.", hint=f"It looks like {example}.")
    address = f"{found[1].lower()}://{found[2]}"
    try:
        parts = urlsplit(address)
        known = parts.hostname and parts.port != 0 and not _NO_HOST.search(parts.netloc)
    except ValueError:  # a port or an IPv6 address that is none
        known = False
    if not known or re.search(r"[\x00-\x1f\x7f]", address):
        raise BadInput("The address has a host or a port that cannot be.", hint=f"It looks like {example}.")
    return address


def has_scheme(text: str) -> bool:
    """Whether it is meant as an address, of http or of anything else."""
    return _SCHEME.match(text) is not None


async def is_private(url: str) -> bool:
    """Whether a URL's host is, or resolves to, anything but a public address. Unresolvable counts as private."""
    addresses = await _addresses(url)
    return not addresses or not all(map(_is_public, addresses))


async def is_metadata(url: str) -> bool:
    """Whether it is, or resolves to, an address where clouds hand out the keys of the host (169.254.169.254 and its like)."""
    return any(_in(part, _METADATA) for address in await _addresses(url) for part in (address, *_embedded(address)))


def private_address() -> BadInput:
    message = "This page, which is open to others, does not call private addresses."
    return BadInput(message, hint="Use an address that the internet reaches.")


def guard(*, allow_private: bool) -> Callable[[Any], Awaitable[None]]:
    """A hook for the requests of an httpx client, by where it may go. It raises `BadInput`."""
    return _refuse_metadata if allow_private else pin


async def pin(request: Any) -> None:
    """A hook of an httpx client: sends the request to the very address that was looked at, since a name may mean another one the next
    time it is asked for. Raises `BadInput` where that is no public one."""
    addresses = await _addresses(str(request.url))
    if not addresses or not all(map(_is_public, addresses)):
        raise private_address()
    request.extensions = {**request.extensions, "sni_hostname": request.url.host}  # the certificate is still the name's
    request.url = request.url.copy_with(host=str(min(addresses, key=lambda address: address.version)))


async def _refuse_metadata(request: Any) -> None:
    if await is_metadata(str(request.url)):
        hint = "Clouds hand out the keys of this machine there."
        raise BadInput("This address is not called: it is inside the network of this host.", hint=hint)


async def _addresses(url: str) -> list[IPAddress]:
    """None where there is no host, nobody knows it, or nobody says so in time."""
    try:
        host = urlsplit(url).hostname
        if host is None:
            return []
        lookup = asyncio.get_running_loop().run_in_executor(_LOOKUPS, _resolve, host)
        async with asyncio.timeout(LOOKUP_LIMIT_S):
            return await lookup
    except (OSError, ValueError):  # a broken URL, or a label of a name that is too long; TimeoutError is an OSError
        return []


def _resolve(host: str) -> list[IPAddress]:
    host = host.partition("%")[0] if ":" in host else host  # of an IPv6 address the scope, which may be written in several ways
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return [ipaddress.ip_address(address.partition("%")[0]) for address in sorted(found)]


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if _in(address, (_MAPPED, _NAT64)):
            return all(map(_is_public, _embedded(address)))
        if address not in _PUBLIC_IPV6:
            return False
    return not _in(address, (*_NOT_PUBLIC, *_METADATA)) and all(map(_is_public, _embedded(address)))


def _in(address: IPAddress, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)  # False for another version


def _embedded(address: IPAddress) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 one may be brought to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    bits = int(address)
    shifts: set[int] = set()
    if _in(address, _LAST_32_BITS) or (bits >> 32) & 0xFDFF_FFFF == 0x5EFE:  # ISATAP, under any prefix
        shifts.add(0)
    if address in _6TO4:
        shifts.add(80)
    if address in _TEREDO:
        shifts.add(64)
        yield ipaddress.IPv4Address(~bits & 0xFFFF_FFFF)
    if address in _LOCAL_NAT64:  # of RFC 6052's forms those that fit; eight bits in the middle stay empty
        shifts.add(0)
        without = (bits >> 64) << 56 | bits & (1 << 56) - 1
        yield from (ipaddress.IPv4Address(without >> 88 - prefix & 0xFFFF_FFFF) for prefix in (48, 56, 64))
    for shift in shifts:
        yield ipaddress.IPv4Address(bits >> shift & 0xFFFF_FFFF)
