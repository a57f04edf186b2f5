"""Views of strangers' texts without holding anybody up: built in threads beside the event loop, two texts compared by a process that can
be killed (`ui.workers`), what was drawn once from memory.

`difference` waits: views that use it are built by `in_thread`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from ui.compare.difference import Difference, not_compared
from ui.compare.difference import difference as compared
from ui.workers import Outcome, Workers

log = logging.getLogger(__name__)

P, T = ParamSpec("P"), TypeVar("T")

DIFFERENCE_S = 10.0  # by the clock on the wall; how much is compared is bounded; the first one also loads what compares
VIEW_S = 6.0  # for all that is compared in one view
WAIT_S = 5.0  # for a worker, while others' texts are drawn
MAX_KEPT_BYTES = 32_000_000
MAX_VIEWS_PER_VISITOR = 2  # at once; there are as many workers
MAX_THREADS = 64  # they wait for a worker nearly all the time
SWITCH_S = 0.001  # after which the interpreter goes on to the next thread: the event loop asks for it many times in one request


class Kept:
    """What was drawn, by its key; the longest unused goes first."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size_bytes = 0

    def find(self, key: object) -> Any:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: object, drawn: T, size_bytes: int) -> T:
        """What is larger than an eighth of all is not kept: it would push out too much else."""
        if size_bytes <= self._max_bytes // 8:
            with self._lock:
                self.size_bytes += size_bytes - self._kept.pop(key, (None, 0))[1]
                self._kept[key] = (drawn, size_bytes)
                while self.size_bytes > self._max_bytes:
                    self.size_bytes -= self._kept.popitem(last=False)[1][1]
        return drawn


@dataclass
class View:
    """What the texts of one view have taken so far: `worked_s` of the workers' time, `taken_s` with the waiting for it."""

    worked_s: float = 0.0
    taken_s: float = 0.0


workers = Workers()
kept = Kept()
visitor: contextvars.ContextVar[str | None] = contextvars.ContextVar("visitor", default=None)  # whose event it is, on a public host
_turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
_view: contextvars.ContextVar[View | None] = contextvars.ContextVar("view", default=None)
_threads = ThreadPoolExecutor(MAX_THREADS, "drawing", initializer=partial(sys.setswitchinterval, SWITCH_S))


def difference(left: str, right: str) -> Difference:
    """As `ui.compare.difference.difference`; two texts that take too long are shown as they are. Waits for a worker."""
    key = _key("difference", left, right)
    found: Difference | None = kept.find(key)
    if found is not None:
        return found
    try:
        outcome = _asked("difference", (left, right), DIFFERENCE_S)
    except OSError as error:
        _no_process(error)
        return compared(left, right)
    if not outcome.whole:
        found = not_compared(left, right)
        return kept.keep(key, found, len(found.left) + len(found.right)) if outcome.asked else found
    ours, theirs, share, cut = outcome.parts[0]
    return kept.keep(key, Difference(ours, theirs, float(share), cut=bool(cut)), len(ours) + len(theirs))


async def in_thread(build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Builds a view beside the event loop, within `VIEW_S` of the workers' time for all its texts together. A visitor's views that are
    more than `MAX_VIEWS_PER_VISITOR` wait for their own, and not others' for them."""
    who = visitor.get()
    if who is None:
        return await asyncio.wrap_future(_submit(build, *args, **kwargs))
    turns = _turns.setdefault(who, asyncio.Semaphore(MAX_VIEWS_PER_VISITOR))  # kept as long as somebody holds or awaits it
    async with turns:
        return await asyncio.wrap_future(_submit(build, *args, **kwargs))


def close() -> None:
    """Ends the processes."""
    workers.close()


def _submit(build: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    context = contextvars.copy_context()
    context.run(_view.set, View())
    return _threads.submit(partial(context.run, build, *args, **kwargs))


def _asked(task: str, texts: tuple[str, ...], limit_s: float) -> Outcome:
    view = _view.get() or View()
    if view.taken_s >= VIEW_S:
        return Outcome(asked=False)
    begun_s = time.monotonic()
    outcome = workers.ask(task, texts, limit_s=limit_s, wait_s=WAIT_S, spent_s=view.worked_s)
    view.worked_s += outcome.worked_s
    view.taken_s += time.monotonic() - begun_s
    return outcome


def _no_process(error: OSError) -> None:
    log.warning("no process can be started to compare texts, so this one does: %s", error)


def _key(task: str, *texts: str) -> bytes:
    told = blake2b(task.encode(), digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        told.update(len(data).to_bytes(8, "big") + data)
    return told.digest()
