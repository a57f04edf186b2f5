"""The exact JSON of a request, by protocol: what the providers send and `show request` shows. Pure; holds no key.

Only parameters that the model's capabilities list are written; everything else would be refused, or ignored without a word.
"""

from __future__ import annotations

import json
from typing import Any

from backend.catalogue import Capabilities
from backend.tool_calls import tool_json
from backend.tools.definitions import arguments_of
from backend.types import AnswerFormat, ChatRequest, Message, ToolCall, Tools


def compatible_body(request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    """`POST .../chat/completions`. Fields that OpenAI lacks stand at the top level, as DashScope, vLLM and SGLang take them."""
    dashscope = capabilities.engine == "dashscope"
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [message_json(m, resend=request.resend_thinking, dashscope=dashscope) for m in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= _parameters(request, capabilities)
    body |= _asked_for(request)
    switch = _enable_thinking(request, capabilities)
    if switch is not None:
        body |= {"enable_thinking": switch} if dashscope else {"chat_template_kwargs": {"enable_thinking": switch}}
    if capabilities.takes_extra:
        extra, template = dict(request.parameters.extra), "chat_template_kwargs"
        if isinstance(extra.get(template), dict):
            extra[template] = {**body.get(template, {}), **extra[template]}
        body |= extra
    return body


def native_body(request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    """DashScope's `.../text-generation/generation`; streaming is switched on by a header, not in the body."""
    parameters: dict[str, Any] = {
        "result_format": "message",
        "incremental_output": True,
        **_parameters(request, capabilities),
        **_asked_for(request),
    }
    switch = _enable_thinking(request, capabilities)
    if switch is not None:
        parameters["enable_thinking"] = switch
    messages = [message_json(m, resend=request.resend_thinking, dashscope=True) for m in request.messages]
    return {"model": request.model, "input": {"messages": messages}, "parameters": parameters}


def _parameters(request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    values = request.parameters
    out = {name: value for name in capabilities.parameters if (value := getattr(values, name)) is not None}
    if capabilities.thinks(values) is False:
        out.pop("thinking_budget", None)  # a budget for a trace that a hybrid model was told not to write
    if values.stop and capabilities.max_stop:
        out["stop"] = [_sendable(word) for word in values.stop]
    return out


def _enable_thinking(request: ChatRequest, capabilities: Capabilities) -> bool | None:
    """Hybrid models have the switch, and models that nobody knows may; for the others it is an error, or nothing."""
    return request.parameters.enable_thinking if capabilities.thinking in ("switch", "unknown") else None


def message_json(message: Message, *, resend: bool = False, dashscope: bool = False) -> dict[str, Any]:
    """Earlier thinking goes back inside the text, closed, where it is asked for; DashScope takes no old trace in any field."""
    content = message.content
    if resend and message.thinking and not dashscope:
        content = f"<think>\n{message.thinking}\n</think>\n\n{content}"
    out: dict[str, Any] = {"role": message.role, "content": _sendable(content)}
    if message.calls:
        out["tool_calls"] = [_call(call) for call in message.calls]
    if message.answers is not None:
        out["tool_call_id"] = message.answers
    return out


def _call(call: ToolCall) -> dict[str, Any]:
    """Servers read the arguments back and refuse the whole conversation for some that are no JSON."""
    try:
        arguments_of(arguments := call.arguments)
    except (ValueError, RecursionError):
        arguments = json.dumps({"invalid_json": call.arguments}, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _sendable(arguments or "{}")}}


def _asked_for(request: ChatRequest) -> dict[str, Any]:
    """Tools, an answer's format, log-probabilities: named alike by both protocols."""
    out: dict[str, Any] = {}
    if request.tools is not None:
        out |= _tools(request.tools)
    if request.format is not None:
        out["response_format"] = _format(request.format)
    if request.detail is not None:
        out |= {"logprobs": True, "top_logprobs": request.detail.alternatives}
    return out


def _tools(tools: Tools) -> dict[str, Any]:
    out: dict[str, Any] = {"tools": [tool_json(tool) for tool in tools.offered]}
    if tools.choice == "named":
        out["tool_choice"] = {"type": "function", "function": {"name": tools.name}}
    elif tools.choice != "auto":
        out["tool_choice"] = tools.choice
    if tools.parallel is not None:
        out["parallel_tool_calls"] = tools.parallel
    return out


def _format(wanted: AnswerFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    told: dict[str, Any] = {"name": wanted.name, "schema": dict(wanted.schema)}
    if wanted.strict is not None:
        told["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": told}


def _sendable(text: str) -> str:
    """UTF-8 has no half of a surrogate pair, which a cut emoji leaves behind."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
