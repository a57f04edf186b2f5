"""The page's blocks, which answer for every event: as many at once as a visitor may have, and one line in the log for what goes wrong.

gradio runs an event's handler, and what it makes of its inputs and outputs, in `process_api`. It prints a traceback of whatever that
raises: anybody could fill the log by sending what no page sends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from starlette.requests import Request

from backend import UNKNOWN_VISITOR, BackendError, Slots
from ui import drawing
from ui.text import WORDS as W
from ui.uploads import UploadedFiles
from ui.visitor import Visitors

log = logging.getLogger(__name__)

MAX_EVENTS_PER_VISITOR = 64  # at once, of a public host: answers that are followed are most of them
MAX_EVENTS_PER_ADDRESS = 256
MAX_PAGES_PER_VISITOR = 64  # gradio keeps messages for 2,000 open pages, and drops those of the oldest, whoever that is
MAX_PAGES_PER_ADDRESS = 256
LOAD_LIMIT_S = 30.0  # longer than a locked database is waited for
FIRST_SEEN_S = 60.0  # until the heartbeat of a page begins; programs have none, and are forgotten so long after their last event


class OpenPages:
    """Which pages (gradio's sessions) each visitor has open. A page is forgotten when its heartbeat ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[str, tuple[str, str]] = {}  # keys that the page counts for: its visitor and address
        self._number: Counter[str] = Counter()
        self._unseen_since_s: dict[str, float] = {}
        self._open: Counter[str] = Counter()  # heartbeats of a page

    def admit(self, session: str, visitor: str, address: str) -> bool:
        """Whether an event of this page may be taken: a page that is known, or one more of a visitor who may have it."""
        now_s = self._clock()
        if session not in self._of:
            for old in [old for old, since_s in self._unseen_since_s.items() if now_s - since_s > FIRST_SEEN_S]:
                self._forget(old)
            keys = (f"visitor {visitor}", f"address {address}")
            if self._number[keys[0]] >= MAX_PAGES_PER_VISITOR or self._number[keys[1]] >= MAX_PAGES_PER_ADDRESS:
                return False
            self._of[session] = keys
            self._number.update(keys)
        if not self._open[session]:
            self._unseen_since_s[session] = now_s
        return True

    def arrive(self, session: str) -> None:
        self._open[session] += 1
        self._unseen_since_s.pop(session, None)

    def leave(self, session: str) -> None:
        self._open[session] -= 1
        if self._open[session] <= 0:
            self._forget(session)

    def _forget(self, session: str) -> None:
        self._open.pop(session, None)
        self._unseen_since_s.pop(session, None)
        for key in self._of.pop(session, ()):
            self._number[key] -= 1
            if not self._number[key]:
                del self._number[key]


class Loads:
    """Loads of pages under way. A load shows the chat that the page's address names: what is asked before its end would be asked in
    another one, and be put away again by what the load shows. So every other event of that page waits for it."""

    def __init__(self) -> None:
        self._of: dict[str, set[asyncio.Task[Any]]] = {}

    @contextmanager
    def begun(self, page: str) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None  # nosec B101: for the type checker
        self._of.setdefault(page, set()).add(task)
        try:
            yield
        finally:
            self._of[page].discard(task)
            if not self._of[page]:
                del self._of[page]

    async def over(self, page: str) -> None:
        """Returns when what the loads show is on its way to the page, or after `LOAD_LIMIT_S`."""
        if page in self._of:
            await asyncio.wait(set(self._of[page]), timeout=LOAD_LIMIT_S)


class Blocks(gr.Blocks):
    """`visitors` is set before the first event."""

    visitors: Visitors
    uploads: UploadedFiles
    loads: Loads
    slots: Slots
    open_pages: OpenPages

    def admit(self, scope: Any, session: str | None) -> str | None:
        """Why a request that names this page is refused, before gradio makes room for one that it does not know."""
        if session is None and "/gradio_api/call/" in scope["path"]:
            session = secrets.token_hex(8)  # gradio gives each of these a page of its own
        if session is None or not self.visitors.public:
            return None
        visitor = self.visitors.owner_of(scope)
        if visitor is None and scope["path"].rstrip("/").endswith("/component_server"):
            return W.no_cookie
        if self.open_pages.admit(session, visitor or UNKNOWN_VISITOR, self.visitors.address(Request(scope))):
            return None
        return f"{W.too_many_pages} {W.too_many_events_hint}"

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **given: Any) -> dict[str, Any]:
        request = given.get("request")
        public = self.visitors.public and isinstance(request, gr.Request)
        whose = drawing.visitor.set(self.visitors.owner(request) if public else None)
        try:
            # an event that streams comes here again for every value: one that has begun goes on
            with self.slots.held(self._limits(request) if public else {}, refuse=given.get("iterator") is None):
                page = str(getattr(request, "session_hash", None) or "")
                if page and any(event == "load" for _, event in getattr(block_fn, "targets", ())):
                    with self.loads.begun(page):
                        return await super().process_api(block_fn, inputs, *args, **given)
                await self.loads.over(page)
                return await super().process_api(block_fn, inputs, *args, **given)
        except gr.Error as error:  # a sentence for the visitor
            error.print_exception = False
            raise
        except BackendError as error:
            raise told(error) from error
        except Exception as error:
            name = getattr(block_fn, "name", block_fn)
            log.warning("%s could not be done: %s: %s", name, type(error).__name__, " ".join(str(error)[:200].split()))
            raise gr.Error(W.went_wrong, print_exception=False) from error
        finally:
            drawing.visitor.reset(whose)

    def _limits(self, request: Any) -> dict[Any, int]:
        owner, address = self.visitors.owner(request), self.visitors.address(request.request)
        return {("visitor", owner): MAX_EVENTS_PER_VISITOR, ("address", address): MAX_EVENTS_PER_ADDRESS}


def told(error: BackendError) -> gr.Error:
    """The sentence of an error that no handler has shown."""
    return gr.Error(f"{error.message} {error.hint}".strip(), print_exception=False)
