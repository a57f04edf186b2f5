"""What a service says went wrong, out of its envelope: OpenAI's, vLLM's, llama.cpp's, FastAPI's, DashScope's. Knows no error class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backend.display import display_name


def said_in(answer: object) -> dict[str, Any] | None:
    """What a service says went wrong, out of its several envelopes; `None` where it is none of them."""
    if not isinstance(answer, dict):
        return None
    inner = answer.get("error") or answer
    if isinstance(inner, str):
        return {"message": inner}
    if not isinstance(inner, dict):
        return None
    if "detail" in inner:  # FastAPI's own errors
        return {"message": inner["detail"] if isinstance(inner["detail"], str) else json.dumps(inner["detail"])}
    if not (inner.get("code") or inner.get("message")):
        return None
    return {"request_id": answer.get("request_id"), **inner}


def json_in(text: str) -> object:
    """The body of a refusal: JSON, or DashScope's `data:` line where the request asked for a stream; else `None`."""
    line = next((line[5:] for line in text.splitlines() if line.startswith("data:")), text)
    with suppress(ValueError, RecursionError):
        return json.loads(line)
    return None


def status_and_code(said: Mapping[str, Any], status: int | None) -> tuple[int | None, str | None]:
    """OpenAI puts a word into `code`. vLLM and SGLang put the status there (the only place for it inside a stream), a class
    name into `type`, and vLLM `input_tokens` into `param` where a prompt is too long. llama.cpp puts a word into `type`.
    """
    code = said.get("code")
    if str(code).isdecimal() and len(str(code)) == 3:
        status, code = status or int(str(code)), None
    if not code and said.get("param") == "input_tokens":
        return status, "context_length_exceeded"
    word = code or said.get("type")
    return status, display_name(str(word)) if word else None
