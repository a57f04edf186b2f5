"""Time that passes when a test says so, for what takes a clock and a sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TURNS = 20  # of the event loop, for what was woken to get where it waits again


class Clock:
    """`clock()` is the time in seconds, `await clock.sleep(s)` ends when `pass_s` has got there."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        waked = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_s + seconds, waked))
        await waked

    async def pass_s(self, seconds: float) -> None:
        """Wakes everybody in the order of their time, as that passes."""
        until_s = self.now_s + seconds
        await self._settle()
        while due := [each for each in self._sleepers if each[0] <= until_s + 1e-9]:
            first = min(due, key=lambda each: each[0])
            self._sleepers.remove(first)
            self.now_s = max(self.now_s, first[0])
            if not first[1].done():
                first[1].set_result(None)
            await self._settle()
        self.now_s = until_s
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Waits for what needs no time but the event loop's; fails after `limit_s` of real time."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0)
