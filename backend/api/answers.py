"""Events of an answer as OpenAI writes them: frames of a stream, or one body. Knows no HTTP and no engine.

A frame is written by hand around the text's JSON: with 100 streams at once the dump of a whole dict a token would be the costliest step.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from backend.api.errors import ApiError
from backend.tool_calls import CallJoiner
from backend.types import (
    AnswerWasThinking,
    Event,
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    TokenDetail,
    ToolCallDelta,
    Usage,
)

DONE = b"data: [DONE]\n\n"
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def new_answer_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def usage_json(usages: Sequence[Usage]) -> dict[str, Any] | None:
    """The counts of all choices together; `None` where an engine did not tell them. The prompt was read once."""
    if not usages or any(u.input_tokens is None or u.output_tokens is None for u in usages):
        return None
    read, made = usages[0].input_tokens or 0, sum(u.output_tokens or 0 for u in usages)
    told: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
    reasoning = [u.reasoning_tokens for u in usages]
    if None not in reasoning:
        told["completion_tokens_details"] = {"reasoning_tokens": sum(n or 0 for n in reasoning)}
    if usages[0].cached_tokens is not None:
        told["prompt_tokens_details"] = {"cached_tokens": usages[0].cached_tokens}
    return told


def _reason(reason: FinishReason) -> str:
    return "stop" if reason == "unknown" else reason


def _logprob(detail: TokenDetail) -> dict[str, Any]:
    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": None if "\ufffd" in token else list(token.encode("utf-8", "replace"))}

    return {**entry(detail.token, detail.logprob), "top_logprobs": [entry(t, p) for t, p in detail.alternatives]}


def _plain_logprobs(details: Sequence[TokenDetail]) -> dict[str, Any] | None:
    """As plain completions have them."""
    if not details:
        return None
    return {
        "tokens": [d.token for d in details],
        "token_logprobs": [d.logprob for d in details],
        "top_logprobs": [dict(d.alternatives) for d in details],
    }


def _those_of(text: str, details: list[TokenDetail]) -> list[TokenDetail]:
    """The tokens that `text` is made of, without those before it that made none: the tag after a trace and its line breaks."""
    joined = "".join(detail.token for detail in details)
    while details and joined.removeprefix(details[0].token).endswith(text):
        joined = joined.removeprefix(details[0].token)
        details = details[1:]
    return details


class ChatFrames:
    """One streamed chat completion, of one or several choices."""

    def __init__(self, answer_id: str, model: str, *, include_usage: bool, choices: int = 1) -> None:
        head = f'{{"id":{_quoted(answer_id)},"object":"chat.completion.chunk","created":{int(time.time())},"model":{_quoted(model)},'
        self._head = f'data: {head}"choices":['
        self._tail = "]" + (',"usage":null' if include_usage else "") + "}\n\n"
        self._include_usage = include_usage
        self._opened = [False] * choices
        self._details: list[list[TokenDetail]] = [[] for _ in range(choices)]
        self._usages: list[Usage] = []

    def take(self, place: int, event: Event) -> bytes:
        """The frames of one event, often one; none for what OpenAI has no word for."""
        match event:
            case TextDelta():
                return self._delta(place, f'{{"content":{_quoted(event.text)}}}', self._told(place, event.text))
            case ThinkingDelta():
                self._details[place].clear()
                return self._delta(place, f'{{"reasoning_content":{_quoted(event.text)}}}')
            case ToolCallDelta():
                return self._delta(place, f'{{"tool_calls":[{_piece(event)}]}}')
            case TokenDetail():
                self._details[place].append(event)
            case Finished():
                self._usages.append(event.usage)
                return self._delta(place, "{}", reason=f'"{_reason(event.reason)}"')
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """What comes after the last choice has ended."""
        if not self._include_usage:
            return DONE
        usage = json.dumps(usage_json(self._usages))
        return f'{self._head}],"usage":{usage}}}\n\n'.encode() + DONE

    def broken(self, error: ApiError) -> bytes:
        """An error after the stream has begun: OpenAI's clients raise it."""
        return b"data: " + error.body() + b"\n\n"

    def _told(self, place: int, text: str) -> str:
        details, self._details[place] = _those_of(text, self._details[place]), []
        return json.dumps({"content": [_logprob(d) for d in details], "refusal": None}) if details else "null"

    def _delta(self, place: int, delta: str, logprobs: str = "null", reason: str = "null") -> bytes:
        opening = ""
        if not self._opened[place]:
            self._opened[place] = True
            opening = self._frame(place, '{"role":"assistant","content":""}', "null", "null")
        return (opening + self._frame(place, delta, logprobs, reason)).encode("utf-8", "replace")

    def _frame(self, place: int, delta: str, logprobs: str, reason: str) -> str:
        return f'{self._head}{{"index":{place},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason}}}{self._tail}'


