"""Pages of other sites in a real browser: what they try on this host, and what still works: our own page, a reverse proxy, a frame."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend import Backend
from tests.browser.conftest import FLAGS, ask, chromium_path
from tests.browser.test_chat import state
from tests.nginx import NGINX, running_nginx
from tests.running_page import free_port, running_page

SECRET = "Câu hỏi riêng tư 秘密"
# names and addresses that lead to loopback; a browser resolves the first ones by itself
FORMS = [
    "localhost",
    "127.0.0.1",
    "foo.localhost",
    "localhost.",
    "[::ffff:127.0.0.1]",
    "127.0.0.2",
    "127.1",
    "0.0.0.0",
    "[::1]",
    "rebound.test",
    "2130706433",
]
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx found (Debian's package nginx-light)")

# every way that a page has to reach another origin: what it could read, by the way's name
TRIAL = """async base => {
  const read = {}, session = Math.random().toString(36).slice(2);
  const limit = promise => Promise.race([promise, new Promise((_, no) => setTimeout(() => no("late"), 4000))]);
  const join = JSON.stringify({ data: [], fn_index: 0, session_hash: session, trigger_id: null });
  const json = { "content-type": "application/json" };
  const ways = {
    page: () => fetch(base + "/"), config: () => fetch(base + "/config"), withCookies: () => fetch(base + "/config", { credentials: "include" }),
    join: () => fetch(base + "/gradio_api/queue/join", { method: "POST", headers: json, body: join }),
    joinWithCookies: () => fetch(base + "/gradio_api/queue/join", { method: "POST", headers: json, body: join, credentials: "include" }),
    simple: () => fetch(base + "/gradio_api/queue/join", { method: "POST", body: join, mode: "no-cors" }),
    blob: () => fetch(base + "/gradio_api/queue/join", { method: "POST", body: new Blob([join]), mode: "no-cors" }),
    data: () => fetch(base + "/gradio_api/queue/data?session_hash=" + session),
    chat: () => fetch(base + "/v1/chat/completions", { method: "POST", headers: json, body: '{"model":"local:demo","messages":[{"role":"user","content":"x"}]}' }),
    models: () => fetch(base + "/v1/models"), metrics: () => fetch(base + "/metrics"), health: () => fetch(base + "/healthz"),
    tool: () => fetch(base + "/gradio_api/run/chat", { method: "POST", headers: json, body: '{"data":["x"]}' }),
    mcp: () => fetch(base + "/gradio_api/mcp/", { method: "POST", headers: json, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' }),
    upload: () => { const form = new FormData(); form.append("files", new Blob(["x"]), "x.txt"); return fetch(base + "/gradio_api/upload", { method: "POST", body: form, mode: "no-cors" }); },
    beacon: () => { navigator.sendBeacon(base + "/gradio_api/queue/join", join); return Promise.reject("sent"); },
  };
  const once = (start) => new Promise((done) => { start(done); setTimeout(() => done(""), 4000); });
  const probes = Object.entries(ways).map(async ([name, way]) => {
    try { const answer = await limit(way()); read[name] = answer.type === "opaque" ? "" : answer.status + " " + (await answer.text()).slice(0, 200); } catch (error) { read[name] = ""; }
  });
  probes.push(once((done) => { const source = new EventSource(base + "/gradio_api/queue/data?session_hash=" + session); source.onmessage = (e) => done(e.data); source.onerror = () => { source.close(); done(""); }; }).then((what) => { read.events = what; }));
  probes.push(once((done) => { const tag = document.createElement("script"); tag.src = base + "/theme.css"; tag.onload = () => done("loaded"); tag.onerror = () => done(""); document.head.append(tag); }).then((what) => { read.script = what; }));
  probes.push(once((done) => { const image = new Image(); image.onload = () => done("loaded"); image.onerror = () => done(""); image.src = base + "/favicon.ico"; }).then((what) => { read.picture = what; }));
  for (const kind of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]) {
    const form = document.createElement("form"), frame = document.createElement("iframe");
    frame.name = kind; form.target = kind; form.method = "POST"; form.enctype = kind; form.action = base + "/gradio_api/queue/join";
    const input = document.createElement("input"); input.name = '{"data":[],"fn_index":0,"session_hash":"' + session + '","x":"'; input.value = '"}'; form.append(input);
    document.body.append(frame, form); form.submit();
    probes.push(once((done) => { frame.onload = () => done(""); }));
  }
  await Promise.all(probes);
  return read;
}"""


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def site_elsewhere() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(timeout=10)


@contextmanager
def names(browser: Browser, *rules: str) -> Iterator[Browser]:
    """A browser of its own in which names lead where a test wants them."""
    own = browser.browser_type.launch(executable_path=chromium_path(), args=[*FLAGS, f"--host-resolver-rules={','.join(rules)}"])
    yield own
    own.close()


@pytest.fixture
def asked(page: Page, server: tuple[str, Backend]) -> tuple[str, Backend]:
    """The page's owner has asked something that nobody else may see."""
    ask(page, f"{SECRET} [[words:20]]")
    state(page, "done")
    return server


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def kept(backend: Backend) -> tuple[int, int, int]:
    """What another page could have changed: the runs, the servers that were connected, the files that were uploaded."""
    uploads = Path(os.environ["GRADIO_TEMP_DIR"]) if "GRADIO_TEMP_DIR" in os.environ else Path(tempfile.gettempdir()) / "gradio"
    return len(backend.runs._runs), len(backend.engines._pool._entries), len(list(uploads.rglob("x.txt")))


def test_a_page_of_another_site_reads_nothing_and_changes_nothing(browser, asked):
    url, backend = asked
    before = kept(backend)
    with site_elsewhere() as elsewhere, names(browser, "MAP evil.test 127.0.0.1", "MAP rebound.test 127.0.0.1") as own:
        page = own.new_page()
        page.goto(f"http://evil.test:{elsewhere}/")
        for form in FORMS:
            found = page.evaluate(TRIAL, f"http://{form}:{port_of(url)}")
            assert {way: what for way, what in found.items() if what} == {}, form
    assert kept(backend) == before


def test_a_page_of_another_port_of_this_machine_is_another_site(browser, asked):
    url, backend = asked
    before = kept(backend)
    with site_elsewhere() as elsewhere:
        page = browser.new_page()
        page.goto(f"http://localhost:{elsewhere}/")
        found = page.evaluate(TRIAL, f"http://localhost:{port_of(url)}")
        page.close()
    assert {way: what for way, what in found.items() if what} == {}
    assert kept(backend) == before


def test_a_name_that_was_made_to_lead_here_gets_nothing(browser, asked):
    """DNS rebinding: the page is of the same origin as what it asks for."""
    url, backend = asked
    before = kept(backend)
    with names(browser, "MAP rebound.test 127.0.0.1") as own:
        page = own.new_page()
        base = f"http://rebound.test:{port_of(url)}"
        shown = page.goto(base)
        assert shown is not None and shown.status == 403 and "PLAYGROUND_HOSTS" in page.inner_text("body")
        found = page.evaluate(TRIAL, base)
        assert SECRET not in str(found)
        # it may read that it is refused, and nothing else
        assert {way: what for way, what in found.items() if what and not what.startswith("403 ")} == {}
    assert kept(backend) == before


def test_the_names_of_loopback_open_the_page(browser, server):
    for form in ("localhost", "127.0.0.1"):
        page = browser.new_page()
        page.goto(f"http://{form}:{port_of(server[0])}/")
        ask(page, "hello [[words:5]]")
        state(page, "done")
        page.close()


@pytest.fixture(scope="module")
def prefixed(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("prefixed")
    with running_page(dashscope_base_url=emulator, dashscope_api_key="sk-test", data_dir=data, demo=False, root_path="/chat") as (url, _):
        yield url


PROXY = "proxy_http_version 1.1; proxy_buffering off; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;"


@needs_nginx
@pytest.mark.parametrize(
    "host",
    [
        "proxy_set_header Host $http_host;",
        "",
        "proxy_set_header X-Forwarded-Host $http_host;",
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-Host $host;",  # as gradio's guide has it: the port is left out
    ],
)
def test_behind_nginx_with_a_prefix_the_page_works(browser, prefixed, host):
    port = free_port()
    server = f"server {{ listen 127.0.0.1:{port}; location /chat/ {{ proxy_pass {prefixed}/; {PROXY} {host} }} }}"
    with running_nginx(port, server):
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/chat/")
        ask(page, "Xin chào 你好 [[words:30]]")
        state(page, "done")
        page.reload()
        expect(page.locator("#chat-log .answer").last).to_be_visible()
        assert page.request.get(f"http://127.0.0.1:{port}/chat/healthz").json() == {"status": "ok"}
        page.close()
    assert errors == []


@needs_nginx
def test_behind_nginx_under_a_name_that_the_owner_gave_the_page_works(browser, emulator, tmp_path):
    """Over plain HTTP, where a browser says nothing of its own about where a page comes from, and with a port that nginx leaves out."""
    port = free_port()
    with running_page(dashscope_base_url=emulator, dashscope_api_key="sk-test", data_dir=tmp_path, demo=False, hosts="play.test") as (
        url,
        _,
    ):
        server = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; {PROXY} proxy_set_header Host $host; }} }}"
        with running_nginx(port, server), names(browser, "MAP play.test 127.0.0.1", "MAP evil.test 127.0.0.1") as own:
            page = own.new_page()
            page.goto(f"http://play.test:{port}/")
            ask(page, "Xin chào 你好 [[words:30]]")
            state(page, "done")
            refused = page.goto(f"http://evil.test:{port}/")
            assert refused is not None and refused.status == 403


