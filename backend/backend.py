"""The whole backend of one process: what the page and the HTTP API stand on, opened as it is asked for and closed in order."""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api.app import PATHS as HTTP_PATHS
from backend.api.app import HttpApi
from backend.api.hosts import OwnPagesOnly, Rules
from backend.asking import Asking
from backend.catalogue import Capabilities, catalogue
from backend.chat import Chat, save_runs
from backend.compare.batches import BatchStore
from backend.compare.comparing import Comparing
from backend.compare.judge import ModelJudge
from backend.compare.runner import BatchRunner
from backend.compare.sharing import Sharing
from backend.compare.store import ComparisonStore
from backend.compare.votes import VoteStore
from backend.ending import within
from backend.engines import Access, Engines, ModelChoice
from backend.errors import BackendError, StorageError
from backend.history import History
from backend.private_files import protect_data_folder
from backend.read_files import ReadFiles
from backend.run import Run
from backend.runs import Runs
from backend.settings import Settings
from backend.shelf import Shelf
from backend.tools.toolbox import Toolbox
from backend.visitor_key import visitor_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp

log = logging.getLogger(__name__)


class Backend:
    """The whole backend of one process. `open` is called in the event loop that will serve; it may be called again."""

    def __init__(self, settings: Settings, *, shared: bool = False) -> None:
        """`shared`: everybody on the network is the owner. Nobody then has programs started or addresses called inside it."""
        self.settings, self.shared = settings, shared
        self.catalogue = catalogue()
        self.engines = Engines(settings, self.catalogue)
        self.runs = Runs(self._save)
        self.shelf = Shelf(settings.data_dir)
        self.toolbox = Toolbox(settings)
        self.read_files = ReadFiles()
        self.asking = Asking(settings, self.engines)
        self._history: History | None = None
        self._chat: Chat | None = None
        self._comparing: Comparing | None = None
        self._runner: BatchRunner | None = None
        self._judge: ModelJudge | None = None
        self._sharing: Sharing | None = None
        self._opening = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        if shared:
            self.toolbox.serve_others()
            self.engines.serve_others()

    @cached_property
    def visitor_key(self) -> bytes:
        """What visitors' cookies are signed with."""
        return visitor_key(self.settings.data_dir)

    async def open(self) -> Chat:
        """A history that cannot be opened now is opened at a later use, and new chats go on in memory until then. Raises `ConfigError`."""
        async with self._opening:
            if self._chat is None:
                await asyncio.to_thread(protect_data_folder, self.settings.data_dir)
                self._history = History(self.settings.database_url, self.settings.data_dir)
                try:
                    await self._history.opened()
                except StorageError as error:
                    log.warning("the chat history cannot be opened, which is tried again: %s %s", error.message, error.hint)
                self._chat = Chat(self.settings, self.engines, self._history, self.runs, self.toolbox)
            return self._chat

    async def side_by_side(self) -> Comparing:
        """As `open`."""
        chat = await self.open()
        if self._comparing is None:
            database = chat.history.database
            self._comparing = Comparing(chat, ComparisonStore(database), VoteStore(database), self.shelf)
        return self._comparing

    async def sharing(self) -> Sharing:
        """Run files. As `open`."""
        comparing = await self.side_by_side()
        if self._sharing is None:
            self._sharing = Sharing(comparing)
        return self._sharing

    async def background(self) -> BatchRunner:
        """Prompt sets and sweeps. As `open`."""
        chat = await self.open()
        if self._runner is None:
            self._runner = BatchRunner(chat, BatchStore(chat.history.database))
        return self._runner

    async def model_judge(self) -> ModelJudge:
        """As `open`."""
        chat = await self.open()
        if self._judge is None:
            self._judge = ModelJudge(chat, VoteStore(chat.history.database))
        return self._judge

    def own_pages_only(self, app: ASGIApp, *, listens_at: str) -> ASGIApp:
        """`app` behind the check of `Host` and `Origin`."""
        return OwnPagesOnly(app, rules=Rules.of(self.settings, listens_at=listens_at, shared=self.shared), api_paths=HTTP_PATHS)

    def http_api(self) -> ASGIApp:
        """Answers what stands under `HTTP_PATHS`."""
        return HttpApi(self.settings, self.engines).asgi()

    async def first_choices(self) -> tuple[list[ModelChoice], str, Capabilities]:
        """What the page shows first: models, the selected one, what it can do. Falls back to the demo where that one is unknown.

        Called before the server's own event loop runs: connections that were made for it are closed, since no other loop can use them.
        """
        try:
            return await self._first_choices()
        finally:
            await self.engines.aclose()

    async def _first_choices(self) -> tuple[list[ModelChoice], str, Capabilities]:
        choices = await self.engines.choices(Access())
        model = self.engines.default_model(choices)
        try:
            return choices, model, await self.engines.capabilities(model, Access())
        except BackendError as error:
            log.warning("%s is not available: %s %s", model, error.message, error.hint)
            return choices, "local:demo", await self.engines.capabilities("local:demo", Access())

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged history file was moved at the start."""
        return self._history.set_aside if self._history else None

    async def shared_history(self) -> bool:
        """Whether another app on this machine has the same history open."""
        return self._history is not None and await self._history.shared()

    def serve_here(self) -> None:
        """Called in the event loop that serves, for `end` to find it."""
        self._loop = asyncio.get_running_loop()

    def end(self) -> None:
        """As `aclose`, from another thread than that of the event loop that serves."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.aclose(), self._loop).result()

    async def aclose(self) -> None:
        """Ends what is at work, answers as stopped with their text, and closes what is open: upstream streams, MCP programs, the
        database. What takes too long is left behind, so that all in all it takes 8 s."""
        later = self._comparing.later if self._comparing else None
        working = [each.aclose() for each in (later, self._judge, self._runner) if each is not None]
        await within(1.5, self.engines.ending.begin(), *working)
        await within(5.0, self.runs.aclose(), self.toolbox.aclose())  # a program that does not want to end is killed after 4 s
        await within(1.0, self.engines.aclose())
        if self._history is not None:
            await within(0.5, self._history.aclose())

    async def _save(self, runs: Sequence[Run]) -> None:
        if self._history is not None:
            await save_runs(self._history, runs)
