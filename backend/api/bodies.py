"""The bodies that `/v1` takes, as pydantic models: what is checked and what `/openapi.json` says are one. Knows no engine.

Types are strict, as OpenAI's are: a number in quotes is an error. Fields that are not named here are kept: servers may know them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 8


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(_Body):
    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class SystemMessage(_Body):
    role: Literal["system", "developer"]
    content: Content


class UserMessage(_Body):
    role: Literal["user"]
    content: Content


class CalledFunction(_Body):
    name: str
    arguments: str = Field(description="JSON text, as the model wrote it")


class Called(_Body):
    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(_Body):
    role: Literal["assistant"]
    content: Content | None = None
    reasoning_content: str | None = Field(None, description="The trace that came with it; local models get it back between tool calls")
    tool_calls: list[Called] | None = None


class ToolMessage(_Body):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


AnyMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class FunctionDefinition(_Body):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of an object")
    strict: bool | None = None


class ToolDefinition(_Body):
    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(_Body):
    name: str


class ChosenTool(_Body):
    type: Literal["function"]
    function: ChosenFunction


class TextFormat(_Body):
    type: Literal["text"]


class JsonFormat(_Body):
    type: Literal["json_object"]


class JsonSchema(_Body):
    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)
    name: str = "answer"
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(_Body):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(_Body):
    include_usage: bool = Field(False, description="A last chunk with the token counts")


class _Generation(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(strict=True, extra="allow")
    model: str = Field(min_length=1, description="A name of /v1/models, as dashscope:qwen3-next-80b-a3b-thinking or local:demo")
    temperature: float | None = Field(None, description="0: the likeliest token every time")
    top_p: float | None = Field(None, description="The draw is among the likeliest tokens that make up this share together")
    top_k: int | None = Field(None, description="The draw is among so many of the likeliest tokens")
    min_p: float | None = Field(None, description="No token below this share of the likeliest one's probability")
    presence_penalty: float | None = Field(None, description="Against tokens that were there already")
    repetition_penalty: float | None = Field(None, description="The same as a factor; 1: none")
    seed: int | None = Field(None, description="The same seed draws the same answer, where the engine holds to it")
    draft_tokens: int | None = Field(
        None, description="Guessed ahead by a checkpoint's MTP head on this machine: faster, drawn from the same distribution"
    )
    stop: str | list[str] | None = Field(None, description="The answer ends before the first of these")
    stream: bool | None = Field(None, description="The answer as server-sent events while it is made")
    stream_options: StreamOptions | None = Field(None, description="What a stream tells beside the answer")
    n: int | None = Field(None, ge=1, le=MOST_CHOICES, description="So many answers at once; given a seed, each has one of its own")


class ChatBody(_Generation):
    """`POST /v1/chat/completions`."""

    messages: list[AnyMessage] = Field(min_length=1, description="The chat so far, the newest last")
    max_tokens: int | None = Field(None, description="Where the engine counts a trace as output, it counts here too")
    max_completion_tokens: int | None = Field(None, description="Another name of max_tokens")
    thinking_budget: int | None = Field(None, description="The most tokens of a trace, where the engine has such a limit")
    enable_thinking: bool | None = Field(None, description="For models that can do both")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="enable_thinking in it is understood for every engine")
    tools: list[ToolDefinition] | None = Field(None, description="What the model may call; the caller runs it and sends the result back")
    tool_choice: Literal["auto", "none", "required"] | ChosenTool | None = Field(None, description="Whether it must, and which")
    parallel_tool_calls: bool | None = Field(None, description="Whether it may call several in one turn")
    response_format: Annotated[TextFormat | JsonFormat | JsonSchemaFormat, Field(discriminator="type")] | None = Field(
        None, description="Holds the answer to JSON, or to a schema"
    )
    logprobs: bool | None = Field(None, description="Tell the log-probability of each token of the answer")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="With so many alternatives; goes with logprobs")


class CompletionBody(_Generation):
    """`POST /v1/completions`: the model writes on from `prompt`, without a chat template."""

    prompt: str | list[str] = Field(description="One text, or a list of one")
    max_tokens: int | None = Field(16, description="Null: the engine's own default")
    logprobs: int | None = Field(None, ge=0, le=20, description="Log-probabilities, with so many alternatives")
    echo: bool | None = Field(None, description="Refused where true")
    suffix: str | None = Field(None, description="Refused where not empty")
