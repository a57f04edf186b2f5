"""The recordings one can watch: those that ship with the app, and those that a visitor opened here. Knows files, no page."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from backend.catalogue import ASSETS
from backend.errors import BadInput
from backend.model_names import OWN, own_recording
from backend.private_files import file_errors, make_folder, write_text
from backend.recording import Recording, dumps, header_of, load, loads
from backend.run import Run

log = logging.getLogger(__name__)

SHIPPED = ASSETS / "recordings"
KEPT = 50  # of each visitor: beyond, the oldest goes, whose file the visitor has


@dataclass(frozen=True, slots=True)
class ShelfEntry:
    """A recording by the name that follows `replay:`; `prompt` is its last question."""

    name: str
    title: str
    prompt: str
    scripted: bool


class Shelf:
    """Visitors' recordings lie in a folder each, named by a hash of the visitor: the name cannot be guessed by others."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "recordings"
        self._shipped: list[ShelfEntry] | None = None

    async def entries(self, owner: str) -> list[ShelfEntry]:
        """The shipped ones, then the visitor's own, newest first."""
        return await asyncio.to_thread(self._entries, owner)

    async def add(self, owner: str, text: str, name: str) -> ShelfEntry:
        """Keeps a recording that the visitor opened; raises `BadInput` that names the wrong line, `StorageError` where the disk does
        not take it."""
        recording = await asyncio.to_thread(loads, text, name)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).stem)[:60].strip("-.") or "recording"
        with file_errors("this recording"):
            path = await asyncio.to_thread(_keep, self.own(owner), stem, text)
        return _entry(OWN + path.stem, recording)

    def own(self, owner: str) -> Path:
        """The visitor's folder, where `replay:own/NAME` finds NAME."""
        return self.folder / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def name_of(self, owner: str, path: Path) -> str:
        """What follows `replay:` for a file in the visitor's folder."""
        return OWN + path.relative_to(self.own(owner)).with_suffix("").as_posix()

    def find(self, owner: str, name: str) -> Path | None:
        """The file behind what follows `replay:`, a shipped one or one in the visitor's folder; `None` where it is gone."""
        shipped = SHIPPED / f"{Path(name).name.removesuffix('.jsonl')}.jsonl"
        return own_recording(name, self.own(owner)) or (shipped if shipped.is_file() else None)

    def _entries(self, owner: str) -> list[ShelfEntry]:
        if self._shipped is None:
            self._shipped = [_entry(path.stem, load(path)) for path in sorted(SHIPPED.glob("*.jsonl"))]
        own = sorted(((path.stat(), path) for path in self.own(owner).glob("*.jsonl")), key=lambda o: o[0].st_mtime_ns, reverse=True)
        entries = (_own_entry(path, stat.st_mtime_ns, stat.st_size) for stat, path in own)
        return [*self._shipped, *(entry for entry in entries if entry is not None)]


def _keep(folder: Path, stem: str, text: str) -> Path:
    """Writes under a name of its own; another recording of that name stays."""
    make_folder(folder)
    path, number = folder / f"{stem}.jsonl", 1
    while path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        number += 1
        path = folder / f"{stem}-{number}.jsonl"
    write_text(path, text)
    for old in sorted(folder.glob("*.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


@functools.lru_cache(maxsize=1000)  # the list is asked for at every turn, and a long run takes a second to read
def _own_entry(path: Path, written_ns: int, size_bytes: int) -> ShelfEntry | None:
    """The file as it was written then. One that cannot be read must not hide the others, and with them the page."""
    try:
        return _entry(OWN + path.stem, load(path))
    except BadInput as error:
        log.warning("recording left out: %s", error.message)
        return None


def _entry(name: str, recording: Recording) -> ShelfEntry:
    header = recording.header
    prompt = next((m.content for m in reversed(header.messages) if m.role == "user"), header.title)
    return ShelfEntry(name, header.title, prompt, header.scripted)


def recording_of(run: Run) -> str:
    """The text of a run held in memory, with its timing; a stopped or failed one says so at its end."""
    header = header_of(run.request, model=run.model, source="Saved from the Qwen3-Next Playground.")
    events = tuple(run.log)
    if run.state == "done":
        return dumps(Recording(header, events))
    if run.state == "error":
        return dumps(Recording(header, events, "failed", run.error.message if run.error else None))
    return dumps(Recording(header, events, "stopped"))
