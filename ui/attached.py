"""What the page is told of the files in the composer: each as soon as it is uploaded, so that a refusal does not wait for the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend import FileDescription, ReadFiles, display_name
from ui.text import WORDS as W
from ui.uploads import MAX_FILES, UploadedFiles

MAX_PATH_CHARS = 4096


def path_and_name(file: Mapping[str, Any]) -> tuple[Path, str]:
    """Of one of the composer's files, which gradio has put into its upload folder, and the name that it had."""
    return Path(file["path"]), Path(str(file.get("orig_name") or file["path"])).name


async def describe(files: object, owner: str, *, uploads: UploadedFiles, read_files: ReadFiles) -> list[dict[str, Any]]:
    """For each of the first `MAX_FILES` files (paths, or objects with `path` and `orig_name` as in the composer's value) its `path` and the
    fields of a `FileDescription`, with `kind_name` and `notes` for people: what it is, and what was guessed or left out. Only the
    visitor's own uploads are looked at."""
    return [await _one(file, owner, uploads, read_files) for file in (files if isinstance(files, list) else [])[:MAX_FILES]]


async def _one(file: object, owner: str, uploads: UploadedFiles, read_files: ReadFiles) -> dict[str, Any]:
    given = file if isinstance(file, dict) else {"path": file}
    if not isinstance(given.get("path"), str) or len(given["path"]) > MAX_PATH_CHARS:
        given = {"path": ""}
    path, name = path_and_name(given)
    if uploads.has(owner, path):
        told = await read_files.describe(owner, path, name)
    else:
        shown = display_name(name) or "file"
        told = FileDescription(shown, refusal=W.file_gone.format(name=shown), hint=W.file_gone_hint)
    kind_name = W.file_kinds[told.kind] if told.kind is not None else None
    return {"path": given["path"], **asdict(told), "kind_name": kind_name, "notes": notes(told)}


def notes(file: FileDescription) -> list[str]:
    """What a person should know of how a file was read."""
    said = [W.file_read_as.format(encoding=file.encoding)] if file.encoding else []
    if file.replaced:
        said.append(W.file_unreadable_one if file.replaced == 1 else W.file_unreadable.format(n=f"{file.replaced:,}"))
    if file.pages_without_text:
        said.append(W.file_without_text.format(n=file.pages_without_text, pages=file.pages))
    return said + ([W.file_cut] if file.truncated else [])
