"""What databases and disks do wrong: killed processes, locks, damage, full disks, other versions, addresses of no use."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import Pool

from backend.errors import BackendError, ConfigError, StorageError
from backend.history import AnswerUpdate, store
from backend.history.failures import storage_error
from tests.backend.history.built import BuiltHistory

ROOT = Path(__file__).resolve().parents[3]
FILE = "history.db"

WRITES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from backend.history import AnswerUpdate
from tests.backend.history.built import BuiltHistory
async def main():
    history = await BuiltHistory.open(None, Path(sys.argv[1]))
    chat = await history.create("me", model="m", parameters={})
    question = await history.add_turn("me", chat, None, "user", "x")
    node = await history.begin_answer("me", chat, question.id, model="m", parameters={}, run_id="r")
    text = ""
    while True:
        text += "Word "
        await history.write_answers([AnswerUpdate(node.id, text, "streaming", thinking="thought")])
        print(len(text), chat, node.id, flush=True)
        await asyncio.sleep(0.02)
asyncio.run(main())
"""
OPENS_AND_LEAVES = """
import asyncio, sys
from pathlib import Path
from tests.backend.history.built import BuiltHistory
async def main():
    history = await BuiltHistory.open(None, Path(sys.argv[1]))
    await history.create("me", model="m", parameters={})
asyncio.run(main())
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def a_history(folder: Path, turns: int = 1) -> None:
    """Leaves a closed database with one chat of `turns` long turns."""
    history = await BuiltHistory.open(None, folder)
    chat = await history.create("me", model="m", parameters={}, title="kept")
    for _ in range(turns):
        await history.add_turn("me", chat, None, "user", "text " * 500)
    await history.aclose()


async def test_a_killed_process_loses_nothing_that_was_written(tmp_path):
    process = await asyncio.to_thread(start, WRITES_FOR_EVER, tmp_path)
    assert process.stdout is not None
    lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(5)]
    process.kill()  # SIGKILL
    lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait(10)
    length, chat, node = lines[-1].split()
    assert (tmp_path / f"{FILE}.lock").exists(), "the system gives a killed app's lock back, not its file"
    history = await BuiltHistory.open(None, tmp_path)
    kept = (await history.load("me", chat)).nodes[node]
    assert (kept.status, kept.thinking) == ("interrupted", "thought")
    assert len(kept.content) >= int(length) and kept.content == "Word " * (len(kept.content) // 5)
    assert len(await history.conversations("me", search="word word")) == 1  # and it can be searched
    assert history.set_aside is None
    await history.aclose()


async def test_a_process_that_never_closed_its_history_ends(tmp_path):
    process = await asyncio.to_thread(start, OPENS_AND_LEAVES, tmp_path)
    assert await asyncio.to_thread(process.wait, 30) == 0
    process.communicate()


async def test_another_live_apps_answer_is_left_alone_and_given_up_only_when_nobody_writes_it(tmp_path, monkeypatch):
    writer = await BuiltHistory.open(None, tmp_path)
    chat = await writer.create("me", model="m", parameters={})
    node = await writer.begin_answer("me", chat, None, model="m", parameters={}, run_id="r")
    second = await BuiltHistory.open(None, tmp_path)
    assert (await second.load("me", chat)).nodes[node.id].status == "streaming"
    assert (await second.shared(), await writer.shared()) == (True, False)
    await second.aclose()
    monkeypatch.setattr(store, "STALE_AFTER_S", -1.0)
    third = await BuiltHistory.open(None, tmp_path)
    assert (await third.load("me", chat)).nodes[node.id].status == "interrupted"
    await writer.write_answers([AnswerUpdate(node.id, "more", "streaming")])
    monkeypatch.undo()
    assert (await third.load("me", chat)).nodes[node.id].status == "streaming"
    await writer.aclose()
    assert not await third.shared(), "the first has ended: the second has the file for itself"
    fourth = await BuiltHistory.open(None, tmp_path)
    assert await fourth.shared()
    await third.aclose()
    await fourth.aclose()


@pytest.mark.parametrize(
    "refusal", [NotImplementedError(), OSError(errno.ENOSYS, "no"), OSError(errno.EROFS, "no"), OSError(errno.ENOLCK, "no")]
)
async def test_a_folder_that_cannot_be_locked_is_no_reason_not_to_start(tmp_path, monkeypatch, refusal):
    def refuse(self, *args, **kwargs):
        raise refusal

    monkeypatch.setattr(FileLock, "acquire", refuse)
    history = await BuiltHistory.open(None, tmp_path)
    chat = await history.create("me", model="m", parameters={})
    node = await history.begin_answer("me", chat, None, model="m", parameters={}, run_id="r")
    assert not await history.shared()
    second = await BuiltHistory.open(None, tmp_path)
    assert (await second.load("me", chat)).nodes[node.id].status == "streaming", "it may be another app's"
    await history.aclose()
    await second.aclose()


async def test_an_answer_that_another_copy_gave_up_is_shown_as_interrupted(tmp_path, monkeypatch):
    writer, reader = await BuiltHistory.open(None, tmp_path), await BuiltHistory.open(None, tmp_path)
    chat = await writer.create("me", model="m", parameters={})
    node = await writer.begin_answer("me", chat, None, model="m", parameters={}, run_id="r")
    assert (await reader.load("me", chat)).nodes[node.id].status == "streaming"
    monkeypatch.setattr(store, "STALE_AFTER_S", -1.0)
    assert (await reader.load("me", chat)).nodes[node.id].status == "interrupted"
    assert (await writer.load("me", chat)).nodes[node.id].status == "streaming"  # the writer knows better
    await writer.aclose()
    await reader.aclose()


async def test_a_locked_database_is_told_and_works_again_afterwards(tmp_path):
    history = await BuiltHistory.open(None, tmp_path, busy_timeout_s=0.05)
    chat = await history.create("me", model="m", parameters={})
    node = await history.begin_answer("me", chat, None, model="m", parameters={}, run_id="r")
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for call in (
            history.create("me", model="m", parameters={}),
            history.write_answers([AnswerUpdate(node.id, "lost?", "done")]),
        ):
            with pytest.raises(StorageError, match="locked by another program") as caught:
                await call
            assert (caught.value.code, bool(caught.value.hint)) == ("SQLITE_BUSY", True)
        assert (await history.load("me", chat)).nodes[node.id].status == "streaming"  # reading goes on
        other.execute("ROLLBACK")
    await history.write_answers([AnswerUpdate(node.id, "kept", "done")])
    assert (await history.load("me", chat)).nodes[node.id].content == "kept"
    await history.aclose()


async def test_two_copies_write_to_one_file_side_by_side(tmp_path):
    first, second = await BuiltHistory.open(None, tmp_path), await BuiltHistory.open(None, tmp_path)
    chat = await first.create("me", model="m", parameters={})
    calls = [copy.add_turn("me", chat, None, "user", f"{n}") for n in range(20) for copy in (first, second)]
    await asyncio.gather(*calls)
    assert len((await first.load("me", chat)).nodes) == 40
    await first.aclose()
    await second.aclose()


async def test_a_database_locked_while_opening_is_told_and_not_set_aside(tmp_path):
    await a_history(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked by another program"):
            await BuiltHistory.open(None, tmp_path, busy_timeout_s=0.05)
    history = await BuiltHistory.open(None, tmp_path)
    assert [c.title for c in await history.conversations("me")] == ["kept"]
    await history.aclose()


def no_database(file: Path) -> None:
    file.write_bytes(b"this is no database, but it may be precious" * 100)


def broken_pages(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096)  # the first page says what the file is; all after it are no pages any more
        opened.write(b"\xff" * 90_000)


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [no_database, broken_pages, cut_short])
async def test_a_damaged_file_is_set_aside_and_never_overwritten(damage, tmp_path):
    await a_history(tmp_path, turns=60)
    file = tmp_path / FILE
    damage(file)
    before = file.read_bytes()
    history = await BuiltHistory.open(None, tmp_path)
    assert history.set_aside is not None and history.set_aside.name.startswith(f"{FILE}.damaged-")
    assert history.set_aside.read_bytes() == before
    assert await history.conversations("me") == []
    await history.create("me", model="m", parameters={})
    await history.aclose()


async def test_damage_twice_in_a_second_keeps_both_files_and_their_logs(tmp_path):
    for content in (b"first no database" * 99, b"second no database" * 99):
        (tmp_path / FILE).write_bytes(content)
        (tmp_path / f"{FILE}-wal").write_bytes(content)
        history = await BuiltHistory.open(None, tmp_path)
        aside = history.set_aside
        await history.aclose()
        assert aside is not None and aside.read_bytes() == content
        assert aside.with_name(f"{aside.name}-wal").read_bytes() == content
    assert len([f for f in tmp_path.glob("*.damaged-*") if not f.name.endswith(("-wal", "-shm"))]) == 2


async def test_damage_found_at_work_is_told(tmp_path):
    await a_history(tmp_path, turns=60)
    history = await BuiltHistory.open(None, tmp_path)
    (chat,) = await history.conversations("me")
    await history.aclose()  # which a later call opens again
    broken_pages(tmp_path / FILE)
    with pytest.raises(StorageError, match="damaged") as caught:
        await history.load("me", chat.id)
    assert "Start the app again" in caught.value.hint
    await history.aclose()


async def test_an_empty_file_is_a_new_history(tmp_path):
    (tmp_path / FILE).touch()
    history = await BuiltHistory.open(None, tmp_path)
    assert history.set_aside is None and await history.conversations("me") == []
    await history.aclose()


async def test_a_full_disk_is_told_and_what_was_saved_stays(tmp_path):
    pages = 40

    def small(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Pool, "connect", small)
    try:
        history = await BuiltHistory.open(None, tmp_path)
        chat = await history.create("me", model="m", parameters={})
        node = await history.begin_answer("me", chat, None, model="m", parameters={}, run_id="r")
        await history.write_answers([AnswerUpdate(node.id, "saved", "streaming")])
        with pytest.raises(StorageError, match="no room left") as caught:
            await history.write_answers([AnswerUpdate(node.id, "x" * 1_000_000, "streaming")])
        assert (caught.value.code, bool(caught.value.hint)) == ("SQLITE_FULL", True)
        assert (await history.load("me", chat)).nodes[node.id].content == "saved"
        await history.write_answers([AnswerUpdate(node.id, "small again", "done")])
        await history.aclose()
    finally:
        event.remove(Pool, "connect", small)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be opened or written") as caught:
        await BuiltHistory.open(None, tmp_path / "file" / "data")
    assert "PLAYGROUND_DATA_DIR" in caught.value.hint


async def test_a_database_that_is_a_folder_is_told(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StorageError) as caught:
        await BuiltHistory.open(None, tmp_path)
    assert caught.value.hint and (tmp_path / FILE).is_dir()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_without_write_access_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="cannot be opened or written"):
            await BuiltHistory.open(None, tmp_path)
    finally:
        tmp_path.chmod(0o700)


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    await a_history(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("UPDATE playground_meta SET value = '99'")
        connection.commit()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StorageError, match="format 99, this one knows 1"):
        await BuiltHistory.open(None, tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


async def test_sqlite_writes_ahead_and_is_owned_by_its_url(tmp_path):
    history = await BuiltHistory.open(f"sqlite:///{tmp_path}/deep/er/chats.sqlite3", tmp_path / "unused")
    await history.create("me", model="m", parameters={})
    with closing(sqlite3.connect(tmp_path / "deep" / "er" / "chats.sqlite3")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not (tmp_path / "unused").exists()
    await history.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "no address",
        "mysql+aiomysql://me:hunter2@host/db",
        "postgresql+psycopg2://me:hunter2@host/db",
        "postgresql+nodriver://me:hunter2@host/db",
        "sqlite+pysqlite:///x.db",
        "sqlite://",
        "sqlite+aiosqlite:///:memory:",
    ],
)
async def test_an_address_of_no_use_is_refused_without_showing_its_password(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        await BuiltHistory.open(url, tmp_path / "data")
    assert caught.value.hint
    told = f"{caught.value} {caught.value.hint} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "hunter2" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("asyncpg") is not None, reason="the driver is installed")
async def test_a_missing_driver_is_named(tmp_path):
    with pytest.raises(ConfigError, match="asyncpg is not installed") as caught:
        await BuiltHistory.open("postgresql+asyncpg://me:hunter2@127.0.0.1:1/db", tmp_path)
    assert "pip install asyncpg" in caught.value.hint


class FromDriver(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("words of the driver")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FromDriver("53100"), "no room left"),
        (FromDriver("28P01"), "refused the sign-in"),
        (FromDriver("3D000"), "refused the sign-in"),
        (FromDriver("08006"), "cannot be reached"),
        (FromDriver("57P01"), "cannot be reached"),
        (FromDriver("55P03"), "locked"),
        (FromDriver("42P01"), "could not be read or written"),
        (ConnectionRefusedError(), "cannot be reached"),
        (TimeoutError(), "cannot be reached"),
        (PermissionError(), "cannot be opened or written"),
        (OSError(errno.EROFS, "no"), "cannot be opened or written"),
        (OSError(errno.ENOSPC, "no"), "no room left"),
        (OSError(errno.EDQUOT, "no"), "no room left"),
        (DBAPIError("SELECT 1", None, FromDriver("53100")), "no room left"),
        (OperationalError("SELECT 1", None, FromDriver(None)), "cannot be reached"),
    ],
    ids=repr,
)
def test_every_failure_has_a_sentence_and_a_hint(error, says):
    told = storage_error(error)
    assert isinstance(told, BackendError) and says in told.message and told.hint and told.code
    assert "words of the driver" not in told.message + told.hint


async def test_what_people_wrote_is_in_no_error(tmp_path):
    history = await BuiltHistory.open(None, tmp_path, busy_timeout_s=0.05)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON playground_nodes BEGIN SELECT RAISE(ABORT, 'no'); END")
    chat = await history.create("me", model="m", parameters={})
    with pytest.raises(StorageError) as caught:
        await history.add_turn("me", chat, None, "user", "my secret words")
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__cause__}"
    await history.aclose()
