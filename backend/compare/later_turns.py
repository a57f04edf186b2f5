"""Turns that panes are asked one after the other, each once the one before has ended. Belongs to the server: it goes on without a page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from backend.errors import BackendError
from backend.run import Run
from backend.runs import Runs

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 3600.0  # for an end that comes in any case, since every run has limits of its own

Step = Callable[[Sequence[Run]], Awaitable[Sequence[Run]]]
"""Begins the next turn after the runs of the one before; gives its runs."""


def watchers(runs: Sequence[Run]) -> dict[str, float]:
    """The page sessions that watch any of the runs, and since when."""
    return {session: since_s for run in runs for session, since_s in run.watchers.items()}


@dataclass(eq=False)
class _Panes:
    """Panes that go from turn to turn together. `moved` is set when their next turn begins, or none comes any more."""

    conversation_ids: tuple[str, ...]
    runs: Sequence[Run]
    task: asyncio.Task[None] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class LaterTurns:
    """One for the process; panes by the ids of their conversations. Who watches a pane's turn watches the next one, too."""

    runs: Runs
    _panes: dict[str, _Panes] = field(default_factory=dict)

    def begin(self, conversation_ids: Sequence[str], runs: Sequence[Run], steps: Sequence[Step], *, after_errors: bool = False) -> None:
        """Takes the steps one after the other, each once all runs before it are done. A stop ends that, and so does an error unless
        told `after_errors`."""
        if steps:
            panes = _Panes(tuple(conversation_ids), runs)
            self._panes |= dict.fromkeys(panes.conversation_ids, panes)
            goes_on = ("done", "error") if after_errors else ("done",)
            panes.task = asyncio.create_task(self._take(panes, steps, goes_on), name=f"later turns of {panes.conversation_ids}")

    def wait(self, conversation_id: str) -> bool:
        """Whether a pane has turns to come."""
        return conversation_id in self._panes

    async def settled(self, conversation_ids: Iterable[str]) -> None:
        """Returns once none of the panes is between two of its turns."""
        ids = list(conversation_ids)
        while between := [p for each in ids if (p := self._panes.get(each)) is not None and all(run.ended for run in p.runs)]:
            await between[0].moved.wait()

    async def end(self, conversation_ids: Iterable[str]) -> None:
        """No further turn of these panes, and of those that go with them, is asked; what is being written goes on."""
        tasks = set()
        for panes in {panes for each in conversation_ids if (panes := self._panes.get(each)) is not None}:
            self._forget(panes)
            if panes.task is not None and panes.task.cancel():
                tasks.add(panes.task)
        if tasks:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        await self.end(list(self._panes))

    async def _take(self, panes: _Panes, steps: Sequence[Step], goes_on: tuple[str, ...]) -> None:
        try:
            for step in steps:
                for run in panes.runs:
                    while not run.ended:
                        await run.wait_for_end(LONGEST_WAIT_S)
                    if run.state not in goes_on or await run.storage_failure() is not None:
                        return  # a person had enough, or there is no answer to go on from
                before, panes.runs = panes.runs, await step(panes.runs)
                for session, since_s in watchers(before).items():
                    for run in panes.runs:
                        self.runs.watch(run, session, since_s)
                for run in panes.runs:
                    await run.storage_failure()
                panes.moved.set()
                panes.moved = asyncio.Event()
        except BackendError as error:
            log.warning("later turns of %s are not asked: %s", panes.conversation_ids, error.message)
        except Exception:
            log.exception("later turns of %s are not asked, in an unforeseen way", panes.conversation_ids)
        finally:
            self._forget(panes)

    def _forget(self, panes: _Panes) -> None:
        for each in panes.conversation_ids:
            if self._panes.get(each) is panes:
                del self._panes[each]
        panes.moved.set()
