"""What handlers give back: updates by component, an error of the page, the context meter, a file for the visitor."""

from __future__ import annotations

import secrets
from typing import Any

from backend import BackendError, Capabilities, ChatRequest, count_messages
from ui import render
from ui.live import IDLE
from ui.text import WORDS as W

Updates = dict[Any, Any]


def page_error(error: BackendError) -> dict[str, Any]:
    """The live part's value for an error that belongs to no answer."""
    return {**IDLE, "state": "error", "status": W.states["error"], "error": render.page_error(error), "jump": True}


def download(name: str, text: str, kind: str) -> dict[str, str]:
    return {"nonce": secrets.token_hex(4), "name": name, "text": text, "type": kind}


async def context_meter(request: ChatRequest, capabilities: Capabilities) -> str:
    """How much of the model's context a request takes; empty without one."""
    if not request.messages:
        return ""
    return render.context_line(await count_messages(request.messages, tools=request.tools), capabilities.context_tokens)
