"""One question to one model or to several, outside any chat: what other programs ask through MCP. Appears in no one's history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from backend.compare.records import MOST_PANES
from backend.engines import Access, Engines
from backend.errors import BackendError, BadInput
from backend.types import (
    AnswerWasThinking,
    ChatRequest,
    Finished,
    GenerationParameters,
    Message,
    TextDelta,
    ThinkingDelta,
    Timing,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer, or why there is none."""

    model: str
    text: str = ""
    thinking: str = ""
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    error: str | None = None


async def ask(engines: Engines, model: str, prompt: str, *, system: str = "", max_tokens: int | None = None) -> Answered:
    """Raises the tree's errors."""
    messages = (*((Message("system", system),) if system.strip() else ()), Message("user", prompt))
    provider = await engines.pipeline(model, Access())
    request = ChatRequest(own_name(model), messages, GenerationParameters(max_tokens=max_tokens))
    text, thinking = list[str](), list[str]()
    finished = Finished("unknown")
    async with aclosing(provider.stream(request)) as events:
        async for event in events:
            match event:
                case TextDelta():
                    text.append(event.text)
                case ThinkingDelta():
                    thinking.append(event.text)
                case AnswerWasThinking():
                    thinking, text = thinking + text, []
                case Finished():
                    finished = event
                case _:
                    pass
    return Answered(model, "".join(text), "".join(thinking), finished.usage, finished.timing or Timing())


async def ask_all(
    engines: Engines, models: Sequence[str], prompt: str, *, system: str = "", max_tokens: int | None = None
) -> list[Answered]:
    """All at once, each at its own pace; one that fails has its error in place of an answer. Raises `BadInput` for too many or none."""
    if not 1 <= len(models) <= MOST_PANES:
        raise BadInput(f"{len(models)} models; 1 to {MOST_PANES} can be compared.", hint="Name them as /v1/models does.")

    async def one(model: str) -> Answered:
        try:
            return await ask(engines, model, prompt, system=system, max_tokens=max_tokens)
        except BackendError as error:
            return Answered(model, error=f"{error.message} {error.hint}".strip())

    return list(await asyncio.gather(*(one(model) for model in models)))


def own_name(name: str) -> str:
    """The engine's own name of a model: without `provider:`, and without a server's name."""
    engine, _, model = name.partition(":")
    return model.partition("/")[2] if engine == "server" else model
