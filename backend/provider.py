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


class ModelList(list[ListedModel]):
    """What a server offers. `cut`: it has more models, or such whose names are too long to be kept."""

    cut: bool = False


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model in this machine's memory: what it takes, how its steps run, and how well it guesses ahead, as sentences for people."""

    name: str
    memory: str
    steps: str
    guesses: str | None = None


class HoldsModels(Protocol):
    """An engine on this machine: one model in memory at a time."""

    def held(self) -> HeldModel | None: ...
    def busy(self) -> bool: ...

    async def plan(self, model: str) -> str:
        """What loading `model` would take, as a sentence; raises the tree's errors where it cannot be loaded."""
        ...

    async def unload(self) -> None:
        """Gives the model's memory back after the present answer."""
        ...


@runtime_checkable
class ListsModels(Protocol):
    """What an engine may offer beside the seam: the models it has, read live."""

    async def list_models(self) -> ModelList: ...


@runtime_checkable
class HasRegion(Protocol):
    """Which region answers, for prices; it may change while an answer is asked for."""

    @property
    def region(self) -> str | None: ...
