"""Search in the files of a chat as a tool: passages ranked by BM25, which SQLite brings along. Nothing is kept."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from backend.attachments import Attachment
from backend.composing import composed
from backend.tools.running import ToolContext, ToolFailed

PASSAGE_CHARS = 800
MOST_PASSAGES = 5
MOST_TERMS = 32
_TABLE = """CREATE VIRTUAL TABLE passages USING fts5(name UNINDEXED, text UNINDEXED, words, tokenize = "unicode61 remove_diacritics 2")"""
# Scripts without spaces between words: each character is a word there, and a run of them is asked for as a phrase.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")


async def search_files(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """The passages that `query` fits best, each with its file. Raises `ToolFailed` where the chat has no files."""
    if not context.files:
        raise ToolFailed("No file is attached to this chat. Ask the user to attach one.")
    return await asyncio.to_thread(_found, arguments["query"], context.files)


def _found(query: str, files: Sequence[Attachment]) -> str:
    terms = [f'"{_indexed(word)}"' for word in re.findall(r"\w+", _plain(query))][:MOST_TERMS]
    names = ", ".join(file.name for file in files)
    rows: list[tuple[str, str]] = []
    if terms:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(
                "CREATE VIRTUAL TABLE passages USING fts5(name UNINDEXED, text UNINDEXED, words, tokenize='unicode61 remove_diacritics 2')"
            )
            pieces = ((file.name, piece, _indexed(_plain(piece))) for file in files for piece in passages(file.text))
            connection.executemany("INSERT INTO passages VALUES (?, ?, ?)", pieces)
            asked = "SELECT name, text FROM passages WHERE words MATCH ? ORDER BY rank LIMIT ?"
            rows = connection.execute(asked, (" OR ".join(terms), MOST_PASSAGES)).fetchall()
    if not rows:
        return f"Nothing in {names} fits {query[:200]!r}. Try other words."
    return "\n\n".join(f"[{name}]\n{text}" for name, text in rows)


def passages(text: str) -> Iterator[str]:
    """Pieces of at most `PASSAGE_CHARS`, ended at the end of a paragraph, a line, a sentence or a word, whichever of them comes late."""
    at = 0
    while at < len(text):
        end = at + PASSAGE_CHARS
        if end < len(text):
            ends = (max(text.rfind(mark, at + PASSAGE_CHARS // 2, end) + len(mark) for mark in marks) for marks in _ENDS)
            end = next((each for each in ends if each > at + PASSAGE_CHARS // 2), end)
        piece = text[at:end].strip()
        if piece:
            yield piece
        at = end


_ENDS = (("\n\n",), ("\n",), (". ", "。", "! ", "? ", "！", "？"), (" ",))


def _plain(text: str) -> str:
    return composed(text, "NFKC").casefold()


def _indexed(text: str) -> str:
    return _UNSPACED.sub(lambda found: f" {found[0]} ", text)
