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
from backend.local import demo, hub, tiny, zero_gpu
from backend.local.engine import Engine
from backend.local.facts import Facts, read_facts, sampling_of, takes_tools
from backend.local.model import LoadedModel
from backend.local.names import DEMO, FOUR_BIT, parse
from backend.local.progress import Report, unheard
from backend.provider import HeldModel, ListedModel, ModelList
from backend.types import ChatRequest, Event, Finished, Started
from backend.warmup import importing

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
        """Raises `UnknownModel`, `ModelLoadError`, `OutOfMemory` (`ModelTooLarge`), `ContextTooLong`, `RequestRejected` and `BadInput`."""
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
            facts = _facts_of(held[1])
        else:
            facts = await asyncio.to_thread(self._read_facts, model)
        return catalogue().capabilities(
            "local",
            model.removesuffix(FOUR_BIT),
            name=f"local:{model}",
            context_tokens=facts.context_tokens,
            thinking=None if facts.thinking == "unknown" else facts.thinking,
            drafts=facts.drafts,
            tools=facts.tools,
            sampling=facts.sampling,
        )

    async def list_models(self) -> ModelList:
        """The demo, where it is here or may be fetched, and the tiny model. Folders and hub checkpoints are named, not listed."""
        names = [DEMO] if self._allow_fetch or await asyncio.to_thread(demo.is_there, self._models) else []
        return ModelList([ListedModel(name, (await self.capabilities(name)).context_tokens) for name in (*names, tiny.NAME)])

    def held(self) -> HeldModel | None:
        """The model in memory now."""
        held = self._engine.held
        if held is None:
            return None
        name, loaded = held
        drafting = loaded.drafting
        return HeldModel(
            name=f"local:{name}",
            memory=loaded.plan.sentence() if loaded.plan is not None else "",
            steps=getattr(loaded.network, "how", "eager"),
            guesses=None if drafting is None else f"{drafting.best()} ahead, {100 * drafting.acceptance:.0f} % of first guesses come true",
        )

    def busy(self) -> bool:
        """Whether a model is loading or answering."""
        return self._engine.busy

    async def plan(self, model: str) -> str:
        """Raises `ModelLoadError`, `ModelTooLarge` or `UnknownModel`. Reads a config, from the hub where it is not here."""
        asked = parse(model, only=self._only, whole=self._only is None)

        def planned() -> str:
            with importing:
                from backend.local import plan
                from backend.local.devices import held_bytes

            if asked.kind == "demo" and not demo.is_there(self._models):
                if not self._allow_fetch:
                    demo.ensure(self._models, allow_fetch=False, report=unheard)  # raises with the reason
                return "93 MB to fetch once." if asked.four_bit else "93 MB to fetch once, then 0.3 GB of weights in 16 bits."
            places = {"demo": self._models / demo.FOLDER, "tiny": tiny.FOLDER, "folder": Path(asked.place)}
            folder = places.get(asked.kind) or hub.fetch(asked.place, hub.SMALL_FILES, unheard)
            weights_bytes = self._held_weights_bytes()
            freed = None if weights_bytes is None else held_bytes(weights_bytes)  # a load frees it first
            return f"{plan.make(asked, folder, freed=freed).sentence()}."

        try:
            return await asyncio.to_thread(planned)
        except RuntimeError as error:  # of a GPU that is full or failed
            raise _translated(error) from error

    def _held_weights_bytes(self) -> float | None:
        """Refers to the model no longer than this: it may be unloaded while a plan is made."""
        held = self._engine.held
        return None if held is None or held[1].plan is None else held[1].plan.weights_bytes

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
        known = {"folder": Path(asked.place), "tiny": tiny.FOLDER}
        folder = hub.cached_folder(asked.place) if asked.kind == "hub" else known.get(asked.kind)
        return read_facts(folder) if folder is not None else Facts()

    # ---- in the engine's thread
    def _load(self, name: str, report: Report) -> LoadedModel:
        report("loading", None)  # the import below takes seconds
        with importing:
            from backend.local.loading import load

        asked = parse(name, only=self._only)
        return load(asked, self._models, allow_fetch=self._allow_fetch, report=report)

    def _serve(self, loaded: LoadedModel, request: ChatRequest, stopped: Callable[[], bool]) -> Iterator[Event]:
        from backend.local.generation import generate

        spec = catalogue().capabilities("local", request.model.removesuffix(FOUR_BIT)).parameters["max_tokens"]
        answer = zero_gpu.serve if zero_gpu.is_here() else generate
        return answer(loaded, request, int(spec.default or spec.max), stopped)


def _facts_of(loaded: LoadedModel) -> Facts:
    sampling = sampling_of(loaded.model.generation_config.to_diff_dict())
    tools = takes_tools(loaded.tokenizer.get_chat_template())
    return Facts(loaded.context_tokens, loaded.thinking, loaded.network.drafts, tools, sampling)


def _release() -> None:
    from backend.local.memory import release

    release()


def _translated(error: Exception) -> BackendError:
    from backend.local.memory import as_gpu_lost, as_out_of_memory

    return (
        as_out_of_memory(error)
        or as_gpu_lost(error)
        or LocalModelError(
            f"The local model failed ({type(error).__name__}).", hint="The log says more. Try again, or choose another model."
        )
    )
