"""Where a URL leads, what is an address at all, and that the address which is called is the one that was looked at."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx2
import pytest

from backend import addresses
from backend.addresses import guard, http_address, is_metadata, is_private
from backend.errors import BadInput

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[::ffff:169.254.169.254]",
    "[::169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::169.254.169.254]",
    "[64:ff9b:1:a9fe:a9:fe00::]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:a9fe:a9fe::]",
    "[2001::5601:5601]",
    "[2606:4700::5efe:a9fe:a9fe]",
    "[2606:4700::200:5efe:a9fe:a9fe]",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
]
PRIVATE = [
    *METADATA,
    "127.0.0.1",
    "127.9.9.9",
    "localhost",
    "user@127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "0",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::8.8.8.8]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[100::1]",
    "[2001:2::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[2002:7f00:1::]",
    "[2002:808:808::]",
    "[2606:4700::5efe:10.0.0.1]",
    "[2620:4f:8000::1]",
    "[3fff::1]",
    "[4000::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "",
]
PUBLIC = [
    "93.184.216.34",
    "8.8.8.8:8443",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.17",
    "[2606:4700:4700::1111]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::8.8.8.8]",
    "[2606:4700::5efe:8.8.8.8]",
]


@pytest.mark.parametrize("host", PRIVATE)
async def test_private_whatever_its_form(host):
    assert await is_private(f"http://{host}/v1") is True


@pytest.mark.parametrize("host", PUBLIC)
async def test_public(host):
    assert await is_private(f"http://{host}/v1") is False


@pytest.mark.parametrize("host", METADATA)
async def test_where_clouds_hand_out_keys(host):
    assert await is_metadata(f"http://{host}/") is True


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[fd00::1]", "100.100.100.201", "8.8.8.8", "[::ffff:10.0.0.1]"])
async def test_where_they_do_not(host):
    assert await is_metadata(f"http://{host}/") is False


def answers(monkeypatch: pytest.MonkeyPatch, *told: list[str]) -> list[str]:
    """Has names mean what is told, the last for ever; returns what was asked."""
    asked: list[str] = []

    def resolve(host, port, **_):
        asked.append(host)
        return [(0, 0, 0, "", (address, 0)) for address in told[min(len(asked), len(told)) - 1]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


async def test_a_host_that_cannot_be_resolved_counts_as_private(monkeypatch):
    def fails(*args, **kwargs):
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert await is_private("http://nowhere.example/v1") is True


async def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    answers(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    assert await is_private("http://two-faced.example/v1") is True


async def test_a_scope_stands_in_no_ones_way(monkeypatch):
    answers(monkeypatch, ["fe80::1%eth0"])
    assert await is_private("http://linked.example/") is True and await is_metadata("http://linked.example/") is True


async def test_a_name_server_that_never_answers_holds_up_nobody(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait(60) and [])
    monkeypatch.setattr(addresses, "LOOKUP_LIMIT_S", 0.05)
    try:
        assert all(await asyncio.gather(*(is_private(f"http://slow{n}.example/") for n in range(40))))
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "read") == "read"  # files have threads of their own
    finally:
        over.set()


async def test_the_request_goes_to_the_address_that_was_looked_at(monkeypatch):
    asked = answers(monkeypatch, ["2606:4700::1111", "93.184.216.34"])
    request = httpx2.Request("POST", "https://turning.example:8443/v1?a=1")
    await guard(allow_private=False)(request)
    assert str(request.url) == "https://93.184.216.34:8443/v1?a=1" and asked == ["turning.example"]
    assert request.headers["host"] == "turning.example:8443" and request.extensions["sni_hostname"] == "turning.example"


async def test_on_ones_own_machine_only_the_keys_of_the_host_are_out_of_reach():
    look = guard(allow_private=True)
    await look(httpx2.Request("GET", "http://127.0.0.1:9/x"))
    with pytest.raises(BadInput, match="not called"):
        await look(httpx2.Request("GET", "http://[64:ff9b::169.254.169.254]/x"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("  HTTP://Host/v1 \n", "http://Host/v1"),
        ("HttpS://[::1]:8/a?b#c", "https://[::1]:8/a?b#c"),
        ("http://user:pass@host/", "http://user:pass@host/"),
        ("http://büro_1.example", "http://büro_1.example"),
        ("http://host/{city}/a b", "http://host/{city}/a b"),
    ],
)
def test_an_address_as_it_is_stored(text, address):
    assert http_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "host", "host:8000/v1", "//host/v1", "ftp://host", "file:///etc/passwd", "javascript:alert(1)", "http:", "http:/host",
        "http://", "http:///v1", "http://?a", "http://#a", "http://:80/", "http://@/", "http://host:x/", "http://host:99999/", "http://host:0/",
        "http://[", "http://[::1", "http://[x]/", "http://a b/", "http://a\\b/", "http://a\tb/", "http://ho\x00st/",
        "http://host/a\r\nX: y", "HTTP ://host", "http://℀.example/", "xhttp://host", "http//host",
    ],
)  # fmt: skip
def test_what_is_no_address_gets_a_sentence_and_an_example(text):
    with pytest.raises(BadInput, match=r"address (begins with http|has a host or a port)") as caught:
        http_address(text, example="http://example/x")
    assert caught.value.hint == "It looks like http://example/x."
