"""The writes that give turns their place in the database, each tried until it is there, so that nothing that was asked is lost.

They run beside the answers. One that fails (locked, full, read-only, out of reach) is tried again with growing pauses, oldest first,
in a chat one after the other, since a turn hangs from the one before it. Knows no page and no database.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from backend.errors import BackendError, BadInput, StorageError
from backend.run import Run

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
# the first try steps back for first tokens, its own and those of others: all need the one interpreter, nobody waits for this
BEGIN_AFTER_S, BEGIN_WITHIN_S = 0.05, 0.6
BUSY_LAG_S = 0.02  # a loop that wakes a sleeper this late has others to serve
TRIED_AGAIN = "Saving is tried again; until then the text is kept in memory."

FirstWrite = Callable[[], Awaitable[None]]
"""All or nothing, and nothing more where it has succeeded before. Raises `StorageError` where it may be tried again, `BadInput` where
there is no place for the turn any more."""


class FirstWrites:
    """Of all runs of a process."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]) -> None:
        self._clock, self._sleep = clock, sleep
        self._waiting: dict[str, tuple[Run, FirstWrite]] = {}  # oldest first
        self._round: asyncio.Task[None] | None = None
        self._round_at_s, self._pause_s = math.inf, FIRST_PAUSE_S

    def __contains__(self, run: Run) -> bool:
        """Whether `run` still waits for its place."""
        return run.id in self._waiting

    def begin(self, run: Run, write: FirstWrite) -> None:
        """The first try, which steps back for first tokens; `run.storing` is at work until it has ended."""
        self._waiting[run.id] = run, write
        run.storing = asyncio.create_task(self._first(run), name=f"storing {run.id}")

    def look(self) -> None:
        """Called now and then: starts the next round where it is due."""
        if self._clock() >= self._round_at_s and (self._round is None or self._round.done()):
            self._round_at_s = math.inf
            self._round = asyncio.create_task(self.try_all(), name="storing again")

    async def try_all(self) -> None:
        """One try for every turn that is not stored yet."""
        failed: set[str] = set()
        for run, _ in list(self._waiting.values()):
            if run.conversation_id not in failed and not await self._again(run):
                failed.add(run.conversation_id)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) if failed else FIRST_PAUSE_S
        self._round_at_s = self._clock() + self._pause_s if self._waiting else math.inf

    async def try_chat(self, conversation_id: str) -> None:
        """Returns once all turns of a chat are stored. Raises `StorageError` where that cannot be now."""
        for run, _ in self._of(conversation_id):
            if not await self._again(run):
                why = run.storage_error or StorageError("")
                raise StorageError(f"What was asked before in this chat is not saved yet. {why.message}", hint=why.hint, code=why.code)

    async def ended(self, conversation_id: str) -> None:
        """Returns once no try of this chat is at work."""
        for run, _ in self._of(conversation_id):
            if run.storing is not None:
                await asyncio.wait([run.storing])

    def drop(self, run: Run, why: BackendError) -> None:
        """Gives a turn up."""
        self._waiting.pop(run.id, None)
        run.unstorable = True
        not_saved(run, why)

    def drop_chat(self, conversation_id: str) -> None:
        for run, _ in self._of(conversation_id):
            self.drop(run, BadInput("This chat is not here any more.", hint="It was deleted."))

    # ---- inside
    def _of(self, conversation_id: str) -> list[tuple[Run, FirstWrite]]:
        return [each for each in self._waiting.values() if each[0].conversation_id == conversation_id]

    async def _again(self, run: Run) -> bool:
        if run.id in self._waiting:
            if run.storing is None or run.storing.done():
                run.storing = asyncio.create_task(self._try(run), name=f"storing {run.id} again")
            await asyncio.wait([run.storing])
        return run.id not in self._waiting

    async def _first(self, run: Run) -> None:
        begun_s = self._clock()
        while True:
            before_s = self._clock()
            await self._sleep(BEGIN_AFTER_S)
            now_s = self._clock()
            if now_s - before_s - BEGIN_AFTER_S < BUSY_LAG_S or now_s - begun_s > BEGIN_WITHIN_S:
                break
        if run in self:
            await self._try(run)

    async def _try(self, run: Run) -> None:
        _, write = self._waiting[run.id]
        try:
            for before in self._before(run):
                if before.storing is not None:
                    await asyncio.wait([before.storing])
                if before in self:
                    raise before.storage_error or StorageError("What was asked before in this chat is not saved yet.")
            await write()
        except BadInput as error:  # the chat was deleted meanwhile
            self.drop(run, error)
        except BackendError as error:
            self._failed(run, error)
        except Exception:
            log.exception("run %s could not be stored, in an unforeseen way", run.id)
            self._failed(run, StorageError("The chat history could not be written.", hint="The log has the details."))
        else:
            self._waiting.pop(run.id, None)
            saved(run)

    def _before(self, run: Run) -> list[Run]:
        """What is to be stored before it."""
        found = []
        for other, _ in self._waiting.values():
            if other is run:
                break
            if other.conversation_id == run.conversation_id:
                found.append(other)
        return found

    def _failed(self, run: Run, error: BackendError) -> None:
        not_saved(run, error)
        self._round_at_s = min(self._round_at_s, self._clock() + self._pause_s)


async def until_written(
    write: FirstWrite, failed: Callable[[StorageError], None], sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Tries `write` with growing pauses until it succeeds; `failed` is told of every failure."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await write()
        except StorageError as error:
            failed(error)
        await sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def not_saved(run: Run, error: BackendError) -> None:
    """The run goes on in memory; the page says that it is not saved."""
    before, run.storage_error = run.storage_error, error
    if not run.unstorable:
        hint = f"{error.hint.removesuffix(TRIED_AGAIN).strip()} {TRIED_AGAIN}".strip()
        run.storage_error = StorageError(error.message, hint=hint, code=error.code)
    if before is None or run.unstorable:
        log.warning("run %s is not saved: %s", run.id, error.message)
        run.changed()


def saved(run: Run) -> None:
    if run.storage_error is not None:
        log.info("run %s is saved now", run.id)
        run.storage_error = None
        run.changed()
