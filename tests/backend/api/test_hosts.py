"""Which names this host answers to, and which web pages may call it."""

from __future__ import annotations

import json
import socket

import pytest

from backend import load_settings
from backend.api.hosts import MAX_LOGGED, OwnPagesOnly, Rules, check_listening
from backend.errors import ConfigError
from backend.origins import HostName, host_name, is_loopback, origin_of

PORT = 7860
OWN = [f"localhost:{PORT}", f"127.0.0.1:{PORT}", f"[::1]:{PORT}", "localhost", "127.0.0.1", f"LocalHost:{PORT}", "localhost:9000"]
# what browsers send to loopback by themselves, names of others, and what is none
OTHERS = [
    f"foo.localhost:{PORT}", f"localhost.:{PORT}", f"[::ffff:127.0.0.1]:{PORT}", f"127.0.0.2:{PORT}", f"127.1:{PORT}", f"0.0.0.0:{PORT}",
    f"[::]:{PORT}", f"[0:0:0:0:0:0:0:1]:{PORT}", f"[::ffff:7f00:1]:{PORT}", f"2130706433:{PORT}", f"0x7f000001:{PORT}", f"evil.example:{PORT}",
    "localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost", f"192.168.1.5:{PORT}", "", ":", f":{PORT}", "localhost:",
    f"localhost:{PORT}@evil.example", f"user@localhost:{PORT}", f"localhost:{PORT}/x", f"localhost:{PORT}#x", f"localhost :{PORT}", "localhost:x",
    f"localhost:{PORT},evil.example", "[::1", "::1", f"localhost\t:{PORT}", "lоcalhost", f"http://localhost:{PORT}", "localhost:123456",
]  # fmt: skip


def scope(
    host: str | None = f"localhost:{PORT}",
    *,
    method: str = "POST",
    path: str = "/gradio_api/queue/join",
    kind: str = "http",
    server=("127.0.0.1", PORT),
    **headers: str,
):
    raw = [] if host is None else [(b"host", host.encode())]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": kind, "method": method, "path": path, "headers": raw, "server": server, "client": ("127.0.0.1", 1)}


async def answer(rules: Rules, asked) -> tuple[int, dict[str, str], bytes]:
    """Of an app that answers 200 behind the check; 0 where a WebSocket was closed."""
    sent = []

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"kept"), (b"vary", b"accept")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def send(message) -> None:
        sent.append(message)

    await OwnPagesOnly(app, rules=rules, api_paths=["/v1", "/healthz"])(asked, None, send)
    if sent[0]["type"] == "websocket.close":
        return 0, {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


# ---- names
@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/file=/x", "/v1/models", "/healthz", "/gradio_api/mcp/"],
)
async def test_a_machine_of_ones_own_answers_to_the_names_of_loopback(host, path):
    assert (await answer(Rules(), scope(host, path=path)))[0] == 200


@pytest.mark.parametrize("host", [*OTHERS, None])
async def test_and_to_no_other_on_any_path(host):
    for path in (
        "/",
        "/config",
        "/gradio_api/queue/join",
        "/gradio_api/upload",
        "/gradio_api/file=/x",
        "/v1/models",
        "/healthz",
        "/gradio_api/mcp/",
    ):
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            status, headers, body = await answer(Rules(), scope(host, path=path, method=method, origin=f"http://{host}"))
            assert status == 403 and "access-control-allow-origin" not in headers
            assert json.loads(body)["error"]["code"] == "host_refused"


async def test_the_owner_is_told_what_to_do():
    status, headers, body = await answer(Rules(), scope("gpu.example:7860", method="GET", path="/", accept="text/html,*/*"))
    assert status == 403 and headers["content-type"].startswith("text/plain")
    assert b"PLAYGROUND_HOSTS" in body and b"gpu.example" in body


@pytest.mark.parametrize("host", ["gpu.example:1", "gpu.example", "GPU.example", "192.168.1.5:7860", "[fd00::1]:7860"])
async def test_names_that_the_owner_gave_are_answered(host):
    settings = load_settings(hosts="gpu.example, 192.168.1.5:7860, [fd00::1]")
    assert (await answer(Rules.of(settings, listens_at="127.0.0.1", shared=False), scope(host)))[0] == 200


@pytest.mark.parametrize("host", ["x.gpu.example", "gpu.example.evil", "192.168.1.5:7861", "192.168.1.5", "[fd00::2]"])
async def test_and_nothing_like_them(host):
    settings = load_settings(hosts="gpu.example, 192.168.1.5:7860, [fd00::1]")
    assert (await answer(Rules.of(settings, listens_at="127.0.0.1", shared=False), scope(host)))[0] == 403


