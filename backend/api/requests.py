"""From a body of `/v1` to a `ChatRequest`: messages, tools, formats, parameters, and what is to be done with fields that an engine lacks.

A field that would change the answer is refused where the engine cannot heed it; one that only tunes it is left out, and the
answer's `x-ignored-parameters` header names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backend.api.bodies import (
    AnyMessage,
    AssistantMessage,
    ChatBody,
    ChosenTool,
    CompletionBody,
    Content,
    FunctionDefinition,
    JsonFormat,
    JsonSchemaFormat,
    ToolMessage,
)
from backend.api.errors import ApiError
from backend.catalogue import Capabilities
from backend.checking import NUMERIC_PARAMETERS
from backend.engines import own_name
from backend.errors import BadInput
from backend.tools.definitions import check_schema, check_tools, check_turns
from backend.types import AnswerFormat, ChatRequest, Detail, GenerationParameters, Message, Role, Tool, ToolCall, Tools

# for the caller's own books; no engine would answer otherwise for them
OF_NO_MATTER = frozenset(
    "user metadata store service_tier prompt_cache_key prompt_cache_retention safety_identifier reasoning_effort verbosity best_of".split()
)
# they change the answer: only a server may know them, and is then sent them as they are
SERVERS_ONLY = frozenset(
    "frequency_penalty logit_bias functions function_call modalities audio prediction web_search_options guided_json guided_regex "
    "guided_choice guided_grammar structured_outputs".split()
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with what concerns only the HTTP side. `ignored` are fields that the engine does not take."""

    request: ChatRequest
    stream: bool
    include_usage: bool
    choices: int
    ignored: tuple[str, ...]


def chat_request(body: ChatBody, capabilities: Capabilities) -> Asked:
    """Raises `ApiError` or `BadInput` for what is wrong in itself; what the model cannot do is judged by `checking.check`."""
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError("invalid_value", "top_logprobs goes with logprobs: true.", "top_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise ApiError("invalid_value", "max_tokens and max_completion_tokens differ.", "max_completion_tokens")
    messages = tuple(_message(message) for message in body.messages)
    check_turns(messages)
    switch = body.enable_thinking
    if switch is None and isinstance((body.chat_template_kwargs or {}).get("enable_thinking"), bool):
        switch = (body.chat_template_kwargs or {})["enable_thinking"]
    request = ChatRequest(
        own_name(body.model),
        messages,
        replace(
            _parameters(body),
            max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
            thinking_budget=body.thinking_budget,
            enable_thinking=switch,
        ),
        detail=Detail(body.top_logprobs or 0) if body.logprobs else None,
        tools=_tools(body),
        format=_format(body),
    )
    return _asked(body, request, capabilities)


def completion_request(body: CompletionBody, capabilities: Capabilities) -> Asked:
    """Raises `ApiError` or `BadInput`."""
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise ApiError("invalid_value", "One prompt a request.", "prompt")
    for name in ("echo", "suffix"):
        if getattr(body, name):
            raise ApiError("unsupported_parameter", f"{name} is not supported here.", name)
    parameters = replace(_parameters(body), max_tokens=body.max_tokens)
    detail = None if body.logprobs is None else Detail(body.logprobs)
    return _asked(body, ChatRequest(own_name(body.model), (), parameters, detail=detail, prompt=prompts[0]), capabilities)


def _asked(body: ChatBody | CompletionBody, request: ChatRequest, capabilities: Capabilities) -> Asked:
    extra = dict(body.model_extra or {})
    ignored = [name for name in NUMERIC_PARAMETERS if getattr(request.parameters, name) is not None and name not in capabilities.parameters]
    if request.parameters.enable_thinking is not None and capabilities.thinking in ("always", "never"):
        ignored.append("enable_thinking")
    template = {name: value for name, value in (getattr(body, "chat_template_kwargs", None) or {}).items() if name != "enable_thinking"}
    if template:
        extra["chat_template_kwargs"] = template
    sent: dict[str, Any] = {}
    for name, value in extra.items():
        if value is None or (name == "modalities" and value == ["text"]):
            continue
        if capabilities.takes_extra:
            sent[name] = value
        elif name in OF_NO_MATTER:
            continue
        elif name in SERVERS_ONLY and value:
            where = f"{capabilities.title} on {capabilities.engine_title}"
            raise ApiError("unsupported_parameter", f"{where} does not take {name}. Leave it out.", name)
        elif name not in SERVERS_ONLY:
            ignored.append(name)
    request = replace(request, parameters=replace(request.parameters, extra=sent))
    options = body.stream_options
    return Asked(request, bool(body.stream), options is not None and options.include_usage, body.n or 1, tuple(ignored))


def _parameters(body: ChatBody | CompletionBody) -> GenerationParameters:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return GenerationParameters(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        presence_penalty=body.presence_penalty,
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        draft_tokens=body.draft_tokens,
        stop=tuple(word for word in stop if word),
    )


def _text(content: Content | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


def _message(message: AnyMessage) -> Message:
    if isinstance(message, ToolMessage):
        return Message("tool", _text(message.content), answers=message.tool_call_id)
    if isinstance(message, AssistantMessage):
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ())
        return Message("assistant", _text(message.content), message.reasoning_content, calls)
    role: Role = "user" if message.role == "user" else "system"
    return Message(role, _text(message.content))


def _tools(body: ChatBody) -> Tools | None:
    if not body.tools:
        if body.tool_choice not in (None, "none", "auto"):
            raise ApiError("invalid_value", "tool_choice needs tools.", "tool_choice")
        return None
    offered = tuple(_tool(each.function) for each in body.tools)
    try:
        check_tools(offered)
    except BadInput as error:
        raise ApiError("invalid_value", f"{error.message} {error.hint}", "tools") from error
    choice = body.tool_choice
    if isinstance(choice, ChosenTool):
        if choice.function.name not in {tool.name for tool in offered}:
            raise ApiError("invalid_value", f"tool_choice names {choice.function.name!r}, which is not among the tools.", "tool_choice")
        return Tools(offered, "named", choice.function.name, body.parallel_tool_calls)
    return Tools(offered, choice or "auto", None, body.parallel_tool_calls)


def _tool(told: FunctionDefinition) -> Tool:
    return Tool(told.name, told.description or "", told.parameters or {}, told.strict)


def _format(body: ChatBody) -> AnswerFormat | None:
    wanted = body.response_format
    if isinstance(wanted, JsonFormat):
        return AnswerFormat()
    if isinstance(wanted, JsonSchemaFormat):
        told = wanted.json_schema
        try:
            check_schema(told.schema_, "response_format's json_schema.schema")
        except BadInput as error:
            raise ApiError("invalid_value", f"{error.message} {error.hint}", "response_format") from error
        return AnswerFormat(told.schema_, told.name, told.strict)
    return None
