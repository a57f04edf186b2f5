"""Files that visitors upload: so many and so large at once, and gone when the visitor is.

gradio takes any number of files from anybody, keeps each for a day, and stores equal contents once for all.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException

from ui.bodies import UPLOAD_PATH, refuse

log = logging.getLogger(__name__)

MAX_FILES = 64  # of one visitor of a public host at once; what was sent is in the database, and no file any more
MAX_BYTES = 64 * 2**20
MAX_FILES_PER_ADDRESS, MAX_BYTES_PER_ADDRESS = 4 * MAX_FILES, 4 * MAX_BYTES  # cookies can be had in any number
MAX_BYTES_OF_ALL = 2 * 2**30  # of the host's disk
LEFT_GRACE_S = 60.0  # a page that is reloaded is back sooner
TOO_MUCH = (  # gradio answers 413 to an exception with the words "maximum allowed size", else 400
    f"A visitor may have {MAX_FILES} files here at once, of {MAX_BYTES >> 20} MB together, which is the maximum allowed size. "
    "Send those that are attached first."
)


class UploadedFiles:
    """Which visitor has uploaded what. A file goes with the last visitor who has it."""

    def __init__(self, *, bounded: bool, left_grace_s: float = LEFT_GRACE_S, on_forget: Callable[[str], None] = lambda owner: None) -> None:
        """`on_forget` is told of a visitor whose files go."""
        self._bounded, self._left_grace_s, self._on_forget = bounded, left_grace_s, on_forget
        self._files: dict[str, dict[Path, int]] = {}
        self._coming: dict[str, tuple[int, int]] = {}  # files and bytes of uploads under way
        self._at: dict[str, str] = {}  # the address that each brings them from
        self._pages: dict[str, int] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    def room(self, owner: str) -> tuple[float, float]:
        """How many more files and bytes this visitor may bring: of their own, from their address, and of the host's disk."""
        if not self._bounded:
            return float("inf"), float("inf")
        held = {each: self._held(each) for each in {*self._files, *self._coming, owner}}
        near = [held[each] for each in held if self._at.get(each) == self._at.get(owner)]
        files = min(MAX_FILES - held[owner][0], MAX_FILES_PER_ADDRESS - sum(each[0] for each in near))
        size = min(MAX_BYTES - held[owner][1], MAX_BYTES_PER_ADDRESS - sum(each[1] for each in near))
        return files, min(size, MAX_BYTES_OF_ALL - sum(each[1] for each in held.values()))

    def _held(self, owner: str) -> tuple[int, int]:
        files, (coming, size) = self._files.get(owner, {}), self._coming.get(owner, (0, 0))
        return len(files) + coming, sum(files.values()) + size

    def comes_from(self, owner: str, address: str) -> None:
        """Where this visitor uploads from now."""
        self._at[owner] = address

    def coming(self, owner: str, files: int, size_bytes: int) -> None:
        """Counts what is under way; negative numbers take it back."""
        before = self._coming.get(owner, (0, 0))
        now = (before[0] + files, before[1] + size_bytes)
        self._coming[owner] = now
        if now == (0, 0):
            del self._coming[owner]

    def keep(self, owner: str, paths: list[Path]) -> None:
        held = self._files.setdefault(owner, {})
        for path in paths:
            held[path] = path.stat().st_size if path.is_file() else 0
        if not self._pages.get(owner):
            self._begin_leaving(owner)  # no page of theirs is open: it may never be

    def has(self, owner: str, path: Path) -> bool:
        """Whether this visitor has uploaded the file, and it is not gone."""
        return path in self._files.get(owner, {})

    def arrive(self, owner: str) -> None:
        """A page of this visitor has opened."""
        self._pages[owner] = self._pages.get(owner, 0) + 1
        if (timer := self._leaving.pop(owner, None)) is not None:
            timer.cancel()

    def leave(self, owner: str) -> None:
        """One has closed. With the last one the files go, after a grace."""
        self._pages[owner] = self._pages.get(owner, 1) - 1
        if self._pages[owner] <= 0:
            del self._pages[owner]
            if owner in self._files:
                self._begin_leaving(owner)

    def _begin_leaving(self, owner: str) -> None:
        if owner not in self._leaving:
            self._leaving[owner] = asyncio.get_running_loop().call_later(self._left_grace_s, self.forget, owner)

    def forget(self, owner: str) -> None:
        self._leaving.pop(owner, None)
        self._at.pop(owner, None)
        self._on_forget(owner)
        gone = self._files.pop(owner, {})
        shared = {path for held in self._files.values() for path in held}
        for path in gone.keys() - shared:
            try:
                path.unlink(missing_ok=True)
                path.parent.rmdir()
            except OSError as error:  # another file lies beside it, or the disk fails: gradio deletes it within a day
                log.debug("an uploaded file stays for now: %s", error.strerror)


class BoundedUploads:
    """ASGI middleware before the page: counts what comes while it comes. `owner_of` tells the visitor from the request, `None` for
    one who has not opened the page, `address_of` where they are."""

    def __init__(
        self, app: Any, *, files: UploadedFiles, owner_of: Callable[[Any], str | None], address_of: Callable[[Any], str] = lambda scope: ""
    ) -> None:
        self._app, self._files, self._owner_of, self._address_of = app, files, owner_of, address_of

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(UPLOAD_PATH):
            return await self._app(scope, receive, send)
        owner = self._owner_of(scope)
        if owner is None:
            return await refuse(send, 403, "Open the page first: files are taken from its visitors only.")
        # read as the parser does that takes the files
        kind, options = parse_options_header(dict(scope["headers"]).get(b"content-type", b""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            return await refuse(send, 415, "Files are sent as multipart/form-data.")
        self._files.comes_from(owner, self._address_of(scope))
        upload = _Upload(self._files, owner, b"--" + boundary, receive)
        # unpacked, so that the answer can be read here
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        try:
            await self._app({**scope, "headers": plain}, upload.receive, upload.hold)
        finally:
            upload.end()
        for message in upload.answer:
            await send(message)


class _Upload:
    """One request. Its answer is held until it is known which files it has made."""

    def __init__(self, files: UploadedFiles, owner: str, boundary: bytes, receive: Any) -> None:
        self._files, self._owner, self._boundary, self._receive = files, owner, boundary, receive
        self._tail = b""
        self._boundaries = self._parts = self._bytes = 0
        self.answer: list[Any] = []

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] != "http.request":  # gradio deletes what it has stored for this exception, and for no other
            raise MultiPartException("The upload was broken off.")
        piece = message.get("body", b"")
        seen = self._tail + piece
        self._tail = seen[1 - len(self._boundary) :]
        self._boundaries += seen.count(self._boundary)
        parts = max(0, self._boundaries - 1) - self._parts  # there is one boundary more than there are parts
        files_left, bytes_left = self._files.room(self._owner)
        if parts > files_left or len(piece) > bytes_left:
            raise MultiPartException(TOO_MUCH)
        self._files.coming(self._owner, parts, len(piece))
        self._parts, self._bytes = self._parts + parts, self._bytes + len(piece)
        return message

    async def hold(self, message: Any) -> None:
        self.answer.append(message)

    def end(self) -> None:
        self._files.coming(self._owner, -self._parts, -self._bytes)
        if self.answer and self.answer[0].get("status") == 200:
            body = b"".join(message.get("body", b"") for message in self.answer)
            self._files.keep(self._owner, [Path(path) for path in json.loads(body)])
