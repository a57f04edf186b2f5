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
    include_usage: bool = False


class _Generation(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(strict=True, extra="allow")
    model: str = Field(min_length=1, description="A name of /v1/models, as dashscope:qwen3-next-80b-a3b-thinking or local:demo")
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)


class ChatBody(_Generation):
    """`POST /v1/chat/completions`."""

    messages: list[AnyMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, description="Where the engine counts a trace as output, it counts here too")
    max_completion_tokens: int | None = Field(None, description="Another name of max_tokens")
    thinking_budget: int | None = Field(None, description="The most tokens of a trace, where the engine has such a limit")
    enable_thinking: bool | None = Field(None, description="For models that can do both")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="enable_thinking in it is understood for every engine")
    tools: list[ToolDefinition] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextFormat | JsonFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


class CompletionBody(_Generation):
    """`POST /v1/completions`: the model writes on from `prompt`, without a chat template."""

    prompt: str | list[str]
    max_tokens: int | None = 16
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    suffix: str | None = None
