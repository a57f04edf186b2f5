"""All that the page and the command line may use: one `Backend` object and the types that cross the border."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from backend.attachments import Attachment, read_attachment
from backend.catalogue import Capabilities, ParameterSpec, catalogue
from backend.chat import Chat, Choices, parameters_from, save_runs
from backend.engines import Access, Engines, ModelChoice
from backend.errors import BackendError, BadInput, ConfigError, StorageError
from backend.history import Conversation, ConversationSummary, History, Node
from backend.provider import ListedModel
from backend.run import Run
from backend.runs import Runs
from backend.settings import REGION_HOSTS, Server, Settings, load_settings
from backend.shelf import Shelf, ShelfEntry, recording_of
from backend.snippets import snippets
from backend.tokens import LiveCounter, count_messages, count_tokens
from backend.types import ChatRequest, GenerationParameters, Message, Timing, Usage
from backend.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


class Backend:
    """The whole backend of one process. `open` is called in the event loop that will serve; it may be called again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = catalogue()
        self.engines = Engines(settings, self.catalogue)
        self.runs = Runs(self._save)
        self.shelf = Shelf(settings.data_dir)
        self._history: History | None = None
        self._chat: Chat | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> Chat:
        """Opens the history; raises `StorageError` where that cannot be."""
        async with self._opening:
            if self._chat is None:
                self._history = await History.open(self.settings.database_url, self.settings.data_dir)
                self._chat = Chat(self.settings, self.engines, self._history, self.runs)
            return self._chat

    async def first_choices(self) -> tuple[list[ModelChoice], str, Capabilities]:
        """What the page shows first: models, the selected one, what it can do. Falls back to the demo where that one is unknown."""
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

    async def aclose(self) -> None:
        await self.runs.aclose()
        await self.engines.aclose()
        if self._history is not None:
            await self._history.aclose()

    async def _save(self, runs: Sequence[Run]) -> None:
        if self._history is not None:
            await save_runs(self._history, runs)


__all__ = [
    "REGION_HOSTS", "Access", "Attachment", "Backend", "BackendError", "BadInput", "Capabilities", "Chat", "ChatRequest", "Choices",
    "ConfigError", "Conversation", "ConversationSummary", "GenerationParameters", "ListedModel", "LiveCounter", "Message", "ModelChoice",
    "Node", "ParameterSpec", "Run", "Server", "Settings", "ShelfEntry", "StorageError", "Timing", "Usage", "count_messages",
    "count_tokens", "load_settings", "parameters_from", "read_attachment", "recording_of", "snippets",
    "warm_up",
]  # fmt: skip
