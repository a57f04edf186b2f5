"""From a model's name to the routes that reach it: `dashscope:ID`, `server:NAME/ID`, `local:ID`, `replay:FILE`.

Builds each provider once per place and key, imports it only when it is asked for, and knows what a visitor brought along
(`Access`), which lives in that visitor's session memory and nowhere else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from pydantic import SecretStr

from backend.addresses import is_private, private_address
from backend.audit import Audit, Audited
from backend.catalogue import Capabilities, Catalogue
from backend.daily_limit import DailyLimit
from backend.display import display_name
from backend.ending import Ending
from backend.errors import BackendError, BadInput, ConfigError, UnknownModel
from backend.local import tiny
from backend.model_names import portable_name
from backend.pipeline import Pipeline, Route
from backend.provider import HoldsModels, ModelList, Provider
from backend.provider_pool import PooledProvider, ProviderPool
from backend.settings import Server, Settings
from backend.shelf import SHIPPED, Shelf
from backend.snippets import Place

DAILY_ANSWERS_PUBLIC = 1_000  # where the owner has not said otherwise
MAX_SERVERS = 16  # of one visitor


@dataclass(frozen=True, slots=True)
class Access:
    """What one visitor typed in: a DashScope key with its region, and servers. Never stored, logged or shared. `owner` is whose
    recordings may be played."""

    dashscope_key: SecretStr | None = None
    dashscope_region: str | None = None
    servers: tuple[Server, ...] = ()
    owner: str | None = field(default=None, repr=False)
    address: str = ""  # where the visitor asks from, for limits; empty where there is no visitor

    def with_server(self, server: Server) -> Access:
        """With one more, or another one of its name. Raises `BadInput` for too many."""
        others = tuple(s for s in self.servers if s.name != server.name)
        if len(others) >= MAX_SERVERS:
            raise BadInput(f"There are {MAX_SERVERS} servers, which is the most.", hint="Reload the page to begin without them.")
        return replace(self, servers=(*others, server))


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One entry of the model picker. `ready` is False where a key is still missing."""

    name: str
    title: str
    place: str
    ready: bool = True


