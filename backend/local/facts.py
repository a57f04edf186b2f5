"""What a checkpoint's small text files tell about it, read without loading it and without torch: context and thinking."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.catalogue import Thinking

OPEN, CLOSE = "<think>", "</think>"
SWITCH = "enable_thinking"  # the template variable of the hybrids, since Qwen3


@dataclass(frozen=True, slots=True)
class Facts:
    """`context_tokens` as the config states it, `None` where it does not."""

    context_tokens: int | None = None
    thinking: Thinking = "unknown"


def read_facts(folder: Path) -> Facts:
    """What config.json and the chat template say; unknown where a file is missing or broken, which loading then reports."""
    config = read_json(folder / "config.json")
    text_config = config.get("text_config")
    context = (text_config if isinstance(text_config, dict) else config).get("max_position_embeddings")
    template = _template(folder)
    return Facts(
        context_tokens=context if isinstance(context, int) else None,
        thinking="unknown" if template is None else thinking_of(template),
    )


def thinking_of(template: str) -> Thinking:
    """Whether a model with this chat template thinks.

    A template that opens the trace in its generation prompt belongs to a model that always thinks; one without any tag to a
    model that never does. One that only cleans old traces away may belong to either: unknown.
    """
    if SWITCH in template:
        return "switch"
    _, asks, generation_prompt = template.rpartition("add_generation_prompt")
    if asks and OPEN in generation_prompt:
        return "always"
    return "unknown" if CLOSE in template else "never"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or no valid one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _template(folder: Path) -> str | None:
    """The chat template: its own file today, a field of the tokenizer's config in older checkpoints."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        field = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(field, list):  # several named templates
        field = next((t.get("template") for t in field if isinstance(t, dict) and t.get("name") == "default"), None)
    return field if isinstance(field, str) else None
