"""One session with an MCP server, open until it is closed or lost. Knows no owners, and nothing of what results mean.

It lives in a task of its own: the SDK's scopes have to be left in the task that entered them. The SDK's errors end here: what comes
out is one of the tree's while connecting, afterwards `SessionLost`, `ToolFailed` or `TimeoutError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from backend.errors import TimedOut
from backend.tools.mcp_refusals import SESSION_UNKNOWN, leaf, was_unheard, why_lost, why_not_connected
from backend.tools.mcp_transport import LastWords, McpServer, Streams, over_http, over_stdio
from backend.tools.running import ToolFailed

if TYPE_CHECKING:
    from mcp import ClientSession, types

log = logging.getLogger(__name__)

MAX_TOOL_CHARS = 100_000  # of one tool's description and schema, as JSON; longer ones are left out
MOST_LISTED = 512  # tools of one server; a list may have pages without end
CLOSE_LIMIT_S = 5.0  # the SDK gives a program 2 s to end by itself and 2 s more before it is killed

TELL_LIMIT_S = 1.0


class SessionLost(Exception):
    """The server is gone; the sentence's end says what is known of it. `unheard`: no tool can have seen the call."""

    def __init__(self, words: str, *, unheard: bool) -> None:
        super().__init__(words)
        self.unheard = unheard


class _Vanished(Exception):
    """Found out by asking, while a call was under way."""


