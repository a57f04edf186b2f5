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
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from backend.errors import BackendError, StorageError
from backend.first_writes import FirstWrite, FirstWrites, not_saved, saved
from backend.provider import HasRegion, Provider
from backend.run import Run

log = logging.getLogger(__name__)

SAVE_EVERY_S = 0.5
WRITE_EVERY_S = 20.0  # also without news: who else reads the database takes an answer that nobody writes for given up after a minute
TICK_S = 0.1
LEFT_GRACE_S = 1.0  # after the last page left: a closed tab must free the engine within 2 s
FIRST_SEEN_GRACE_S = 15.0  # for a page session's own connection to open, after the first that is heard of it
RELOAD_OVERLAP_S = 0.7  # the new page may be asked for before the old one's connection is seen to close
ASKING_GRACE_S = 3600.0  # a call that waits for its result, typed by somebody who may come back
RETURN_GRACE_S = 20.0  # where the same visitor is loading the page again
MAX_UNSAVED = 256  # answers that have ended and wait in memory for a database that can be written
CLOSE_WITHIN_S = 2.0  # for engines to end their work as the app ends

Save = Callable[[Sequence[Run]], Awaitable[None]]


class Runs:
    """All runs of this process: starts, stops, finds and saves them. Ended runs are forgotten once saved and unwatched."""

    def __init__(
        self,
        save: Save,
        *,
        left_grace_s: float = LEFT_GRACE_S,
        return_grace_s: float = RETURN_GRACE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._save, self._clock, self._sleep = save, clock, sleep
        self._left_grace_s, self._return_grace_s = left_grace_s, return_grace_s
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saved: dict[str, tuple[int, float]] = {}  # version and time of the last write
        self._loaded_s: dict[str, float] = {}
        self._present: Counter[str] = Counter()  # open connections of each page session
        self._first_writes = FirstWrites(clock, sleep)
        self._keeper: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._saving: asyncio.Task[None] | None = None

    def start(self, run: Run, provider: Provider, begin: FirstWrite | None = None) -> Run:
        """Begins to drive `run` and beside it to store it (`begin`, tried until it succeeds); returns at once."""
        self._make_room()
        self._runs[run.id], self._saved[run.id] = run, (run.version, self._clock())
        if begin is not None:
            self._first_writes.begin(run, begin)
        run.unseen_since_s = self._clock()
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

    def active_from(self, address: str) -> int:
        return sum(not r.ended and r.address == address for r in self._runs.values())

    async def written(self, conversation_id: str) -> None:
        """Returns once no turn of a chat is on its way to the database for the first time, stored or not."""
        await self._first_writes.ended(conversation_id)

    async def stored(self, conversation_id: str) -> None:
        """Returns once all that was asked in a chat is in the database; tries again what is not. Raises `StorageError`."""
        await self._first_writes.try_chat(conversation_id)

    def give_up(self, conversation_id: str) -> None:
        """The chat is being deleted: what is not stored of it is not stored any more."""
        self._first_writes.drop_chat(conversation_id)

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

    # ---- who is looking
    def expect(self, owner: str) -> None:
        """`owner` is loading the page: runs that lose their page just now get the longer grace, since it is being reloaded."""
        now_s = self._clock()
        still = {each: at_s for each, at_s in self._loaded_s.items() if now_s - at_s <= self._return_grace_s + RELOAD_OVERLAP_S}
        self._loaded_s = {**still, owner: now_s}

    def arrive(self, session: str) -> None:
        """A connection of a page session has opened; it may have several."""
        self._present[session] += 1

    def watch(self, run: Run, session: str, since_s: float | None = None) -> None:
        """A page session is interested in `run`, whether it shows it now or another chat. One that has no connection open counts for
        `FIRST_SEEN_GRACE_S` (from `since_s`, by the clock of these runs, where told)."""
        run.watchers[session] = self._clock() if since_s is None else since_s
        run.unseen_since_s = None

    def leave(self, session: str) -> None:
        """A connection of a page session has closed; with the last one it has gone (tab closed or reloaded)."""
        self._present[session] -= 1
        if self._present[session] > 0:
            return
        del self._present[session]
        now_s = self._clock()
        for run in self._runs.values():
            if run.watchers.pop(session, None) is not None and not self._watched(run, now_s):
                run.unseen_since_s = now_s

    def _watched(self, run: Run, now_s: float) -> bool:
        return any(session in self._present or now_s - since_s < FIRST_SEEN_GRACE_S for session, since_s in run.watchers.items())

    def _abandoned(self, run: Run, now_s: float) -> bool:
        if self._watched(run, now_s):
            run.unseen_since_s = None
            return False
        run.unseen_since_s = now_s if run.unseen_since_s is None else run.unseen_since_s
        if run.state == "asking":  # costs nothing while it waits for a person
            return now_s - run.unseen_since_s >= ASKING_GRACE_S
        loaded_s = self._loaded_s.get(run.owner)
        reloading = loaded_s is not None and loaded_s > run.unseen_since_s - RELOAD_OVERLAP_S
        return now_s - run.unseen_since_s >= (self._return_grace_s if reloading else self._left_grace_s)

    # ---- driving and saving
    async def aclose(self) -> None:
        """Stops every run, writes the last state down, and tries once more to store what is not stored."""
        driving = [t for t in (*self._tasks.values(), self._keeper) if t is not None]
        for task in driving:
            task.cancel()
        if driving:
            await asyncio.wait(driving, timeout=CLOSE_WITHIN_S)
        for run in self._runs.values():
            if not run.ended:  # its engine takes too long to end, or its task was stopped before its first step
                run.end("stopped")
        await self._save_changed()
        await self._first_writes.try_all()
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
        if run.storing is not None:
            await asyncio.wait([run.storing])
        await self._write([run])

    async def _keep(self) -> None:
        saved_s = self._clock()
        while self._runs:
            await self._sleep(TICK_S)
            now_s = self._clock()
            for run in list(self._runs.values()):
                if not run.ended and not self._tasks[run.id].cancelling() and self._abandoned(run, now_s):
                    log.info("run %s stopped: nobody is watching", run.id)
                    self._stopping = asyncio.ensure_future(self.stop(run))  # not awaited: a slow close must not hold up saving
            self._first_writes.look()
            if now_s - saved_s >= SAVE_EVERY_S and (self._saving is None or self._saving.done()):  # a locked database takes its time
                saved_s = now_s
                self._saving = asyncio.create_task(self._save_changed(), name="saving runs")

    async def _save_changed(self) -> None:
        now_s = self._clock()
        due = [r for r in self._runs.values() if self._unsaved(r) or (not r.ended and now_s - self._saved[r.id][1] >= WRITE_EVERY_S)]
        await self._write(due)
        for run in [r for r in self._runs.values() if r.ended and not self._unsaved(r) and not self._watched(r, now_s)]:
            run.unseen_since_s = now_s if run.unseen_since_s is None else run.unseen_since_s
            if now_s - run.unseen_since_s > self._return_grace_s:
                self._forget(run)

    async def _write(self, runs: Sequence[Run]) -> None:
        runs = [run for run in runs if run not in self._first_writes and not run.unstorable]
        if not runs:
            return
        versions = {r.id: (r.version, self._clock()) for r in runs}
        try:
            await self._save(runs)
        except StorageError as error:
            for run in runs:
                not_saved(run, error)
        else:
            self._saved.update(versions)
            for run in runs:
                saved(run)

    def _unsaved(self, run: Run) -> bool:
        return not run.unstorable and (run in self._first_writes or run.version != self._saved[run.id][0])

    def _make_room(self) -> None:
        """Gives the oldest answers up that have ended and could not be saved, where there are too many."""
        unsaved = [run for run in self._runs.values() if run.ended and self._unsaved(run)]
        for run in unsaved[: max(0, len(unsaved) - MAX_UNSAVED + 1)]:
            why = f"{MAX_UNSAVED} newer answers wait to be saved, too: this one is not kept any longer."
            self._first_writes.drop(run, StorageError(why, hint="Copy what you need of it. Then see why the database cannot be written."))

    def _forget(self, run: Run) -> None:
        for table in (self._runs, self._tasks, self._saved):
            table.pop(run.id, None)
