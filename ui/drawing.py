"""Strangers' texts as HTML without holding anybody up: short ones at once, all others by a process that can be killed (`ui.workers`),
what was drawn once from memory.

`to_html` and `difference` wait: views that use them are built by `in_thread`. `draft` never waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
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

from ui import markdown
from ui.compare.difference import Difference, not_compared
from ui.compare.difference import difference as compared
from ui.workers import Outcome, Workers

log = logging.getLogger(__name__)

P, T = ParamSpec("P"), TypeVar("T")

TEXT_S = 3.0  # by the clock on the wall, for a text whose own budget is less: what is killed then was in one endless step
DIFFERENCE_S = 10.0  # how much is compared is bounded; the first one also loads what compares
VIEW_S = 6.0  # for all texts of one view together, enough for a chat of a thousand answers; the next look goes on from there
WAIT_S = 5.0  # for a worker, while others' texts are drawn
MAX_KEPT_BYTES = 32_000_000
MAX_DRAFTS = 256
MAX_VIEWS_PER_VISITOR = 2  # at once; there are as many workers
MAX_THREADS = 64  # they wait for a worker nearly all the time
SWITCH_S = 0.001  # after which the interpreter goes on to the next thread: the event loop asks for it many times in one request
PIECE_CHARS = 2_000  # of HTML; each costs time of its own on its way to the page
MAX_SIMPLE_CHARS = 300
_NOT_SIMPLE = re.compile(r"[\[$\\|]|```|~~~")  # code, tables, TeX, and links, whose names are looked for again and again


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
_drafts: OrderedDict[bytes, Future[str]] = OrderedDict()
_threads = ThreadPoolExecutor(MAX_THREADS, "drawing", initializer=partial(sys.setswitchinterval, SWITCH_S))


def to_html(text: str) -> str:
    """As `markdown.to_html`. Waits for a worker: not for the event loop."""
    text = markdown.normalized(text)
    return _at_once(text) or _drawn(text)


def blocks(text: str) -> list[str]:
    """Likewise, a few blocks together in each piece, and none of it kept: for a long text that is looked at once."""
    pieces, short = list[str](), list[str]()
    for part in _parts(markdown.normalized(text))[0]:
        short.append(part)
        if sum(map(len, short)) > PIECE_CHARS:
            pieces.append("".join(short))
            short.clear()
    return [*pieces, "".join(short)] if short else pieces


def draft(text: str) -> str | None:
    """Likewise at once, or `None` while a worker draws it: ask again."""
    text = markdown.normalized(text)
    if (known := _at_once(text)) is not None:
        return known
    key = _key("markdown", text)
    future = _drafts.get(key)
    if future is None:
        future = _drafts[key] = _submit(_drawn, text)
        while len(_drafts) > MAX_DRAFTS:
            _drafts.popitem(last=False)
    if not future.done():
        return None
    del _drafts[key]
    return future.result()


def sketch(text: str) -> str:
    """Likewise, as it was written until it is drawn."""
    known = draft(text)
    return markdown.plain(text, note=False) if known is None else known


async def drafted(text: str) -> str:
    """Likewise, waited for without holding the event loop."""
    return draft(text) or await in_thread(to_html, text)


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


def _at_once(text: str) -> str | None:
    if len(text) <= MAX_SIMPLE_CHARS and not _NOT_SIMPLE.search(text):
        return markdown.to_html(text)
    known: str | None = kept.find(_key("markdown", text))
    return known


def _drawn(text: str) -> str:
    parts, asked = _parts(text)
    drawn = "".join(parts)
    return kept.keep(_key("markdown", text), drawn, len(drawn)) if asked else drawn


def _parts(text: str) -> tuple[list[str], bool]:
    """A text's blocks, what a worker left of it as it was written; and whether one was free for it at all."""
    try:
        outcome = _asked("markdown", (text,), TEXT_S)
    except OSError as error:
        _no_process(error)
        return [markdown.to_html(text)], True
    parts = [part for part, _ in outcome.parts]
    if not outcome.whole:
        parts.append(markdown.plain(text[int(outcome.parts[-1][1]) if outcome.parts else 0 :]))
    return parts, outcome.asked


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
    log.warning("no process can be started to lay out texts, so this one does: %s", error)


def _key(task: str, *texts: str) -> bytes:
    told = blake2b(task.encode(), digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        told.update(len(data).to_bytes(8, "big") + data)
    return told.digest()
