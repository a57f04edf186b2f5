"""The uploaded files of visitors, each read once: described when they are attached, sent later. Visitors share nothing that was read."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.attachments import Attachment, read_attachment, shown_name
from backend.errors import BadInput
from backend.file_kinds import Kind

MAX_CHARS_PER_VISITOR = 4_000_000  # ten files of the greatest length: what a visitor has attached at once
MAX_CHARS_OF_ALL = 50_000_000  # up to 200 MB of memory; what was put away is read again when it is sent


@dataclass(frozen=True, slots=True)
class FileDescription:
    """What the page shows of an attached file. With a `refusal` (a sentence) and its `hint` nothing else but name and size is known."""

    name: str
    size_bytes: int | None = None
    kind: Kind | None = None
    tokens: int | None = None
    pages: int | None = None
    pages_without_text: int | None = None
    encoding: str | None = None
    replaced: int | None = None
    truncated: bool | None = None
    refusal: str | None = None
    hint: str | None = None


class FilesRefused(BadInput):
    """Some of several files hold no text. `refused` says why by path, `read` are the others in their order."""

    def __init__(self, refused: dict[Path, BadInput], read: Sequence[Attachment]) -> None:
        reasons = list(refused.values())
        if len(reasons) == 1:
            super().__init__(reasons[0].message, hint=reasons[0].hint, code=reasons[0].code)
        else:
            hints = dict.fromkeys(reason.hint for reason in reasons)
            super().__init__(" ".join(reason.message for reason in reasons), hint=" ".join(filter(None, hints)))
        self.refused, self.read = refused, tuple(read)


class ReadFiles:
    """One for the process. Files are told apart by who has uploaded them, so that nobody learns what another has attached."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Path, str], Attachment] = OrderedDict()  # used last stands last
        self._reading: dict[tuple[str, Path, str], asyncio.Task[Attachment]] = {}

    async def read(self, owner: str, path: Path, name: str) -> Attachment:
        """As `read_attachment`, whose errors it raises. A file that is being read already is waited for; refusals are not kept."""
        key = (owner, path, name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(read_attachment(path, name=name))
            task.add_done_callback(lambda done: self._read(key, done))
        return await asyncio.shield(task)  # another may wait for it, too

    def _read(self, key: tuple[str, Path, str], done: asyncio.Task[Attachment]) -> None:
        if self._reading.get(key) is not done:
            return  # its visitor has left meanwhile
        del self._reading[key]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[key] = done.result()
        mine = [other for other in self._kept if other[0] == key[0]]
        while mine and sum(len(self._kept[other].text) for other in mine) > MAX_CHARS_PER_VISITOR:
            del self._kept[mine.pop(0)]
        while self._kept and sum(len(read.text) for read in self._kept.values()) > MAX_CHARS_OF_ALL:
            self._kept.popitem(last=False)

    async def read_all(self, owner: str, files: Sequence[tuple[Path, str]]) -> list[Attachment]:
        """All files, each a path and the name it had, one after the other. Raises `FilesRefused`, once all were tried."""
        read, refused = list[Attachment](), dict[Path, BadInput]()
        for path, name in files:
            try:
                read.append(await self.read(owner, path, name))
            except BadInput as error:
                refused[path] = error
        if refused:
            raise FilesRefused(refused, read)
        return read

    async def describe(self, owner: str, path: Path, name: str) -> FileDescription:
        """What there is to say of a file before it is sent. Raises nothing that the file could be the cause of."""
        size_bytes = await asyncio.to_thread(_size_bytes, path)
        try:
            read = await self.read(owner, path, name)
        except BadInput as error:
            return FileDescription(shown_name(name), size_bytes, refusal=error.message, hint=error.hint)
        return FileDescription(
            read.name, size_bytes, read.kind, read.tokens, read.pages, read.pages_without_text, read.encoding, read.replaced, read.truncated
        )

    def forget(self, owner: str) -> None:
        """The visitor has left, and the files with them."""
        for key in [key for key in self._kept if key[0] == owner]:
            del self._kept[key]
        for key in [key for key in self._reading if key[0] == owner]:
            del self._reading[key]


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
