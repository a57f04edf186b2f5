"""MCP servers over stdio and streamable HTTP, real ones on this machine: what their tools say, and every way in which one can fail."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from backend.addresses import pin
from backend.errors import AuthError, BadInput, TimedOut, Unavailable
from backend.settings import load_settings
from backend.tools import mcp_client, mcp_transport
from backend.tools.definitions import check_tools
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.mcp_client import McpConnections, McpServer, fitting_names
from backend.tools.running import ToolContext, ToolFailed
from backend.tools.toolbox import Toolbox, mcp_server
from backend.types import Tool
from tests.running_page import free_port

SERVER = """
import json, os, socket, sys
import anyio, uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import AudioContent, BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

server = FastMCP("testing", log_level="CRITICAL")
DATA = "aGVsbG8="

@server.tool()
def add(a: int, b: int) -> int:
    "Adds two numbers."
    return a + b

@server.tool()
def pid() -> int:
    return os.getpid()

@server.tool()
def surroundings() -> str:
    return json.dumps({"names": sorted(os.environ), "folder": os.getcwd()})

@server.tool(name="odd name/ä")
def odd() -> str:
    return "odd"

@server.tool()
def pieces() -> CallToolResult:
    return CallToolResult(content=[
        TextContent(type="text", text="first"), ImageContent(type="image", data=DATA, mimeType="image/png"),
        AudioContent(type="audio", data=DATA, mimeType="audio/wav"), ResourceLink(type="resource_link", name="log", uri="file:///log"),
        EmbeddedResource(type="resource", resource=TextResourceContents(uri="file:///note", text="noted")),
        EmbeddedResource(type="resource", resource=BlobResourceContents(uri="file:///blob", blob=DATA)), TextContent(type="text", text="last"),
    ])

@server.tool()
def structured(empty: bool = False) -> CallToolResult:
    return CallToolResult(content=[], structuredContent=None if empty else {"grad": "20 °C"})

@server.tool()
def big(characters: int) -> str:
    return "x" * characters

@server.tool()
def fail() -> str:
    raise ValueError("no such table")

@server.tool()
def die() -> str:
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)

given_up = 0

@server.tool()
async def forever() -> str:
    global given_up
    try:
        await anyio.sleep_forever()
    finally:
        given_up += 1

@server.tool()
def how_many_given_up() -> int:
    return given_up

@server.tool()
def who(context: Context) -> str:
    return context.request_context.request.headers.get("authorization", "nobody")

if sys.argv[1:]:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", int(sys.argv[1])))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical")).run(sockets=[listening])
else:
    print("a line that is no message")
    server.run()