@dataclass
class Engines:
    """All engines of this process."""

    settings: Settings
    catalogue: Catalogue
    audit: Audit = field(default_factory=Audit)
    ending: Ending = field(default_factory=Ending)
    _pool: ProviderPool = field(default_factory=ProviderPool)
    _held: dict[str, Provider] = field(default_factory=dict)  # those of this machine
    daily: DailyLimit = field(init=False)
    _others: bool = field(init=False)
    _shelf: Shelf = field(init=False)

    def __post_init__(self) -> None:
        self._others = self.settings.public
        self._shelf = Shelf(self.settings.data_dir)
        unless_told = DAILY_ANSWERS_PUBLIC if self.settings.public else None
        limit = self.settings.daily_answers if self.settings.daily_answers is not None else unless_told
        self.daily = DailyLimit(limit, self.settings.data_dir)

    def serve_others(self) -> None:
        """Called before the first visitor where the page listens to more than this machine: visitors' servers are then called at public
        addresses only, since whoever opens the page could ask for others."""
        self._others = True

    async def pipeline(self, name: str, access: Access) -> Audited:
        """The provider for one request to `name`. Raises `UnknownModel`, `ConfigError` (no key), `BadInput` (private address),
        `Unavailable` (the app is being ended)."""
        self.ending.check()
        admit = partial(self.daily.take, access.address) if self._is_at_owners_cost(name, access) else None
        return self.audit.watch(name, Pipeline(await self.routes(name, access), admit=admit))

    def _is_at_owners_cost(self, name: str, access: Access) -> bool:
        """Whether an answer is asked for with the owner's key or of the owner's server."""
        engine, _, model = name.partition(":")
        if engine == "server":
            return self._servers(access).get(model.partition("/")[0]) in self.settings.all_servers
        return engine == "dashscope" and access.dashscope_key is None

    async def routes(self, name: str, access: Access) -> list[Route]:
        engine, _, model = name.partition(":")
        if not model:
            raise UnknownModel(f"{display_name(name)!r} is not a model's name.", hint="Names look like dashscope:qwen-plus or local:demo.")
        match engine:
            case "dashscope":
                return self._dashscope(model, access)
            case "server":
                return [await self._server(model, access)]
            case "local":
                return [Route(self._local(), self._folder_of(model))]
            case "replay":
                return [Route(self._replay(access), model)]
            case _:
                raise UnknownModel(f"There is no engine {display_name(engine)!r}.", hint="Engines are dashscope, server, local and replay.")

    async def capabilities(self, name: str, access: Access) -> Capabilities:
        """What `name` can do; without a key too, from the catalogue, so that the panel can be drawn."""
        engine, _, model = name.partition(":")
        if engine == "dashscope":
            return self.catalogue.capabilities(engine, model, name=name)
        found = await (await self.pipeline(name, access)).capabilities(model)
        return found.model_copy(update={"name": name}) if engine == "local" else found

    async def choices(self, access: Access) -> list[ModelChoice]:
        """The model picker's entries: what can be used first. Servers are asked live; one that fails keeps its place."""
        servers = list(self._servers(access).values())
        lists = await asyncio.gather(*(self.list_models(server) for server in servers), return_exceptions=True)
        found: list[ModelChoice] = []
        for server, listed in zip(servers, lists, strict=True):
            if isinstance(listed, list):
                found += [self._choice("server", f"{server.name}/{m.id}", server.name) for m in listed]
            elif not isinstance(listed, BackendError):
                raise listed
        key = self.has_dashscope_key(access)
        region = self._regions(access)[0].title()
        hosted = [
            ModelChoice(f"dashscope:{c.id}", c.title, f"DashScope, {region}" if key else "DashScope, needs a key", key)
            for c in self.catalogue.models
            if c.engine == "dashscope"
        ]
        here = ["demo", tiny.NAME]
        engine, _, asked_for = self._first_model().partition(":")
        if engine == "local" and asked_for and asked_for not in here:
            here.insert(0, asked_for)
        local = [self._choice("local", model, self.catalogue.engines["local"].title) for model in here]
        return [*found, *hosted, *local] if key else [*found, *local, *hosted]

    async def list_models(self, server: Server) -> ModelList:
        """What a server offers right now; raises the tree's errors where it cannot be reached or understood."""
        await self._guard(server)
        return await self._server_provider(server).list_models()

    async def check_dashscope_key(self, access: Access) -> int:
        """Lists the models with the visitor's key, which costs nothing; the count, or `AuthError`."""
        region = self._regions(access)[0]
        return len(await self._compatible_dashscope(region, access).list_models())

    def place(self, name: str, access: Access) -> Place:
        """Where the engine of `name` stands, for the code that is shown; holds no key."""
        engine, _, model = name.partition(":")
        if engine == "dashscope":
            return Place(engine, self.settings.dashscope_host(self._regions(access)[0]))
        server = self._servers(access).get(model.partition("/")[0]) if engine == "server" else None
        return Place(engine, server.base_url if server else "")

    def region_of(self, name: str, access: Access) -> str | None:
        """The region that a question to `name` goes to first, for prices; `None` where there are no regions."""
        return self._regions(access)[0] if name.startswith("dashscope:") else None

    def default_model(self, choices: list[ModelChoice]) -> str:
        """`PLAYGROUND_MODEL` where given, else Qwen3-Next Thinking with a key, else a server's first, else the demo."""
        if self.settings.model:
            return self._first_model()
        ready = [c.name for c in choices if c.ready]
        wanted = "dashscope:qwen3-next-80b-a3b-thinking"
        return wanted if wanted in ready else ready[0]

    async def aclose(self) -> None:
        await self._pool.aclose()
        for provider in self._held.values():
            await provider.aclose()
        self._held.clear()

    # ---- DashScope
    def has_dashscope_key(self, access: Access) -> bool:
        return access.dashscope_key is not None or any(self._own_key(r) for r in self.settings.dashscope_region)

    def _own_key(self, region: str) -> SecretStr | None:
        return self.settings.dashscope_key(region)

    def _regions(self, access: Access) -> tuple[str, ...]:
        if access.dashscope_key is not None:
            return (access.dashscope_region or self.settings.dashscope_region[0],)
        return self.settings.dashscope_region

    def _key(self, region: str, access: Access) -> SecretStr | None:
        return access.dashscope_key or self._own_key(region)

    def _dashscope(self, model: str, access: Access) -> list[Route]:
        regions = [r for r in self._regions(access) if self._key(r, access) is not None]
        if not regions:
            raise ConfigError(
                "DashScope needs an API key.",
                hint="Paste one under Connect, or set DASHSCOPE_API_KEY before the start. Keys belong to a region.",
            )
        build = self._native_dashscope if self.settings.dashscope_protocol == "native" else self._compatible_dashscope
        return [Route(build(region, access), model, region) for region in regions]

    def _compatible_dashscope(self, region: str, access: Access) -> PooledProvider:
        key = self._key(region, access)
        host = self.settings.dashscope_host(region)

        def build() -> Provider:
            from backend.providers.openai_compatible import dashscope

            return dashscope(host, key, region=region)

        return self._pool.provider(("compatible", host, _secret(key)), build)

    def _native_dashscope(self, region: str, access: Access) -> PooledProvider:
        key = self._key(region, access)
        host = self.settings.dashscope_host(region)

        def build() -> Provider:
            from backend.providers.dashscope_native import DashScopeNativeProvider

            return DashScopeNativeProvider(host, key, region=region)

        return self._pool.provider(("native", host, _secret(key)), build)

    # ---- servers
    def _servers(self, access: Access) -> dict[str, Server]:
        return {s.name: s for s in (*self.settings.all_servers, *access.servers)}

    async def _server(self, model: str, access: Access) -> Route:
        name, _, served = model.partition("/")
        server = self._servers(access).get(name)
        if server is None or not served:
            raise UnknownModel(f"There is no server named {display_name(name)!r}.", hint="Add it under Connect, or set OPENAI_BASE_URL.")
        await self._guard(server)
        return Route(self._server_provider(server), served)

    def _server_provider(self, server: Server) -> PooledProvider:
        guarded = self._is_guarded(server)

        def build() -> Provider:
            from backend.providers.openai_compatible import openai_server

            return openai_server(server.base_url, server.api_key, name=server.name, guarded=guarded)

        return self._pool.provider(("server", server.name, server.base_url, _secret(server.api_key), str(guarded)), build)

    def _is_guarded(self, server: Server) -> bool:
        """Where others come, an address of theirs must not reach into the host's own network; the owner's servers may."""
        return self._others and server not in self.settings.all_servers

    async def _guard(self, server: Server) -> None:
        """Says no before anything is stored; the provider looks again at every request."""
        if self._is_guarded(server) and await is_private(server.base_url):
            raise private_address()

    # ---- this machine
    def machine(self) -> HoldsModels | None:
        """The engine on this machine, for looking at and unloading; `None` where others are served, for whom it is."""
        return None if self._others else cast("HoldsModels", self._local())

    def _local(self) -> Provider:
        if "local" not in self._held:
            from backend.providers.local import LocalProvider

            self._held["local"] = LocalProvider(self.settings.data_dir, allow_fetch=self.settings.demo, only=self._owners_models())
        return self._held["local"]

    def _first_model(self) -> str:
        """`PLAYGROUND_MODEL`, as it is called on this host: visitors of a public one need not know in which folder it lies."""
        return portable_name(self.settings.model or "") if self._others else self.settings.model or ""

    def _folder_of(self, model: str) -> str:
        own = self.settings.model or ""
        return own.partition(":")[2] if self._others and f"local:{model}" == self._first_model() else model

    def _owners_models(self) -> frozenset[str] | None:
        """What others who are served may run here; `None` where there are none: everything."""
        if not self._others:
            return None
        engine, _, model = (self.settings.model or "").partition(":")
        return frozenset({"demo", tiny.NAME, model} if engine == "local" else {"demo", tiny.NAME})

    def _replay(self, access: Access) -> Provider:
        from backend.providers.replay import ReplayProvider

        return ReplayProvider(SHIPPED, own=self._shelf.own(access.owner) if access.owner is not None else None)

    def _choice(self, engine: str, model: str, place: str) -> ModelChoice:
        card = self.catalogue.card(engine, model.partition("/")[2] if engine == "server" else model)
        return ModelChoice(f"{engine}:{model}", card.title if card else display_name(model), place)


def _secret(key: SecretStr | None) -> str:
    return key.get_secret_value() if key is not None else ""


def own_name(name: str) -> str:
    """The engine's own name of a model: without `provider:`, and without a server's name."""
    engine, _, model = name.partition(":")
    return model.partition("/")[2] if engine == "server" else model
