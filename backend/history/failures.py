"""From what databases and disks raise to one `StorageError` that says what is wrong and what to do.

By class and code only: SQLite's result codes, PostgreSQL's SQLSTATE, the operating system's error classes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from backend.errors import StorageError
from backend.private_files import is_full, is_refused

LOCKED = (
    "The chat history is locked by another program.",
    "Close what else holds the database open: a second copy of the app, a database browser, a backup.",
)
FULL = (
    "There is no room left to save the chat history.",
    "Free some space on the disk that holds the data folder.",
)
NOT_WRITABLE = (
    "The chat history cannot be opened or written.",
    "Give the app write access to its data folder, or set PLAYGROUND_DATA_DIR to a folder that it may write to.",
)
DAMAGED = (
    "The chat history is damaged.",
    "Start the app again: it sets the damaged file aside, keeps it, and begins a new history.",
)
DISK = (
    "The disk that holds the chat history reported an error.",
    "Check the disk and its connection; on a network drive, move the data folder to a local disk.",
)
UNREACHABLE = (
    "The history database cannot be reached.",
    "Check that the database server runs and that PLAYGROUND_DATABASE_URL names it rightly.",
)
REFUSED = (
    "The history database refused the sign-in.",
    "Check the user, password and database name in PLAYGROUND_DATABASE_URL.",
)
OTHER = ("The chat history could not be read or written.", "The log has the details. Try again.")

_SQLITE = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: NOT_WRITABLE,
    sqlite3.SQLITE_PERM: NOT_WRITABLE,
    sqlite3.SQLITE_AUTH: NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_IOERR: DISK,
}
# the class (first two signs) of a SQLSTATE, or all of it
_POSTGRESQL = {
    "53100": FULL,
    "55P03": LOCKED,
    "40P01": LOCKED,
    "25006": NOT_WRITABLE,
    "42501": REFUSED,
    "3D000": REFUSED,
    "28": REFUSED,
    "08": UNREACHABLE,
    "57": UNREACHABLE,
    "53": UNREACHABLE,
}


def sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary result code of an error of the `sqlite3` module; `None` where it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def storage_error(error: Exception) -> StorageError:
    """The `StorageError` for what SQLAlchemy, a driver or the file system raised. The caller raises it `from error`."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        code = sqlite_code(cause)
        message, hint = _SQLITE.get(code, OTHER) if code is not None else OTHER
        return StorageError(message, hint=hint, code=getattr(cause, "sqlite_errorname", None) or type(cause).__name__)
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        message, hint = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or OTHER
        return StorageError(message, hint=hint, code=state)
    if isinstance(cause, OSError) and is_full(cause):
        message, hint = FULL
    elif isinstance(cause, OSError) and is_refused(cause):
        message, hint = NOT_WRITABLE
    elif isinstance(cause, OSError | TimeoutError) or isinstance(error, OperationalError):  # no SQLSTATE: never got through
        message, hint = UNREACHABLE
    else:
        message, hint = OTHER
    return StorageError(message, hint=hint, code=type(cause).__name__)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what a block of database or file work raises into a `StorageError`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise storage_error(error) from error