"""
SUM = {"a": 2, "b": 3}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("mcp") / "a server.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
def stdio(script):
    return McpServer("here", command=shlex.join([sys.executable, str(script)]))


@pytest.fixture
async def connections():
    made = McpConnections(allow_stdio=True, allow_private=True, connect_limit_s=30, call_limit_s=30, check_s=0.05)
    yield made
    await made.aclose()


@contextmanager
def listening(script, port=0):
    """A server over HTTP in a process of its own, so that it can be killed."""
    with subprocess.Popen([sys.executable, str(script), str(port)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield McpServer("there", url=f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def http(script):
    with listening(script) as (server, _):
        yield server


@asynccontextmanager
async def answering(answer):
    """Something that speaks HTTP and no MCP: the same bytes to every request, or nothing at all."""
    requests = []

    async def serve(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is not None:
            writer.write(answer)
            await writer.drain()
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", requests


def response(status, kind="text/html", body=b"<p>Hello</p>", more=""):
    return f"HTTP/1.1 {status} S\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n".encode() + body


async def until(condition):
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s, "it never came true"
        await asyncio.sleep(0.01)


def is_over(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def python(code):
    return McpServer("odd", command=shlex.join([sys.executable, "-c", code]))


# ---- what tools say
@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_tools_are_listed_and_answer(connections, request, way):
    server = request.getfixturevalue(way)
    tools = await connections.connect("me", server)
    check_tools(tools)
    assert connections.tools("me", server.name) == tools
    add = next(tool for tool in tools if tool.name == "add")
    assert add.description == "Adds two numbers."
    assert set(add.parameters["required"]) == {"a", "b"}

    async def call(tool, **arguments):
        return await connections.call("me", server.name, tool, arguments)

    assert await asyncio.gather(*(call("add", a=n, b=n) for n in range(5))) == ["0", "2", "4", "6", "8"]
    assert await call("odd_name__") == await call("odd name/ä") == "odd"
    assert (await call("pieces")).split("\n") == [
        "first",
        "[An image (image/png, 5 bytes) that cannot be shown here.]",
        "[A sound (audio/wav, 5 bytes) that cannot be shown here.]",
        "[A link to log: file:///log]",
        "[file:///note]",
        "noted",
        "[A file: file:///blob (of unknown kind, 5 bytes) that cannot be shown here.]",
        "last",
    ]
    assert await call("structured") == '{"grad": "20 °C"}'
    assert await call("structured", empty=True) == "[The tool returned nothing.]"
    assert await call("big", characters=200_000) == "x" * 200_000
    with pytest.raises(ToolFailed, match="no such table"):
        await call("fail")
    with pytest.raises(ToolFailed, match=r"b\n.*Field required"):
        await call("add", a=1)
    with pytest.raises(ToolFailed, match=r"no tool named nothing\. There are: add, "):
        await call("nothing")


async def test_a_program_sees_none_of_our_secrets_and_not_our_folder(connections, stdio, monkeypatch):
    for name in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY", "PLAYGROUND_API_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sk-secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    await connections.connect("me", stdio)
    found = json.loads(await connections.call("me", "here", "surroundings", {}))
    own = {"LC_CTYPE"}  # Python's own, where the locale is C
    assert {"PATH", "LANG"} <= set(found["names"]) <= {*mcp_transport.INHERITED, "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"} | own
    assert Path(found["folder"]) == Path.home()


async def test_headers_are_sent_and_shown_nowhere(connections, http, caplog):
    server = McpServer("there", url=http.url, headers={"Authorization": SecretStr("Bearer sk-secret\n")})
    caplog.set_level("DEBUG")
    await connections.connect("me", server)
    assert await connections.call("me", "there", "who", {}) == "Bearer sk-secret"
    assert "sk-secret" not in caplog.text + repr(server)


async def test_owners_see_their_own_servers_alone(connections, stdio, http):
    await connections.connect("me", stdio)
    await connections.connect("you", McpServer("here", url=http.url))
    assert await connections.call("me", "here", "pid", {}) != await connections.call("you", "here", "pid", {})
    await connections.disconnect("me")
    assert connections.tools("me", "here") is None
    with pytest.raises(ToolFailed, match="not connected"):
        await connections.call("me", "here", "add", SUM)
    assert await connections.call("you", "here", "add", SUM) == "5"


async def test_a_server_of_the_same_name_takes_its_place_and_the_program_ends(connections, stdio):
    await connections.connect("me", stdio)
    first = int(await connections.call("me", "here", "pid", {}))
    await connections.connect("me", stdio)
    await until(lambda: is_over(first))
    second = int(await connections.call("me", "here", "pid", {}))
    await connections.aclose()
    await until(lambda: is_over(second))


async def test_no_more_than_the_limit_for_an_owner(connections, http, monkeypatch):
    monkeypatch.setattr(mcp_client, "MOST_PER_OWNER", 1)
    await connections.connect("me", http)
    await connections.connect("me", http)
    await connections.connect("me", McpServer("another", url=http.url))
    assert connections.tools("me", "there") is None, "the one that was not called for the longest time made room"
    assert connections.tools("me", "another")
    monkeypatch.setattr(mcp_client, "MOST_CONNECTIONS", 1)
    await connections.connect("you", http)
    assert connections.tools("me", "another") is None, "the oldest made room"


# ---- connecting fails
@pytest.mark.parametrize(
    ("server", "told"),
    [
        (McpServer("x"), "a command or an address"),
        (McpServer("x", command="uvx it", url="http://127.0.0.1/"), "a command or an address"),
        (McpServer("x", command="no-such-program --flag"), "no program named 'no-such-program'"),
        (McpServer("x", command="python 'open"), "cannot be read: No closing quotation"),
        (McpServer("x", command="/etc/passwd"), "no program named '/etc/passwd'"),
        (McpServer("x", url="ftp://127.0.0.1/"), "begins with http"),
        (McpServer("x", url="http://169.254.169.254/mcp"), "not called: it is inside the network"),
        (McpServer("x", url="http://[::ffff:169.254.169.254]/mcp"), "not called: it is inside the network"),
        (McpServer("x", url="http://127.0.0.1/", headers={"Key": SecretStr("sk-1\r\nX: y")}), "header 'Key' cannot be sent"),
        (McpServer("x", url="http://127.0.0.1/", headers={"Bad name": SecretStr("sk-1")}), "header 'Bad name' cannot be sent"),
    ],
)
async def test_what_is_no_server_is_said_at_once(connections, server, told):
    with pytest.raises(BadInput, match=told) as caught:
        await connections.connect("me", server)
    assert caught.value.hint and "sk-1" not in str(caught.value)
    assert connections.tools("me", "x") is None


async def test_a_program_of_another_kind_of_machine(connections, tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"\x7fELF of no machine")
    path.chmod(0o755)
    with pytest.raises(BadInput, match="cannot be started: Exec format error"):
        await connections.connect("me", McpServer("odd", command=str(path)))


async def test_a_program_that_dies_at_its_start_tells_its_last_words(connections):
    with pytest.raises(Unavailable, match="odd ended at its start") as caught:
        await connections.connect("me", python("import sys; sys.exit('no such database')"))
    assert caught.value.hint == "It last wrote: no such database"


async def test_a_program_that_never_answers(stdio):
    connections = McpConnections(allow_stdio=True, allow_private=True, connect_limit_s=0.2)
    with pytest.raises(TimedOut, match=r"odd did not answer within 0\.2 s"):
        await connections.connect("me", python("import sys; sys.stdin.read()"))


async def test_a_program_that_never_answers_and_does_not_end(tmp_path):
    """Nor is anything left of it, of a connection that was given up before its time."""
    connections = McpConnections(allow_stdio=True, allow_private=True)
    noted = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(noted)!r}).write_text(str(os.getpid())); time.sleep(600)"
    connecting = asyncio.create_task(connections.connect("me", python(code)))
    await until(lambda: noted.exists() and noted.read_text())
    connecting.cancel()
    await until(lambda: is_over(int(noted.read_text())))
    assert connecting.cancelled()


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (response(200), BadInput, "There is no MCP server at the address of x"),
        (response(200, "application/json", b'{"status": "ok"}'), BadInput, "There is no MCP server"),
        (response(404), BadInput, "There is no MCP server"),
        (response(405), BadInput, r"There is no MCP server .* \(status 405\)"),
        (response(302, more="Location: http://example.org/\r\n"), BadInput, r"status 302"),
        (response(401), AuthError, "wants to know who asks"),
        (response(503), Unavailable, "answered with status 503"),
        (b"SSH-2.0-OpenSSH\r\n", Unavailable, "cannot be reached"),
        (None, TimedOut, r"did not answer within 0\.5 s"),
    ],
)
async def test_an_address_that_is_no_mcp_server(answer, kind, told):
    limit_s = 30 if answer else 0.5
    connections = McpConnections(allow_stdio=False, allow_private=True, connect_limit_s=limit_s)
    async with answering(answer) as (url, _):
        with pytest.raises(kind, match=told) as caught:
            await connections.connect("me", McpServer("x", url=url))
        assert type(caught.value) is kind and caught.value.hint


async def test_an_address_where_nobody_listens(connections):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="there cannot be reached"):
            await connections.connect("me", McpServer("there", url=f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"))


# ---- a public page
async def test_a_public_page_starts_no_program_and_calls_no_private_address(stdio, http):
    connections = McpConnections(allow_stdio=False, allow_private=False)
    with pytest.raises(BadInput, match="starts no programs"):
        await connections.connect("me", stdio)
    with pytest.raises(BadInput, match="does not call private addresses"):
        await connections.connect("me", http)


async def test_the_address_that_was_looked_at_is_the_one_that_is_called(monkeypatch):
    """A name may mean a public address when it is looked at and a private one the next time it is asked for."""
    asked = []

    def both(host, port, **_):
        asked.append(host)
        return [(0, 0, 0, "", ("2606:4700::1111", 0)), (0, 0, 0, "", ("93.184.216.34", 0))]

    monkeypatch.setattr("socket.getaddrinfo", both)
    request = httpx.Request("POST", "https://turning.example:8443/mcp?a=1")
    await pin(request)
    assert str(request.url) == "https://93.184.216.34:8443/mcp?a=1" and asked == ["turning.example"]
    assert request.headers["host"] == "turning.example:8443" and request.extensions["sni_hostname"] == "turning.example"


async def test_what_a_public_page_reads_is_bounded(http, monkeypatch):
    async def public(request):
        pass

    monkeypatch.setattr("backend.addresses.pin", public)
    monkeypatch.setattr(mcp_transport, "MOST_BODY_BYTES", 50_000)
    connections = McpConnections(allow_stdio=False, allow_private=False, connect_limit_s=30)
    await connections.connect("me", http)
    with pytest.raises(ToolFailed, match="it answered with more than 50,000 bytes"):
        await connections.call("me", "there", "big", {"characters": 60_000})
    assert await connections.call("me", "there", "add", SUM) == "5"
    await connections.aclose()
    async with answering(response(200, "application/json", b"{}", "Content-Encoding: gzip\r\n")) as (url, requests):
        with pytest.raises(BadInput, match="no MCP server"):
            await connections.connect("me", McpServer("x", url=url))
        assert b"accept-encoding: identity" in requests[0].lower()


# ---- a server that is lost
async def test_a_program_that_dies_during_a_call_is_started_again_by_the_next(connections, stdio):
    await connections.connect("me", stdio)
    first = await connections.call("me", "here", "pid", {})
    with pytest.raises(ToolFailed, match=r"here was lost during the call: the program ended; it last wrote: out of luck\. The next call"):
        await connections.call("me", "here", "die", {})
    two = await asyncio.gather(*(connections.call("me", "here", "pid", {}) for _ in range(2)))
    assert two[0] == two[1] != first, "started once for both"


async def test_a_program_that_died_between_two_calls_is_started_again(connections, stdio):
    await connections.connect("me", stdio)
    first = int(await connections.call("me", "here", "pid", {}))
    os.kill(first, 9)
    await until(lambda: is_over(first))
    assert await connections.call("me", "here", "add", SUM) == "5"


async def test_a_program_that_cannot_be_started_again(connections, tmp_path):
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    await connections.connect("me", McpServer("here", command=f"{sys.executable} {path}"))
    path.write_text("raise SystemExit('worn out')")
    with pytest.raises(ToolFailed, match="out of luck"):
        await connections.call("me", "here", "die", {})
    with pytest.raises(ToolFailed, match=r"here ended at its start\. It last wrote: worn out"):
        await connections.call("me", "here", "add", SUM)


async def test_a_server_over_http_that_dies_and_comes_back(connections, script):
    with listening(script) as (server, _):
        await connections.connect("me", server)
        with pytest.raises(ToolFailed, match="there was lost during the call: the connection is gone"):
            await connections.call("me", "there", "die", {})
    with pytest.raises(ToolFailed, match="there cannot be reached"):
        await connections.call("me", "there", "add", SUM)
    port = int(server.url.split(":")[2].split("/")[0])
    with listening(script, port):
        assert await connections.call("me", "there", "add", SUM) == "5"
    with listening(script, port):
        assert await connections.call("me", "there", "add", SUM) == "5", "a session that the new server does not know"


async def test_a_call_has_a_limit_and_the_session_outlives_it(stdio):
    connections = McpConnections(allow_stdio=True, allow_private=True, connect_limit_s=30, call_limit_s=0.3)
    await connections.connect("me", stdio)
    first = await connections.call("me", "here", "pid", {})
    with pytest.raises(ToolFailed, match=r"forever gave no result within 0\.3 s"):
        await connections.call("me", "here", "forever", {})
    assert await connections.call("me", "here", "pid", {}) == first
    await connections.aclose()


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_a_call_that_is_stopped_leaves_the_session_usable(connections, request, way):
    server = request.getfixturevalue(way)
    await connections.connect("me", server)
    calling = asyncio.create_task(connections.call("me", server.name, "forever", {}))
    assert await connections.call("me", server.name, "add", SUM) == "5"
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await connections.call("me", server.name, "add", SUM) == "5"


async def test_a_server_that_is_disconnected_during_a_call(connections, stdio):
    await connections.connect("me", stdio)
    calling = asyncio.create_task(connections.call("me", "here", "forever", {}))
    assert await connections.call("me", "here", "add", SUM) == "5"
    await connections.disconnect("me", "here")
    with pytest.raises(ToolFailed, match="lost during the call"):
        await calling


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_a_server_hears_that_a_call_is_given_up(connections, request, way):
    server = request.getfixturevalue(way)
    await connections.connect("me", server)
    before = int(await connections.call("me", server.name, "how_many_given_up", {}))
    calling = asyncio.create_task(connections.call("me", server.name, "forever", {}))
    await asyncio.sleep(0)
    await connections.call("me", server.name, "add", SUM)  # by then the call before it has arrived
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(30):
        while int(await connections.call("me", server.name, "how_many_given_up", {})) == before:
            await asyncio.sleep(0.02)


async def test_after_a_restart_an_address_is_connected_again_but_no_program_started(http, stdio):
    kit = ToolKit((ToolSpec(Tool("add", "", {}), "mcp", url=http.url, server="x"), ToolSpec(Tool("pid", "", {}), "mcp", url=stdio.command)))
    toolbox = Toolbox(load_settings())
    try:
        run = await toolbox.runners("me", kit)
        with pytest.raises(ToolFailed, match="not connected"):
            await run["add"](SUM, ToolContext())
        specs = await toolbox.connect_mcp("you", http.url, ToolKit(), from_here=False)
        again = Toolbox(load_settings())
        run = await again.runners("you", ToolKit(tuple(spec for spec in specs if spec.tool.name == "add")))
        assert await run["add"](SUM, ToolContext()) == "5"
        await again.aclose()
        run = await toolbox.runners("me", kit)
        with pytest.raises(ToolFailed, match="Connect it again under Tools"):
            await run["pid"]({}, ToolContext())
        await toolbox.connect_mcp("me", stdio.command, ToolKit(), from_here=True)
        forged = ToolSpec(Tool("weather", "", {}), "mcp", url="http://127.0.0.1:9/mcp", server="a server", remote="pid")
        run = await toolbox.runners("me", ToolKit((forged,)))
        with pytest.raises(ToolFailed, match="not connected"):
            await run["weather"]({}, ToolContext())
    finally:
        await toolbox.aclose()


async def test_two_calls_after_a_restart_connect_once(http):
    toolbox = Toolbox(load_settings())
    specs = await toolbox.connect_mcp("me", http.url, ToolKit(), from_here=False)
    await toolbox.aclose()
    toolbox = Toolbox(load_settings())
    try:
        run = await toolbox.runners("me", ToolKit(tuple(specs)))
        assert await asyncio.gather(*(run["add"]({"a": n, "b": 1}, ToolContext()) for n in range(4))) == ["1", "2", "3", "4"]
    finally:
        await toolbox.aclose()


# ---- others' servers
async def test_the_published_time_server(connections):
    tools = await connections.connect("me", McpServer("time", command=f"{sys.executable} -m mcp_server_time"))
    assert [tool.name for tool in tools] == ["get_current_time", "convert_time"]
    noon = {"source_timezone": "Asia/Shanghai", "time": "12:00", "target_timezone": "Asia/Ho_Chi_Minh"}
    assert json.loads(await connections.call("me", "time", "convert_time", noon))["time_difference"] == "-1.0h"
    with pytest.raises(ToolFailed, match="No time zone found with key Nowhere"):
        await connections.call("me", "time", "convert_time", {**noon, "source_timezone": "Nowhere"})


async def test_gradios_own_server(connections):
    import gradio as gr

    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    with gr.Blocks() as demo:
        gr.api(add, api_name="add")
    _, address, _ = demo.launch(mcp_server=True, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port())
    try:
        assert demo.mcp_error is None
        tools = await connections.connect("me", McpServer("page", url=f"{address}gradio_api/mcp/"))
        assert [(tool.name, tool.description) for tool in tools] == [("add", "Adds two numbers.")]
        assert await connections.call("me", "page", "add", SUM) == "5"
    finally:
        await connections.aclose()
        demo.close()


# ---- names and lengths
@pytest.mark.parametrize(
    ("names", "fitting"),
    [
        (["add", "get-time_2"], ["add", "get-time_2"]),
        (["a.b", "a_b", "a b"], ["a_b_2", "a_b", "a_b_3"]),
        (["", "天气"], ["tool", "__"]),
        (["x" * 65, "x" * 64, "x" * 66], ["x" * 62 + "_2", "x" * 64, "x" * 62 + "_3"]),
        (["add", "add"], ["add"]),
    ],
)
def test_names_that_engines_take(names, fitting):
    found = fitting_names(names)
    assert {own: name for name, own in found.items()} == dict(zip(names, fitting, strict=False))
    assert all(0 < len(name) <= 64 for name in found)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://user@127.0.0.1:8000/mcp", "127.0.0.1-8000"),
        ("https://many.example/", "many.example"),
        ("python -m mcp_server_time", "mcp_server_time"),
        ("/opt/a b/python -m mcp_server_time", "mcp_server_time"),
        ("uvx mcp-server-time", "mcp-server-time"),
        ("npx -y @scope/server-files", "server-files"),
        ("./server.py", "server"),
    ],
)
def test_a_server_is_called_what_a_person_would(address, name):
    assert mcp_server(address).name == name


def test_two_servers_of_one_host_have_two_names():
    assert mcp_server("https://many.example/@a/x/mcp").name != mcp_server("https://many.example/@b/y/mcp").name


def test_two_commands_of_one_program_have_two_names():
    first, second = (mcp_server(f"npx -y server-files {folder}").name for folder in ("/a", "/b"))
    assert first != second and first.startswith("server-files-")


@pytest.mark.parametrize(
    "address", ["ftp://host/mcp", "HTTP:///mcp", "http://host:port/mcp", "file:///etc/passwd", "http://[", "ws://host"]
)
def test_what_looks_like_an_address_is_never_run_as_a_command(address):
    with pytest.raises(BadInput, match=r"begins with http|cannot be"):
        mcp_server(address)


def test_one_address_is_one_server_however_it_is_typed():
    assert mcp_server("  HTTP://host:1/mcp ") == mcp_server("http://host:1/mcp")


async def test_a_key_goes_along_however_the_address_is_typed(http):
    box = Toolbox(load_settings())
    address = http.url.replace("http://", "HTTP://")
    box.keep_headers("me", address, "X-Key: k")
    tools = await box.connect_mcp("me", f" {address} ", ToolKit(), from_here=True)
    assert {spec.url for spec in tools} == {http.url}
    assert {name: value.get_secret_value() for name, value in box._server("me", http.url).headers.items()} == {"X-Key": "k"}
    runners = await box.runners("me", ToolKit(tuple(tools)))
    assert runners
    await box.aclose()


async def test_a_tool_with_a_description_beyond_the_limit_is_left_out(http, monkeypatch, connections):
    everything = {tool.name for tool in await connections.connect("me", http)}
    monkeypatch.setattr("backend.tools.mcp_session.MAX_TOOL_CHARS", 330)
    few = {tool.name for tool in await connections.connect("me", http)}
    assert few and few < everything
