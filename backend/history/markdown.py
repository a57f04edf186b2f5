"""Chats as files: the Markdown form, the open branch only, for people to read and for import again.

What the reader must find again stands in HTML comments, which Markdown does not show; a line of somebody's text that
looks like one gets a backslash on its way out and loses it on its way in, so every text comes back as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from backend.errors import BadInput
from backend.history.exchange import VERSION, FileChat, FileTurn, check_size
from backend.history.records import Conversation, Node
from backend.json_shape import check_file
from backend.steps import Step, stored_steps

_HEADINGS = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_MARK = re.compile(r"<!-- playground:(conversation|turn|thinking|attachment|steps|text)(?: (\{.*\}))? -->")
_LOOKS_LIKE_MARK = re.compile(r"^<!-- \\*playground:", re.MULTILINE)
_ESCAPED_MARK = re.compile(r"^<!-- \\(\\*playground:)", re.MULTILINE)
_AT_ONCE_CHARS = 100_000
_FOLD_END = "\n\n</details>"
_MEND = "Choose a Markdown file that was exported from this page, or import the JSON form."


def _mark(kind: str, values: dict[str, Any] | None = None) -> str:
    if values is None:
        return f"<!-- playground:{kind} -->"
    # two hyphens may not stand in a comment
    return f"<!-- playground:{kind} {json.dumps(values, ensure_ascii=False).replace('--', '-' + chr(92) + 'u002d')} -->"


def _escaped(text: str) -> str:
    return _by_lines(text, lambda lines: _LOOKS_LIKE_MARK.sub(lambda found: found[0].replace("playground:", "\\playground:"), lines))


def _marks_again(text: str) -> str:
    return _by_lines(text, lambda lines: _ESCAPED_MARK.sub(r"<!-- \1", lines))


def _by_lines(text: str, change: Callable[[str], str]) -> str:
    """Changes lines that look like a mark. Some lines at a time: a search through all of a long text would hold up every thread."""
    pieces, start = [], 0
    while start < len(text):
        end = text.find("\n", start + _AT_ONCE_CHARS) + 1 or len(text)
        lines = text[start:end]
        pieces.append(change(lines) if "<!-- " in lines else lines)
        start = end
    return "".join(pieces)


def to_text(conversation: Conversation) -> str:
    values = {"version": VERSION, "title": conversation.title, "model": conversation.model, "parameters": conversation.parameters}
    title = conversation.title or conversation.preview or "Chat"
    parts = [_mark("conversation", values), f"# {title}", ""]
    for node in conversation.path:
        parts += _turn(node)
    return "\n".join(parts)


def _turn(node: Node) -> list[str]:
    values = {"role": node.role, "status": node.status, "created_at": node.created_at.isoformat(), "model": node.model}
    heading = f"## {_HEADINGS[node.role]}" + (f" ({node.model})" if node.model else "")
    parts = [_mark("turn", {k: v for k, v in values.items() if v is not None}), heading, ""]
    for attachment in node.attachments:
        about = {k: v for k, v in asdict(attachment).items() if k != "text" and v is not None}
        parts += [_mark("attachment", about), *_folded(attachment.name, attachment.text)]
    if node.steps:
        parts += [_mark("steps", {"steps": stored_steps(node.steps)}), *_steps(node.steps)]
    if node.thinking is not None:
        parts += [_mark("thinking"), *_folded("Thinking", node.thinking)]
    return [*parts, _mark("text"), "", _escaped(node.content), ""]


def _steps(steps: Sequence[Step]) -> list[str]:
    """For people; what is read back stands in the comment before it."""
    lines: list[str] = []
    for step in steps:
        lines += [_escaped(step.content), ""] if step.content.strip() else []
        for call in step.calls:
            lines += _folded(f"{call.name}({call.arguments})", call.result if call.result is not None else "-")
    return lines


def _folded(summary: str, text: str) -> list[str]:
    shown = summary.replace("&", "&amp;").replace("<", "&lt;")
    return [f"<details><summary>{shown}</summary>", "", _escaped(text) + _FOLD_END, ""]


def from_text(text: str, filename: str) -> tuple[FileChat]:
    """The chat of a Markdown file. Raises `BadInput` that names the line that is wrong."""
    check_size(text, filename)
    if text.partition("\n")[0].endswith("\r"):  # an editor has changed all line ends
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    head: dict[str, Any] | None = None
    turns: list[dict[str, Any]] = []
    marks = [(number, found) for number, line in enumerate(lines) if (found := _MARK.fullmatch(line))]
    if not marks or marks[0][1][1] != "conversation":
        raise BadInput(f"{filename} cannot be imported: line 1: it does not begin as an exported chat does.", hint=_MEND)
    ends = [number for number, _ in marks[1:]] + [len(lines)]
    for (number, found), end in zip(marks, ends, strict=True):
        kind, values = found[1], _values(found[2], f"{filename} cannot be imported: line {number + 1}")
        body = lines[number + 1 : end]
        if kind == "conversation" and head is None:
            head = values
        elif kind == "turn":
            turns.append({**values, "id": str(len(turns)), "parent": str(len(turns) - 1) if turns else None, "content": "", "line": number})
        elif turns and kind == "text":
            turns[-1]["content"] = _unescaped(body[1:] if body[:1] == [""] else body)
        elif turns and kind == "steps":
            turns[-1]["steps"] = values.get("steps") or ()
        elif turns and kind == "thinking":
            turns[-1]["thinking"] = _unfolded(body)
        elif turns and kind == "attachment":
            turns[-1].setdefault("attachments", []).append({**values, "text": _unfolded(body)})
        else:
            raise BadInput(f"{filename} cannot be imported: line {number + 1}: '{kind}' does not belong here.", hint=_MEND)
    return (_checked(head or {}, turns, filename),)


def _values(found: str | None, where: str) -> dict[str, Any]:
    try:
        check_file(found or "", f"{where}: the comment")
        values: dict[str, Any] = json.loads(found) if found else {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: the comment does not hold valid JSON.", hint=_MEND) from error
    return values


def _unescaped(lines: list[str]) -> str:
    """A text without the empty line that stands after it."""
    return _marks_again("\n".join(lines[:-1] if lines and not lines[-1] else lines))


def _unfolded(lines: list[str]) -> str:
    text = "\n".join(lines[1:]).removeprefix("\n")
    text = text.rstrip("\n").removesuffix(_FOLD_END.strip("\n")).removesuffix("\n\n")
    return _marks_again(text)


def _checked(head: dict[str, Any], turns: list[dict[str, Any]], filename: str) -> FileChat:
    made: list[FileTurn] = []
    if head.get("version") != VERSION:
        raise BadInput(f"{filename} cannot be imported: line 1: version: only {VERSION} is known here.", hint=_MEND)
    for values in turns:
        line = values.pop("line") + 1
        try:
            made.append(FileTurn.model_validate(values))
        except ValidationError as error:
            raise BadInput(f"{filename} cannot be imported: line {line}: {_first(error)}", hint=_MEND) from None
    try:
        fields = {k: v for k, v in head.items() if k in ("title", "model", "parameters")}
        return FileChat(**fields, nodes=tuple(made), path=tuple(turn.id for turn in made))
    except ValidationError as error:
        raise BadInput(f"{filename} cannot be imported: line 1: {_first(error)}", hint=_MEND) from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
