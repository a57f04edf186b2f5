"""Houses over the emulator for the tests of the page's handlers: DashScope with a key, and a tab of the Compare page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from backend.run import Run
from tests.emulator import http, running_emulator
from tests.ui.compare_tab import Compare
from tests.ui.tab import KEY, House


@pytest.fixture(scope="module")
def fast_emulator() -> Iterator[str]:
    with running_emulator() as base_url:
        yield base_url


@pytest.fixture
def emulator(fast_emulator: str) -> str:
    """With nothing asked of it yet."""
    http.delete(f"{fast_emulator}/mock/state")
    return fast_emulator


@pytest.fixture
async def houses() -> AsyncIterator[Callable[..., House]]:
    """Builds houses and closes them all at the end."""
    built: list[House] = []

    def build(**settings) -> House:
        built.append(House(**settings))
        return built[-1]

    yield build
    for house in built:
        await house.backend.aclose()


@pytest.fixture
async def house(houses: Callable[..., House], emulator: str) -> House:
    return houses(dashscope_base_url=emulator, dashscope_api_key=KEY)


@pytest.fixture
async def compare(house: House) -> Compare:
    return await Compare(house).load()


class Started:
    """From `hold` on, the runs of a house in the order in which they begin; each is stored only once `go_on` lets it."""

    def __init__(self, house: House) -> None:
        self.runs: list[Run] = []
        self._house, self._let_go = house, asyncio.Semaphore(0)

    def hold(self) -> None:
        start = self._house.backend.runs.start

        async def later(begin):
            await self._let_go.acquire()
            await begin()

        def noted(run, provider, begin):
            self.runs.append(run)
            return start(run, provider, lambda: later(begin))

        self._house.backend.runs.start = noted

    def go_on(self, number: int = 1) -> None:
        for _ in range(number):
            self._let_go.release()


@pytest.fixture
def started(house: House) -> Iterator[Started]:
    made = Started(house)
    yield made
    made.go_on(len(made.runs))  # whatever failed: the house waits for its writes as it closes