@pytest.mark.parametrize("twice", ["host", "origin"])
async def test_a_request_that_names_two_is_refused(twice):
    asked = scope(origin=f"http://localhost:{PORT}")
    asked["headers"] += [(twice.encode(), b"localhost:7860" if twice == "host" else b"http://localhost:7860")]
    assert (await answer(Rules(), asked))[0] == 403
    assert (await answer(Rules(public=True), asked))[0] == 403


async def test_the_address_that_it_was_told_to_listen_at_is_its_own():
    assert (await answer(Rules(listens_at="127.0.0.2"), scope("127.0.0.2:7860", server=("127.0.0.2", PORT))))[0] == 200
    assert (await answer(Rules(listens_at="::1"), scope("[::1]:7860", server=("::1", PORT))))[0] == 200
    for wildcard in ("0.0.0.0", "::"):
        assert (await answer(Rules(listens_at=wildcard, shared=True), scope("0.0.0.0:7860")))[0] == 403


@pytest.mark.parametrize(
    ("host", "reached", "status"),
    [
        ("192.168.1.5:7860", "192.168.1.5", 200),
        ("[fd00::1]:7860", "fd00::1", 200),
        ("localhost:7860", "127.0.0.1", 200),
        (f"{socket.gethostname()}:7860", "192.168.1.5", 200),
        (f"{socket.gethostname()}.local", "192.168.1.5", 200),
        ("192.168.1.6:7860", "192.168.1.5", 403),
        ("evil.example:7860", "192.168.1.5", 403),  # rebinding from inside the network
        ("127.0.0.2:7860", "127.0.0.2", 403),
        ("[::ffff:127.0.0.1]:7860", "127.0.0.1", 403),
        ("0.0.0.0:7860", "127.0.0.1", 403),
    ],
)
async def test_shared_with_the_network_it_answers_to_the_address_that_was_reached(host, reached, status):
    rules = Rules(listens_at="0.0.0.0", shared=True)
    assert (await answer(rules, scope(host, server=(reached, PORT))))[0] == status
    assert (await answer(Rules(listens_at="127.0.0.1"), scope("192.168.1.5:7860", server=("192.168.1.5", PORT))))[0] == 403


async def test_a_public_host_answers_to_any_name():
    assert (await answer(Rules(public=True), scope("qwen.hf.space", origin="https://qwen.hf.space")))[0] == 200


# ---- pages
FOREIGN = [
    "http://evil.example", "null", "http://localhost:3000", f"http://127.0.0.1:{PORT}", "file://", "chrome-extension://abc", "https://localhost", "http://localhost",
    f"http://localhost.:{PORT}", f"http://foo.localhost:{PORT}", f"http://localhost:{PORT}@evil.example", f"http://localhost:{PORT}.evil.example", "", "localhost:7860",
    f"ftp://localhost:{PORT}", f"http://localhost:{PORT}#x", f"http://user@localhost:{PORT}",
]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("rules", [Rules(), Rules(public=True), Rules(shared=True), Rules(token=True)])
async def test_a_page_of_another_site_is_refused_before_anything_runs(origin, rules):
    for method in ("GET", "POST", "OPTIONS"):
        for path in ("/gradio_api/queue/data", "/gradio_api/upload", "/v1/chat/completions", "/", "/gradio_api/mcp/"):
            asked = scope(method=method, path=path, origin=origin, access_control_request_method="POST")
            status, headers, _ = await answer(rules, asked)
            assert status == 403 and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("host", "origin", "more"),
    [
        ("localhost:7860", "http://localhost:7860", {}),
        ("[::1]:7860", "http://[::1]:7860", {}),
        ("localhost", "http://localhost:80", {}),
        ("localhost:443", "https://localhost", {}),
        ("localhost:7860", "HTTP://LOCALHOST:7860", {}),
        # behind a proxy that changes the name: it tells the one outside, or the browser says what it knows
        ("127.0.0.1:7860", "https://play.example", {"x_forwarded_host": "play.example"}),
        ("127.0.0.1", "http://127.0.0.1:8088", {"sec_fetch_site": "same-origin"}),
        ("localhost", "http://localhost:8088", {"x_forwarded_proto": "http"}),
        ("localhost", "https://localhost:8443", {"x_forwarded_host": "localhost", "x_forwarded_proto": "https"}),
    ],
)
async def test_its_own_pages_pass(host, origin, more):
    assert (await answer(Rules(), scope(host, origin=origin, **more)))[0] == 200
    assert (await answer(Rules(public=True), scope(host, origin=origin, **more)))[0] == 200


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "no-cors", 403),  # <img>, <script>, <link> of a page elsewhere: no origin is sent along
        ("same-site", "no-cors", 403),
        ("cross-site", "websocket", 403),
        ("cross-site", None, 403),
        ("cross-site", "navigate", 200),  # a link to the page, or a Space's frame
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        (None, None, 200),  # curl
    ],
)
async def test_parts_of_the_page_are_not_loaded_by_others(site, mode, status):
    told = {name: value for name, value in (("sec_fetch_site", site), ("sec_fetch_mode", mode)) if value}
    assert (await answer(Rules(public=True), scope(method="GET", path="/config", **told)))[0] == status


