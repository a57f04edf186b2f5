"""What runs the tools that answer by themselves: built in, over HTTP, on MCP servers. One for the process."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from pydantic import SecretStr

from backend.addresses import has_scheme, http_address
from backend.errors import BackendError, BadInput
from backend.settings import Settings
from backend.tools.headers import headers_from, plain_headers
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.mcp_client import EXAMPLE, LONGEST_NAME, McpConnections, McpServer
from backend.tools.running import RunTool, ToolContext, ToolFailed
from backend.types import Tool

MOST_HEADERS = 1_000  # addresses of all visitors


class Toolbox:
    """Knows from the settings what a visitor of this host may use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._others = settings.public
        self._mcp = McpConnections(allow_stdio=not settings.public, allow_private=not settings.public)
        self._connecting: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._headers: OrderedDict[tuple[str, str], Mapping[str, SecretStr]] = OrderedDict()

    def serve_others(self) -> None:
        """Called before the first visitor where the page listens to more than this machine: no programs are started then and nothing
        inside its network is called, since whoever opens the page could ask for that."""
        self._others = True
        self._mcp = McpConnections(allow_stdio=False, allow_private=False)

    def keep_headers(self, owner: str, address: str, text: str) -> None:
        """Those that go along with calls of `address`, one `Name: value` a line; the ones before stay where there are none. In memory
        only: a kit goes into chats and files, a key must not. Raises `BadInput`."""
        if text.strip():
            self._headers[owner, _as_called(address)] = headers_from(text)
            while len(self._headers) > MOST_HEADERS:
                self._headers.popitem(last=False)

    async def connect_mcp(self, owner: str, address: str, kit: ToolKit, *, from_here: bool) -> list[ToolSpec]:
        """The tools of an MCP server: a URL (streamable HTTP) or a command line (stdio), which is run only where somebody at this machine
        asks for it. A tool whose name another one of `kit` has gets the server's before it. Raises the tree's errors."""
        server = self._server(owner, address)
        if server.command and not from_here:
            raise BadInput("This page starts no programs for visitors from elsewhere.", hint="Give the address of a server instead.")
        tools = await self._mcp.connect(owner, server)
        taken = {spec.tool.name for spec in kit.specs if (spec.by, spec.server) != ("mcp", server.name)}

        def named(tool: Tool) -> Tool:
            prefix = re.sub(r"[^A-Za-z0-9_-]", "_", server.name)
            return replace(tool, name=f"{prefix}_{tool.name}"[:LONGEST_NAME]) if tool.name in taken else tool

        return [ToolSpec(named(tool), "mcp", url=server.url or address.strip(), server=server.name, remote=tool.name) for tool in tools]

    async def aclose(self) -> None:
        await self._mcp.aclose()

    async def runners(self, owner: str, kit: ToolKit) -> Mapping[str, RunTool]:
        """Those of `kit` that need nobody to type the result, by their names. Tools that cannot be run are left out; a call of one
        says so."""
        found: dict[str, RunTool] = {}
        for spec in kit.active:
            run = self._runner(owner, spec)
            if run is not None:
                found[spec.tool.name] = run
        return found

    def _runner(self, owner: str, spec: ToolSpec) -> RunTool | None:
        match spec.by:
            case "built_in":
                from backend.tools.built_in import BUILT_IN

                known = BUILT_IN.get(spec.tool.name)
                return None if known is None else known.run
            case "http":
                return partial(self._over_http, owner, spec)
            case "mcp":
                return partial(self._over_mcp, owner, spec)
            case _:
                return None

    async def _over_mcp(self, owner: str, spec: ToolSpec, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """A server with an address is connected again after a restart. A command is run only where somebody typed it into this process:
        a chat that was imported may bring one along."""
        async with self._connecting.setdefault((owner, spec.server), asyncio.Lock()):  # of several calls one connects
            if not self._mcp.is_at(owner, spec.server, spec.url):
                if not has_scheme(spec.url) or _name_at(spec.url) != spec.server:
                    raise ToolFailed(f"The MCP server {spec.server} is not connected. Connect it again under Tools.")
                try:
                    await self._mcp.connect(owner, self._server(owner, spec.url))
                except BackendError as error:
                    raise ToolFailed(f"{error.message} {error.hint}".strip()) from error
        return await self._mcp.call(owner, spec.server, spec.remote or spec.tool.name, arguments)

    def _server(self, owner: str, address: str) -> McpServer:
        return replace(mcp_server(address), headers=self._headers.get((owner, _as_called(address)), {}))

    async def _over_http(self, owner: str, spec: ToolSpec, arguments: Mapping[str, Any], context: ToolContext) -> str:
        if self._settings.public:
            raise ToolFailed("This public page calls no addresses for its visitors.")
        from backend.tools.http_tool import HttpTool, call_http

        headers = plain_headers(self._headers.get((owner, _as_called(spec.url)), {}))
        return await call_http(HttpTool(spec.url, spec.method, headers), arguments, allow_private=not self._others)


def mcp_server(address: str) -> McpServer:
    """The server behind a URL or a command line, named after its host or program. Raises `BadInput`."""
    text = address.strip()
    if not text:
        raise BadInput("There is no MCP server yet.", hint=f"Type its URL, as {EXAMPLE}, or the command that starts it.")
    if has_scheme(text):
        text = http_address(text, example=EXAMPLE)
        name = urlsplit(text).netloc.rpartition("@")[2]
        path = text.partition(name)[2].rstrip("/")  # one host may have many
        mark = "" if path in ("", "/mcp") else f"-{zlib.crc32(path.encode()):08x}"[:5]
        return McpServer(re.sub(r"[^A-Za-z0-9._-]", "-", name)[:35] + mark, url=text)
    return McpServer(_program_name(text), command=text)


def _as_called(address: str) -> str:
    """However it was typed, one address is one."""
    with suppress(BadInput):
        return http_address(address)
    return address.strip()


def _name_at(address: str) -> str | None:
    """The name of the server at a chat's address, which a file may have brought along; `None` for what is no address."""
    with suppress(BadInput):
        return mcp_server(address).name
    return None


def _program_name(command: str) -> str:
    """What a person would call it: mcp_server_time for `python -m mcp_server_time`, server-files for `npx -y @x/server-files /data`. With
    arguments of its own a mark of them stands behind, since the same program may serve two folders."""
    words = command.split()
    runs_another = Path(words[0]).stem in ("uvx", "npx", "uv", "pipx", "node", "bunx") or "-m" in words
    after = words[words.index("-m") + 1 :] if "-m" in words else words[1:] if runs_another else words
    named = next((place for place, word in enumerate(after) if not word.startswith("-") and word not in ("run", "tool")), 0)
    name = Path(after[named]).stem if after else words[0]
    mark = f"-{zlib.crc32(command.encode()):08x}"[:5] if after[named + 1 :] else ""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:35] + mark
