"""One question to one model or to several, outside any chat: what other programs ask through MCP. Appears in no one's history."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from starlette.types import Scope

from backend.api.access import check_access
from backend.api.errors import ApiError
from backend.checking import check
from backend.compare.records import MOST_PANES
from backend.engines import Access, Engines, ModelChoice, own_name
from backend.errors import AuthError, BackendError, BadInput
from backend.settings import Settings
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


class Asking:
    """Uses the host's own keys."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self._settings, self._engines = settings, engines

    def admit(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises `AuthError` unless this caller may use the HTTP API, too."""
        try:
            check_access(scope, headers, self._settings.api_token, public=self._settings.public)
        except ApiError as error:
            raise AuthError(error.message) from error

    async def models(self) -> list[ModelChoice]:
        """Those that can be asked now."""
        return [choice for choice in await self._engines.choices(Access()) if choice.ready]

    async def ask(self, model: str, prompt: str, *, system: str = "", max_tokens: int | None = None) -> Answered:
        """The whole answer of `model`, or of the host's default where it is empty. Raises the tree's errors."""
        return await self._engines.ending.unless_ended(self._ask(model, prompt, system, max_tokens))

    async def _ask(self, model: str, prompt: str, system: str, max_tokens: int | None) -> Answered:
        if not prompt.strip():
            raise BadInput("There is no prompt.", hint="Say what the model is to answer.")
        name = model.strip() or self._engines.default_model(await self._engines.choices(Access()))
        messages = (*((Message("system", system),) if system.strip() else ()), Message("user", prompt))
        request = ChatRequest(own_name(name), messages, GenerationParameters(max_tokens=max_tokens))
        check(request, await self._engines.capabilities(name, Access()))
        provider = await self._engines.pipeline(name, Access())
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
        return Answered(name, "".join(text), "".join(thinking), finished.usage, finished.timing or Timing())

    async def ask_all(self, models: Sequence[str], prompt: str, *, system: str = "", max_tokens: int | None = None) -> list[Answered]:
        """All at once, each at its own pace; one that fails has its error in place of an answer. Raises `BadInput` for too many or none."""
        if not 1 <= len(models) <= MOST_PANES:
            raise BadInput(f"{len(models)} models; 1 to {MOST_PANES} can be compared.", hint="list_models names them.")

        async def one(model: str) -> Answered:
            try:
                return await self.ask(model, prompt, system=system, max_tokens=max_tokens)
            except BackendError as error:
                return Answered(model, error=f"{error.message} {error.hint}".strip())

        return list(await asyncio.gather(*(one(model) for model in models)))
