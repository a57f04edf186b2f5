"""One thread that holds one model and serves requests in order. Its users wait in their event loops; it never waits for them.

Knows nothing of how a model is loaded (`Load`) or how text is made from it (`Serve`), so both are given.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from backend.errors import BackendError, LocalModelError
from backend.local.outbox import Outbox
from backend.local.progress import Progress, Report, Stage
from backend.types import ChatRequest, Event, Finished, Waiting

log = logging.getLogger(__name__)

M = TypeVar("M")
Load = Callable[[str, Report], M]
"""Loads the model of that name. Its report may raise, to give the load up."""
Serve = Callable[[M, ChatRequest, Callable[[], bool]], Iterator[Event]]
"""The events of one request; ends early once the callable, asked before each token, says so."""
Translate = Callable[[Exception], BackendError]

_JOIN_S = 5.0  # a thread inside a long library call is left behind; it is a daemon and ends with the process


class Job:
    """One request. `stopped` is set by its user and read by the thread between tokens; `ended`: its last event is out."""

    def __init__(self, request: ChatRequest) -> None:
        self.request = request
        self.outbox: Outbox[Event | BackendError] = Outbox()
        self.stopped = self.ended = False
        self._place = 0

    def tell_place(self, place: int) -> None:
        """1 = next."""
        if place != self._place:
            self._place = place
            self.outbox.put(Waiting("queued", position=place))


class Engine(Generic[M]):
    """`submit` from an event loop, read the job's outbox, `leave` when done or no longer interested.

    `release` gives the model's memory back once nothing refers to it any more.
    """

    def __init__(self, load: Load[M], serve: Serve[M], translate: Translate, release: Callable[[], None]) -> None:
        self._load, self._serve, self._translate, self._release = load, serve, translate, release
        self._changed = threading.Condition()
        self._queue: list[Job] = []
        self._active: Job | None = None
        self._unloads: list[Outbox[None]] = []
        self._closing = False
        self._thread: threading.Thread | None = None
        self._held: tuple[str, M] | None = None

    @property
    def held(self) -> tuple[str, M] | None:
        """Name and model of what is in memory now."""
        return self._held

    @property
    def busy(self) -> bool:
        """Whether a request is being served, its load among that."""
        active = self._active
        return active is not None and not active.ended

    def submit(self, request: ChatRequest) -> Job:
        """Puts a request at the end of the queue. Raises `LocalModelError` once the engine was closed."""
        job = Job(request)
        with self._changed:
            if self._closing:
                raise _closed()
            self._queue.append(job)
            if len(self._queue) > 1 or (self._active is not None and not self._active.ended):
                job.tell_place(len(self._queue))
            self._run()
        return job

    def leave(self, job: Job) -> None:
        """Ends a job wherever it is; returns at once. The thread stops within a token and goes on with the next job."""
        job.stopped = True
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
                self._tell_places()

    async def unload(self) -> None:
        """Frees the model once the present answer has ended, before the next begins; returns when that is done."""
        done: Outbox[None] = Outbox()
        with self._changed:
            if self._closing:
                return
            self._unloads.append(done)
            self._run()
        await done.get()

    async def aclose(self) -> None:
        """Ends the present answer and everything that waits, frees the model and ends the thread."""
        with self._changed:
            self._closing = True
            for job in self._queue:
                job.outbox.put(_closed())
            self._queue.clear()
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_S)

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="local engine", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _tell_places(self) -> None:
        for place, job in enumerate(self._queue, start=1):
            job.tell_place(place)

    # ---- in the thread
    def _work(self) -> None:
        while True:
            with self._changed:
                self._active = None
                self._changed.wait_for(lambda: self._closing or self._queue or self._unloads)
                unloads, self._unloads = self._unloads, []
                if not (self._closing or unloads):
                    self._active = self._queue.pop(0)
                    self._tell_places()
                job = self._active
            if job is not None:
                self._do(job)
                continue
            self._drop()
            for done in unloads:
                done.put(None)
            if self._closing:
                return

    def _do(self, job: Job) -> None:
        try:
            if job.stopped:
                return
            model = self._model_for(job)
            for event in self._serve(model, job.request, lambda: job.stopped or self._closing):
                job.ended = isinstance(event, Finished)
                job.outbox.put(event)
            if self._closing:
                job.outbox.put(_closed())
        except BackendError as error:
            self._fail(job, error)
        except Exception as error:
            log.warning("a local answer failed", exc_info=error)
            translated = self._translate(error)
            translated.__cause__ = error
            self._fail(job, translated)

    def _fail(self, job: Job, error: BackendError) -> None:
        """Hands the error over without the tensors that its tracebacks refer to, which may be a half-loaded model."""
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__
        self._give_back()
        job.ended = True
        job.outbox.put(error)

    def _model_for(self, job: Job) -> M:
        name = job.request.model
        if self._held is not None and self._held[0] == name:
            return self._held[1]
        self._drop()

        def tell(stage: Stage, share: float | None, plan: str | None) -> None:
            job.outbox.put(Waiting("loading", share=share, detail=plan if stage == "loading" and plan else stage))

        progress = Progress(name, tell)

        def report(stage: Stage, share: float | None, plan: str | None = None) -> None:
            if self._closing:
                raise _closed()
            if job.stopped and not self._wanted(name):
                raise LocalModelError(f"Loading {name} was given up.", hint="Ask again to load it.")
            progress(stage, share, plan)

        model = self._load(name, report)
        self._held = (name, model)
        return model

    def _wanted(self, name: str) -> bool:
        """Whether anybody else waits for this model."""
        with self._changed:
            return any(waiting.request.model == name for waiting in self._queue)

    def _drop(self) -> None:
        if self._held is not None:
            log.info("%s unloaded", self._held[0])
            self._held = None
            self._give_back()

    def _give_back(self) -> None:
        try:
            self._release()
        except Exception as error:  # a GPU that is lost refuses this too; the thread must live on to say so
            log.warning("memory could not be given back", exc_info=error)


def _closed() -> LocalModelError:
    return LocalModelError("The local engine was closed while it was wanted.", hint="Start the app again.")
