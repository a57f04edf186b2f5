"""All that the page and the command line may use: one `Backend` object and the types that cross the border."""

from __future__ import annotations

from backend.api.access import client_address, is_from_here
from backend.api.app import PATHS as HTTP_PATHS
from backend.api.hosts import check_listening
from backend.api.snippets import VARIABLE as TOKEN_VARIABLE
from backend.api.snippets import calling_snippets
from backend.asking import Answered, Asking
from backend.attachments import Attachment
from backend.backend import Backend
from backend.catalogue import Capabilities, ParameterSpec
from backend.chat import UNKNOWN_VISITOR, Chat
from backend.choices import Choices, parameters_from
from backend.compare.batches import Batch, BatchLane, Cell, answer_id
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
from backend.compare.sweep import MOST_SEEDS, MOST_VALUES, SWEPT, Axis, Estimate, agreement_rate, axis_from, estimate, lanes_of
from backend.compare.votes import BAD, PERSON, TIE, Contestant, Vote, subject_of, to_csv, to_json_lines
from backend.composing import composed
from backend.display import display_name
from backend.engines import Access, ModelChoice
from backend.errors import BackendError, BadInput, ConfigError, StorageError
from backend.history import Conversation, ConversationSummary, Node
from backend.json_shape import JsonShape
from backend.lanes import Lanes
from backend.model_names import portable_name
from backend.provider import ListedModel
from backend.read_files import FileDescription, FilesRefused, ReadFiles
from backend.run import Run
from backend.settings import REGION_HOSTS, Server, Settings, load_settings
from backend.shelf import ShelfEntry, recording_of
from backend.slots import Slots
from backend.snippets import snippets
from backend.steps import Called, Step
from backend.tokens import LiveCounter, count_messages, count_tokens
from backend.tools.defining import built_in_specs, specs_from_openapi, specs_from_text, with_specs
from backend.tools.definitions import check_schema, mismatches
from backend.tools.desk import Decision
from backend.tools.kit import ToolKit, ToolSpec, kit_from
from backend.turns import node_of
from backend.types import AnswerFormat, ChatRequest, GenerationParameters, Message, Timing, Usage
from backend.upload_folder import Uploads
from backend.warmup import warm_up

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
    "UNKNOWN_VISITOR",
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
    "FileDescription",
    "FilesRefused",
    "GenerationParameters",
    "JsonShape",
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
    "ReadFiles",
    "Run",
    "RunFile",
    "Server",
    "Settings",
    "Sharing",
    "ShelfEntry",
    "Slots",
    "Standing",
    "Step",
    "StorageError",
    "Timing",
    "ToolKit",
    "ToolSpec",
    "Uploads",
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
    "check_listening",
    "check_schema",
    "client_address",
    "composed",
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
