"""All that the page and the command line may use: one `Backend` object and the types that cross the border."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api.access import is_from_here
from backend.api.app import PATHS as HTTP_PATHS
from backend.api.app import HttpApi
from backend.api.snippets import VARIABLE as TOKEN_VARIABLE
from backend.api.snippets import calling_snippets
from backend.asking import Answered, Asking
from backend.attachments import Attachment, read_attachment
from backend.catalogue import Capabilities, ParameterSpec, catalogue
from backend.chat import Chat, save_runs
from backend.choices import Choices, parameters_from
from backend.compare.batches import Batch, BatchLane, BatchStore, Cell, answer_id
from backend.compare.comparing import Comparing
from backend.compare.figures import FIGURES, Figure, answer_tokens, best, contestant, context_share, figures_of
from backend.compare.judge import Judged, ModelJudge, default_rubric
from backend.compare.prompt_sets import MOST_BYTES, Prompt, PromptSet
from backend.compare.prompt_sets import read as read_prompts
from backend.compare.prompt_sets import shipped as shipped_prompts
from backend.compare.ratings import Ballot, Duel, Standing, agreement, duels, standings
from backend.compare.records import (
    MOST_PANES,
    Comparison,
    ComparisonSummary,
    Pane,
    answers_at,
    last_answers,
    last_question,
    missing_questions,
    other_questions,
    pane_from,
    question_at,
    turn_count,
)
from backend.compare.runfile import RunFile
from backend.compare.runner import BatchRunner, Progress
from backend.compare.sharing import Sharing
from backend.compare.store import ComparisonStore
from backend.compare.sweep import MOST_SEEDS, MOST_VALUES, SWEPT, Axis, Estimate, agreement_rate, axis_from, estimate, lanes_of
from backend.compare.votes import BAD, PERSON, TIE, Contestant, Vote, VoteStore, subject_of, to_csv, to_json_lines
from backend.display import display_name
from backend.engines import Access, Engines, ModelChoice
from backend.errors import BackendError, BadInput, ConfigError, StorageError
from backend.history import Conversation, ConversationSummary, History, Node
from backend.lanes import Lanes
from backend.model_names import portable_name
from backend.provider import ListedModel
from backend.run import Run
from backend.runs import Runs
from backend.settings import REGION_HOSTS, Server, Settings, load_settings
from backend.shelf import Shelf, ShelfEntry, recording_of
from backend.snippets import snippets
from backend.steps import Called, Step
from backend.tokens import LiveCounter, count_messages, count_tokens
from backend.tools.defining import built_in_specs, specs_from_openapi, specs_from_text, with_specs
from backend.tools.definitions import check_schema, mismatches
from backend.tools.desk import Decision
from backend.tools.kit import ToolKit, ToolSpec, kit_from
from backend.tools.toolbox import Toolbox
from backend.turns import node_of
from backend.types import AnswerFormat, ChatRequest, GenerationParameters, Message, Timing, Usage
from backend.warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp

log = logging.getLogger(__name__)


class Backend:
    """The whole backend of one process. `open` is called in the event loop that will serve; it may be called again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = catalogue()
        self.engines = Engines(settings, self.catalogue)
        self.runs = Runs(self._save)
        self.shelf = Shelf(settings.data_dir)
        self.toolbox = Toolbox(settings)
        self.asking = Asking(settings, self.engines)
        self._history: History | None = None
        self._chat: Chat | None = None
        self._comparing: Comparing | None = None
        self._runner: BatchRunner | None = None
        self._judge: ModelJudge | None = None
        self._sharing: Sharing | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> Chat:
        """Opens the history; raises `StorageError` where that cannot be."""
        async with self._opening:
            if self._chat is None:
                self._history = await History.open(self.settings.database_url, self.settings.data_dir)
                self._chat = Chat(self.settings, self.engines, self._history, self.runs, self.toolbox)
            return self._chat

    async def side_by_side(self) -> Comparing:
        """Opens the history; raises `StorageError` where that cannot be."""
        chat = await self.open()
        if self._comparing is None:
            database = chat.history.database
            self._comparing = Comparing(chat, ComparisonStore(database), VoteStore(database), self.shelf)
        return self._comparing

    async def sharing(self) -> Sharing:
        """Run files. Opens the history; raises `StorageError` where that cannot be."""
        comparing = await self.side_by_side()
        if self._sharing is None:
            self._sharing = Sharing(comparing)
        return self._sharing

    async def background(self) -> BatchRunner:
        """Prompt sets and sweeps. Opens the history; raises `StorageError` where that cannot be."""
        chat = await self.open()
        if self._runner is None:
            self._runner = BatchRunner(chat, BatchStore(chat.history.database))
        return self._runner

    async def model_judge(self) -> ModelJudge:
        """Opens the history; raises `StorageError` where that cannot be."""
        chat = await self.open()
        if self._judge is None:
            self._judge = ModelJudge(chat, VoteStore(chat.history.database))
        return self._judge

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

    async def aclose(self) -> None:
        later = self._comparing.later if self._comparing else None
        for each in (later, self._judge, self._runner):
            if each is not None:
                await each.aclose()
        await self.runs.aclose()
        await self.toolbox.aclose()
        await self.engines.aclose()
        if self._history is not None:
            await self._history.aclose()

    async def _save(self, runs: Sequence[Run]) -> None:
        if self._history is not None:
            await save_runs(self._history, runs)


