"""What `/v1` answers, as pydantic models: `/openapi.json` is drawn from them, and tests hold what is really sent against them.

Nothing is built with them: `answers.py` writes bytes, which is faster. A field that may be missing (and is never null) has a default.
The document leaves out that no other fields come, so that clients that are made from it outlive a new one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.api.errors import CODES
from backend.catalogue import Format, Thinking

Reason = Literal["stop", "length", "tool_calls", "content_filter"]


def _open(schema: dict[str, Any]) -> None:
    del schema["additionalProperties"]


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=_open)


def _absent() -> Any:
    return None


def _may_lack(description: str) -> Any:
    """A default that the schema does not show: the field is missing, not null."""
    return Field(default_factory=_absent, description=description)


# ---- what all answers have
class ReasoningCount(_Reply):
    reasoning_tokens: int


class CachedCount(_Reply):
    cached_tokens: int


class TokenUsage(_Reply):
    """Token counts as the engine reported them, of all choices together."""

    prompt_tokens: int
    completion_tokens: int = Field(description="The trace's included")
    total_tokens: int
    completion_tokens_details: ReasoningCount = _may_lack("Where the engine tells how long the trace was")
    prompt_tokens_details: CachedCount = _may_lack("Where the engine tells how much of the prompt it need not read again")


class Alternative(_Reply):
    token: str
    logprob: float
    bytes: list[int] | None = Field(description="UTF-8; null where the token is a part of a character")


class TokenLogprob(Alternative):
    top_logprobs: list[Alternative]


class ChatLogprobs(_Reply):
    """Of the answer's tokens, without the trace's."""

    content: list[TokenLogprob]
    refusal: None


class _Answer(_Reply):
    id: str
    created: int = Field(description="Unix time in seconds")
    model: str = Field(description="As it was asked for")


# ---- chat
class FunctionCalled(_Reply):
    name: str
    arguments: str = Field(description="JSON text, as the model wrote it: check it before use")


class ToolCalled(_Reply):
    id: str
    type: Literal["function"]
    function: FunctionCalled


class AnswerMessage(_Reply):
    role: Literal["assistant"]
    content: str | None = Field(description="Null where the model only calls tools")
    refusal: None
    reasoning_content: str = _may_lack("The trace, where the model thought")
    tool_calls: list[ToolCalled] = _may_lack("Where the model calls tools")


class ChatChoice(_Reply):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChatCompletion(_Answer):
    """A whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    system_fingerprint: None
    usage: TokenUsage | None = Field(description="Null where the engine does not tell")


class FunctionPiece(_Reply):
    arguments: str = Field(description="The next piece of the JSON text")
    name: str = _may_lack("In the first piece of a call")


class ToolCallPiece(_Reply):
    index: int = Field(description="Pieces of one call have one index")
    function: FunctionPiece
    id: str = _may_lack("In the first piece of a call")
    type: Literal["function"] = _may_lack("In the first piece of a call")


class Delta(_Reply):
    """What is new: a piece of the trace, of the answer or of a call; nothing in the chunk that ends a choice."""

    role: Literal["assistant"] = _may_lack("In the first chunk of a choice")
    content: str = _may_lack("The next piece of the answer")
    reasoning_content: str = _may_lack("The next piece of the trace")
    tool_calls: list[ToolCallPiece] = _may_lack("The next piece of a call")


class ChunkChoice(_Reply):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None = Field(description="Null but in the last chunk of a choice")


class ChatChunk(_Answer):
    """One `data:` line of a stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice] = Field(description="Empty in the chunk that brings the usage")
    usage: TokenUsage | None = Field(
        default_factory=_absent, description="With stream_options.include_usage: null but in the last chunk, and there where unknown"
    )


# ---- plain completion
class PlainLogprobs(_Reply):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


class CompletionChoice(_Reply):
    index: int
    text: str = Field(description="As the model wrote it, a trace included")
    logprobs: PlainLogprobs | None
    finish_reason: Reason


class Completion(_Answer):
    """A whole continuation."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    system_fingerprint: None
    usage: TokenUsage | None = Field(description="Null where the engine does not tell")


class CompletionChunkChoice(_Reply):
    index: int
    text: str
    logprobs: PlainLogprobs | None
    finish_reason: Reason | None


class CompletionChunk(_Answer):
    """One `data:` line of a stream."""

    object: Literal["text_completion"]
    choices: list[CompletionChunkChoice] = Field(description="Empty in the chunk that brings the usage")
    usage: TokenUsage | None = Field(default_factory=_absent, description="In the last chunk, with stream_options.include_usage")


# ---- models, errors, health
class Range(_Reply):
    """What a parameter may be, both ends included, and what the page here sends by default."""

    min: float
    max: float
    default: float | None = Field(description="Null: left to the engine")


class Model(_Reply):
    """OpenAI's four fields, and what its callers have to look up elsewhere."""

    id: str
    object: Literal["model"]
    created: int = Field(description="Unix time of this server's start")
    owned_by: str = Field(description="The engine: dashscope, server, local or replay")
    title: str
    context_tokens: int | None = Field(description="Null where nobody knows")
    max_output_tokens: int | None = Field(description="Null where nobody knows")
    thinking: Thinking = Field(description="Whether an answer begins with a trace; switch: enable_thinking decides")
    tools: bool
    response_formats: list[Format]
    parameters: dict[str, Range] = Field(description="The numbers that this model takes here; others are left out and named in a header")


class ModelList(_Reply):
    object: Literal["list"]
    data: list[Model]


class Fault(_Reply):
    message: str = Field(description="A sentence for people, often with what to do")
    type: Annotated[str, Field(json_schema_extra={"enum": sorted({kind.type for kind in CODES.values()})})]
    param: str | None = Field(description="The field that is wrong, as messages[0].content")
    code: Annotated[str, Field(json_schema_extra={"enum": sorted(CODES)})]


class Error(_Reply):
    """In OpenAI's shape, whatever went wrong."""

    error: Fault


class Health(_Reply):
    status: Literal["ok"]
