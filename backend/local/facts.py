"""What a checkpoint's small text files tell about it, read without loading it and without torch: context, thinking, sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.catalogue import Thinking

OPEN, CLOSE = "<think>", "</think>"
SWITCH = "enable_thinking"  # the template variable of the hybrids, since Qwen3

_OFF = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
_LONGEST_HEADER = 100_000_000  # as the format allows


@dataclass(frozen=True, slots=True)
class Facts:
    """`context_tokens` as the config states it, `None` where it does not; `drafts`: there is an MTP head; `tools`: the template knows
    them; `sampling` as its makers say."""

    context_tokens: int | None = None
    thinking: Thinking = "unknown"
    drafts: bool = False
    tools: bool = False
    sampling: Mapping[str, float] = field(default_factory=dict)


def read_facts(folder: Path) -> Facts:
    """What config.json and the chat template say; unknown where a file is missing or broken, which loading then reports."""
    config = read_json(folder / "config.json")
    text_config = config.get("text_config")
    context = (text_config if isinstance(text_config, dict) else config).get("max_position_embeddings")
    template = _template(folder)
    return Facts(
        context_tokens=context if isinstance(context, int) else None,
        thinking="unknown" if template is None else thinking_of(template),
        drafts=config.get("model_type") == "qwen3_next" and _has_head(folder),
        tools=template is not None and takes_tools(template),
        sampling=sampling_of(read_json(folder / "generation_config.json")),
    )


def sampling_of(config: Mapping[str, Any]) -> dict[str, float]:
    """The sampling that a generation_config advises, by parameter; empty where it says nothing of it.

    As transformers reads one: without `do_sample` the most likely token is taken, with it what is not named is off.
    """
    told = {name: config[name] for name in _OFF if isinstance(config.get(name), int | float) and not isinstance(config[name], bool)}
    if config.get("do_sample"):
        return {**_OFF, **told}
    if told or config.get("do_sample") is False:
        return {**_OFF, "temperature": 0.0, "repetition_penalty": told.get("repetition_penalty", 1.0)}
    return {}


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


def takes_tools(template: str) -> bool:
    """Whether a chat template writes the tools into the prompt, and takes the turns that bring their results."""
    return "tools" in template and "tool_calls" in template


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or no valid one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_head(folder: Path) -> bool:
    """Whether tensors of an MTP head are named in the index, in a file of their own, or in the header of the only file."""
    if (folder / "mtp.safetensors").is_file():
        return True
    names = read_json(folder / "model.safetensors.index.json").get("weight_map")
    if not isinstance(names, dict):
        names = _header(folder / "model.safetensors")
    return any(name.startswith("mtp.") for name in names)


def _header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning of a safetensors file, whose first 8 bytes are its length; empty where it is none."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _LONGEST_HEADER)))
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
