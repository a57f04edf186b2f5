"""Turns that a pane is asked one after the other, each on the answer before it. Belongs to the server: it goes on without a page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from backend.errors import BackendError
from backend.run import Run

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 3600.0  # for an end that comes in any case, since every run has limits of its own

Ask = Callable[[Run, str], Awaitable[Run]]


@dataclass
class _Pane:
    """The run of the turn at hand; `moved` is set when the next one begins, or none comes any more."""

    run: Run
    task: asyncio.Task[None]
    moved: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class LaterTurns:
    """One for the process; panes by the ids of their conversations."""

    _panes: dict[str, _Pane] = field(default_factory=dict)

    def begin(self, conversation_id: str, run: Run, questions: Sequence[str], ask: Ask) -> None:
        """Once `run` is done, `ask` starts the run of the first question on its answer, and so on. A stop or an error ends it."""
        if questions:
            task = asyncio.create_task(self._ask_all(conversation_id, questions, ask), name=f"later turns of {conversation_id}")
            self._panes[conversation_id] = _Pane(run, task)

    def wait(self, conversation_id: str) -> bool:
        """Whether a pane has turns to come."""
        return conversation_id in self._panes

    async def settled(self, conversation_id: str) -> None:
        """Returns once a pane is not between two of its turns."""
        while (pane := self._panes.get(conversation_id)) is not None and pane.run.ended:
            await pane.moved.wait()

    async def end(self, conversation_ids: Iterable[str]) -> None:
        """No further turn of these panes is asked; what is being written goes on."""
        ended = [pane for each in conversation_ids if (pane := self._panes.pop(each, None)) is not None]
        for pane in ended:
            pane.task.cancel()
            pane.moved.set()
        if ended:
            await asyncio.wait([pane.task for pane in ended])

    async def aclose(self) -> None:
        await self.end(list(self._panes))

    async def _ask_all(self, conversation_id: str, questions: Sequence[str], ask: Ask) -> None:
        pane = self._panes[conversation_id]
        try:
            for question in questions:
                while not pane.run.ended:
                    await pane.run.wait_for_end(LONGEST_WAIT_S)
                if pane.run.state != "done" or await pane.run.storage_failure() is not None:
                    return  # a person had enough, or there is no answer to go on from
                pane.run = await ask(pane.run, question)
                await pane.run.storage_failure()
                pane.moved.set()
                pane.moved = asyncio.Event()
        except BackendError as error:
            log.warning("the later turns of %s are not asked: %s", conversation_id, error.message)
        finally:
            if self._panes.get(conversation_id) is pane:
                del self._panes[conversation_id]
            pane.moved.set()
