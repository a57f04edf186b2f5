"""DashScope's native protocol, on the vendor's `dashscope.AioGeneration`. Usage comes with every frame, so thinking is counted
live. The SDK is slow to import and is imported at the first request.

The SDK never raises for a refusal: each item has to be looked at. It drops the `:HTTP_STATUS` of an error inside a stream and
says 400 for all of them, so errors are told apart by their code. It logs every failure with its traceback; that is switched
off, since the error that is raised tells it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any

from pydantic import SecretStr

from backend.catalogue import Capabilities, catalogue
from backend.errors import AuthError, BackendError, ProtocolError, StreamBroken, TimedOut, Unavailable
from backend.providers.bodies import native_body
from backend.providers.chunks import token_detail, tool_call
from backend.providers.connection import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, key_text, quoted, shown_address
from backend.providers.dashscope_errors import dashscope_error
from backend.types import ChatRequest, Event, Finished, FinishReason, Started, TextDelta, ThinkingDelta, Usage

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_PARTIAL = "What arrived is kept; regenerate to try again."
_AGAIN = "Try again in a moment."
_REACH = "Check the network, and the region's address."


class DashScopeNativeProvider:
    """One host with one key. A connection of its own for each call: the SDK's shared one goes stale and then hangs."""

    def __init__(self, host: str, key: SecretStr | None, *, region: str) -> None:
        self._host, self._key, self._region = host, key_text(key), region

    async def capabilities(self, model: str) -> Capabilities:
        return catalogue().capabilities("dashscope", model)

    async def aclose(self) -> None:
        """Nothing is held between calls."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield Started(request.model)
        if self._key is None:  # the SDK would look for one in the environment and in the home folder
            raise AuthError("DashScope needs an API key.", hint="Paste one under Connect, or set DASHSCOPE_API_KEY.")
        sdk = await asyncio.to_thread(_sdk)
        capabilities = await self.capabilities(request.model)
        body = native_body(request, capabilities)
        frames = _Frames(thinks=capabilities.thinks(request.parameters))
        try:
            async with sdk.aiohttp.ClientSession(connector=sdk.connector(), trust_env=True) as session:
                items = await sdk.generation.call(
                    model=body["model"],
                    messages=body["input"]["messages"],
                    api_key=self._key,
                    base_address=f"{self._host}/api/v1",
                    session=session,
                    request_timeout=READ_TIMEOUT_S,
                    stream=True,
                    **body["parameters"],
                )
                async with aclosing(items):
                    async for item in items:
                        for event in self._read(frames, item):
                            yield event
        except (sdk.aiohttp.ClientError, TimeoutError) as error:
            unreached = isinstance(error, sdk.aiohttp.ClientConnectorError | sdk.aiohttp.ConnectionTimeoutError)
            raise self._cut(error, frames, unreached=unreached) from error
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # frames that the SDK trips over
            raise self._broken("sent something that cannot be understood", frames) from error
        if frames.reason is None:
            raise self._broken("ended the answer without saying that it is finished", frames)
        yield Finished(frames.reason, frames.usage, request_id=frames.request_id)

    def _read(self, frames: _Frames, item: Mapping[str, Any]) -> list[Event]:
        frames.request_id = item.get("request_id") or frames.request_id
        if item.get("status_code") != 200 or not item.get("output"):
            raise self._refusal(item.get("status_code"), item.get("code"), item.get("message"), frames)
        return frames.read(item)

    def _refusal(self, status: int | None, code: str | None, message: object, frames: _Frames) -> BackendError:
        if code != "Unknown":
            said, request_id = quoted(message, self._key), frames.request_id
            return dashscope_error(status=status, code=code, message=said, region=self._region, request_id=request_id)
        # the SDK's word for what is no JSON: a web page with its own status, or a frame, which it calls 500
        if status is not None and status >= 500 and not frames.seen_text:
            sentence = f"DashScope answered with status {status} and a body that is no JSON."
            return Unavailable(sentence, hint=_AGAIN, code=str(status), request_id=frames.request_id)
        return self._broken("sent something that is no JSON", frames)

    def _broken(self, what: str, frames: _Frames) -> BackendError:
        if frames.seen_text:
            return StreamBroken(f"DashScope {what}.", hint=_PARTIAL, request_id=frames.request_id)
        return ProtocolError(f"DashScope {what}.", hint=_AGAIN, request_id=frames.request_id)

    def _cut(self, error: Exception, frames: _Frames, *, unreached: bool) -> BackendError:
        if frames.seen_text:
            return StreamBroken("The connection to DashScope was cut.", hint=_PARTIAL, request_id=frames.request_id)
        if unreached:
            return Unavailable(f"DashScope cannot be reached at {shown_address(self._host)}.", hint=_REACH)
        kind, what = (TimedOut, "did not answer in time") if isinstance(error, TimeoutError) else (Unavailable, "closed the connection")
        return kind(f"DashScope {what} before the answer began.", hint=_AGAIN, request_id=frames.request_id)


class _Frames:
    """Frames to events; usage is cumulative in each."""

    def __init__(self, *, thinks: bool | None) -> None:
        self._thinks = thinks
        self.seen_text = False
        self.reason: FinishReason | None = None
        self.usage = Usage()
        self.request_id: str | None = None

    def read(self, frame: Mapping[str, Any]) -> list[Event]:
        self._count(frame.get("usage") or {})
        events: list[Event] = []
        for choice in frame["output"].get("choices") or ():
            message = choice.get("message") or {}
            if thinking := message.get("reasoning_content"):
                events.append(ThinkingDelta(thinking, self.usage.reasoning_tokens))
            if text := message.get("content"):
                events.append(TextDelta(text))
            told = choice.get("logprobs") or {}
            events[:0] = [token_detail(token) for token in told.get("content") or ()]
            events += [tool_call(call, place) for place, call in enumerate(message.get("tool_calls") or ())]
            reason = choice.get("finish_reason")
            if reason and reason != "null":
                self.reason = _REASONS.get(reason, "unknown")
        self.seen_text = self.seen_text or bool(events)
        return events

    def _count(self, usage: Mapping[str, Any]) -> None:
        output = usage.get("output_tokens_details") or {}
        prompt = usage.get("prompt_tokens_details") or {}
        reasoning = output.get("reasoning_tokens")
        self.usage = Usage(
            input_tokens=usage.get("input_tokens") or None,  # the SDK writes 0 where nothing was told
            output_tokens=usage.get("output_tokens") or None,
            reasoning_tokens=0 if reasoning is None and self._thinks is False else reasoning,
            cached_tokens=prompt.get("cached_tokens"),
        )


class _Sdk:
    """What is imported at the first request. The SDK's own timeout leaves the time to connect open; `connector` limits it."""

    def __init__(self) -> None:
        import aiohttp
        from dashscope import AioGeneration

        class Connector(aiohttp.TCPConnector):
            async def connect(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:  # noqa: ASYNC109
                limited = aiohttp.ClientTimeout(sock_read=timeout.sock_read, sock_connect=CONNECT_TIMEOUT_S)
                return await super().connect(req, traces, limited)

        self.aiohttp, self.connector = aiohttp, Connector
        self.generation: Any = AioGeneration
        logging.getLogger("dashscope").setLevel(logging.CRITICAL)


@lru_cache(maxsize=1)
def _sdk() -> _Sdk:
    return _Sdk()
