"""Tools of MCP servers: who is connected to which, and what their results say. One for the process.

Each owner sees their own connections alone. A server that died is connected again by the next call.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backend.addresses import http_address
from backend.errors import BackendError, BadInput
from backend.tools.headers import plain_headers
from backend.tools.mcp_session import McpSession, SessionLost
from backend.tools.mcp_transport import McpServer, command_words
from backend.tools.running import ToolFailed
from backend.types import Tool

if TYPE_CHECKING:
    from mcp import types

__all__ = ["McpConnections", "McpServer"]

MOST_PER_OWNER = 16
MOST_CONNECTIONS = 128  # visitors of a public page come and go; the oldest are closed
LONGEST_NAME = 64
EXAMPLE = "http://127.0.0.1:8000/mcp"  # of an address


@dataclass(eq=False, slots=True)
class _Held:
    """A connection. `names` are the tools' own, by those that engines take."""

    server: McpServer
    session: McpSession
    names: Mapping[str, str] = field(default_factory=dict)
    tools: list[Tool] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False

    def take(self, session: McpSession) -> None:
        self.session = session
        self.names = fitting_names([tool.name for tool in session.listed])
        by_own = {own: name for name, own in self.names.items()}
        listed = {tool.name: tool for tool in session.listed}.values()
        self.tools = [Tool(by_own[t.name], t.description or t.title or "", t.inputSchema) for t in listed]

    async def aclose(self) -> None:
        self.closed = True
        await self.session.aclose()


