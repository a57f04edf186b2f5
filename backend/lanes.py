"""1..N runs side by side as one merged stream of changes for a page: bounded, and fair to every lane.

Each run is driven by its own task (runs.py), which only marks its lane here: one mark a lane at most, however much has arrived.
Whoever shows the lanes takes all marks at once when the page is ready for them, so a slow page holds up no engine, a fast lane
cannot crowd out a slow one, and a lane that fails, is stopped or says nothing for minutes is no more than a mark that comes or
does not come. Knows nothing of the page or the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType

from backend.run import Run


class Lanes:
    """`with Lanes(runs) as lanes:` then `await lanes.changed(...)` until `lanes.ended`. All lanes count as changed at first."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self._marks = set(range(len(self.runs)))
        self._ends = {place for place, run in enumerate(self.runs) if run.ended}
        self._news, self._end = asyncio.Event(), asyncio.Event()
        self._stop = [run.listen(partial(self._mark, place)) for place, run in enumerate(self.runs)]
        if self._marks:
            self._news.set()

    @property
    def ended(self) -> bool:
        """Whether every lane has ended."""
        return len(self._ends) == len(self.runs)

    async def changed(self, timeout_s: float) -> frozenset[int]:
        """The lanes that changed since the last call, from 0. Waits for the first one, at most `timeout_s`: then none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        marks, self._marks = frozenset(self._marks), set()
        self._news.clear()
        self._end.clear()
        return marks

    async def pause(self, gap_s: float) -> None:
        """Waits between two updates; an end of a lane cuts it short, so that no finished answer waits for the others."""
        if gap_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(gap_s):
                    await self._end.wait()

    def close(self) -> None:
        for stop in self._stop:
            stop()
        self._stop = []

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _mark(self, place: int) -> None:
        self._marks.add(place)
        self._news.set()
        if self.runs[place].ended and place not in self._ends:
            self._ends.add(place)
            self._end.set()
