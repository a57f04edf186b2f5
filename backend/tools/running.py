"""What running a tool means, whoever runs it: arguments in, text out, or a sentence why not. Runs none itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.attachments import Attachment


class ToolFailed(Exception):
    """A call that brought no result. Its sentence goes to the model, and is shown to the person who watches."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may look at beside its arguments: the files of the chat."""

    files: tuple[Attachment, ...] = ()


RunTool = Callable[[Mapping[str, Any], ToolContext], Awaitable[str]]
