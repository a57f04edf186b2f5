"""That the app is being ended, for whatever is at work then: what is asked gets a sentence, what waits is cut short."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from backend.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


class Ending:
    """One for the process. Belongs to the event loop that serves."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._at_work: set[asyncio.Future[Any]] = set()

    def error(self) -> Unavailable:
        """What whoever asks now is told."""
        return Unavailable("The app is being ended.", hint="Start it again, or wait until it is back, then ask again.", retry_after_s=10.0)

    def check(self) -> None:
        """Raises `Unavailable` once the end has begun."""
        if self._begun.is_set():
            raise self.error()

    async def unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. Ends it when the app is being ended, and raises `Unavailable` then."""
        task, end = asyncio.ensure_future(work), asyncio.ensure_future(self._begun.wait())
        self._at_work.add(task)
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self.error()
            return task.result()
        finally:
            task.cancel()
            end.cancel()
            await asyncio.gather(task, end, return_exceptions=True)
            self._at_work.discard(task)

    async def begin(self) -> None:
        """From now on nothing new begins; returns when what was at work has ended."""
        self._begun.set()
        if self._at_work:
            await asyncio.wait(set(self._at_work))


async def within(limit_s: float, *work: Coroutine[Any, Any, None]) -> None:
    """Does all of it at once; what goes wrong or is not done by then is logged and left."""
    tasks = [asyncio.ensure_future(each) for each in work]
    done, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        log.warning("at the end: %s took longer than %.1f s", task.get_coro(), limit_s)
        task.cancel()
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("at the end: %s failed", task.get_coro(), exc_info=error)
