"""Opens the history's database: where it is, whether it is sound and ours, and transactions on it.

SQLite by default, in write-ahead mode: readers never wait for the writer, a killed process loses nothing that was
committed. Any other database through its SQLAlchemy URL with an async driver. Knows nothing of chats.
"""

from __future__ import annotations

import asyncio
import glob
import importlib.util
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, event, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from backend import private_files
from backend.app_lock import AppLock
from backend.errors import ConfigError, StorageError
from backend.history.failures import sqlite_code, storage_errors
from backend.history.schema import SCHEMA_VERSION, meta, metadata, to_json

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", bound="Store")

FILE_NAME = "history.db"
BUSY_TIMEOUT_S = 3.0
CONNECTIONS = 4  # each is a thread; more would only be made and closed again when many chats begin at once
_POSTGRESQL_DRIVERS = ("asyncpg", "psycopg")
_SCHEMA_LOCK = 7_381_904  # PostgreSQL's advisory lock while tables are made; any number of our own
_MEND_URL = "Mend PLAYGROUND_DATABASE_URL, or leave it out to keep the history in a file."


class Database:
    """Opens itself at the first use, and again at every further one until that succeeds. `set_aside` is where a damaged file was moved
    then, `None` where there was none; `lock` tells, on SQLite, whether another app has the file open.

    Raises `ConfigError` at once for an address that cannot be used, and at use `StorageError` for a database that cannot be opened, is
    locked, or was written by a newer version of the app; that one is left as it is.
    """

    def __init__(self, url: str | None, data_dir: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        address = _address(url, data_dir)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        self._file, self._busy_timeout_s = Path(str(address.database)), busy_timeout_s
        self.set_aside: Path | None = None
        self.lock = AppLock(self._file.with_name(f"{self._file.name}.lock"))
        self._engine = _engine(address, busy_timeout_s)
        self._writer = self._engine.execution_options(playground_writes=True)
        self._one_writer, self._opening, self._is_open = asyncio.Lock(), asyncio.Lock(), False
        self._at_work: set[asyncio.Task[Any]] = set()
        self.at_opening: Callable[[AsyncConnection], Coroutine[Any, Any, None]] | None = None

    async def opened(self) -> None:
        """Makes folder and tables where they are missing."""
        if not self._is_open:
            async with self._opening:
                await self._open()

    async def _open(self) -> None:
        if self._is_open:
            return
        if self.is_sqlite:
            with storage_errors():
                self.set_aside = await asyncio.to_thread(_prepare_file, self._file, self._busy_timeout_s) or self.set_aside
                await asyncio.to_thread(self.lock.take)
        async with self._writing() as connection:
            await connection.run_sync(_make_tables)
            if self.at_opening is not None:
                await self.at_opening(connection)
        self._is_open = True

    async def aclose(self) -> None:
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._engine.dispose()
        self.lock.release()

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for `work`; where that waiting is cancelled, `work` goes on to its end all the same.

        A driver that is cut off between taking a lock and saying so would keep the lock until it is collected.
        """
        task = asyncio.create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that reads one consistent state."""
        await self.opened()
        with storage_errors():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes, all or nothing. On SQLite one at a time, and the file's lock is taken at the start:
        a transaction that reads first and writes later could otherwise find the file changed in between and fail."""
        await self.opened()
        async with self._writing() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        if not self.is_sqlite:
            with storage_errors():
                async with self._writer.begin() as connection:
                    yield connection
            return
        async with self._one_writer:
            with storage_errors():
                async with self._writer.begin() as connection:
                    yield connection


class Store:
    """What is kept on an open database."""

    def __init__(self, database: Database) -> None:
        self._database = database


def to_the_end(method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A closed tab cancels what it waits for; a store's call on the database is finished all the same, and leaves no lock behind."""

    @wraps(method)
    async def whole(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.to_the_end(method(self, *args, **kwargs))

    return whole


def _address(url: str | None, data_dir: Path) -> URL:
    """The URL with an async driver in it. Never shown in an error: it may hold a password."""
    if url is None:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / FILE_NAME))
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("PLAYGROUND_DATABASE_URL is not a database address.", hint=_MEND_URL) from None
    if address.drivername == "sqlite":
        address = address.set(drivername="sqlite+aiosqlite")
    if address.drivername in ("postgres", "postgresql"):  # the first is what many hosts hand out
        installed = [name for name in _POSTGRESQL_DRIVERS if importlib.util.find_spec(name) is not None]
        address = address.set(drivername=f"postgresql+{(installed or _POSTGRESQL_DRIVERS)[0]}")
    kind = address.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise ConfigError(f"The history cannot be kept in {kind}.", hint="SQLite and PostgreSQL are supported.")
    if kind == "sqlite" and (not address.database or address.database.startswith((":memory:", "file:"))):
        raise ConfigError("The history needs a file of its own.", hint=f"Write sqlite:///PATH. {_MEND_URL}")
    return address


