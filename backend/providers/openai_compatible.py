"""DashScope's compatible mode and any OpenAI-compatible server, on `openai.AsyncOpenAI` with its own retries off.

Chunks are read as plain dicts (`cast_to=object`): that costs a third of building the SDK's models for each token, and shows
frames that are no chunk at all, such as DashScope's native error frame inside a compatible stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Protocol

import openai
from openai import AsyncOpenAI, AsyncStream
from pydantic import SecretStr

from backend.catalogue import Capabilities, catalogue
from backend.errors import BackendError, ProtocolError, StreamBroken, Unavailable
from backend.provider import ListedModel
from backend.providers.bodies import compatible_body
from backend.providers.dashscope_errors import dashscope_error
from backend.providers.server_errors import server_error
from backend.reasoning import ReasoningSplitter
from backend.types import ChatRequest, Event, Finished, FinishReason, Started, ThinkingDelta, ToolCallDelta, Usage

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 300.0  # DashScope itself gives up after 300 s
_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter",
}  # fmt: skip


class ErrorMap(Protocol):
    """Turns what a service said into an error of the tree. `status` is `None` inside a stream."""

    def __call__(
        self, *, status: int | None, code: str | None, message: str, request_id: str | None, retry_after_s: float | None
    ) -> BackendError: ...


class OpenAICompatibleProvider:
    """One base address with one key. `where` names it in errors; `prefix` makes the model's full name."""

    def __init__(
        self,
        base_url: str,
        key: SecretStr | None,
        *,
        engine: str,
        where: str,
        prefix: str,
        errors: ErrorMap,
        http_client: Any = None,
    ) -> None:
        self._engine, self._where, self._prefix, self._errors = engine, where, prefix, errors
        self._listed: dict[str, ListedModel] = {}
        timeout = openai.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        secret = key.get_secret_value() if key is not None else "none"
        self._client = AsyncOpenAI(base_url=base_url, api_key=secret, max_retries=0, timeout=timeout, http_client=http_client)

    async def capabilities(self, model: str) -> Capabilities:
        """From the catalogue, with the context length that the server itself told when it was last asked for its models."""
        listed = self._listed.get(model)
        context = listed.context_tokens if listed else None
        return catalogue().capabilities(self._engine, model, name=f"{self._prefix}{model}", context_tokens=context)

    async def list_models(self) -> list[ListedModel]:
        """Asks for the models; raises the tree's errors where the address is no such server."""
        try:
            answer = await self._client.get("/models", cast_to=object)
        except openai.OpenAIError as error:
            raise self._error(error, seen_text=False) from error
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise ProtocolError(f"{self._where} did not answer with a list of models.", hint=_ADDRESS)
        models = [ListedModel(str(m["id"]), _context(m)) for m in data if isinstance(m, dict) and m.get("id")]
        self._listed = {m.id: m for m in models}
        return models

    async def aclose(self) -> None:
        await self._client.close()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield Started(request.model)
        capabilities = await self.capabilities(request.model)
        reader = _Reader(capabilities.thinks(request.parameters))
        body = compatible_body(request, capabilities)
        try:
            stream = await self._client.post("/chat/completions", cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object])
            async with stream:
                reader.request_id = stream.response.headers.get("x-request-id")
                self._refuse_pages(stream.response.headers.get("content-type", ""))
                async for chunk in stream:
                    if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
                        raise self._frame_error(chunk, reader)
                    for event in reader.read(chunk):
                        yield event
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise self._error(error, seen_text=reader.seen_text, request_id=reader.request_id) from error
        for event in reader.close():
            yield event
        if reader.reason is None:
            if reader.seen_text:
                raise StreamBroken(f"{self._where} ended the answer without saying that it is finished.", hint=_PARTIAL)
            raise ProtocolError(f"{self._where} ended the stream without an answer.", hint=_ADDRESS, request_id=reader.request_id)
        yield Finished(reader.reason, reader.usage, request_id=reader.request_id)

    def _refuse_pages(self, content_type: str) -> None:
        if "text/html" in content_type:
            raise ProtocolError(f"{self._where} answered with a web page.", hint=_ADDRESS)

    def _frame_error(self, frame: object, reader: _Reader) -> BackendError:
        data = frame if isinstance(frame, dict) else {}
        inner = data.get("error") if isinstance(data.get("error"), dict) else data
        if not inner or not (inner.get("code") or inner.get("message")):
            return ProtocolError(f"{self._where} sent something that is no part of an answer.", hint=_ADDRESS)
        request_id = str(data.get("request_id") or reader.request_id or "") or None
        return self._said(None, inner, request_id, None)

    def _said(self, status: int | None, said: dict[str, Any], request_id: str | None, retry_after_s: float | None) -> BackendError:
        code = said.get("code") or said.get("type")
        return self._errors(
            status=status,
            code=str(code) if code else None,
            message=str(said.get("message") or ""),
            request_id=request_id,
            retry_after_s=retry_after_s,
        )

    def _error(self, error: Exception, *, seen_text: bool, request_id: str | None = None) -> BackendError:
        """An error of the SDK in the tree's terms. The SDK's own message may hold addresses but never the key."""
        match error:
            case openai.APIStatusError():
                headers = error.response.headers
                said = _body(error)
                if said is None:
                    kind = Unavailable if error.status_code >= 500 else ProtocolError
                    sentence = f"{self._where} answered with status {error.status_code} and a body that is not JSON."
                    return kind(sentence, hint=_ADDRESS if error.status_code < 500 else _BUSY, code=str(error.status_code))
                request_id = headers.get("x-request-id") or said.get("request_id") or request_id
                return self._said(error.status_code, said, request_id, _seconds(headers.get("retry-after")))
            case openai.APITimeoutError():
                sentence = f"{self._where} did not answer in time."
                return StreamBroken(sentence, hint=_PARTIAL) if seen_text else Unavailable(sentence, hint=_BUSY)
            case openai.APIConnectionError() if seen_text:
                return StreamBroken(f"The connection to {self._where} was cut.", hint=_PARTIAL, request_id=request_id)
            case openai.APIConnectionError():
                return Unavailable(f"{self._where} cannot be reached.", hint="Check that it runs and that the address is right.")
            case openai.APIError():  # an error object inside the stream
                inner = error.body if isinstance(error.body, dict) else {"message": error.message}
                return self._said(None, inner, request_id, None)
            case _:
                sentence = f"{self._where} sent something that cannot be read as JSON."
                return StreamBroken(sentence, hint=_PARTIAL) if seen_text else ProtocolError(sentence, hint=_ADDRESS)