class McpConnections:
    """`allow_stdio`: whether programs may be started; `allow_private`: whether addresses inside this host's network may be called.
    `check_s` is how often a server over HTTP is asked, during a call, whether it still stands."""

    def __init__(
        self, *, allow_stdio: bool, allow_private: bool, connect_limit_s: float = 10.0, call_limit_s: float = 60.0, check_s: float = 5.0
    ) -> None:
        self._allow_stdio, self._allow_private = allow_stdio, allow_private
        self._connect_limit_s, self._call_limit_s, self._check_s = connect_limit_s, call_limit_s, check_s
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._opening: set[McpSession] = set()

    async def connect(self, owner: str, server: McpServer) -> list[Tool]:
        """The server's tools, under names that engines take; takes the place of the owner's server of that name. Raises `BadInput`,
        `AuthError`, `Unavailable`."""
        await self._check(server)
        await self.disconnect(owner, server.name)
        while len(own := [name for of, name in self._held if of == owner]) >= MOST_PER_OWNER:
            await self.disconnect(owner, own[0])  # the one that was not called for the longest time
        session = await self._open(server)
        held = _Held(server, session)
        held.take(session)
        await self.disconnect(owner, server.name)  # somebody was faster
        self._held[owner, server.name] = held
        while len(self._held) > MOST_CONNECTIONS:
            await self._held.popitem(last=False)[1].aclose()
        return list(held.tools)

    def tools(self, owner: str, server_name: str) -> list[Tool] | None:
        """`None` where it is not connected."""
        held = self._held.get((owner, server_name))
        return None if held is None else list(held.tools)

    def is_at(self, owner: str, server_name: str, address: str) -> bool:
        """Whether the server that is connected under this name is the one at `address`, its command or URL."""
        held = self._held.get((owner, server_name))
        return held is not None and address.strip() in (held.server.command.strip(), held.server.url.strip())

    async def call(self, owner: str, server_name: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """What the tool answered, as text. Raises `ToolFailed` for everything else; a call that no tool can have seen, since the server
        had died before, is made again once."""
        held = self._held.get((owner, server_name))
        if held is None:
            raise ToolFailed(f"The MCP server {server_name} is not connected. Connect it again under Tools.")
        self._held.move_to_end((owner, server_name))
        try:
            try:
                return await self._call(held, tool, arguments)
            except SessionLost as lost:
                if not lost.unheard:
                    raise
            return await self._call(held, tool, arguments)
        except SessionLost as lost:
            again = "The next call connects it again."
            raise ToolFailed(f"The MCP server {server_name} was lost during the call: {lost}. {again}") from lost
        except BackendError as error:
            raise ToolFailed(f"{error.message} {error.hint}".strip()) from error
        except TimeoutError as error:
            hint = "It may still be at work; ask for less at once, or connect it again."
            raise ToolFailed(f"The tool {tool} gave no result within {self._call_limit_s:g} s. {hint}") from error

    async def disconnect(self, owner: str, server_name: str | None = None) -> None:
        """Without a name all servers of the owner."""
        keys = [key for key in self._held if key[0] == owner and server_name in (None, key[1])]
        await asyncio.gather(*(self._held.pop(key).aclose() for key in keys))

    async def aclose(self) -> None:
        held, opening = list(self._held.values()), list(self._opening)
        self._held.clear()
        await asyncio.gather(*(each.aclose() for each in held), *(each.aclose() for each in opening))

    async def _check(self, server: McpServer) -> None:
        if bool(server.command.strip()) == bool(server.url.strip()):
            raise BadInput("An MCP server has a command or an address.", hint="Give one of the two.")
        if server.command:
            if not self._allow_stdio:
                raise BadInput("This page, which is open to others, starts no programs.", hint="Give the address of a server instead.")
            command_words(server.command)
            return
        http_address(server.url, example=EXAMPLE)
        plain_headers(server.headers)

    async def _open(self, server: McpServer) -> McpSession:
        session = McpSession(server, allow_private=self._allow_private, check_s=self._check_s)
        self._opening.add(session)
        try:
            await session.opened(self._connect_limit_s)
        finally:
            self._opening.discard(session)
        return session

    async def _call(self, held: _Held, tool: str, arguments: Mapping[str, Any]) -> str:
        async with held.lock:  # of several calls one connects again
            if not held.session.alive and not held.closed:
                held.take(await self._open(held.server))
            if held.closed:  # perhaps while it was connected again
                await held.session.aclose()
                raise ToolFailed(f"The MCP server {held.server.name} was disconnected.")
        name = held.names.get(tool, tool if tool in held.names.values() else None)
        if name is None:
            there = ", ".join(held.names) or "none"
            raise ToolFailed(f"The MCP server {held.server.name} has no tool named {tool}. There are: {there}.")
        result = await held.session.call(name, arguments, self._call_limit_s)
        text = result_text(result)
        if result.isError:
            raise ToolFailed(text)
        return text


def fitting_names(names: Iterable[str]) -> dict[str, str]:
    """The servers' own names by those that engines take: 1 to 64 letters, digits, _ and -. Names that fit stay."""
    own = list(dict.fromkeys(names))
    found = {name: name for name in own if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)}
    for name in own:
        if name in found:
            continue
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:LONGEST_NAME] or "tool"
        fitting, number = plain, 2
        while fitting in found:
            ending = f"_{number}"
            fitting, number = plain[: LONGEST_NAME - len(ending)] + ending, number + 1
        found[fitting] = name
    return found


def result_text(result: types.CallToolResult) -> str:
    """The text of a result, and in words what is no text; the structured content only where there is no text beside it."""
    pieces = [_piece(block) for block in result.content]
    has_text = any(block.type == "text" and block.text.strip() for block in result.content)
    if result.structuredContent is not None and not has_text:
        pieces.insert(0, json.dumps(result.structuredContent, ensure_ascii=False))
    return "\n".join(piece for piece in pieces if piece) or "[The tool returned nothing.]"


def _piece(block: types.ContentBlock) -> str:
    from mcp import types

    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            kind = "An image" if block.type == "image" else "A sound"
            return f"[{kind} ({block.mimeType}, {_bytes(block.data)}) that cannot be shown here.]"
        case "resource_link":
            return f"[A link to {block.title or block.name}: {block.uri}]"
        case "resource":
            inner = block.resource
            if isinstance(inner, types.TextResourceContents):
                return f"[{inner.uri}]\n{inner.text}"
            return f"[A file: {inner.uri} ({inner.mimeType or 'of unknown kind'}, {_bytes(inner.blob)}) that cannot be shown here.]"


def _bytes(base64_text: str) -> str:
    return f"{len(base64_text) * 3 // 4 - base64_text[-2:].count('='):,} bytes"
