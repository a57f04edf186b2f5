"""Where a request comes from, for limits by address."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from backend.api.access import client_address


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("203.0.113.5", None, None, "203.0.113.5"),
        # from the internet itself: the header is its own word
        ("8.8.8.8", "1.1.1.1", None, "8.8.8.8"),
        # a proxy in the same network, and what its caller wrote before it
        ("10.0.0.1", "1.1.1.1", None, "1.1.1.1"),
        ("127.0.0.1", "9.9.9.9, 1.1.1.1", None, "1.1.1.1"),
        ("::1", "9.9.9.9,1.1.1.1", None, "1.1.1.1"),
        ("10.0.0.1", None, None, "10.0.0.1"),
        ("10.0.0.1", " , ", None, "10.0.0.1"),
        # told how many there are
        ("10.0.0.1", "9.9.9.9, 1.1.1.1", 0, "10.0.0.1"),
        ("8.8.8.8", "9.9.9.9, 1.1.1.1", 1, "1.1.1.1"),
        ("10.0.0.1", "9.9.9.9, 1.1.1.1", 2, "9.9.9.9"),
        ("10.0.0.1", "1.1.1.1", 2, "1.1.1.1"),
        # forms of one address are one
        ("10.0.0.1", "1.1.1.1:4711", None, "1.1.1.1"),
        ("10.0.0.1", "::ffff:1.1.1.1", None, "1.1.1.1"),
        ("2001:4860::1", None, None, "2001:4860::/64"),
        ("2001:4860::2", None, None, "2001:4860::/64"),
        ("10.0.0.1", "2001:4860::9", None, "2001:4860::/64"),
        ("10.0.0.1", "unknown", None, "10.0.0.1"),
        ("10.0.0.1", "x" * 9000, None, "10.0.0.1"),
        ("", None, None, ""),
    ],
)
def test_address(peer, forwarded, proxies, address):
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    assert client_address({"client": (peer, 1)}, headers, proxies) == address


def test_a_socket_without_an_address_has_none():
    assert client_address({"client": None}, {}, None) == ""


def test_a_line_that_a_proxy_adds_of_its_own_counts_as_the_last():
    lines = Headers(raw=[(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"9.9.9.9")])
    assert client_address({"client": ("10.0.0.1", 1)}, lines, None) == "9.9.9.9"
    assert client_address({"client": ("10.0.0.1", 1)}, lines, 2) == "1.1.1.1"