@needs_nginx
def test_in_the_hubs_frame_a_space_works_and_its_visitor_is_known(browser, emulator, tmp_path):
    """TLS in front, the page in a frame of another site, the cookie a third party's."""
    port = free_port()
    key = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=test",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    subprocess.run(key, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {tmp_path}/cert.pem; ssl_certificate_key {tmp_path}/key.pem;"
    frame = "<!doctype html><body style=margin:0><iframe src=https://qwen.hf.space/ style=width:100vw;height:100vh;border:0></iframe>"
    (tmp_path / "index.html").write_text(frame)
    data = tmp_path / "data"
    with running_page(dashscope_base_url=emulator, dashscope_api_key="sk-test", data_dir=data, demo=False, public=True) as (url, backend):
        space = f"server {{ {tls} server_name qwen.hf.space; location / {{ proxy_pass {url}; {PROXY} proxy_set_header Host $host; }} }}"
        runs = """location /api/spaces/ { add_header Access-Control-Allow-Origin *; return 200 '{"id":"a/qwen","runtime":{"stage":"RUNNING"}}'; }"""
        hub = f"server {{ {tls} server_name huggingface.co evil.test; root {tmp_path}; {runs} }}"
        leads = f"127.0.0.1:{port}"
        rules = [f"MAP {name}:443 {leads}" for name in ("huggingface.co", "qwen.hf.space", "evil.test")]
        with running_nginx(port, space + hub), names(browser, *rules) as own:
            context = own.new_context(ignore_https_errors=True)
            page = context.new_page()
            page.goto("https://huggingface.co/")
            inside = page.frame(url="https://qwen.hf.space/")
            assert inside is not None
            inside.locator("#composer textarea").fill("Xin chào 你好 [[words:30]]")
            inside.locator("#composer textarea").press("Enter")
            expect(inside.locator("#status")).to_have_attribute("data-state", "done")
            expect(inside.locator("#chat-log .answer").last).to_be_visible()
            (owner,) = {run.owner for run in backend.runs._runs.values()}
            assert owner.startswith("visitor:")
            elsewhere = context.new_page()
            elsewhere.goto("https://evil.test/")
            found = elsewhere.evaluate(TRIAL, "https://qwen.hf.space")
            assert {way: what for way, what in found.items() if what} == {}
            assert len(backend.runs._runs) == 1
            # in frames of others it shows nothing; what the trial did took longer than that
            assert [frame.locator("#composer").count() for frame in elsewhere.frames[1:]] == [0] * len(elsewhere.frames[1:])
