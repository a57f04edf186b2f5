"""How an MCP server is reached: a program on this machine over its standard streams, or an address over streamable HTTP.

Says no to what may not be reached, gives programs an environment without our secrets, and knows nothing of sessions or tools.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from backend.addresses import guard
from backend.errors import BadInput
from backend.response_limits import limit, refuse_packed
from backend.tools.headers import plain_headers

READ_LIMIT_S = 300.0  # a server may hold a stream open and silent; calls have a limit of their own
REACH_LIMIT_S = 10.0
MOST_BODY_BYTES = 16 * 1024 * 1024  # of one answer on a public page, where the address is a stranger's
ACCEPTED = "application/json, text/event-stream"
# Beside HOME, LOGNAME, PATH, SHELL, TERM and USER (on Windows others), which the SDK passes on by itself.
INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class McpServer:
    """One of the two: `command`, the line that starts a program, or `url`. A command runs in the home folder, not in the app's: a
    server may read a `.env` or import a module that lies where it runs. Both may hold a key, so they are in no `repr`."""

    name: str
    command: str = field(default="", repr=False)
    url: str = field(default="", repr=False)
    headers: Mapping[str, SecretStr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streams:
    """An open way to a server. `is_gone` asks whether it still stands, where that cannot be seen from the streams."""

    read: Any
    write: Any
    is_gone: Callable[[], Awaitable[bool]] | None = None


class LastWords:
    """The end of what a program writes to its standard error; read as it comes, so that a full pipe never stops the program."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._pieces: deque[bytes] = deque(maxlen=8)
        self._thread = threading.Thread(target=self._read, name="mcp-stderr", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with os.fdopen(self._reading, "rb", buffering=0) as pipe:
            self._pieces.extend(iter(partial(pipe.read, 4096), b""))

    async def line(self) -> str:
        """The last line, of a program that has ended: mostly the sentence of its error."""
        await asyncio.to_thread(self._thread.join, 1.0)  # a grandchild may still hold the pipe
        lines = b"".join(self._pieces.copy()).decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def command_words(command: str) -> list[str]:
    """The program, as a path, and its arguments. Raises `BadInput`."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"The command cannot be read: {error}.", hint="Close every quotation mark.") from error
    if not words:
        raise BadInput("There is no command.", hint="It looks like: uvx mcp-server-time")
    found = shutil.which(Path(words[0]).expanduser())
    if found is None:
        hint = "Install it, or give its whole path. uvx comes with uv, npx with Node.js."
        raise BadInput(f"There is no program named {words[0][:80]!r} on this machine.", hint=hint)
    return [str(Path(found).absolute()), *words[1:]]


async def over_stdio(server: McpServer, stack: AsyncExitStack, last_words: LastWords) -> Streams:
    """Raises `OSError` where the program cannot be started."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    with os.fdopen(last_words.writing, "w") as errors:  # the program has its own copy; ours would keep the pipe open
        program, *arguments = command_words(server.command)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        home = Path.home()
        parameters = StdioServerParameters(
            command=program,
            args=arguments,
            env=environment,
            cwd=home if home.is_dir() else tempfile.gettempdir(),
            encoding_error_handler="replace",  # a line of noise is no reason to end
        )
        read, write = await stack.enter_async_context(stdio_client(parameters, errlog=errors))
    return Streams(read, write)


async def over_http(server: McpServer, stack: AsyncExitStack, *, allow_private: bool, broken: Callable[[Exception], None]) -> Streams:
    """Where `allow_private` is False every request looks at its address again, and what comes back is bounded; `broken` is told of
    an answer beyond that, since the SDK would wait for its end."""
    from mcp.client.streamable_http import streamable_http_client

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [guard(allow_private=allow_private)]}
    headers = plain_headers(server.headers)
    if not allow_private:
        headers["Accept-Encoding"] = "identity"
        hooks["response"] = [partial(_limit, broken)]
    client = httpx.AsyncClient(
        headers=headers,
        timeout=httpx.Timeout(REACH_LIMIT_S, read=READ_LIMIT_S),
        trust_env=allow_private,  # no proxy and no .netrc of the host's for strangers' addresses
        event_hooks=hooks,
    )
    await stack.enter_async_context(client)
    read, write, session_id = await stack.enter_async_context(streamable_http_client(server.url, http_client=client))
    return Streams(read, write, partial(_is_gone, client, server.url, session_id))


async def _is_gone(client: httpx.AsyncClient, url: str, session_id: Callable[[], str | None]) -> bool:
    """Whether nobody listens there any more, or somebody who does not know the session. The SDK waits for an answer to the end of
    its time where the stream of a call just ends. A server that is too busy to answer is not gone."""
    own = session_id()
    headers = {"Accept": ACCEPTED} | ({"Mcp-Session-Id": own} if own else {})
    ping = {"jsonrpc": "2.0", "id": f"still-there-{os.urandom(8).hex()}", "method": "ping"}
    try:
        async with client.stream("POST", url, json=ping, headers=headers, timeout=REACH_LIMIT_S) as response:
            return own is not None and response.status_code == 404
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False


async def _limit(broken: Callable[[Exception], None], response: httpx.Response) -> None:
    refuse_packed(response)
    limit(response, MOST_BODY_BYTES, broken=broken)
