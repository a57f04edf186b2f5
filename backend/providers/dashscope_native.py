"""DashScope's native protocol, on the vendor's `dashscope.AioGeneration`. Usage comes with every frame, so thinking is counted
live. The SDK is slow to import and is imported at the first request.

The SDK never raises for a refusal: each item has to be looked at. It drops the `:HTTP_STATUS` of an error inside a stream and
says 400 for all of them, so errors are told apart by their code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import SecretStr

from backend.catalogue import Capabilities, catalogue
from backend.errors import BackendError, ProtocolError, StreamBroken, Unavailable
from backend.providers.bodies import native_body
from backend.providers.dashscope_errors import dashscope_error
from backend.types import ChatRequest, Event, Finished, FinishReason, Started, TextDelta, ThinkingDelta, ToolCallDelta, Usage

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 300.0
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_PARTIAL = "What arrived is kept; regenerate to try again."
_AGAIN = "Try again in a moment."


class DashScopeNativeProvider:
    """One host with one key. A connection of its own for each call: the SDK's shared one goes stale and then hangs."""

    def __init__(self, host: str, key: SecretStr | None, *, region: str) -> None:
        self._address, self._key, self._region = f"{host}/api/v1", key, region

    async def capabilities(self, model: str) -> Capabilities:
        return catalogue().capabilities("dashscope", model)

    async def aclose(self) -> None:
        """Nothing is held between calls."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield Started(request.model)
        aiohttp, generation = await asyncio.to_thread(_sdk)
        capabilities = await self.capabilities(request.model)
        body = native_body(request, capabilities)
        frames = _Frames(thinks=capabilities.thinks(request.parameters))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                items = await generation.call(
                    model=body["model"],
                    messages=body["input"]["messages"],
                    api_key=self._key.get_secret_value() if self._key else "",
                    base_address=self._address,
                    session=session,
                    stream=True,
                    **body["parameters"],
                )
                async with aclosing(items):
                    async for item in items:
                        for event in self._read(frames, item):
                            yield event
        except aiohttp.ClientConnectorError as error:
            raise Unavailable("DashScope cannot be reached.", hint="Check the network and the address of the region.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if frames.seen_text:
                raise StreamBroken("The connection to DashScope was cut.", hint=_PARTIAL, request_id=frames.request_id) from error
            raise Unavailable("The connection to DashScope failed before the answer began.", hint=_AGAIN) from error
        except (TypeError, ValueError) as error:  # frames that the SDK trips over
            raise ProtocolError("DashScope sent something that cannot be understood.", hint=_AGAIN) from error
        if frames.reason is None:
            if frames.seen_text:
                raise StreamBroken("DashScope ended the answer without saying that it is finished.", hint=_PARTIAL)
            raise ProtocolError("DashScope ended the stream without an answer.", hint=_AGAIN, request_id=frames.request_id)
        yield Finished(frames.reason, frames.usage, request_id=frames.request_id)

    def _read(self, frames: _Frames, item: Mapping[str, Any]) -> list[Event]:
        frames.request_id = item.get("request_id") or frames.request_id
        if item.get("status_code") != 200 or not item.get("output"):
            raise self._refusal(item, frames)
        return frames.read(item)

    def _refusal(self, item: Mapping[str, Any], frames: _Frames) -> BackendError:
        code, message, status = item.get("code"), str(item.get("message") or ""), item.get("status_code")
        if code == "Unknown" or not code:  # a body that is no JSON: the message is that body, often a web page
            sentence = f"DashScope answered with status {status} and a body that is not JSON."
            if frames.seen_text:
                return StreamBroken(sentence, hint=_PARTIAL, request_id=frames.request_id)
            kind = Unavailable if isinstance(status, int) and status >= 500 else ProtocolError
            return kind(sentence, hint=_AGAIN, code=str(status), request_id=frames.request_id)
        return dashscope_error(status=status, code=str(code), message=message, region=self._region, request_id=frames.request_id)


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
            for call in message.get("tool_calls") or ():
                function = call.get("function") or {}
                arguments = function.get("arguments") or ""
                events.append(ToolCallDelta(call.get("index", 0), call.get("id") or None, function.get("name"), arguments))
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
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            reasoning_tokens=0 if reasoning is None and self._thinks is False else reasoning,
            cached_tokens=prompt.get("cached_tokens"),
        )


def _sdk() -> tuple[Any, Any]:
    import aiohttp
    from dashscope import AioGeneration

    return aiohttp, AioGeneration