def _piece(event: ToolCallDelta) -> str:
    """The first piece of a call has its id and name, the others neither, as OpenAI's have."""
    function: dict[str, Any] = {"arguments": event.arguments}
    piece: dict[str, Any] = {"index": event.index, "function": function}
    if event.name:
        function["name"] = event.name
        piece |= {"id": event.id, "type": "function"}
    return json.dumps(piece, ensure_ascii=False)


class Choice:
    """One whole answer, put together from its events."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._details: list[TokenDetail] = []
        self._pending: list[TokenDetail] = []
        self._calls = CallJoiner()
        self._reason: FinishReason = "unknown"
        self.usage = Usage()

    def take(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text.append(event.text)
                self._details += _those_of(event.text, self._pending)
                self._pending = []
            case ThinkingDelta():
                self._thinking.append(event.text)
                self._pending = []
            case AnswerWasThinking():
                self._thinking, self._text, self._details = self._thinking + self._text, [], []
            case ToolCallDelta():
                self._calls.add(event)
            case TokenDetail():
                self._pending.append(event)
            case Finished():
                self._reason, self.usage = event.reason, event.usage
            case _:
                pass

    def message(self, place: int) -> dict[str, Any]:
        """As an entry of `choices`."""
        calls = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self._calls.calls]
        text = "".join(self._text)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if self._thinking:
            message["reasoning_content"] = "".join(self._thinking)
        if calls:
            message["tool_calls"] = calls
        told = {"content": [_logprob(d) for d in self._details], "refusal": None} if self._details else None
        return {"index": place, "message": message, "logprobs": told, "finish_reason": _reason(self._reason)}

    def completion(self, place: int) -> dict[str, Any]:
        """As an entry of a plain completion's `choices`: trace and text are one there, as the model wrote them."""
        text, told = "".join((*self._thinking, *self._text)), _plain_logprobs(self._details)
        return {"index": place, "text": text, "logprobs": told, "finish_reason": _reason(self._reason)}


def chat_body(answer_id: str, model: str, choices: Sequence[Choice]) -> bytes:
    """One chat completion."""
    return _body(answer_id, "chat.completion", model, [c.message(n) for n, c in enumerate(choices)], choices)


def completion_body(answer_id: str, model: str, choices: Sequence[Choice]) -> bytes:
    """One plain completion."""
    return _body(answer_id, "text_completion", model, [c.completion(n) for n, c in enumerate(choices)], choices)


def _body(answer_id: str, kind: str, model: str, entries: list[dict[str, Any]], choices: Sequence[Choice]) -> bytes:
    made = {"id": answer_id, "object": kind, "created": int(time.time()), "model": model, "choices": entries}
    made |= {"system_fingerprint": None, "usage": usage_json([c.usage for c in choices])}
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")


class CompletionFrames:
    """One streamed plain completion."""

    def __init__(self, answer_id: str, model: str, *, include_usage: bool) -> None:
        self._made = {"id": answer_id, "object": "text_completion", "created": int(time.time()), "model": model}
        self._include_usage = include_usage
        self._details: dict[int, list[TokenDetail]] = {}
        self._usages: list[Usage] = []

    def take(self, place: int, event: Event) -> bytes:
        """The frame of one event, if it has any."""
        match event:
            case TextDelta() | ThinkingDelta():
                details = self._details.pop(place, [])
                told = _plain_logprobs(_those_of(event.text, details)) if isinstance(event, TextDelta) else None
                return self._frame([{"index": place, "text": event.text, "logprobs": told, "finish_reason": None}])
            case TokenDetail():
                self._details.setdefault(place, []).append(event)
                return b""
            case Finished():
                self._usages.append(event.usage)
                return self._frame([{"index": place, "text": "", "logprobs": None, "finish_reason": _reason(event.reason)}])
            case _:
                return b""

    def end(self) -> bytes:
        return (self._frame([], usage=usage_json(self._usages)) if self._include_usage else b"") + DONE

    def broken(self, error: ApiError) -> bytes:
        return b"data: " + error.body() + b"\n\n"

    def _frame(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + json.dumps({**self._made, "choices": choices, **more}, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
