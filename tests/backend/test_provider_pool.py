"""The pool of connections: how many are held, which goes first, and when it is closed."""

from __future__ import annotations

import asyncio

import pytest

from backend.catalogue import catalogue
from backend.errors import Unavailable
from backend.provider import ListedModel, ModelList
from backend.provider_pool import MAX_PROVIDERS, ProviderPool
from backend.types import ChatRequest, Finished, Message, Started, TextDelta

ASK = ChatRequest("m", (Message("user", "hi"),))


class Counted:
    """A provider that can be held up in the middle of its answer."""

    def __init__(self, number: int) -> None:
        self.number, self.closed, self.go_on, self.fails = number, 0, asyncio.Event(), False

    async def stream(self, request):
        yield Started(request.model)
        yield TextDelta("a")
        await self.go_on.wait()
        assert not self.closed
        if self.fails:
            raise Unavailable("It broke.")
        yield Finished("stop")

    async def capabilities(self, model):
        return catalogue().capabilities("server", model)

    async def list_models(self):
        return ModelList([ListedModel(str(self.number))])

    async def aclose(self):
        self.closed += 1


class Pooled:
    def __init__(self) -> None:
        self.pool, self.built = ProviderPool(), list[Counted]()

    def provider(self, number: int):
        def build() -> Counted:
            self.built.append(Counted(number))
            return self.built[-1]

        return self.pool.provider((str(number),), build)

    async def fill(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            await self.provider(number).list_models()

    @property
    def closed(self) -> list[int]:
        return [each.number for each in self.built if each.closed]


@pytest.fixture
async def pooled():
    made = Pooled()
    yield made
    await made.pool.aclose()
    assert [each.closed for each in made.built] == [1] * len(made.built)  # each is closed, and once


async def begun(provider):
    """A stream in the middle of its answer."""
    stream = provider.stream(ASK)
    assert [type(await anext(stream)) for _ in range(2)] == [Started, TextDelta]
    return stream


async def test_one_more_than_the_limit_closes_one_and_the_oldest(pooled):
    await pooled.fill(0, MAX_PROVIDERS)
    assert len(pooled.built) == MAX_PROVIDERS and pooled.closed == []
    await pooled.fill(MAX_PROVIDERS, 1)
    assert pooled.closed == [0]


@pytest.mark.parametrize("use", ["stream", "capabilities", "list_models"])
async def test_every_use_makes_young(pooled, use):
    await pooled.fill(0, MAX_PROVIDERS)
    pooled.built[0].go_on.set()
    provider = pooled.provider(0)
    if use == "stream":
        assert len([event async for event in provider.stream(ASK)]) == 3
    else:
        await (provider.capabilities("m") if use == "capabilities" else provider.list_models())
    await pooled.fill(MAX_PROVIDERS, 1)
    assert pooled.closed == [1] and len(pooled.built) == MAX_PROVIDERS + 1


@pytest.mark.parametrize("end", ["finished", "failed", "closed", "cancelled"])
async def test_one_that_streams_is_closed_after_its_last_stream(pooled, end):
    provider = pooled.provider(0)
    streams = [await begun(provider) for _ in range(2)]
    await pooled.fill(1, MAX_PROVIDERS)
    first, last = streams
    await first.aclose()
    assert pooled.closed == []
    old = pooled.built[0]
    old.fails = end == "failed"
    if end == "cancelled":
        waiting = asyncio.ensure_future(anext(last))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    elif end == "closed":
        await last.aclose()
    else:
        old.go_on.set()
        try:
            assert [event async for event in last] == [Finished("stop")]
        except Unavailable:
            assert end == "failed"
    assert pooled.closed == [0] and old.closed == 1


async def test_a_stream_that_never_starts_holds_nothing(pooled):
    await pooled.fill(0, 1)
    unused = pooled.provider(0).stream(ASK)
    await pooled.fill(1, MAX_PROVIDERS)
    assert pooled.closed == [0]
    await unused.aclose()


async def test_one_that_was_evicted_works_again(pooled):
    provider = pooled.provider(0)
    held = await begun(provider)
    await pooled.fill(1, MAX_PROVIDERS)
    assert (await provider.list_models())[0].id == "0"
    assert [each.number for each in pooled.built].count(0) == 2
    await held.aclose()
    assert pooled.built[0].closed == 1 and pooled.built[-1].closed == 0


async def test_the_end_of_the_process_closes_those_in_use_too_and_once(pooled):
    streams = [await begun(pooled.provider(0)) for _ in range(2)]
    await pooled.fill(1, MAX_PROVIDERS)
    await pooled.pool.aclose()
    for stream in streams:
        await stream.aclose()
    assert {each.closed for each in pooled.built} == {1}


async def test_one_that_cannot_be_built_takes_no_place(pooled):
    def fails():
        raise Unavailable("no")

    await pooled.fill(0, MAX_PROVIDERS)
    with pytest.raises(Unavailable):
        await pooled.pool.provider(("x",), fails).list_models()
    assert pooled.closed == []
