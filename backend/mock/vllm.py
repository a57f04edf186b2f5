"""A vLLM-like server on plain `/v1`: reading its body, its few rules, writing its frames.

The trace comes in `reasoning_content`, in `reasoning`, or inline in the text: closed by `</think>` and never opened, since the
chat template opened it. Usage has no reasoning tokens, as there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.catalogue import ModelCard
from backend.mock import compatible
from backend.mock.call import Call
from backend.mock.compatible import DONE, tool_piece, wants_usage, whole_tool_calls
from backend.mock.config import SERVER_STYLES, ServerStyle
from backend.mock.pacing import Chunk
from backend.mock.refusals import Refusal
from backend.mock.scenarios import Script
from backend.mock.wire import Counts, Reply, compact, encoded, quoted

UNLISTED = ModelCard(
    id="mock/unlisted-thinker", engine="checkpoint", title="A thinker nobody knows", thinking="always", context_tokens=32768
)
_TYPES = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError"}
_BUSY = {429: "RateLimitError", 503: "ServiceUnavailableError"}


def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Call:
    return replace(compatible.read(body, headers), surface="server")


def style_of(call: Call, default: ServerStyle) -> ServerStyle:
    wanted = call.markers.get("style", default)
    return next((style for style in SERVER_STYLES if style == wanted), default)


def refused(refusal: Refusal, request_id: str, stream: bool) -> Reply:
    return Reply(refusal.status, "application/json", encoded(compact({"error": _error(refusal)})))


def _error(refusal: Refusal) -> dict[str, object]:
    kind = _TYPES.get(refusal.status) or _BUSY.get(refusal.status, "InternalServerError")
    return {"message": refusal.compatible_text, "type": kind, "param": None, "code": refusal.status}


def check(call: Call, card: ModelCard, max_input_tokens: int | None) -> Refusal | None:
    """The first thing a vLLM server would refuse."""
    if not call.messages:
        return _bad("messages must not be empty.")
    for name, low, text in (
        ("temperature", 0.0, "temperature must be non-negative, got {}."),
        ("max_tokens", 1, "max_tokens must be at least 1, got {}."),
    ):
        value = call.parameters.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < low):
            return _bad(text.format(value))
    top_p = call.parameters.get("top_p")
    if top_p is not None and not (isinstance(top_p, int | float) and 0 < top_p <= 1):
        return _bad(f"top_p must be in (0, 1], got {top_p}.")
    context, asked = max_input_tokens or card.context_tokens, call.input_tokens
    answer = call.parameters.get("max_tokens") or 0
    if context is not None and asked + answer > context:
        return _bad(
            f"This model's maximum context length is {context} tokens. However, you requested {asked + answer} tokens "
            f"({asked} in the messages, {answer} in the completion). Please reduce the length of the messages or completion."
        )
    return None


def unknown_model(model: str) -> Refusal:
    return Refusal(404, "ModelNotFound", "model_not_found", f"The model `{model}` does not exist.")


def _bad(message: str) -> Refusal:
    return Refusal(400, "InvalidParameter", "invalid_parameter_error", message)


class VllmFrames:
    """Frames of one run."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, call: Call, card: ModelCard, request_id: str, style: ServerStyle) -> None:
        self._request_id, self._style, self._usage = request_id, style, wants_usage(call)
        self._open = call.thinks(card)
        head = f'"id":"chatcmpl-{request_id}","object":"%s","created":{int(time.time())},"model":{quoted(call.model)}'
        self._head = f"data: {{{head % 'chat.completion.chunk'}"
        self._whole_head = f"{{{head % 'chat.completion'}"

    def opening(self) -> bytes:
        return self._delta('{"role":"assistant","content":""}')

    def chunk(self, chunk: Chunk, counts: Counts) -> bytes:
        if chunk.kind == "call":
            return self._delta(f'{{"tool_calls":{tool_piece(chunk, self._request_id)}}}')
        if chunk.kind == "thinking" and self._style != "inline":
            return self._delta(f'{{"{self._style}":{quoted(chunk.text)}}}')
        text = chunk.text
        if chunk.kind == "answer" and self._open and self._style == "inline":
            self._open, text = False, f"\n</think>\n\n{text}"
        return self._delta(f'{{"content":{quoted(text)}}}')

    def ending(self, reason: str, counts: Counts) -> list[bytes]:
        choice = f'{{"index":0,"delta":{{"content":""}},"logprobs":null,"finish_reason":"{reason}","stop_reason":null}}'
        frames = [encoded(f'{self._head},"choices":[{choice}]}}\n\n')]
        if self._usage:
            frames.append(encoded(f'{self._head},"choices":[],"usage":{_counted(counts)}}}\n\n'))
        return [*frames, DONE]

    def cut_short(self) -> list[bytes]:
        return [DONE]

    def broken(self, refusal: Refusal) -> bytes:
        return encoded(f"data: {compact({'error': _error(refusal)})}\n\n")

    def leaked(self, refusal: Refusal) -> bytes:
        return self.broken(refusal)

    def garbled(self) -> bytes:
        return b'data: {"choices":[{"delta":{"content":"half a fra\n\n'

    def whole(self, script: Script, counts: Counts, *, finished: bool) -> bytes:
        thinking, answer = script.text("thinking"), script.text("answer")
        trace = ""
        if self._style == "inline":
            answer = f"{thinking}\n</think>\n\n{answer}" if thinking and answer else thinking + answer
        elif self._open:
            trace = f',"{self._style}":{quoted(thinking)}'
        calls = f',"tool_calls":{whole_tool_calls(script, self._request_id)}' if script.calls else ""
        message = f'{{"role":"assistant","content":{quoted(answer)}{trace}{calls}}}'
        reason = quoted(script.reason) if finished else "null"
        choice = f'{{"index":0,"message":{message},"logprobs":null,"finish_reason":{reason},"stop_reason":null}}'
        return encoded(f'{self._whole_head},"choices":[{choice}],"usage":{_counted(counts)}}}')

    def _delta(self, delta: str) -> bytes:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}'
        return encoded(f'{self._head},"choices":[{choice}]}}\n\n')


def _counted(counts: Counts) -> str:
    made, read = counts.output, counts.input
    return f'{{"prompt_tokens":{read},"total_tokens":{read + made},"completion_tokens":{made},"prompt_tokens_details":null}}'


def models(cards: Sequence[ModelCard], max_input_tokens: int | None) -> dict[str, object]:
    data = [
        {
            "id": card.id,
            "object": "model",
            "created": 1770343445,
            "owned_by": "vllm",
            "root": card.id,
            "parent": None,
            "max_model_len": max_input_tokens or card.context_tokens,
        }
        for card in cards
    ]
    return {"object": "list", "data": data}
