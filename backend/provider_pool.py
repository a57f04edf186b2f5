"""Providers that hold connections, by place and key: the least recently used is closed when there are too many. Knows no engine."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from backend.catalogue import Capabilities
from backend.provider import ListsModels, ModelList, Provider
from backend.types import ChatRequest, Event

log = logging.getLogger(__name__)

MAX_PROVIDERS = 128  # visitors' keys come and go on a public host

Key = tuple[str, ...]
Build = Callable[[], Provider]


@dataclass(eq=False, slots=True)
class _Entry:
    provider: Provider
    uses: int = 0


class ProviderPool:
    """One for the process."""

    def __init__(self, size: int = MAX_PROVIDERS) -> None:
        self._size = size
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._evicted: set[_Entry] = set()  # still in use

    def provider(self, key: Key, build: Build) -> PooledProvider:
        """What is built, or built again, when it is used."""
        return PooledProvider(self, key, build)

    @asynccontextmanager
    async def use(self, key: Key, build: Build) -> AsyncIterator[Provider]:
        """The provider of `key`, which stays open until the end of this use at least. Raises what `build` raises."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(build())
        self._entries.move_to_end(key)
        entry.uses += 1
        try:
            while len(self._entries) > self._size:
                await self._evict(self._entries.popitem(last=False)[1])
            yield entry.provider
        finally:
            entry.uses -= 1
            if not entry.uses and entry in self._evicted:
                self._evicted.remove(entry)
                await _close(entry)

    async def aclose(self) -> None:
        """Closes all, those in use too."""
        entries = [*self._entries.values(), *self._evicted]
        self._entries.clear()
        self._evicted.clear()
        for entry in entries:
            await _close(entry)

    async def _evict(self, entry: _Entry) -> None:
        if entry.uses:
            self._evicted.add(entry)
        else:
            await _close(entry)


async def _close(entry: _Entry) -> None:
    """One that does not close well is nobody else's trouble."""
    try:
        await entry.provider.aclose()
    except Exception:
        log.warning("a provider could not be closed", exc_info=True)


class PooledProvider:
    """A provider of the pool: open while it streams or is asked something."""

    def __init__(self, pool: ProviderPool, key: Key, build: Build) -> None:
        self._pool, self._key, self._build = pool, key, build

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        async with self._pool.use(self._key, self._build) as provider, aclosing(provider.stream(request)) as events:
            async for event in events:
                yield event

    async def capabilities(self, model: str) -> Capabilities:
        async with self._pool.use(self._key, self._build) as provider:
            return await provider.capabilities(model)

    async def list_models(self) -> ModelList:
        """None where the provider has no list."""
        async with self._pool.use(self._key, self._build) as provider:
            return await provider.list_models() if isinstance(provider, ListsModels) else ModelList()

    async def aclose(self) -> None:
        """The pool closes it."""
