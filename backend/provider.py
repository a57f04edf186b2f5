"""The one seam for engines. Whatever generates text is a `Provider`; wrappers (retry, measuring, recording) are too."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from backend.catalogue import Capabilities
from backend.types import ChatRequest, Event


class Provider(Protocol):
    """An engine. `stream` yields one `Started` first and one `Finished` last, or raises a `BackendError`.

    Closing the generator (`aclose`, or cancelling the task that waits in it) ends the upstream work at once, before
    the first token too. Whoever iterates holds it in `contextlib.aclosing`.
    """

    def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]: ...

    async def capabilities(self, model: str) -> Capabilities: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that an engine offers right now. `context_tokens` where the engine tells it."""

    id: str
    context_tokens: int | None = None


@runtime_checkable
class ListsModels(Protocol):
    """What an engine may offer beside the seam: the models it has, read live."""

    async def list_models(self) -> list[ListedModel]: ...
