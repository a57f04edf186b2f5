"""Models on this machine as an engine: the demo, folders and hub checkpoints. torch is imported when the first one is asked for.

Loading, prompts and decoding are in `backend.local`; this is their seam to the rest of the app.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

from backend.catalogue import Capabilities, catalogue
from backend.errors import BackendError, LocalModelError
from backend.local import demo, hub
from backend.local.engine import Engine
from backend.local.facts import Facts, read_facts
from backend.local.model import LoadedModel
from backend.local.names import DEMO, FOUR_BIT, parse
from backend.local.progress import Report
from backend.provider import ListedModel
from backend.types import ChatRequest, Event, Finished, Started

log = logging.getLogger(__name__)

LoadModel = Callable[[str, Report], LoadedModel]


class LocalProvider:
    """One model in memory at a time, for all requests in their order.

    `data_dir` holds the demo's weights under `models/`. Without `allow_fetch` nothing is fetched for the demo; with
    `only` (a public host) no other models are taken. `load` replaces how a model gets into memory.
    """

    def __init__(
        self, data_dir: Path, *, allow_fetch: bool = True, only: frozenset[str] | None = None, load: LoadModel | None = None
    ) -> None:
        self._models = data_dir / "models"
        self._allow_fetch, self._only = allow_fetch, only
        self._engine: Engine[LoadedModel] = Engine(load or self._load, self._serve, _translated, _release)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Raises `UnknownModel`, `ModelLoadError`, `OutOfMemory`, `ContextTooLong`, `RequestRejected` and `BadInput`."""
        yield Started(request.model)
        parse(request.model, only=self._only)
        job = self._engine.submit(request)
        try:
            while True:
                item = await job.outbox.get()
                if isinstance(item, BackendError):
                    raise item
                yield item
                if isinstance(item, Finished):
                    return
        finally:
            self._engine.leave(job)

    async def capabilities(self, model: str) -> Capabilities:
        """From the model in memory, else from its files as text, else from the catalogue; loads nothing."""
        held = self._engine.held
        if held is not None and held[0] == model:
            facts = Facts(held[1].context_tokens, held[1].thinking)
        else:
            facts = await asyncio.to_thread(self._read_facts, model)
        return catalogue().capabilities(
            "local",
            model.removesuffix(FOUR_BIT),
            name=f"local:{model}",
            context_tokens=facts.context_tokens,
            thinking=None if facts.thinking == "unknown" else facts.thinking,
        )

    async def list_models(self) -> list[ListedModel]:
        """The demo, where it is here or may be fetched. Folders and hub checkpoints are named, not listed."""
        if not (self._allow_fetch or await asyncio.to_thread(demo.is_there, self._models)):
            return []
        return [ListedModel(DEMO, (await self.capabilities(DEMO)).context_tokens)]

    @property
    def loaded(self) -> str | None:
        """The name of the model in memory."""
        held = self._engine.held
        return held[0] if held is not None else None

    async def unload(self) -> None:
        """Gives the model's memory back after the present answer; the next request loads again."""
        await self._engine.unload()

    async def aclose(self) -> None:
        await self._engine.aclose()

    def _read_facts(self, model: str) -> Facts:
        try:
            asked = parse(model, only=self._only)
        except BackendError:
            return Facts()  # the request itself is going to say what is wrong
        folder = hub.cached_folder(asked.place) if asked.kind == "hub" else Path(asked.place) if asked.kind == "folder" else None
        return read_facts(folder) if folder is not None else Facts()

    # ---- in the engine's thread
    def _load(self, name: str, report: Report) -> LoadedModel:
        report("loading", None)  # the import below takes seconds
        from backend.local.loading import load

        asked = parse(name, only=self._only)
        return load(asked, self._models, allow_fetch=self._allow_fetch, report=report)

    def _serve(self, loaded: LoadedModel, request: ChatRequest, stopped: Callable[[], bool]) -> Iterator[Event]:
        from backend.local.generation import generate

        spec = catalogue().capabilities("local", request.model.removesuffix(FOUR_BIT)).parameters["max_tokens"]
        return generate(loaded, request, int(spec.default or spec.max), stopped)


def _release() -> None:
    from backend.local.memory import release

    release()


def _translated(error: Exception) -> BackendError:
    from backend.local.memory import as_out_of_memory

    return as_out_of_memory(error) or LocalModelError(
        f"The local model failed ({type(error).__name__}).", hint="The log says more. Try again, or choose another model."
    )
