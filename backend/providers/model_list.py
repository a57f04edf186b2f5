"""The models that an OpenAI-compatible server lists, out of the answer's bytes. Knows no transport."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from backend.provider import ListedModel, ModelList
from backend.providers.chunks import count
from backend.providers.http_client import MAX_LIST_BYTES

MAX_MODELS = 1_000
MAX_MODEL_NAME_CHARS = 1_000  # llama.cpp and vLLM name a model by its path


def model_list(body: bytes) -> ModelList | None:
    """`None` for what is no list. Of a body that was cut for its length the models that are whole."""
    whole = len(body) < MAX_LIST_BYTES
    try:
        answer = from_json(body, allow_partial=not whole)
    except ValueError:
        return None
    data = answer.get("data", answer) if isinstance(answer, dict) else answer
    if data is not None and not isinstance(data, list):  # null: a server that has none yet
        return None
    entries = [m for m in data or () if isinstance(m, dict) and isinstance(m.get("id"), str) and m["id"]]
    fitting = [m for m in entries if len(m["id"]) <= MAX_MODEL_NAME_CHARS]
    models = ModelList(ListedModel(m["id"], _context(m)) for m in fitting[:MAX_MODELS])
    models.cut = not whole or len(models) < len(entries)
    return models


def _context(model: dict[str, Any]) -> int | None:
    """Context tokens as vLLM and SGLang (`max_model_len`), OpenRouter, or llama.cpp (`meta.n_ctx_train`) tell them."""
    meta = model.get("meta")
    told = model.get("max_model_len") or model.get("context_length") or (meta.get("n_ctx_train") if isinstance(meta, dict) else None)
    return count(told) or None
