"""The bridge from the engine's thread: in order, nothing lost, no waiting, few wake-ups."""

from __future__ import annotations

import asyncio
import threading

from backend.local.outbox import Outbox


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def test_items_arrive_in_order_from_another_thread():
    outbox: Outbox[int] = Outbox()
    in_thread(lambda: [outbox.put(i) for i in range(20_000)])
    async with asyncio.timeout(20):
        assert [await outbox.get() for _ in range(20_000)] == list(range(20_000))


async def test_many_items_make_one_wake_up(monkeypatch):
    outbox: Outbox[int] = Outbox()
    loop, wakes = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: wakes.append(1) or wake(*args))
    in_thread(lambda: [outbox.put(i) for i in range(500)]).join()
    assert len(wakes) == 1
    assert [await outbox.get() for _ in range(500)] == list(range(500))
    reader = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    in_thread(lambda: outbox.put(7)).join()
    assert await reader == 7
    assert len(wakes) == 2


async def test_a_cancelled_reader_loses_nothing():
    outbox: Outbox[int] = Outbox()
    reader = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    reader.cancel()
    in_thread(lambda: outbox.put(1)).join()
    assert await outbox.get() == 1


def test_a_closed_loop_is_no_error_for_the_writer():
    async def make():
        return Outbox()

    outbox = asyncio.run(make())
    outbox.put("nobody reads this")