def _engine(address: URL, busy_timeout_s: float) -> AsyncEngine:
    # parameters are what people wrote: they belong into no error and no log
    options: dict[str, Any] = {"json_serializer": to_json, "hide_parameters": True}
    sqlite = address.get_backend_name() == "sqlite"
    if sqlite:
        options["connect_args"] = {"timeout": busy_timeout_s, "isolation_level": None}
        options |= {"pool_size": CONNECTIONS, "max_overflow": 0}
    else:
        options["pool_pre_ping"] = True
    try:
        engine = create_async_engine(address, **options)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The database driver {error.name} is not installed.", hint=f"Install it with pip install {error.name}. {_MEND_URL}"
        ) from error
    except (InvalidRequestError, NoSuchModuleError, ArgumentError) as error:
        raise ConfigError(
            f"PLAYGROUND_DATABASE_URL names no database with an async driver: {address.drivername}.",
            hint="Use sqlite+aiosqlite, postgresql+asyncpg or postgresql+psycopg.",
        ) from error
    if sqlite:
        event.listen(engine.sync_engine, "connect", _set_up_connection)
        event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_up_connection(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """The driver is told to begin nothing by itself (`isolation_level` None), so that the kind of lock can be chosen."""
    writes = connection.get_execution_options().get("playground_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_tables(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # two copies that start together
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
    if inspect(connection).has_table(meta.name):
        found = connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one_or_none()
        if found == str(SCHEMA_VERSION):
            metadata.create_all(connection)  # tables that came with a later version, beside the old ones
            _add_columns(connection)
            return
        raise StorageError(
            f"The chat history was written by another version of the app (format {found}, this one knows {SCHEMA_VERSION}).",
            hint="Use that version, or set PLAYGROUND_DATA_DIR to another folder. The history was left as it is.",
            code="schema_version",
        )
    metadata.create_all(connection)
    connection.execute(insert(meta).values(name="schema_version", value=str(SCHEMA_VERSION)))


def _add_columns(connection: Connection) -> None:
    """Columns that came with a later version of the app: all may be empty, and an older one passes them over."""
    seen = inspect(connection)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in seen.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))


def _prepare_file(path: Path, busy_timeout_s: float) -> Path | None:
    """Makes folder and file, private, and sets a damaged one aside; returns where to, `None` where nothing is wrong."""
    private_files.make_folder(path.parent)
    for part in path.parent.glob(f"{glob.escape(path.name)}*"):
        if part.name.removeprefix(path.name).startswith(("-", ".damaged-", ".lock")) or part == path:
            private_files.protect_file(part)
    target = _set_aside(path) if path.exists() and _damaged(path, busy_timeout_s) else None
    private_files.create(path)  # SQLite's further files take its mode
    return target


def _set_aside(path: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    for suffix in ("-wal", "-shm", ""):  # the file itself last: should this be cut short, the next start goes on with it
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    log.error("the history database was damaged; it is kept as %s", target)
    return target


def _damaged(path: Path, busy_timeout_s: float) -> bool:
    try:
        # read-only: closing would otherwise copy the write-ahead log into the damaged file
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=busy_timeout_s)) as connection:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            return found != "ok"
    except sqlite3.DatabaseError as error:
        if sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return True
        raise