__all__ = [
    "BAD",
    "FIGURES",
    "HTTP_PATHS",
    "MOST_BYTES",
    "MOST_PANES",
    "MOST_SEEDS",
    "MOST_VALUES",
    "PERSON",
    "REGION_HOSTS",
    "SWEPT",
    "TIE",
    "TOKEN_VARIABLE",
    "Access",
    "AnswerFormat",
    "Answered",
    "Asking",
    "Attachment",
    "Axis",
    "Backend",
    "BackendError",
    "BadInput",
    "Ballot",
    "Batch",
    "BatchLane",
    "BatchRunner",
    "Called",
    "Capabilities",
    "Cell",
    "Chat",
    "ChatRequest",
    "Choices",
    "Comparing",
    "Comparison",
    "ComparisonSummary",
    "ConfigError",
    "Contestant",
    "Conversation",
    "ConversationSummary",
    "Decision",
    "Duel",
    "Estimate",
    "Figure",
    "GenerationParameters",
    "Judged",
    "Lanes",
    "ListedModel",
    "LiveCounter",
    "Message",
    "ModelChoice",
    "ModelJudge",
    "Node",
    "Pane",
    "ParameterSpec",
    "Progress",
    "Prompt",
    "PromptSet",
    "Run",
    "RunFile",
    "Server",
    "Settings",
    "Sharing",
    "ShelfEntry",
    "Standing",
    "Step",
    "StorageError",
    "Timing",
    "ToolKit",
    "ToolSpec",
    "Usage",
    "Vote",
    "agreement",
    "agreement_rate",
    "answer_id",
    "answer_tokens",
    "answers_at",
    "axis_from",
    "best",
    "built_in_specs",
    "calling_snippets",
    "check_schema",
    "contestant",
    "context_share",
    "count_messages",
    "count_tokens",
    "default_rubric",
    "display_name",
    "duels",
    "estimate",
    "figures_of",
    "is_from_here",
    "kit_from",
    "lanes_of",
    "last_answers",
    "last_question",
    "load_settings",
    "mismatches",
    "missing_questions",
    "node_of",
    "other_questions",
    "pane_from",
    "parameters_from",
    "portable_name",
    "question_at",
    "read_attachment",
    "read_prompts",
    "recording_of",
    "shipped_prompts",
    "snippets",
    "specs_from_openapi",
    "specs_from_text",
    "standings",
    "subject_of",
    "to_csv",
    "to_json_lines",
    "turn_count",
    "warm_up",
    "with_specs",
]  # fmt: skip
