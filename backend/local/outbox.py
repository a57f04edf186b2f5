"""The one bridge from the engine's thread to a page's event loop. Putting never waits; at most one wake-up is under way."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """Unbounded, many writers in any thread, one reader in the event loop that was running when it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._filled = asyncio.Event()
        self._waking = False

    def put(self, item: T) -> None:
        self._items.append(item)
        if self._waking:
            return  # the reader looks again after it has been woken, and so sees this item
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._filled.set)
        except RuntimeError:  # the loop is closed: nobody is going to read
            self._items.clear()

    async def get(self) -> T:
        while not self._items:
            self._filled.clear()
            self._waking = False  # before the second look: an item put from here on wakes again
            if not self._items:
                await self._filled.wait()
        return self._items.popleft()