_ADDRESS = "Check the address: it usually ends in /v1 and belongs to an OpenAI-compatible server."
_PARTIAL = "What arrived is kept; regenerate to try again."
_BUSY = "It may be starting or overloaded. Try again in a moment."


class _Reader:
    """Chunks to events. A server without a reasoning parser sends the trace as text: known from its first words."""

    def __init__(self, thinks: bool | None) -> None:
        self._thinks = thinks
        self._splitter: ReasoningSplitter | None = None
        self.seen_text = False
        self.reason: FinishReason | None = None
        self.usage = Usage()
        self.request_id: str | None = None

    def read(self, chunk: dict[str, Any]) -> list[Event]:
        if isinstance(usage := chunk.get("usage"), dict):
            self.usage = _usage(usage, self._thinks)
        events: list[Event] = []
        for choice in chunk["choices"]:
            delta = choice.get("delta") or choice.get("message") or {}
            if thinking := delta.get("reasoning_content") or delta.get("reasoning"):
                self._splitter = self._splitter or ReasoningSplitter(False)  # this server splits by itself
                events.append(ThinkingDelta(thinking))
            if text := delta.get("content"):
                if self._splitter is None:
                    self._splitter = ReasoningSplitter(self._thinks)
                events += self._splitter.feed(text)
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                arguments = function.get("arguments") or ""
                events.append(ToolCallDelta(call.get("index", 0), call.get("id") or None, function.get("name"), arguments))
            reason = choice.get("finish_reason")
            if reason and reason != "null":
                self.reason = _REASONS.get(reason, "unknown")
        self.seen_text = self.seen_text or bool(events)
        return events

    def close(self) -> list[Event]:
        return list(self._splitter.close()) if self._splitter else []


def _usage(usage: dict[str, Any], thinks: bool | None) -> Usage:
    output = usage.get("completion_tokens_details") or {}
    prompt = usage.get("prompt_tokens_details") or {}
    reasoning = output.get("reasoning_tokens")
    return Usage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        reasoning_tokens=0 if reasoning is None and thinks is False else reasoning,
        cached_tokens=prompt.get("cached_tokens"),
    )


def _context(model: dict[str, Any]) -> int | None:
    """Context tokens as vLLM and SGLang (`max_model_len`) or llama.cpp (`meta.n_ctx_train`) tell them."""
    meta = model.get("meta")
    told = model.get("max_model_len") or (meta.get("n_ctx_train") if isinstance(meta, dict) else None)
    return told if isinstance(told, int) and told > 0 else None


def _body(error: openai.APIStatusError) -> dict[str, Any] | None:
    """The error object of a refusal: JSON, or DashScope's `data:` line where the request asked for a stream; else `None`."""
    if isinstance(error.body, dict):
        return error.body
    with suppress(Exception):
        for line in error.response.text.splitlines():
            if line.startswith("data:"):
                data = json.loads(line[5:])
                return data.get("error", data) if isinstance(data, dict) else None
    return None


def _seconds(retry_after: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        return float(retry_after or "")
    return None


def dashscope(host: str, key: SecretStr | None, *, region: str, http_client: Any = None) -> OpenAICompatibleProvider:
    """DashScope's compatible mode. `host` is scheme and host only."""

    def errors(**told: Any) -> BackendError:
        return dashscope_error(region=region, **told)

    return OpenAICompatibleProvider(
        f"{host}/compatible-mode/v1",
        key,
        engine="dashscope",
        where="DashScope",
        prefix="dashscope:",
        errors=errors,
        http_client=http_client,
    )


def openai_server(base_url: str, key: SecretStr | None, *, name: str, http_client: Any = None) -> OpenAICompatibleProvider:
    """Any OpenAI-compatible server; `base_url` ends where `/chat/completions` is appended."""
    where = f"The server at {base_url}"

    def errors(**told: Any) -> BackendError:
        return server_error(where=where, **told)

    return OpenAICompatibleProvider(
        base_url, key, engine="server", where=where, prefix=f"server:{name}/", errors=errors, http_client=http_client
    )
