"""Runs that belong to the server, not to a browser tab: each is driven by its own task, may be followed by any number of
page sessions from any point, and is saved as it streams.

The task that reads the engine never waits for a page: pages look at the run's present state when they are ready
(latest wins). A run whose page sessions have all gone is stopped after a short grace, which a page that is just being
reloaded prolongs; looking at another chat meanwhile does not end it. Knows nothing of the page or the database; `save` is
whatever writes a changed run down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from backend.errors import BackendError, BadInput, StorageError
from backend.provider import HasRegion, Provider
from backend.run import Run

log = logging.getLogger(__name__)

SAVE_EVERY_S = 0.5
# the first write steps back for first tokens, its own and those of others: all need the one interpreter, nobody waits for this
BEGIN_AFTER_S, BEGIN_WITHIN_S = 0.05, 0.6
BUSY_LAG_S = 0.02  # a loop that wakes a sleeper this late has others to serve
LEFT_GRACE_S = 1.0  # after the last page left: a closed tab must free the engine within 2 s
RELOAD_OVERLAP_S = 0.7  # the new page may be asked for before the old one's connection is seen to close
ASKING_GRACE_S = 3600.0  # a call that waits for its result, typed by somebody who may come back
RETURN_GRACE_S = 20.0  # where the same visitor is loading the page again

Save = Callable[[Sequence[Run]], Awaitable[None]]


class Runs:
    """All runs of this process: starts, stops, finds and saves them. Ended runs are forgotten once saved and unwatched."""

    def __init__(self, save: Save, *, left_grace_s: float = LEFT_GRACE_S, return_grace_s: float = RETURN_GRACE_S) -> None:
        self._save = save
        self._left_grace_s, self._return_grace_s = left_grace_s, return_grace_s
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saved: dict[str, int] = {}
        self._loaded_s: dict[str, float] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None

    def start(self, run: Run, provider: Provider, begin: Coroutine[Any, Any, None] | None = None) -> Run:
        """Begins to drive `run` and beside it to store it (`begin`); returns at once."""
        if begin is not None:
            run.begun = asyncio.ensure_future(_once_calm(begin))
        self._runs[run.id], self._saved[run.id] = run, run.version
        run.unseen_since_s = time.monotonic()
        self._tasks[run.id] = asyncio.create_task(self._drive(run, provider), name=f"run {run.id}")
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="runs keeper")
        return run

    def get(self, run_id: str, owner: str) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    def of_conversation(self, conversation_id: str, owner: str) -> Run | None:
        """The newest run of a conversation that is still known, ended or not."""
        found = [r for r in self._runs.values() if r.conversation_id == conversation_id and r.owner == owner]
        return found[-1] if found else None

    def of_node(self, node_id: str, owner: str) -> Run | None:
        """The run that wrote an answer, while it is remembered."""
        return next((r for r in self._runs.values() if r.node_id == node_id and r.owner == owner), None)

    def active(self, owner: str) -> int:
        return sum(not r.ended and r.owner == owner for r in self._runs.values())

    async def stop(self, run: Run) -> None:
        """Ends the upstream work and returns when it has ended. What arrived stays."""
        task = self._tasks.get(run.id)
        if task is not None and not run.ended:
            if not task.cancelling():  # a second stop must not cut off the first one's closing
                task.cancel()
            await asyncio.wait([task])
            if not run.ended:  # a task that is stopped before its first step never runs
                run.end("stopped")
                await self._write([run])

    def expect(self, owner: str) -> None:
        """`owner` is loading the page: runs that lose their page just now get the longer grace, since it is being reloaded."""
        self._loaded_s[owner] = time.monotonic()

    def watch(self, run: Run, session: str) -> None:
        """A page session is interested in `run`, whether it shows it now or another chat."""
        run.watchers.add(session)
        run.unseen_since_s = None

    def leave(self, session: str) -> None:
        """A page session has gone (tab closed or reloaded)."""
        for run in self._runs.values():
            if session in run.watchers:
                run.watchers.discard(session)
                if not run.watchers:
                    run.unseen_since_s = time.monotonic()

    async def aclose(self) -> None:
        """Stops every run and writes the last state down."""
        tasks = [t for t in (*self._tasks.values(), self._keeper) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in self._runs.values():
            if not run.ended:  # its task was stopped before its first step
                run.end("stopped")
        await self._save_changed()

    async def _drive(self, run: Run, provider: Provider) -> None:
        try:
            async with aclosing(provider.stream(run.request)) as events:
                async for event in events:
                    run.take(event)
        except asyncio.CancelledError:
            run.end("stopped")
        except BackendError as error:
            log.warning("run %s failed: %s code=%s request_id=%s", run.id, type(error).__name__, error.code, error.request_id)
            run.end("error", error)
        except Exception:
            log.exception("run %s failed in an unforeseen way", run.id)
            run.end("error", BackendError("Something went wrong inside the app.", hint="The log has the details. Try again."))
        finally:
            run.region = provider.region if isinstance(provider, HasRegion) else run.region
        await self._write([run])

    async def _keep(self) -> None:
        saved_s = time.monotonic()
        while self._runs:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            for run in list(self._runs.values()):
                if not run.ended and self._abandoned(run, now):
                    log.info("run %s stopped: nobody is watching", run.id)
                    self._stopping = asyncio.ensure_future(self.stop(run))  # not awaited: a slow close must not hold up saving
            if now - saved_s >= SAVE_EVERY_S:
                await self._save_changed()
                saved_s = time.monotonic()

    def _abandoned(self, run: Run, now_s: float) -> bool:
        if run.watchers or run.unseen_since_s is None:
            return False
        if run.state == "asking":  # costs nothing while it waits for a person
            return now_s - run.unseen_since_s >= ASKING_GRACE_S
        loaded_s = self._loaded_s.get(run.owner)
        reloading = loaded_s is not None and loaded_s > run.unseen_since_s - RELOAD_OVERLAP_S
        return now_s - run.unseen_since_s >= (self._return_grace_s if reloading else self._left_grace_s)

    async def _save_changed(self) -> None:
        changed = [r for r in self._runs.values() if r.version != self._saved.get(r.id)]
        if changed:
            await self._write(changed)
        for run in [r for r in self._runs.values() if r.ended and not r.watchers and self._saved.get(r.id) == r.version]:
            if run.unseen_since_s is not None and time.monotonic() - run.unseen_since_s > self._return_grace_s:
                for table in (self._runs, self._tasks, self._saved):
                    table.pop(run.id, None)

    async def _write(self, runs: Sequence[Run]) -> None:
        runs = [run for run in runs if await self._begun(run)]
        if not runs:
            return
        versions = {r.id: r.version for r in runs}
        try:
            await self._save(runs)
        except StorageError as error:
            for run in runs:
                _not_saved(run, error)
        else:
            self._saved.update(versions)

    async def _begun(self, run: Run) -> bool:
        """Whether the run has its place in the database."""
        try:
            if run.begun is not None:
                await asyncio.shield(run.begun)
        except (StorageError, BadInput) as error:  # BadInput: the chat was deleted meanwhile
            _not_saved(run, error)
            return False
        return True


async def _once_calm(write: Coroutine[Any, Any, None]) -> None:
    begun_s = time.monotonic()
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(BEGIN_AFTER_S)
        now_s = time.monotonic()
        if now_s - before_s - BEGIN_AFTER_S < BUSY_LAG_S or now_s - begun_s > BEGIN_WITHIN_S:
            break
    await write


def _not_saved(run: Run, error: BackendError) -> None:
    """The run goes on in memory; the page says that it is not being saved."""
    if run.storage_error is None:
        log.warning("run %s is not saved: %s", run.id, error.message)
    run.storage_error = error
