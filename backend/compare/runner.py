"""Runs batches in the background: every lane at its own pace, what has ended written down at once, pause and resume at any point.

Lanes on this machine share one model slot, so they are taken one after the other, each with all its prompts: a model is loaded once
and not once a prompt. Other lanes run beside each other. Where a lane's engine refuses for good (no key, unknown model, no quota, a
model that cannot be loaded) that lane waits for a person: its prompts are not marked as failed. Knows no page; a batch belongs to the
server and goes on without one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from backend.chat import Chat
from backend.compare.batches import Batch, BatchStore, Cell
from backend.compare.prompt_sets import Prompt
from backend.engines import Access
from backend.errors import (
    AuthError,
    BackendError,
    BadInput,
    ConfigError,
    ModelLoadError,
    ModelTooLarge,
    QuotaExhausted,
    StorageError,
    UnknownModel,
)
from backend.first_writes import until_written
from backend.history import AnswerError
from backend.run import Run
from backend.types import ChatRequest, Message

log = logging.getLogger(__name__)

AT_ONCE = 3  # answers of one lane at a time, where no machine of ours is behind it
MAX_BATCHES_PER_ADDRESS = 4  # at work at once, of all visitors of a public host behind one address
MOST_ANSWERS_PUBLIC = 400  # of one batch on a public host
HERE = "local:"
FOR_A_PERSON = (AuthError, ConfigError, QuotaExhausted, UnknownModel, ModelLoadError, ModelTooLarge)
"""Errors that the next prompt would meet, too."""


@dataclass
class Progress:
    """How far a batch is, by lane. `problems` are what waits for a person, by lane; `storage_error` is why answers wait to be saved."""

    lanes: int
    rows: int
    done: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    active: Counter[int] = field(default_factory=Counter)
    problems: dict[int, BackendError] = field(default_factory=dict)
    storage_error: StorageError | None = None
    started_s: float = field(default_factory=time.monotonic)
    done_before: int = 0

    @property
    def total(self) -> int:
        return self.lanes * self.rows

    @property
    def ended(self) -> int:
        return self.done.total() + self.failed.total()

    def left_s(self) -> float | None:
        """How long the rest takes at the pace so far; `None` where there is no pace yet."""
        new = self.ended - self.done_before
        return (time.monotonic() - self.started_s) / new * (self.total - self.ended) if new else None


@dataclass(frozen=True, slots=True)
class _Start:
    """One start of one batch."""

    owner: str
    address: str
    task: asyncio.Task[None]
    progress: Progress


@dataclass
class BatchRunner:
    """One for the process. What changes an owner's batches happens one after the other, so that two starts at once are one."""

    chat: Chat
    store: BatchStore
    _starts: dict[str, _Start] = field(default_factory=dict)
    _changing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _unwritten: defaultdict[str, list[Cell]] = field(default_factory=lambda: defaultdict(list))
    _writing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def begin(self, owner: str, access: Access, batch: Batch, prompts: Sequence[Prompt]) -> None:
        """Stores a new batch and starts it. Raises `BadInput` where a public host has had enough."""
        async with self._changing[owner]:
            self._check(owner, access, batch)
            await self.store.create(owner, batch, prompts)
            await self._resume(owner, access, batch.id)

    async def resume(self, owner: str, access: Access, batch_id: str) -> None:
        """Starts what is missing of a batch, after a pause or a restart; nothing where it runs already."""
        async with self._changing[owner]:
            await self._resume(owner, access, batch_id)

    async def pause(self, owner: str, batch_id: str) -> None:
        """Ends the answers in the making, which are asked for again at the next start, and returns when they have ended. Raises
        `StorageError` while answers that are there already cannot be written, which stay in memory."""
        async with self._changing[owner]:
            await self._pause(owner, batch_id)

    async def again(self, owner: str, access: Access, batch_id: str) -> None:
        """Asks for the failed ones once more; nothing where it runs."""
        async with self._changing[owner]:
            await self.store.load(owner, batch_id)
            if not self.runs(batch_id):
                await self.store.forget_failed(owner, batch_id)
                await self._resume(owner, access, batch_id)

    async def delete(self, owner: str, batch_id: str) -> None:
        async with self._changing[owner]:
            await self._pause(owner, batch_id)
            await self.store.delete(owner, batch_id)
            for table in (self._starts, self._unwritten, self._writing):
                table.pop(batch_id, None)

    def runs(self, batch_id: str) -> bool:
        start = self._starts.get(batch_id)
        return start is not None and not start.task.done()

    async def progress(self, owner: str, batch: Batch) -> Progress:
        """Of any batch of this owner: the live one while it runs, else as it is stored."""
        start = self._starts.get(batch.id)
        if start is not None and start.owner == owner and self.runs(batch.id):
            return start.progress
        found = await self._stored(owner, batch)
        if start is not None and start.owner == owner:
            found.problems = start.progress.problems
        return found

    async def aclose(self) -> None:
        """Ends all; their state says that they ran, so that they are offered to go on. What is not written yet is tried once more."""
        tasks = [start.task for start in self._starts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for batch_id in list(self._unwritten):
            with suppress(StorageError):
                await self.written(batch_id)

    def add(self, batch_id: str, cell: Cell) -> None:
        """An answer for `written` to write."""
        self._unwritten[batch_id].append(cell)

    async def written(self, batch_id: str) -> None:
        """Returns once all answers of a batch are on the disk. Raises `StorageError`; may be called again."""
        async with self._writing[batch_id]:
            cells = list(self._unwritten[batch_id])
            if cells:
                await self.store.write(batch_id, cells)
                del self._unwritten[batch_id][: len(cells)]

    # ---- inside
    async def _resume(self, owner: str, access: Access, batch_id: str) -> None:
        if self.runs(batch_id):
            return
        batch = await self.store.load(owner, batch_id)
        self._check(owner, access, batch)
        await self.written(batch_id)  # what is there is not asked for again
        progress = await self._stored(owner, batch)
        progress.done_before = progress.ended
        prompts = await self.store.prompts(owner, batch_id)
        known = set(await self.store.states(owner, batch_id))
        await self.store.set_state(owner, batch_id, "running")
        run = self._run(owner, access, batch, prompts, known, progress)
        self._starts[batch_id] = _Start(owner, access.address, asyncio.create_task(run, name=f"batch {batch_id}"), progress)

    async def _pause(self, owner: str, batch_id: str) -> None:
        batch = await self.store.load(owner, batch_id)
        start = self._starts.get(batch_id)
        if start is not None and not start.task.done():
            start.task.cancel()
            await asyncio.wait([start.task])
        await self.written(batch_id)
        if (await self._stored(owner, batch)).ended < batch.total:
            await self.store.set_state(owner, batch_id, "paused")

    async def _stored(self, owner: str, batch: Batch) -> Progress:
        found = Progress(len(batch.lanes), batch.rows)
        for (lane, status), number in (await self.store.counts(owner, batch.id)).items():
            (found.done if status == "done" else found.failed)[lane] = number
        return found

    def _check(self, owner: str, access: Access, batch: Batch) -> None:
        self.chat.admit(owner, access, answers=0)
        if not self.chat.settings.public:
            return
        if batch.total > MOST_ANSWERS_PUBLIC:
            raise BadInput(
                f"{batch.total} answers are more than this public page runs at once ({MOST_ANSWERS_PUBLIC}).",
                hint="Run the app on your own machine for larger sets.",
            )
        others = [start for other, start in self._starts.items() if other != batch.id and self.runs(other)]
        if any(start.owner == owner for start in others):
            raise BadInput("Another run of yours is still going.", hint="Pause it first, or wait.")
        if access.address and sum(start.address == access.address for start in others) >= MAX_BATCHES_PER_ADDRESS:
            raise BadInput("Too many runs are going for your network at once.", hint="Wait for one of them to end.")

    async def _run(
        self, owner: str, access: Access, batch: Batch, prompts: Sequence[Prompt], known: set[tuple[int, int]], progress: Progress
    ) -> None:
        missing = {lane: [row for row in range(len(prompts)) if (row, lane) not in known] for lane in range(len(batch.lanes))}
        here = [lane for lane, column in enumerate(batch.lanes) if column.choices.model.startswith(HERE)]
        work = _Work(self, owner, access, batch, prompts, progress)
        try:
            async with asyncio.TaskGroup() as group:
                if here:
                    group.create_task(work.one_after_the_other([(row, lane) for lane in here for row in missing[lane]]))
                for lane in missing.keys() - set(here):
                    queue = iter(missing[lane])
                    for _ in range(AT_ONCE):
                        group.create_task(work.from_queue(queue, lane))
            await self.store.set_state(owner, batch.id, "done" if progress.ended >= progress.total else "paused")
        except* StorageError as failed:  # what was written stays; the next start asks for the rest
            log.warning("batch %s cannot be saved: %s", batch.id, failed.exceptions[0])
            progress.problems |= dict.fromkeys(missing, StorageError("The answers cannot be saved.", hint="See the log, then resume."))


@dataclass
class _Work:
    """One start of one batch."""

    runner: BatchRunner
    owner: str
    access: Access
    batch: Batch
    prompts: Sequence[Prompt]
    progress: Progress

    async def one_after_the_other(self, keys: Sequence[tuple[int, int]]) -> None:
        for row, lane in keys:
            await self._cell(row, lane)

    async def from_queue(self, rows: Iterator[int], lane: int) -> None:
        for row in rows:
            await self._cell(row, lane)

    async def _cell(self, row: int, lane: int) -> None:
        progress = self.progress
        if lane in progress.problems:
            return
        progress.active[lane] += 1
        try:
            cell = await self._ask(row, lane)
            await self._save(cell)
            (progress.done if cell.status == "done" else progress.failed)[lane] += 1
        except FOR_A_PERSON as error:
            progress.problems[lane] = error
        finally:
            progress.active[lane] -= 1

    async def _save(self, cell: Cell) -> None:
        """Writes an answer; stopped meanwhile, it is written all the same. No further one is asked for in its place before that."""

        def failed(error: StorageError) -> None:
            if self.progress.storage_error is None:
                log.warning("answers of batch %s cannot be saved, which is tried again: %s", self.batch.id, error.message)
            self.progress.storage_error = error

        self.runner.add(self.batch.id, cell)
        await until_written(lambda: asyncio.shield(self.runner.written(self.batch.id)), failed, self.runner.sleep)
        self.progress.storage_error = None

    async def _ask(self, row: int, lane: int) -> Cell:
        """The answer of one cell; raises only what a person has to mend."""
        prompt, choices = self.prompts[row], self.batch.lanes[lane].choices
        asked = replace(choices, system="\n\n".join(filter(None, (prompt.system.strip(), choices.system.strip()))))
        run = Run(self.owner, self.batch.id, "", asked.model, ChatRequest(asked.model, (), asked.parameters))
        try:
            messages = [Message("user", prompt.text)]
            run.request, provider = await self.runner.chat.prepare(self.access, self.owner, messages, asked, counted=False)
            run.region = provider.region
            async with aclosing(provider.stream(run.request)) as events:
                async for event in events:
                    run.take(event)
                    run.log.clear()  # nobody replays it, and thousands of them would be kept
                    run.region = provider.region  # it may change before the first token
        except FOR_A_PERSON:
            raise
        except BackendError as error:
            run.end("error", error)
        except Exception:
            log.exception("an answer of batch %s failed in an unforeseen way", self.batch.id)
            run.end("error", BackendError("Something went wrong inside the app.", hint="The log has the details."))
        self.runner.chat.count(self.owner, self.access.address, len(run.answer.text) + len(run.thinking.text))
        told = AnswerError(type(run.error).__name__, run.error.message, run.error.hint) if run.error else None
        return Cell(
            row, lane, "error" if told else "done", run.answer.text, run.thinking.text or None,
            {**asked.stored(), "seed": run.request.parameters.seed}, run.usage, run.timing, run.finish_reason, told, run.region,
        )  # fmt: skip
