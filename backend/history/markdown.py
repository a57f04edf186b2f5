"""A chat's open branch as Markdown for people to read, and back: turns under headings, a trace as a quotation.

A line of a turn that looks like one of these headings is written with a backslash before it, and read without.
"""

from __future__ import annotations

import re
from typing import Any

from backend.errors import BadInput
from backend.history.exchange import ImportedChat, ImportedTurn
from backend.history.records import Conversation

_HEADINGS = {"user": "## You", "assistant": "## Answer", "thinking": "### Thinking"}
_HEADING = re.compile(r"^(## You|## Answer(?: \((?P<model>.*)\))?|### Thinking|### Reply)$")
_ESCAPED = re.compile(r"^(\\*)(## |### )")


def dumps(conversation: Conversation) -> str:
    """The open branch. Attached files are named; their text is not repeated."""
    parts = [f"# {conversation.title or conversation.preview or 'Chat'}"]
    for node in conversation.path:
        if node.role == "user":
            files = "".join(f"*File: {a.name}*\n\n" for a in node.attachments)
            parts.append(f"## You\n\n{files}{_escaped(node.content)}")
            continue
        parts.append(f"## Answer ({node.model})" if node.model else "## Answer")
        if node.thinking:
            parts.append("### Thinking\n\n" + "\n".join(f"> {line}".rstrip() for line in node.thinking.split("\n")) + "\n\n### Reply")
        parts.append(_escaped(node.content))
    return "\n\n".join(parts).rstrip() + "\n"


def loads(text: str, name: str) -> list[ImportedChat]:
    """One chat without branches. Raises `BadInput` where the file has no turn."""
    title, turns, lines = None, list[dict[str, Any]](), list[str]()
    part = ""

    def close() -> None:
        said = "\n".join(lines).strip("\n")
        if turns and part == "thinking":
            turns[-1]["thinking"] = "\n".join(line.removeprefix(">").removeprefix(" ") for line in said.split("\n"))
        elif turns:
            turns[-1]["content"] = said
        lines.clear()

    for line in text.replace("\r\n", "\n").split("\n"):
        heading = _HEADING.match(line)
        if heading is None:
            if line.startswith("# ") and not turns and title is None:
                title = line[2:].strip()
            lines.append(_ESCAPED.sub(lambda m: f"{m[1][1:]}{m[2]}", line))
            continue
        close()
        part = "thinking" if line == _HEADINGS["thinking"] else "content"
        if line.startswith("## "):
            role = "user" if line == _HEADINGS["user"] else "assistant"
            turns.append({"role": role, "content": "", "thinking": None, "status": "done", "model": heading["model"]})
    close()
    if not turns:
        raise BadInput(f"{name} holds no chat: line 1: there is no heading `## You`.", hint="Choose a file that was saved from this page.")
    made = [ImportedTurn(str(n), str(n - 1) if n else None, values) for n, values in enumerate(turns)]
    model = next((t["model"] for t in turns if t["model"]), "") or ""
    return [ImportedChat(title, model, {}, tuple(made), tuple(t.id for t in made))]


def _escaped(text: str) -> str:
    return "\n".join(f"\\{line}" if _HEADING.match(line.lstrip("\\")) and _ESCAPED.match(line) else line for line in text.split("\n"))
