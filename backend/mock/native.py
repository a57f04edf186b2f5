"""DashScope's native surface: reading its body, writing its frames.

No space after a colon, `:HTTP_STATUS/200` in each frame, cumulative usage in each frame, the string "null" for a finish
reason that is not there yet, no `[DONE]`. A refused stream request gets its real status and an SSE body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.catalogue import ModelCard
from backend.mock.call import Call, markers
from backend.mock.compatible import LAST_TOOL_PIECE, tool_piece, whole_tool_calls
from backend.mock.pacing import Chunk
from backend.mock.refusals import Refusal
from backend.mock.scenarios import Script
from backend.mock.wire import SSE, Counts, Reply, compact, encoded, quoted


def wants_stream(headers: Mapping[str, str]) -> bool:
    """The header is the only switch; `Accept` counts as a synonym."""
    return headers.get("x-dashscope-sse", "").lower() == "enable" or "text/event-stream" in headers.get("accept", "")


def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Call:
    """The call in a native body, whatever is missing or wrong in it."""
    given, parameters = body.get("input"), body.get("parameters")
    given = given if isinstance(given, dict) else {}
    turns = given.get("messages")
    if turns is None and isinstance(given.get("prompt"), str):
        turns = [{"role": "user", "content": given["prompt"]}]
    messages = [m for m in turns if isinstance(m, dict)] if isinstance(turns, list) else []
    return Call(
        surface="native",
        model=str(body.get("model") or ""),
        messages=messages,
        parameters=parameters if isinstance(parameters, dict) else {},
        body=body,
        stream=wants_stream(headers),
        markers=markers(messages),
    )


def result_format(call: Call, card: ModelCard) -> str:
    """`message` for the open models and while thinking; `text` for the rest and, as documented, for next-instruct."""
    given = call.parameters.get("result_format")
    if given is not None:
        return str(given)
    open_model = card.id.startswith(("qwen3-", "qwq")) and card.id != "qwen3-next-80b-a3b-instruct"
    return "message" if call.thinks(card) or open_model else "text"


def incremental(call: Call, card: ModelCard) -> bool:
    given = call.parameters.get("incremental_output")
    return bool(given) if given is not None else call.thinks(card) or card.id.startswith(("qwen3-", "qwq"))


def error_frame(refusal: Refusal, request_id: str, number: int = 1) -> bytes:
    data = compact({"code": refusal.native, "message": refusal.message, "request_id": request_id})
    return encoded(f"id:{number}\nevent:error\n:HTTP_STATUS/{refusal.status}\ndata:{data}\n\n")


def refused(refusal: Refusal, request_id: str, stream: bool) -> Reply:
    """A stream request is refused with its real status and an SSE body, any other with JSON."""
    if stream:
        return Reply(refusal.status, SSE, error_frame(refusal, request_id))
    data = {"code": refusal.native, "message": refusal.message, "request_id": request_id}
    return Reply(refusal.status, "application/json", encoded(compact(data)))


class NativeFrames:
    """Frames of one run. In cumulative mode each frame repeats the whole text, as the service does."""

    media_type = SSE

    def __init__(self, call: Call, card: ModelCard, request_id: str) -> None:
        self._id, self._number = request_id, 0
        self._thinks = call.thinks(card)
        self._message = result_format(call, card) == "message"
        self._incremental = incremental(call, card)
        self._told = {"thinking": "", "answer": ""}

    def opening(self) -> bytes:
        return b""

    def chunk(self, chunk: Chunk, counts: Counts) -> bytes:
        if chunk.kind == "call":
            return self._frame(self._output("", "", "null", tool_piece(chunk, self._id)), counts)
        text = {"thinking": "", "answer": ""}
        if not self._incremental:
            self._told[chunk.kind] += chunk.text
            text = self._told
        else:
            text[chunk.kind] = chunk.text
        return self._frame(self._output(text["thinking"], text["answer"], "null"), counts)

    def ending(self, reason: str, counts: Counts) -> list[bytes]:
        last = LAST_TOOL_PIECE if reason == "tool_calls" else None
        return [self._frame(self._output(self._told["thinking"], self._told["answer"], reason, last), counts)]

    def cut_short(self) -> list[bytes]:
        return []

    def broken(self, refusal: Refusal) -> bytes:
        self._number += 1
        return error_frame(refusal, self._id, self._number)

    def leaked(self, refusal: Refusal) -> bytes:
        return self.broken(refusal)

    def garbled(self) -> bytes:
        self._number += 1
        return f'id:{self._number}\nevent:result\n:HTTP_STATUS/200\ndata:{{"output":{{"choices":[\n\n'.encode()

    def whole(self, script: Script, counts: Counts, *, finished: bool) -> bytes:
        reason = quoted(script.reason if finished else "null")
        content = quoted(script.text("answer"))
        if self._message:
            extra = f',"tool_calls":{whole_tool_calls(script, self._id)}' if script.calls else ""
            output = f'{{"choices":[{{"finish_reason":{reason},"message":{{"role":"assistant","content":{content}{extra}}}}}]}}'
        else:
            output = f'{{"text":{content},"finish_reason":{reason}}}'
        usage = f'{{"input_tokens":{counts.input},"output_tokens":{counts.output},"total_tokens":{counts.input + counts.output}}}'
        return encoded(f'{{"output":{output},"usage":{usage},"request_id":"{self._id}"}}')

    def _output(self, thinking: str, answer: str, reason: str, tool_calls: str | None = None) -> str:
        if not self._message:
            return f'{{"finish_reason":"{reason}","text":{quoted(answer)}}}'
        trace = f'"reasoning_content":{quoted(thinking)},' if self._thinks else ""
        calls = f',"tool_calls":{tool_calls}' if tool_calls else ""
        message = f'{{"content":{quoted(answer)},{trace}"role":"assistant"{calls}}}'
        return f'{{"choices":[{{"message":{message},"finish_reason":"{reason}"}}]}}'

    def _frame(self, output: str, counts: Counts) -> bytes:
        self._number += 1
        made, read = counts.output, counts.input
        details = f',"output_tokens_details":{{"reasoning_tokens":{counts.thinking}}}' if self._thinks else ""
        usage = f'{{"total_tokens":{read + made},"input_tokens":{read},"output_tokens":{made}{details}}}'
        data = f'{{"output":{output},"usage":{usage},"request_id":"{self._id}"}}'
        return encoded(f"id:{self._number}\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n")
