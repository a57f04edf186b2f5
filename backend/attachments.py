"""Files that a person attaches to a prompt: their text out of them, and how that text goes into the user's turn.

Text in any encoding, code, PDF, Office documents, notebooks and books; what holds no text is refused with a reason. Knows nothing of the
page or the database.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from backend.display import display_name
from backend.documents import locked, read_document
from backend.encodings import decode
from backend.errors import BadInput
from backend.file_kinds import Kind, document_kind, text_kind, what_it_is
from backend.tokens import count_tokens

MAX_BYTES = 5_000_000
MAX_CHARS = 400_000  # about 100,000 tokens: more than that leaves a 131,072-token context no room for the chat
READERS = 2  # files that are read at once: they have threads of their own, so that a slow one keeps nothing else waiting

TEXT_ONLY = "This model reads text only. Attach text or code in any language, PDF, Word, PowerPoint, Excel, EPUB or a notebook."
_LANGUAGE = re.compile(r"[a-z0-9+#_-]{1,12}")
_HINTS = {  # what to do with what is refused, by how it is called
    "an old": "Save it in a present Office format (.docx, .xlsx, .pptx) or as PDF, and attach that.",
    "a binary Excel": "Save it as an Excel workbook (.xlsx), and attach that.",
    "an OpenDocument": "Save it as .docx, .xlsx, .pptx or PDF, and attach that.",
    "an iWork": "Export it as .docx, .xlsx, .pptx or PDF, and attach that.",
    "a broken": "Save it again in the program it is for, and attach that.",
    "an archive": "Unpack it and attach the files that matter.",
    "a ZIP": "Unpack it and attach the files that matter.",
    "a compressed": "Unpack it and attach the files that matter.",
}

_readers = ThreadPoolExecutor(READERS, "reading")


@dataclass(frozen=True, slots=True)
class Attachment:
    """The text of a file. `name` is safe to show; `truncated`: the text is the beginning only; `tokens` of the text.

    `pages` of a PDF or slides of a presentation, `pages_without_text` of a PDF, as pictures of pages are. `encoding` is the name of one
    that was guessed or marked, `None` for UTF-8 and documents; `replaced`: how many U+FFFD stand for bytes that could not be read.
    """

    name: str
    text: str
    kind: Kind = "text"
    pages: int | None = None
    truncated: bool = False
    tokens: int | None = None
    encoding: str | None = None
    replaced: int = 0
    pages_without_text: int | None = None


def shown_name(name: str) -> str:
    """The last part of a path of any system, safe to show."""
    return display_name(PurePath(name.replace("\\", "/")).name) or "file"


async def read_attachment(path: Path, *, name: str, max_bytes: int = MAX_BYTES, max_chars: int = MAX_CHARS) -> Attachment:
    """The text of a file of at most `max_bytes`; of a longer text the first `max_chars` characters.

    Raises `BadInput`: too large, empty, binary, or a document that is broken, locked, too large when unpacked or has no text.
    """
    read = await asyncio.get_running_loop().run_in_executor(_readers, _read, path, shown_name(name), max_bytes, max_chars)
    return replace(read, tokens=await count_tokens(read.text))


def as_prompt(attachments: Sequence[Attachment], question: str) -> str:
    """The user's turn as the model gets it: each file in a fence longer than any inside it, then the question."""
    parts = []
    for attachment in attachments:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", attachment.text)), default=0))
        about = [f"{attachment.pages} {'slides' if attachment.kind == 'pptx' else 'pages'}"] if attachment.pages is not None else []
        about += [f"{attachment.pages_without_text} of them without text"] if attachment.pages_without_text else []
        about += ["only the beginning"] if attachment.truncated else []
        heading = f"File: {attachment.name}" + (f" ({', '.join(about)})" if about else "")
        parts.append(f"{heading}\n{fence}{_language(attachment)}\n{attachment.text.strip(chr(10))}\n{fence}")
    return "\n\n".join([*parts, question] if question.strip() else parts)


def _language(attachment: Attachment) -> str:
    suffix = PurePath(attachment.name).suffix[1:].lower()
    return suffix if attachment.kind == "text" and _LANGUAGE.fullmatch(suffix) else ""


def _read(path: Path, name: str, max_bytes: int, max_chars: int) -> Attachment:
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
    kind = document_kind(data, name)
    if kind is not None:
        return _document(data, kind, name, max_chars)
    found = decode(data)
    if found is None:
        raise _no_text(data, name)
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip("\ufffd").strip():
        raise BadInput(f"{name} holds nothing but blanks.", hint="Attach a file with text in it.")
    kind = text_kind(text, name)
    if kind != "text":
        try:
            read = _document(text.encode("utf-8", "replace"), kind, name, max_chars)
            return replace(read, encoding=found.encoding, replaced=found.replaced)
        except BadInput:
            pass  # what is no whole page or notebook is the text that it is
    return Attachment(name, text[:max_chars], truncated=len(text) > max_chars, encoding=found.encoding, replaced=found.replaced)


def _document(data: bytes, kind: Kind, name: str, max_chars: int) -> Attachment:
    read = read_document(data, kind, name, max_chars)
    return Attachment(name, read.text, kind, read.pages, read.truncated, pages_without_text=read.pages_without_text)


def _no_text(data: bytes, name: str) -> BadInput:
    what = what_it_is(data)
    if what == "locked":
        return locked(name)
    hint = next((hint for start, hint in _HINTS.items() if what and what.startswith(start)), "")
    return BadInput(f"{name} is {what}, not a text file." if what else f"{name} is not a text file.", hint=hint or TEXT_ONLY)
