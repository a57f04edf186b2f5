"""Files that a person attaches to a prompt: their text out of them, and how that text goes into the user's turn.

Text in any encoding, code and PDF; what holds no text is refused with a reason. Knows nothing of the page or the database.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import os
import re
import subprocess  # nosec B404: to run our own reader
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from backend.display import display_name
from backend.errors import BadInput
from backend.tokens import count_tokens

log = logging.getLogger(__name__)

MAX_BYTES = 5_000_000
MAX_CHARS = 400_000  # about 100,000 tokens: more than that leaves a 131,072-token context no room for the chat
PDF_TIME_S = 20.0  # pages that are not read by then are left out, as if the text were too long
PDF_GRACE_S = 5.0  # for the process to start, and for the page that it is at
READERS = 2  # files that are read at once: they have threads of their own, so that a slow one keeps nothing else waiting

_MEND = "Attach a text, Markdown, code or PDF file."
_LANGUAGE = re.compile(r"[a-z0-9+#_-]{1,12}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_readers = ThreadPoolExecutor(READERS, "reading")


@dataclass(frozen=True, slots=True)
class Attachment:
    """The text of a file. `name` is safe to show; `truncated`: the text is the beginning only; `tokens` of the text."""

    name: str
    text: str
    kind: Literal["text", "pdf"] = "text"
    pages: int | None = None
    truncated: bool = False
    tokens: int | None = None


async def read_attachment(path: Path, *, name: str, max_bytes: int = MAX_BYTES, max_chars: int = MAX_CHARS) -> Attachment:
    """The text of a file of at most `max_bytes`; of a longer text the first `max_chars` characters.

    Raises `BadInput`: too large, empty, binary, or a PDF that is broken, locked or has no text layer.
    """
    shown = display_name(PurePath(name.replace("\\", "/")).name) or "file"
    text, kind, pages, truncated = await asyncio.get_running_loop().run_in_executor(_readers, _read, path, shown, max_bytes, max_chars)
    return Attachment(shown, text, kind, pages, truncated, await count_tokens(text))


def as_prompt(attachments: Sequence[Attachment], question: str) -> str:
    """The user's turn as the model gets it: each file in a fence longer than any inside it, then the question."""
    parts = []
    for attachment in attachments:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", attachment.text)), default=0))
        about = [f"{attachment.pages} pages"] if attachment.pages is not None else []
        about += ["only the beginning"] if attachment.truncated else []
        heading = f"File: {attachment.name}" + (f" ({', '.join(about)})" if about else "")
        parts.append(f"{heading}\n{fence}{_language(attachment)}\n{attachment.text.strip(chr(10))}\n{fence}")
    return "\n\n".join([*parts, question] if question.strip() else parts)


def _language(attachment: Attachment) -> str:
    suffix = PurePath(attachment.name).suffix[1:].lower()
    return suffix if attachment.kind == "text" and _LANGUAGE.fullmatch(suffix) else ""


def _read(path: Path, name: str, max_bytes: int, max_chars: int) -> tuple[str, Literal["text", "pdf"], int | None, bool]:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise BadInput(
                f"{name} is too large: {size_bytes / 1e6:.1f} MB, the most is {max_bytes / 1e6:.1f} MB.",
                hint="Attach a part of it, or paste the passage that matters.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{name} could not be read.", hint="Attach it again.", code=type(error).__name__) from error
    if not data.strip():
        raise BadInput(f"{name} is empty.", hint="Attach a file with text in it.")
    if data.lstrip().startswith(b"%PDF-") or (name.lower().endswith(".pdf") and b"%PDF-" in data[:1024]):
        text, pages, truncated = _pdf_text(data, name, max_chars)
        return text, "pdf", pages, truncated
    text = _decoded(data, name)
    if not text.strip():
        raise BadInput(f"{name} holds nothing but blanks.", hint="Attach a file with text in it.")
    return text[:max_chars], "text", None, len(text) > max_chars


def _decoded(data: bytes, name: str) -> str:
    """Text in UTF-8, in an encoding that says so at its start, or in one that can be told from the bytes."""
    binary = BadInput(f"{name} is not a text file.", hint=f"{_MEND} Save documents as PDF first.")
    text: str | None = None
    encoding = next((encoding for mark, encoding in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data).best()
        text = None if best is None or b"\0" in data else str(best)
    if text is None or len(_CONTROL.findall(text[:100_000])) > len(text[:100_000]) / 100:
        raise binary
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _pdf_text(data: bytes, name: str, max_chars: int) -> tuple[str, int, bool]:
    """(text, pages of the whole file, whether the text is the beginning only)."""
    found = _pdf_lines(data, max_chars)
    error = next((line["error"] for line in found if "error" in line), None)
    pages, texts = next((line["pages"] for line in found if "pages" in line), 0), [line["text"] for line in found if "text" in line]
    if error == "locked":
        raise BadInput(f"{name} is locked with a password.", hint="Save a copy without the password and attach that.")
    if error is not None:
        log.info("PDF not read: %s", error)
        hint = "Open it in a PDF viewer, save or print it as PDF again, and attach that."
        raise BadInput(f"{name} is a broken PDF.", hint=hint, code=error)
    if not texts and "end" not in found[-1]:
        raise BadInput(f"{name} takes too long to read.", hint="Attach a part of it, or paste the passage that matters.")
    text = "\n\n".join(filter(None, texts)).encode("utf-8", "replace").decode()
    if not text.strip():
        raise BadInput(f"{name} has no text in it, only pictures of pages.", hint="Run text recognition (OCR) on it and attach the result.")
    return text[:max_chars], pages, len(texts) < pages or len(text) > max_chars


def _pdf_lines(data: bytes, max_chars: int) -> list[dict[str, Any]]:
    """What the reader told until its end, or until it was killed; one line at least."""
    process = subprocess.Popen(  # nosec B603: this Python, no shell, nothing that a stranger wrote
        [sys.executable, "-I", "-X", "utf8", str(Path(__file__).with_name("pdf_reader.py")), str(max_chars), str(PDF_TIME_S)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    timer = threading.Timer(PDF_TIME_S + PDF_GRACE_S, process.kill)
    timer.daemon = True
    timer.start()
    try:
        told, _ = process.communicate(data)
    finally:
        timer.cancel()
    whole = told.decode("utf-8", "replace").rpartition("\n")[0]  # a line that was cut by the kill is none
    return [json.loads(line) for line in whole.splitlines()] or [{}]
