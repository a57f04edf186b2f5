"""Nobody else on the machine reads what people wrote, and nothing that is not the app's own is changed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend import Backend, private_files
from backend.errors import StorageError
from backend.history import History
from backend.private_files import protect_data_folder
from backend.settings import load_settings
from backend.shelf import SHIPPED, Shelf
from backend.upload_folder import Uploads
from tests.backend.history.built import BuiltHistory

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
VISITOR = "0123456789abcdef0123456789abcdef"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value: int):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def open_to_all(folder: Path, *names: str) -> None:
    """Files and folders (which end in a slash) as an earlier version left them."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("x")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def open_still(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in (folder, *folder.rglob("*")) if not path.is_symlink() and mode(path) & 0o077
    )


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
async def test_a_new_data_folder_and_all_in_it_is_private_whatever_the_umask(tmp_path, mask):
    data = tmp_path / "above" / "data"
    with umask(mask):
        backend = Backend(load_settings(data_dir=data, demo=False))
        await backend.open()
        await Shelf(data).add("me", (SHIPPED / "python-code.jsonl").read_text(encoding="utf-8"), "mine.jsonl")
        Uploads(data).prepare()
        assert (data / "history.db-wal").exists() and open_still(tmp_path / "above") == []
        await backend.aclose()
    assert open_still(tmp_path / "above") == []


async def test_no_file_is_open_to_others_even_for_a_moment(tmp_path):
    put_right: list[object] = []

    def hear(event: str, arguments: tuple) -> None:
        if hearing and event == "os.chmod" and str(tmp_path) in str(arguments[0]):
            put_right.append(arguments)

    hearing = True
    sys.addaudithook(hear)
    with umask(0):
        history = await BuiltHistory.open(None, tmp_path / "data")
        await history.create("me", model="m", parameters={})
        private_files.write_text(tmp_path / "data" / "text", "x")
        await history.aclose()
    hearing = False
    assert put_right == [], "made private, not put right afterwards"
    assert open_still(tmp_path / "data") == []


async def test_an_existing_data_folder_is_put_right(tmp_path):
    data = tmp_path / "data"
    history = await BuiltHistory.open(None, data)
    await history.create("me", model="m", parameters={})
    await history.aclose()
    damaged = ("history.db.damaged-20260101-000000", "history.db.damaged-20260101-000000-wal")
    open_to_all(
        data,
        *damaged,
        f"recordings/{VISITOR}/run.jsonl",
        f"recordings/{VISITOR}/comparisons/x/n.jsonl",
        "models/demo/config.json",
        "uploads/old/x",
    )
    backend = Backend(load_settings(data_dir=data, demo=False))
    await backend.open()
    assert open_still(data) == []
    await backend.aclose()


@pytest.mark.parametrize("special", ["foreign file", "home", "temp", "sticky", "setgid", "writable by all"])
async def test_a_folder_that_is_not_the_apps_own_stays_as_it_is_but_for_the_apps_files(tmp_path, monkeypatch, special):
    data = tmp_path / "data"
    open_to_all(data, "history.db.damaged-1", f"recordings/{VISITOR}/run.jsonl")
    if special == "foreign file":
        open_to_all(data, "letter.txt", "recordings/holidays/song.mp3")
    elif special == "home":
        monkeypatch.setenv("HOME", str(data))
    elif special == "temp":
        monkeypatch.setattr(private_files.tempfile, "gettempdir", lambda: str(data))
    data.chmod({"sticky": 0o1777, "setgid": 0o2775, "writable by all": 0o777}.get(special, 0o755))
    before = mode(data)
    history = await History.open(None, data)
    protect_data_folder(data)
    assert mode(data) == before
    still = open_still(data)
    theirs = ["letter.txt", "recordings", "recordings/holidays", "recordings/holidays/song.mp3"] if special == "foreign file" else []
    assert still == sorted([".", *theirs])
    await history.aclose()


def test_links_are_not_followed(tmp_path):
    theirs, data = tmp_path / "theirs", tmp_path / "data"
    open_to_all(theirs, "file")
    data.mkdir()
    (data / "history.db").symlink_to(theirs / "file")
    (data / "recordings").symlink_to(theirs)
    (data / "models").mkdir()
    (data / "models" / "link").symlink_to(theirs)
    protect_data_folder(data)
    assert (mode(theirs), mode(theirs / "file")) == (0o755, 0o644)


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_account_stays(tmp_path):
    data = tmp_path / "data"
    open_to_all(data, "history.db")
    for path in (data, data / "history.db"):
        os.chown(path, 12345, 12345)
    protect_data_folder(data)
    assert (mode(data), mode(data / "history.db")) == (0o755, 0o644)


# ---- uploads
def test_uploads_of_a_killed_app_are_deleted_and_those_of_a_live_one_stay(tmp_path):
    live = Uploads(tmp_path)
    kept = live.prepare()
    (kept / "picture").write_text("x")
    left = tmp_path / "uploads" / "killed"
    left.mkdir()
    (left / ".lock").touch()
    (left / "secret").write_text("x")
    own = Uploads(tmp_path).prepare()
    assert not left.exists() and (kept / "picture").exists()
    assert own != kept and mode(own) == 0o700


def test_uploads_find_a_private_place_where_the_data_folder_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("a file")
    monkeypatch.setattr(private_files.tempfile, "tempdir", str(tmp_path))
    folder = Uploads(tmp_path / "data").prepare()
    assert folder.is_dir() and mode(folder) == 0o700


# ---- disks that refuse
REFUSALS = [
    (errno.ENOSPC, "no room left"),
    (errno.EDQUOT, "no room left"),
    (errno.EROFS, "cannot be written"),
    (errno.EACCES, "cannot be written"),
    (errno.EIO, "reported an error"),
]


@pytest.mark.parametrize(("number", "says"), REFUSALS)
async def test_a_recording_that_the_disk_does_not_take_is_told_and_leaves_no_half(tmp_path, monkeypatch, number, says):
    shelf, text = Shelf(tmp_path), (SHIPPED / "python-code.jsonl").read_text(encoding="utf-8")
    await shelf.add("me", text, "first.jsonl")
    there = sorted(path.name for path in shelf.own("me").iterdir())

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, text: str) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(private_files, "open_file", lambda path, mode: (path.touch(), Full())[1])
    with pytest.raises(StorageError, match=says) as told:
        await shelf.add("me", text, "second.jsonl")
    assert "this recording" in told.value.message and told.value.hint and str(tmp_path) not in told.value.message + told.value.hint
    assert sorted(path.name for path in shelf.own("me").iterdir()) == there
