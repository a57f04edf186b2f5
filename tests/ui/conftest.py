"""Houses over the emulator for the tests of the page's handlers: DashScope with a key, and a tab of the Compare page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

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
