"""A tool that an HTTP endpoint answers, at an address that the user gave. Follows no redirect and bounds what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from backend.addresses import guard
from backend.errors import BadInput
from backend.response_limits import Unbounded, refuse_packed
from backend.tools.kit import HttpMethod
from backend.tools.running import ToolFailed

TIME_S = 30.0
MOST_BYTES = 1_000_000
MOST_ERROR_CHARS = 500
_PLACEHOLDER = re.compile(r"\{([^{}/?&]+)\}")


@dataclass(frozen=True, slots=True)
class HttpTool:
    """`{name}` in `url` is filled with the argument of that name. The others go into the query of a GET, into the JSON body else."""

    url: str
    method: HttpMethod = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


async def call_http(
    tool: HttpTool, arguments: Mapping[str, Any], *, allow_private: bool, transport: httpx2.AsyncBaseTransport | None = None
) -> str:
    """The text of the answer. Raises `ToolFailed` for everything else. Addresses where clouds hand out the keys of the host are
    never called."""
    url, rest = _filled(tool, arguments)
    headers = {"Accept": "application/json, text/*;q=0.9", "Accept-Encoding": "identity", **tool.headers}
    sent: dict[str, Any] = {} if tool.method == "GET" else {"json": rest}
    hooks = {"request": [guard(allow_private=allow_private)]}
    client = httpx2.AsyncClient(timeout=TIME_S, transport=transport, trust_env=allow_private, event_hooks=hooks)
    try:
        async with asyncio.timeout(TIME_S), client, client.stream(tool.method, url, headers=headers, **sent) as response:
            if not allow_private:
                refuse_packed(response)
            return await _text(response)
    except BadInput as error:
        raise ToolFailed(f"{error.message} {error.hint}") from error
    except Unbounded as error:
        raise ToolFailed(f"The answer of the tool's address is not read: {error}.") from error
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise ToolFailed(f"The tool's address did not answer within {TIME_S:.0f} s.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise ToolFailed(
            f"The tool's address cannot be reached ({type(error).__name__}). Is it running, and is the address right?"
        ) from error


def _filled(tool: HttpTool, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The address, and the arguments that it does not hold. A pair of its query is left out where its argument is."""
    address, _, query = tool.url.partition("?")
    pairs = [pair for pair in query.split("&") if pair and set(_PLACEHOLDER.findall(pair)) <= arguments.keys()]
    used = set(_PLACEHOLDER.findall(tool.url))
    missing = sorted(set(_PLACEHOLDER.findall(address)) - arguments.keys())
    if missing:
        raise ToolFailed(f"The address of the tool needs the argument {missing[0]}.")
    rest = {name: value for name, value in arguments.items() if name not in used}
    if tool.method == "GET":
        pairs += [f"{quote(name, safe='')}={{{name}}}" for name in rest]

    def fill(text: str, values: Mapping[str, Any] = arguments) -> str:
        return _PLACEHOLDER.sub(lambda found: quote(_word(values[found[1]]), safe=""), text)

    filled = [fill(pair, {**arguments, **each}) for pair in pairs for each in _one_by_one(pair, arguments)]
    return fill(address) + ("?" + "&".join(filled) if filled else ""), rest


def _one_by_one(pair: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A list in a query is its items under one name each, as OpenAPI has it where it says nothing else."""
    for name in _PLACEHOLDER.findall(pair):
        if isinstance(arguments[name], list):
            return [{name: item} for item in arguments[name]]
    return [{}]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _text(response: httpx2.Response) -> str:
    if response.is_redirect:
        where = response.headers.get("location", "nowhere")[:200]
        raise ToolFailed(f"The tool's address sends callers on to {where}; give the tool that address.")
    data, whole = bytearray(), True
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            whole = False
            break
    text = bytes(data[:MOST_BYTES]).decode(response.encoding or "utf-8", errors="replace").strip()
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.is_error:
        shown = f": {text[:MOST_ERROR_CHARS]}" if text and kind != "text/html" else ""
        raise ToolFailed(f"The tool's address answered with status {response.status_code}{shown}")
    if kind == "text/html" or re.match(r"<!doctype html|<html", text[:200], re.IGNORECASE):
        raise ToolFailed("The tool's address answered with a web page where data was expected. Is it the address of an API?")
    if not whole:
        raise ToolFailed(f"The tool's address answered with more than {MOST_BYTES / 1e6:.0f} MB. Ask for less at once.")
    if "\x00" in text:
        raise ToolFailed(f"The tool's address answered with {kind or 'something'} that is no text.")
    return text or "[The tool returned nothing.]"
