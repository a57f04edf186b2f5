"""One request as the emulator understands it, whatever surface it came in by. Knows no framing and no rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.catalogue import ModelCard
from backend.mock.pacing import count

Surface = Literal["native", "compatible", "server"]

_MARKER = re.compile(r"\[\[([a-z]+)(?::([^\[\]]*))?\]\]", re.IGNORECASE)
_TEMPLATE_TOKENS = 4  # what a chat template adds to each message


@dataclass(frozen=True, slots=True)
class Call:
    """`parameters` are flat, whether they stood in `parameters` (native) or at the top of the body; `body` is as received."""

    surface: Surface
    model: str
    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    body: Mapping[str, Any]
    stream: bool
    markers: Mapping[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The last user turn's text without its `[[markers]]`."""
        return _MARKER.sub("", last_user_text(self.messages)).strip()

    @property
    def input_tokens(self) -> int:
        return sum(count(text_of(m.get("content"))) + _TEMPLATE_TOKENS for m in self.messages)

    def thinks(self, card: ModelCard) -> bool:
        """Whether this call gets a trace. vLLM-like servers take the switch in `chat_template_kwargs`."""
        if card.thinking != "switch":
            return card.thinking == "always"
        template = self.parameters.get("chat_template_kwargs")
        switch = template.get("enable_thinking") if self.surface == "server" and isinstance(template, dict) else None
        if self.surface != "server":
            switch = self.parameters.get("enable_thinking")
        return bool(card.thinks_by_default if switch is None else switch)


def text_of(content: object) -> str:
    """The text of a message's content, which may be a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def markers(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`[[name:value]]` and `[[name]]` (value "") in the last user turn, and before it those of system prompts: so that two panes with
    one question may be answered at two speeds."""
    system = "".join(text_of(m.get("content")) for m in messages if m.get("role") == "system")
    return {name.lower(): value.strip() for name, value in _MARKER.findall(system + last_user_text(messages))}
