"""What it means that a session with an MCP server did not come about, or ended: the SDK's and the HTTP library's errors as the tree's."""

from __future__ import annotations

import httpx

from backend.display import display_name
from backend.errors import AuthError, BackendError, BadInput, Unavailable
from backend.response_limits import Unbounded
from backend.tools.mcp_transport import McpServer

SESSION_UNKNOWN = 32600  # the SDK's word for a 404


def leaf(error: BaseException | None) -> BaseException | None:
    """The first error in a task group's, and in its groups'."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def was_unheard(cause: BaseException | None) -> bool:
    """Whether a request that failed so can have reached no tool."""
    if isinstance(cause, httpx.HTTPStatusError):
        return 400 <= cause.response.status_code < 500
    return isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)


def why_lost(cause: BaseException | None) -> str:
    """The end of a sentence, for a server over HTTP."""
    if isinstance(cause, httpx.HTTPStatusError):
        return f"it answered with status {cause.response.status_code}"
    if isinstance(cause, Unbounded):
        return str(cause)
    if isinstance(cause, ValueError):
        return "it answered with something that is no MCP message"
    return "the connection is gone"


def why_not_connected(server: McpServer, cause: BaseException | None, last_line: str) -> BackendError:
    """`last_line` is the last that a program wrote to its standard error."""
    from mcp import McpError, types

    if isinstance(cause, BackendError):
        return cause
    if isinstance(cause, McpError) and cause.error.code not in (types.CONNECTION_CLOSED, SESSION_UNKNOWN):
        return BadInput(
            f"The MCP server {server.name} refused to connect: {display_name(cause.error.message, 300)}", hint="Look at its settings."
        )
    if isinstance(cause, RuntimeError):
        return BadInput(f"The MCP server {server.name} speaks a version of MCP that is not known here.", hint="Bring it up to date.")
    return _over_stdio(server.name, cause, last_line) if server.command else _over_http(server.name, cause)


def _over_stdio(name: str, cause: BaseException | None, last_line: str) -> BackendError:
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionError):
        return BadInput(f"The program of {name} cannot be started: {cause.strerror or cause}.", hint="Try the command in a terminal.")
    hint = f"It last wrote: {last_line}" if last_line else "Run the command in a terminal to see why."
    return Unavailable(f"The MCP server {name} ended at its start.", hint=hint)


def _over_http(name: str, cause: BaseException | None) -> BackendError:
    status = cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None
    if status in (401, 403):
        return AuthError(f"The MCP server {name} wants to know who asks (status {status}).", hint="It needs a header with a key.")
    if status is not None and (status == 429 or status >= 500):
        return Unavailable(f"The MCP server {name} answered with status {status}.", hint="Try again later.")
    if isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.UnsupportedProtocol):
        return Unavailable(f"The MCP server {name} cannot be reached.", hint="Is it running, and is the address right?")
    told = f" (status {status})" if status else ""
    hint = "Streamable HTTP is spoken here; most servers have it under /mcp. Older ones with /sse are not understood."
    return BadInput(f"There is no MCP server at the address of {name}{told}.", hint=hint)
