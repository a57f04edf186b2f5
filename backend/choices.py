"""What a person chose for an answer: model, parameters, system prompt, tools, format; and how that is kept beside chats and answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from backend.model_names import current_name
from backend.tools.kit import ToolKit, kit_from
from backend.types import AnswerFormat, GenerationParameters


@dataclass(frozen=True, slots=True)
class Choices:
    """What the panel says at the moment of sending."""

    model: str
    parameters: GenerationParameters
    system: str = ""
    resend_thinking: bool = False
    tools: ToolKit = field(default_factory=ToolKit)
    format: AnswerFormat | None = None

    def stored(self) -> dict[str, Any]:
        """As kept beside a chat and each answer: plain JSON, only what is set."""
        kept = {k: v for k, v in asdict(self.parameters).items() if v not in (None, (), {})}
        if "stop" in kept:
            kept["stop"] = list(kept["stop"])
        kept |= {"system": self.system, "resend_thinking": self.resend_thinking}
        if self.tools.specs:
            kept["tools"] = self.tools.stored()
        if self.format is not None:
            kept["format"] = asdict(self.format)
        return kept

    @classmethod
    def from_stored(cls, model: str, stored: Mapping[str, Any]) -> Choices:
        """What `stored` gave."""
        system = stored.get("system", "")
        return cls(
            current_name(model),
            parameters_from(stored),
            system if isinstance(system, str) else "",
            stored.get("resend_thinking") is True,
            kit_from(stored.get("tools")),
            _format_from(stored.get("format")),
        )


def _format_from(stored: object) -> AnswerFormat | None:
    if stored is None:
        return None
    with suppress(ValidationError):
        return _FORMAT.validate_python(stored)
    return None


_FORMAT = TypeAdapter(AnswerFormat)


def parameters_from(stored: Mapping[str, Any]) -> GenerationParameters:
    """The parameters of a stored chat or answer; unknown names of older or newer versions are passed over, and so is what cannot be
    right: browsers and files that others made bring them, too."""
    known: dict[str, Any] = {}
    for name, kind in _parameter_kinds().items():
        if name in stored:
            value = tuple(stored[name]) if name == "stop" and isinstance(stored[name], list) else stored[name]
            with suppress(ValidationError):
                known[name] = kind.validate_python(value, strict=True)
    return GenerationParameters(**known)


@cache
def _parameter_kinds() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(GenerationParameters)
    return {each.name: TypeAdapter(hints[each.name]) for each in fields(GenerationParameters)}
