"""DashScope's OpenAI-compatible surface: reading its body, writing its frames.

`data: ` with a space, JSON `null` where nothing is, deltas always, usage in an extra chunk and only on request, `[DONE]`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from backend.catalogue import ModelCard
from backend.mock.call import Call, markers
from backend.mock.pacing import Chunk
from backend.mock.refusals import Refusal
from backend.mock.scenarios import Script
from backend.mock.wire import SSE, Counts, Reply, compact, encoded, quoted

DONE = b"data: [DONE]\n\n"


def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Call:
    """The call in a flat body. The parameters are everything but model and messages."""
    turns = body.get("messages")
    messages = [m for m in turns if isinstance(m, dict)] if isinstance(turns, list) else []
    return Call(
        surface="compatible",
        model=str(body.get("model") or ""),
        messages=messages,
        parameters={k: v for k, v in body.items() if k not in ("model", "messages")},
        body=body,
        stream=body.get("stream") is True,
        markers=markers(messages),
    )


def wants_usage(call: Call) -> bool:
    options = call.parameters.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def error_body(refusal: Refusal) -> dict[str, object]:
    return {
        "message": refusal.compatible_text,
        "type": refusal.compatible_type,
        "param": None,
        "code": refusal.compatible,
    }


def refused(refusal: Refusal, request_id: str, stream: bool) -> Reply:
    """Always a JSON envelope, for stream requests too."""
    body = compact({"error": error_body(refusal), "request_id": request_id})
    return Reply(refusal.status, "application/json", encoded(body))


def tool_piece(chunk: Chunk, request_id: str) -> str:
    """A JSON array for `tool_calls`: the name first, then the arguments in pieces whose id is "", as captured."""
    function: dict[str, object] = {"arguments": chunk.text} if chunk.opens is None else {"name": chunk.opens, "arguments": ""}
    call_id = "" if chunk.opens is None else _call_id(request_id, chunk.call)
    return compact([{"index": chunk.call, "id": call_id, "type": "function", "function": function}])


LAST_TOOL_PIECE = '[{"index":0,"id":"","type":"function","function":{}}]'


def _call_id(request_id: str, place: int) -> str:
    return f"call_{request_id[:8]}{place or ''}"


def whole_tool_calls(script: Script, request_id: str) -> str:
    calls = [
        {"index": n, "id": _call_id(request_id, n), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for n, call in enumerate(script.calls)
    ]
    return compact(calls)


class CompatibleFrames:
    """Frames of one run. All but the delta's text is written once, before the first frame."""

    media_type = SSE

    def __init__(self, call: Call, card: ModelCard, request_id: str) -> None:
        self._request_id = request_id
        self._thinks, self._usage = call.thinks(card), wants_usage(call)
        self._created, self._model = int(time.time()), quoted(call.model)
        self._tail = f'"created":{self._created},"system_fingerprint":null,"model":{self._model},"id":"chatcmpl-{request_id}"}}\n\n'
        self._after = f',"index":0,"logprobs":null,"finish_reason":null}}],"object":"chat.completion.chunk","usage":null,{self._tail}'

    def opening(self) -> bytes:
        return self._delta('{"content":"","role":"assistant"}')

    def chunk(self, chunk: Chunk, counts: Counts) -> bytes:
        if chunk.kind == "call":
            return self._delta(f'{{"content":null,"tool_calls":{tool_piece(chunk, self._request_id)}}}')
        text = quoted(chunk.text)
        if not self._thinks:
            return self._delta(f'{{"content":{text}}}')
        if chunk.kind == "thinking":
            return self._delta(f'{{"content":null,"reasoning_content":{text}}}')
        return self._delta(f'{{"content":{text},"reasoning_content":null}}')

    def ending(self, reason: str, counts: Counts) -> list[bytes]:
        trace = ',"reasoning_content":null' if self._thinks else ""
        delta = f'{{"content":"","tool_calls":{LAST_TOOL_PIECE}}}' if reason == "tool_calls" else f'{{"content":""{trace}}}'
        last = f'data: {{"choices":[{{"delta":{delta},"index":0,"logprobs":null,"finish_reason":"{reason}"}}],'
        frames = [encoded(f'{last}"object":"chat.completion.chunk","usage":null,{self._tail}')]
        return frames + self.cut_short() if not self._usage else [*frames, self._usage_frame(counts), DONE]

    def cut_short(self) -> list[bytes]:
        return [DONE]

    def broken(self, refusal: Refusal) -> bytes:
        return encoded(f"data: {compact({'error': error_body(refusal), 'request_id': self._request_id})}\n\n")

    def leaked(self, refusal: Refusal) -> bytes:
        """A native error frame without an `error` key, as captured on real streams."""
        code = refusal.compatible
        data = {"request_id": self._request_id, "code": code, "type": code, "message": refusal.message}
        return encoded(f"id:1\nevent:error\n:HTTP_STATUS/{refusal.status}\ndata:{compact(data)}\n\n")

    def garbled(self) -> bytes:
        return b'data: {"choices":[{"delta":{"content":"half a fra\n\n'

    def whole(self, script: Script, counts: Counts, *, finished: bool) -> bytes:
        reason = quoted(script.reason) if finished else "null"
        calls = f',"tool_calls":{whole_tool_calls(script, self._request_id)}' if script.calls else ""
        message = f'{{"role":"assistant","content":{quoted(script.text("answer"))}{calls}}}'
        choice = f'{{"message":{message},"finish_reason":{reason},"index":0,"logprobs":null}}'
        head = f'{{"choices":[{choice}],"object":"chat.completion","usage":{self._counted(counts)},'
        return encoded(head + self._tail.rstrip("\n"))

    def _usage_frame(self, counts: Counts) -> bytes:
        usage = self._counted(counts)
        return encoded(f'data: {{"choices":[],"object":"chat.completion.chunk","usage":{usage},{self._tail}')

    def _counted(self, counts: Counts) -> str:
        made, read = counts.output, counts.input
        details = f'"completion_tokens_details":{{"reasoning_tokens":{counts.thinking}}},' if self._thinks else ""
        total = f'"prompt_tokens":{read},"completion_tokens":{made},"total_tokens":{read + made}'
        return f'{{{total},{details}"prompt_tokens_details":{{"cached_tokens":0}}}}'

    def _delta(self, delta: str) -> bytes:
        return encoded(f'data: {{"choices":[{{"delta":{delta}{self._after}')


def models(cards: Sequence[ModelCard]) -> dict[str, object]:
    data = [{"id": card.id, "object": "model", "created": 1770343445, "owned_by": "system"} for card in cards]
    return {"object": "list", "data": data}
