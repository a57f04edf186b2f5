"""Chunks of an OpenAI-compatible stream, as plain dicts, to events. Knows no transport and no errors.

A trace comes in `reasoning_content` (DashScope, vLLM, SGLang, llama.cpp), in `reasoning` (newer vLLM, Ollama, OpenRouter), or,
from a server without a reasoning parser, inside the text. Calls come in `tool_calls`, or, from a server without a tool parser,
inside the text as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.display import display_name
from backend.reasoning import ReasoningSplitter
from backend.tool_calls import CallSplitter
from backend.types import Event, Finished, FinishReason, TextDelta, ThinkingDelta, TokenDetail, ToolCallDelta, Usage

MAX_CALLS = 128  # of one turn
MAX_HELD_CHARS = 100_000  # of text that may still become a call or a trace: it is looked through at every piece

_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter",
}  # fmt: skip


class ChunkReader:
    """One answer. `thinks`: whether it begins with a trace; `service_splits`: the service tells the trace apart in any case.

    Elsewhere the first delta decides: a reasoning field shows that the server splits, text from a model that is known to think
    is its raw output. A server that splits and sends no trace at all from such a model looks the same as raw text; the answer
    then counts as thinking, which is the rarer of the two. `calls_in_text`: calls are looked for in the text.
    """

    def __init__(self, thinks: bool | None, *, service_splits: bool, calls_in_text: bool = False) -> None:
        self._thinks = thinks
        self._calls = CallSplitter() if calls_in_text else None
        self._splitter = ReasoningSplitter(False if service_splits else thinks)
        self._service_splits = service_splits
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self.said_something = False
        self.request_id: str | None = None

    def read(self, chunk: dict[str, Any]) -> list[Event]:
        """The events of one chunk, often one. Raises `TypeError` or `AttributeError` where its parts have other types."""
        if usage := chunk.get("usage"):
            self._usage = _usage(usage, self._thinks)
        self.request_id = self.request_id or shown_id(chunk.get("id"))
        events: list[Event] = []
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or choice.get("message") or {}
            if thinking := delta.get("reasoning_content") or delta.get("reasoning"):
                if not self._service_splits:
                    self._service_splits, self._splitter = True, ReasoningSplitter(False)
                events.append(ThinkingDelta(_text(thinking)))
            if text := delta.get("content"):
                events += self._without_calls(self._splitter.feed(_text(text)))
            for place, call in enumerate(delta.get("tool_calls") or ()):
                if self._calls:  # the server takes them out itself
                    events += self._calls.close()
                    self._calls = None
                events.append(tool_call(call, place))
            if told := choice.get("logprobs"):
                events[:0] = [token_detail(token) for token in told.get("content") or ()]
            if (reason := choice.get("finish_reason")) and reason != "null":
                self._reason = _REASONS.get(reason, "unknown")
        if self._splitter.held_chars + (self._calls.held_chars if self._calls else 0) > MAX_HELD_CHARS:
            raise TypeError("text that is neither an answer nor a call")
        if events:
            self.said_something = True
        return events

    def rest(self) -> list[Event]:
        """What was held back, at the end of the stream."""
        held = self._without_calls(self._splitter.close())
        return held + (self._calls.close() if self._calls else [])

    def finished(self) -> Finished | None:
        """The last event; `None` where no finish reason came."""
        if self._reason == "stop" and self._calls and self._calls.found:
            self._reason = "tool_calls"
        return None if self._reason is None else Finished(self._reason, self._usage, request_id=self.request_id)

    def _without_calls(self, deltas: Sequence[Event]) -> list[Event]:
        calls = self._calls
        if calls is None:
            return [*deltas]
        return [piece for delta in deltas for piece in (calls.feed(delta.text) if isinstance(delta, TextDelta) else [delta])]


def tool_call(call: dict[str, Any], place: int) -> ToolCallDelta:
    """A piece of a call. Later pieces carry an empty id and no name; whole answers have no index."""
    function = call.get("function") or {}
    index = call.get("index")
    index = place if index is None else count(index)
    if index is None or index >= MAX_CALLS:
        raise TypeError("a call at no place")
    return ToolCallDelta(index, call.get("id") or None, function.get("name") or None, function.get("arguments") or "")


def token_detail(token: dict[str, Any]) -> TokenDetail:
    """An entry of OpenAI's `logprobs.content`."""
    others = tuple((str(t["token"]), float(t["logprob"])) for t in token.get("top_logprobs") or ())
    return TokenDetail(str(token["token"]), float(token["logprob"]), others)


def count(value: object) -> int | None:
    """A number that can be counted and stored; `None` for anything else that a service tells."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def shown_id(value: object) -> str | None:
    """The id of a request, for people who ask its service about it."""
    return display_name(value) or None if isinstance(value, str) else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text of the type {type(value).__name__}")
    return value


def _usage(usage: dict[str, Any], thinks: bool | None) -> Usage:
    output = usage.get("completion_tokens_details") or {}
    prompt = usage.get("prompt_tokens_details") or {}
    reasoning = output.get("reasoning_tokens")
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        reasoning_tokens=0 if reasoning is None and thinks is False else count(reasoning),
        cached_tokens=count(prompt.get("cached_tokens")),
    )
