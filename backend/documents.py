"""Runs `document_reader.py`, in a process that is killed when its time is up, and tells in sentences what came of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess  # nosec B404: to run our own reader
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import BadInput
from backend.file_kinds import Kind

log = logging.getLogger(__name__)

TIME_S = 20.0  # what is not read by then is left out, as if the text were too long
GRACE_S = 5.0  # for the process to start, and for the page that it is at

_NAMES: dict[Kind, str] = {
    "pdf": "PDF", "docx": "Word document", "pptx": "PowerPoint file", "xlsx": "Excel workbook", "html": "web page", "epub": "EPUB book",
    "ipynb": "notebook", "text": "text",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """`pages` of a PDF, slides of a presentation; `pages_without_text` among those that were read, of a PDF."""

    text: str
    pages: int | None
    truncated: bool
    pages_without_text: int | None = None


def read_document(data: bytes, kind: Kind, name: str, max_chars: int) -> Document:
    """Blocks for at most `TIME_S` + `GRACE_S`. Raises `BadInput`: locked, broken, too slow, too large when unpacked, or without text."""
    found = _lines(data, kind, max_chars)
    error = next((line["error"] for line in found if "error" in line), None)
    pages = next((line["pages"] for line in found if "pages" in line), None)
    texts = [line["text"] for line in found if "text" in line]
    if error is not None:
        raise _refusal(error, kind, name)
    ended = "end" in found[-1]
    if not texts and not ended:
        raise BadInput(f"{name} takes too long to read.", hint="Attach a part of it, or paste the passage that matters.")
    text = ("\n" if kind == "xlsx" else "\n\n").join(filter(None, texts)).strip("\n").encode("utf-8", "replace").decode()
    if not text.strip() and kind == "pdf":
        raise BadInput(f"{name} has no text in it, only pictures of pages.", hint="Run text recognition (OCR) on it and attach the result.")
    if not text.strip():
        raise BadInput(f"{name} has no text in it.", hint="Attach a file with text in it.")
    cut = any(line.get("cut") for line in found)  # columns that are too far right
    truncated = cut or len(text) > max_chars or (len(texts) < pages if kind == "pdf" and pages is not None else not ended)
    return Document(text[:max_chars], pages, truncated, sum(not text for text in texts) if kind == "pdf" else None)


def locked(name: str) -> BadInput:
    return BadInput(f"{name} is locked with a password.", hint="Save a copy without the password and attach that.")


def _refusal(error: str, kind: Kind, name: str) -> BadInput:
    if error == "locked":
        return locked(name)
    if error == "unpacked":
        hint = "Attach a part of it, or paste the passage that matters."
        return BadInput(f"{name} is too large when it is unpacked.", hint=hint, code=error)
    log.info("%s not read: %s", kind, error)
    hint = "Open it in the program it is for, save or print it as PDF, and attach that."
    if kind == "pdf":
        hint = "Open it in a PDF viewer, save or print it as PDF again, and attach that."
    return BadInput(f"{name} is a broken {_NAMES[kind]}.", hint=hint, code=error)


def _lines(data: bytes, kind: Kind, max_chars: int) -> list[dict[str, Any]]:
    """What the reader told until its end, or until it was killed; one line at least."""
    process = subprocess.Popen(  # nosec B603: this Python, no shell, nothing that a stranger wrote
        [sys.executable, "-I", "-X", "utf8", str(Path(__file__).with_name("document_reader.py")), kind, str(max_chars), str(TIME_S)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    timer = threading.Timer(TIME_S + GRACE_S, process.kill)
    timer.daemon = True
    timer.start()
    try:
        told, _ = process.communicate(data)
    finally:
        timer.cancel()
    whole = told.decode("utf-8", "replace").rpartition("\n")[0]  # a line that was cut by the kill is none
    return [json.loads(line) for line in whole.splitlines()] or [{}]
