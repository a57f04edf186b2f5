"""The exact JSON of a request, by protocol: what the providers send and `show request` shows. Pure; holds no key.

Only parameters that the model's capabilities list are written; everything else would be refused, or ignored without a word.
"""

from __future__ import annotations

from typing import Any

from backend.catalogue import Capabilities
from backend.types import ChatRequest, Message


def compatible_body(request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    """`POST .../chat/completions`. Fields that OpenAI lacks stand at the top level, as DashScope, vLLM and SGLang take them."""
    dashscope = capabilities.engine == "dashscope"
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(m, resend=request.resend_thinking, dashscope=dashscope) for m in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= _parameters(request, capabilities)
    switch = _enable_thinking(request, capabilities)
    if switch is not None:
        body |= {"enable_thinking": switch} if dashscope else {"chat_template_kwargs": {"enable_thinking": switch}}
    if capabilities.takes_extra:
        body |= dict(request.parameters.extra)
    return body


def native_body(request: ChatRequest, capabilities: Capabilities) -> dict[str, Any]:
    """DashScope's `.../text-generation/generation`; streaming is switched on by a header, not in the body."""
    parameters: dict[str, Any] = {"result_format": "message", "incremental_output": True, **_parameters(request, capabilities)}
    switch = _enable_thinking(request, capabilities)
    if switch is not None:
        parameters["enable_thinking"] = switch
    messages = [_message(m, resend=request.resend_thinking, dashscope=True) for m in request.messages]
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


def _message(message: Message, *, resend: bool, dashscope: bool) -> dict[str, Any]:
    """Earlier thinking goes back inside the text, closed, where it is asked for; DashScope takes no old trace in any field."""
    content = message.content
    if resend and message.thinking and not dashscope:
        content = f"<think>\n{message.thinking}\n</think>\n\n{content}"
    return {"role": message.role, "content": _sendable(content)}


def _sendable(text: str) -> str:
    """UTF-8 has no half of a surrogate pair, which a cut emoji leaves behind."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