class McpSession:
    """Begins at once; `opened` waits until it can be used. `listed` are the server's tools as it told them then."""

    def __init__(self, server: McpServer, *, allow_private: bool, check_s: float) -> None:
        self._server, self._allow_private, self._check_s = server, allow_private, check_s
        self.listed: list[types.Tool] = []
        self._last_words: LastWords | None = None
        self._streams = Streams(None, None)
        self._session: ClientSession | None = None
        self._closing = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Any] = loop.create_future()
        self._ended: asyncio.Future[Any] = loop.create_future()
        self._calls = 0
        self._task = asyncio.create_task(self._live(), name=f"mcp {server.name}")
        self._task.add_done_callback(self._note_end)

    @property
    def alive(self) -> bool:
        return not self._ended.done()

    async def opened(self, limit_s: float) -> None:
        """Raises one of the tree's errors, with everything closed again, where there is no session within the limit."""
        try:
            done, _ = await asyncio.wait({self._ready, self._ended}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._ready.done() and self.alive:
            return
        await self.aclose()
        if not done:
            hint = "The first start of a program may take longer than later ones: try again." if self._server.command else "Try again."
            raise TimedOut(f"The MCP server {self._server.name} did not answer within {limit_s:g} s.", hint=hint)
        cause = self._ended.result()
        log.warning("no session with an MCP server: %s", type(cause).__name__)
        raise why_not_connected(self._server, cause, await self._last_line()) from cause

    async def call(self, name: str, arguments: Mapping[str, Any], limit_s: float) -> types.CallToolResult:
        """The result, which may be a failure that the tool tells. The SDK's own check against the tool's output schema is left out:
        a pattern in a stranger's schema could hold up this process."""
        from mcp import types

        if self._session is None:
            raise SessionLost("it is closed", unheard=True)
        parameters = types.CallToolRequestParams(name=name, arguments=dict(arguments))
        request = types.ClientRequest(types.CallToolRequest(params=parameters))
        self._calls += 1
        session, request_id = self._session, -1

        async def ask() -> types.CallToolResult:
            nonlocal request_id
            request_id = session._request_id  # the SDK tells it nowhere else; it takes this one, as nothing is awaited between
            return await session.send_request(request, types.CallToolResult)

        asking = asyncio.create_task(ask())
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({asking, self._ended}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return await self._answer(asking)
            if self._ended.done():
                raise await self._lost(self._ended.result())
            raise TimeoutError
        finally:
            self._calls -= 1
            given_up = not asking.done() and not self._ended.done() and request_id >= 0
            asking.cancel()
            watching.cancel()
            await asyncio.gather(asking, watching, return_exceptions=True)
            if given_up:
                await self._give_up(request_id)

    async def _give_up(self, request_id: int) -> None:
        """Tells the server that nobody waits for a result any more, as the protocol asks; it may heed that or not."""
        from mcp import types

        parameters = types.CancelledNotificationParams(requestId=request_id, reason="given up")
        told = types.ClientNotification(types.CancelledNotification(params=parameters))
        with contextlib.suppress(Exception):  # it is gone, or does not listen: nothing to be done for it
            async with asyncio.timeout(TELL_LIMIT_S):
                if self._session is not None:
                    await self._session.send_notification(told)

    async def aclose(self) -> None:
        self._end(None)
        self._closing.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLOSE_LIMIT_S)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_LIMIT_S)

    async def _live(self) -> None:
        await asyncio.to_thread(importlib.import_module, "mcp")  # 0.4 s
        from mcp import ClientSession, types

        logging.getLogger("mcp.client").setLevel(logging.CRITICAL)  # a traceback for each line that is no message; errors here tell it
        async with AsyncExitStack() as stack:
            if self._server.command:
                self._last_words = LastWords()
                self._streams = await over_stdio(self._server, stack, self._last_words)
            else:
                self._streams = await over_http(self._server, stack, allow_private=self._allow_private, broken=self._end)
            us = types.Implementation(name="qwen3-next-playground", version="1")
            session = ClientSession(self._streams.read, self._streams.write, message_handler=self._heard, client_info=us)
            await stack.enter_async_context(session)
            about = await session.initialize()
            if about.capabilities.tools is not None:
                self.listed = await _listed(session)
            self._session = session
            self._ready.set_result(None)
            await self._closing.wait()

    async def _heard(self, message: object) -> None:
        """What came over HTTP and is no message: no answer will follow. A program's stray lines are borne with; so is an answer that
        nobody waits for any more, which the SDK tells as a `RuntimeError`."""
        if isinstance(message, Exception) and not isinstance(message, RuntimeError) and self._server.url:
            self._end(message)

    async def _watch(self) -> None:
        while self._streams.is_gone is not None:
            await asyncio.sleep(self._check_s)
            if await self._streams.is_gone():
                return self._end(_Vanished())

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._end(None if task.cancelled() else leaf(task.exception()))

    def _end(self, cause: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(cause)

    async def _answer(self, asking: asyncio.Task[types.CallToolResult]) -> types.CallToolResult:
        import anyio
        from mcp import McpError, types

        try:
            return asking.result()
        except McpError as error:
            code = error.error.code
            if code == types.CONNECTION_CLOSED and self._server.url:  # the reason comes as the end of the task
                await asyncio.wait({self._ended}, timeout=CLOSE_LIMIT_S)
            if code in (types.CONNECTION_CLOSED, SESSION_UNKNOWN):
                raise await self._lost(error, unheard=code == SESSION_UNKNOWN) from error
            raise ToolFailed(f"The MCP server {self._server.name} refused the call: {error.error.message[:2000]}") from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise await self._lost(error, unheard=True) from error
        except ValueError as error:
            raise ToolFailed(f"The MCP server {self._server.name} answered with something that is no result of a tool.") from error

    async def _lost(self, seen: BaseException | None, *, unheard: bool = False) -> SessionLost:
        """Closes what is left. Where other calls were under way, a refusal may have been another's: nothing is known of this one."""
        self._end(seen)
        cause = self._ended.result()
        alone = self._calls == 1
        await self.aclose()
        unheard = unheard or (alone and was_unheard(cause))
        if not self._server.command:
            return SessionLost(why_lost(cause), unheard=unheard)
        line = await self._last_line()
        return SessionLost(f"the program ended; it last wrote: {line}" if line else "the program ended", unheard=unheard)

    async def _last_line(self) -> str:
        return await self._last_words.line() if self._last_words else ""


async def _listed(session: ClientSession) -> list[types.Tool]:
    from mcp import types

    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MOST_LISTED):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        found += (tool for tool in page.tools if len(tool.model_dump_json()) <= MAX_TOOL_CHARS)
        cursor = page.nextCursor
        if not cursor or not page.tools or len(found) >= MOST_LISTED:
            break
    return found[:MOST_LISTED]