async def test_a_web_socket_is_refused_too():
    assert (await answer(Rules(), scope("evil.example", kind="websocket", path="/x")))[0] == 0
    assert (await answer(Rules(), scope(kind="websocket", path="/x", origin="http://evil.example")))[0] == 0


async def test_the_log_names_a_bounded_number_of_callers(caplog):
    guard = OwnPagesOnly(None, rules=Rules(), api_paths=())

    async def send(message) -> None:
        pass

    for n in range(MAX_LOGGED + 20):
        await guard(scope(f"x{n}.evil.example\x1b[31m"), None, send)
        await guard(scope(f"x{n}.evil.example\x1b[31m"), None, send)
    assert len(caplog.records) == MAX_LOGGED and not any("\x1b" in record.getMessage() for record in caplog.records)


# ---- pages that the owner names
LISTED = Rules(origins=frozenset(load_settings(origins="https://Tools.example/, vscode-webview://abc").origins), token=True)


@pytest.mark.parametrize("origin", ["https://tools.example", "vscode-webview://abc", "https://tools.example:443"])
async def test_a_named_page_may_call_and_the_http_api_answers_it_in_the_browsers_terms(origin):
    asked = scope(
        method="OPTIONS",
        path="/v1/chat/completions",
        origin=origin,
        access_control_request_method="POST",
        access_control_request_headers="authorization,x-a",
    )
    status, headers, body = await answer(LISTED, asked)
    assert (status, body, headers["access-control-allow-origin"]) == (204, b"", origin)
    assert headers["access-control-allow-headers"] == "authorization,x-a" and "POST" in headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in headers
    status, headers, body = await answer(LISTED, scope(path="/v1/chat/completions", origin=origin))
    assert (status, body) == (200, b"hello") and headers["access-control-allow-origin"] == origin and headers["x-own"] == "kept"
    assert "Origin" in headers["vary"] and "accept" in headers["vary"] and "x-request-id" in headers["access-control-expose-headers"]
    assert (await answer(LISTED, scope(origin=origin)))[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://tools.example", "https://x.tools.example", "https://tools.example:8443", "vscode-webview://abd", "null"]
)
async def test_and_nobody_like_it(origin):
    for path in ("/v1/models", "/gradio_api/queue/join"):
        assert (await answer(LISTED, scope(path=path, origin=origin)))[0] == 403


async def test_without_a_token_the_http_api_answers_no_page_of_another_site():
    rules = Rules(origins=LISTED.origins)
    status, headers, body = await answer(rules, scope(path="/v1/models", origin="https://tools.example"))
    assert status == 403 and b"PLAYGROUND_API_TOKEN" in body and "access-control-allow-origin" not in headers
    assert (
        await answer(rules, scope(method="OPTIONS", path="/v1/models", origin="https://tools.example", access_control_request_method="GET"))
    )[0] == 403


# ---- where it listens
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu.example", "fd00::1", ""])
def test_listening_to_a_network_is_never_an_accident(host):
    with pytest.raises(ConfigError) as refused:
        check_listening(host, public=False, shared=False)
    assert "PLAYGROUND_PUBLIC" in refused.value.hint and "--share-with-network" in refused.value.hint
    check_listening(host, public=True, shared=False)
    check_listening(host, public=False, shared=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2", "LOCALHOST"])
def test_loopback_needs_nothing(host):
    check_listening(host, public=False, shared=False)
    assert is_loopback(host)


# ---- how they are written
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", HostName("a")),
        ("A.b:80", HostName("a.b", "80")),
        ("[::1]:1", HostName("[::1]", "1")),
        ("a_b", HostName("a_b")),
        ("-a", None),
        ("a b", None),
        ("a:1:2", None),
        ("[x]", None),
    ],
)
def test_host_names(text, found):
    assert host_name(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://A.b/", "https://a.b"),
        ("http://a:80", "http://a"),
        ("https://a:80", "https://a:80"),
        ("null", None),
        ("a.b", None),
        ("http://", None),
        ("http://a/b", None),
        ("://a", None),
    ],
)
def test_origins(text, found):
    assert origin_of(text) == found


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("hosts", "http://gpu.example"),
        ("hosts", "gpu.example/x"),
        ("hosts", "*"),
        ("origins", "tools.example"),
        ("origins", "https://a/b"),
        ("origins", "*"),
    ],
)
def test_a_setting_that_is_none_is_told(setting, value):
    with pytest.raises(ConfigError, match=setting):
        load_settings(**{setting: value})


def test_a_name_in_other_letters_is_taken_as_browsers_send_it():
    assert load_settings(hosts="bücher.example").hosts == (HostName("xn--bcher-kva.example"),)
