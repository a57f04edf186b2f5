"""Files that only the account which runs the app can read: made so from the start, and those that exist put right. What is not the
app's own, as a home or a folder that is shared, is never changed.

Windows has no such modes: there a user's folders are closed to other users by what they inherit, and nothing is changed here.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from backend.errors import StorageError

log = logging.getLogger(__name__)

_POSIX = os.name == "posix"
_DATABASE = r"history\.db(-wal|-shm|-journal|\.lock|\.damaged-.+)?"
_OWN_FILES = re.compile(rf"{_DATABASE}|\.?(visitor\.key|answers-today\.json)(\.part)?")
_OWN_NAMES = re.compile(rf"{_OWN_FILES.pattern}|recordings|uploads|models")  # what may lie in a data folder that is nothing else
_OF_A_VISITOR = re.compile(r"[0-9a-f]{32}")  # a folder of the shelf: see shelf.py


def make_folder(folder: Path) -> None:
    """Makes `folder` and what is missing above it. Raises `OSError`."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def open_file(path: Path, mode: str) -> IO[Any]:
    """As `path.open(mode)` for text; a new file is private before there is anything in it. Raises `OSError`."""
    return open(path, mode, encoding="utf-8", errors="replace", opener=_private)


def create(path: Path) -> None:
    """An empty file where there is none, for programs that open it by name. Raises `OSError`."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def write_text(path: Path, text: str) -> None:
    """The whole file or none of it: a disk that fills up leaves no half. Raises `OSError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open_file(part, "w") as file:
            file.write(text)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def protect_file(path: Path) -> None:
    """Closes an existing file or folder of ours to others; a link, or what belongs to somebody else, stays as it is."""
    if not _POSIX:
        return
    try:
        found = path.lstat()
        ours = found.st_uid == os.geteuid() and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
        if ours and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
    except FileNotFoundError:
        pass
    except OSError as error:  # a disk without modes, or one that cannot be written
        log.warning("%s cannot be closed to other users: %s", path.name, error.strerror)


def protect_data_folder(folder: Path) -> None:
    """Closes an existing data folder to others, with all in it where it is nothing else, else only what the app itself wrote."""
    if not _POSIX or not folder.is_dir():
        return
    try:
        if _holds_only(folder, _OWN_NAMES):
            _protect_tree(folder)
            return
        for entry in folder.iterdir():
            if _OWN_FILES.fullmatch(entry.name):
                protect_file(entry)
        recordings = folder / "recordings"
        if recordings.is_dir() and not recordings.is_symlink():
            if _holds_only(recordings, _OF_A_VISITOR):
                protect_file(recordings)
            for entry in recordings.iterdir():
                if _OF_A_VISITOR.fullmatch(entry.name):
                    _protect_tree(entry)
    except OSError as error:
        log.warning("the data folder cannot be looked through: %s", error.strerror)


@contextmanager
def file_errors(what: str) -> Iterator[None]:
    """Turns what the file system refuses into a `StorageError` about `what`, as "this recording"."""
    try:
        yield
    except OSError as error:
        raise _file_error(error, what) from error


def is_full(error: OSError) -> bool:
    """Whether a disk, or this account's share of it, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_refused(error: OSError) -> bool:
    """Whether this account may not write there."""
    refused = isinstance(error, PermissionError | FileExistsError | NotADirectoryError | FileNotFoundError)
    return refused or error.errno == errno.EROFS


def _file_error(error: OSError, what: str) -> StorageError:
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    if is_full(error):
        hint = "Free some space on the disk that holds the data folder, then try again."
        return StorageError(f"There is no room left to save {what}.", hint=hint, code=code)
    if is_refused(error):
        hint = "Give the app write access to its data folder, or set PLAYGROUND_DATA_DIR to a folder that it may write to."
        return StorageError(f"The app may not save {what}: its data folder cannot be written.", hint=hint, code=code)
    return StorageError(f"The disk reported an error while saving {what}.", hint="Check the disk, then try again.", code=code)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _holds_only(folder: Path, names: re.Pattern[str]) -> bool:
    """Whether a folder belongs to this account alone and holds nothing but such names."""
    if folder.is_symlink() or folder.resolve() in _everybodys():
        return False
    found = folder.stat()
    shared = found.st_mode & (stat.S_ISVTX | stat.S_ISGID | stat.S_IWOTH) or (found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid())
    if shared or found.st_uid != os.geteuid():
        return False
    return all(names.fullmatch(entry.name) for entry in folder.iterdir())


def _everybodys() -> set[Path]:
    homes = [Path("/"), Path(tempfile.gettempdir())]
    with suppress(RuntimeError):  # an account without a home
        homes.append(Path.home())
    return {home.resolve() for home in homes}


def _protect_tree(folder: Path) -> None:
    protect_file(folder)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            protect_file(Path(above) / name)
