"""Uploaded files: read once, described before they are sent, apart by visitor, and so much of them kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backend import read_files
from backend.attachments import Attachment
from backend.errors import BadInput
from backend.read_files import FileDescription, FilesRefused, ReadFiles
from tests.backend.test_attachments import pdf


class Disk:
    """In place of `read_attachment`: counts what is read, and waits where it is told to."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.go_on: asyncio.Event | None = None

    async def __call__(self, path: Path, *, name: str) -> Attachment:
        self.read.append(name)
        if self.go_on is not None:
            await self.go_on.wait()
        if name.startswith("bad"):
            raise BadInput(f"{name} is an image.", hint=f"Not {name[:4]}.")
        return Attachment(name, "x" * 10, tokens=1)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(read_files, "read_attachment", disk)
    return disk


def path(name: str) -> tuple[Path, str]:
    return Path("/uploads", name), name


async def test_what_was_described_is_not_read_again_when_it_is_sent(disk):
    files = ReadFiles()
    await files.describe("me", *path("a"))
    assert [file.name for file in await files.read_all("me", [path("a"), path("b")])] == ["a", "b"] and disk.read == ["a", "b"]


async def test_two_who_ask_at_once_read_it_once_and_one_who_goes_away_stops_nothing(disk):
    files, disk.go_on = ReadFiles(), asyncio.Event()
    first = asyncio.create_task(files.read("me", *path("a")))
    second = asyncio.create_task(files.read("me", *path("a")))
    await asyncio.sleep(0)
    first.cancel()
    disk.go_on.set()
    assert (await second).name == "a" and disk.read == ["a"]


async def test_visitors_share_nothing(disk):
    files = ReadFiles()
    await files.read("me", *path("a"))
    await files.read("you", *path("a"))
    assert disk.read == ["a", "a"]


async def test_a_refusal_is_asked_for_again(disk):
    files = ReadFiles()
    for _ in range(2):
        assert (await files.describe("me", *path("bad1"))).refusal == "bad1 is an image."
    assert disk.read == ["bad1", "bad1"]


@pytest.mark.parametrize(("limit", "owners"), [("MAX_CHARS_PER_VISITOR", "me me me"), ("MAX_CHARS_OF_ALL", "me you them")])
async def test_so_much_is_kept_and_with_one_character_less_the_one_used_longest_ago_goes(limit, owners, disk, monkeypatch):
    for room, read_again in ((30, []), (29, ["b"])):
        monkeypatch.setattr(read_files, limit, room)
        files, asked = ReadFiles(), list(zip(owners.split(), "abc", strict=True))
        await files.read(asked[0][0], *path("a"))
        await files.read(asked[1][0], *path("b"))
        await files.read(asked[0][0], *path("a"))  # used since
        await files.read(asked[2][0], *path("c"))
        disk.read.clear()
        for owner, name in (asked[0], asked[2], asked[1]):
            await files.read(owner, *path(name))
        assert disk.read == read_again


async def test_one_visitor_puts_away_nothing_of_another(disk, monkeypatch):
    monkeypatch.setattr(read_files, "MAX_CHARS_PER_VISITOR", 10)
    files = ReadFiles()
    await files.read("you", *path("a"))
    await files.read_all("me", [path(name) for name in "abc"])
    disk.read.clear()
    await files.read("you", *path("a"))
    assert disk.read == []


async def test_files_of_a_visitor_who_left_are_forgotten_even_while_they_are_read(disk):
    files = ReadFiles()
    await files.read("me", *path("a"))
    await files.read("you", *path("a"))
    disk.go_on = asyncio.Event()
    reading = asyncio.create_task(files.read("me", *path("b")))
    await asyncio.sleep(0)
    files.forget("me")
    disk.go_on.set()
    await reading
    assert list(files._kept) == [("you", *path("a"))] and not files._reading


async def test_every_file_that_fails_is_named_and_the_others_are_known(disk):
    with pytest.raises(FilesRefused) as caught:
        await ReadFiles().read_all("me", [path("bad1"), path("a"), path("bad2"), path("b")])
    error = caught.value
    assert error.message == "bad1 is an image. bad2 is an image." and error.hint == "Not bad1. Not bad2."
    assert [file.name for file in error.read] == ["a", "b"] and list(error.refused) == [path("bad1")[0], path("bad2")[0]]


async def test_one_file_that_fails_is_told_as_if_it_were_alone(disk):
    with pytest.raises(FilesRefused) as caught:
        await ReadFiles().read_all("me", [path("a"), path("bad1")])
    assert (caught.value.message, caught.value.hint) == ("bad1 is an image.", "Not bad1.")


async def test_hints_that_are_the_same_are_told_once(disk):
    with pytest.raises(FilesRefused) as caught:
        await ReadFiles().read_all("me", [path("bad1"), path("bad1 too")])
    assert caught.value.hint == "Not bad1."


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        ("姓名,年龄\n".encode("gbk"), "a.csv", FileDescription("a.csv", 10, "text", 4, encoding="GB18030", replaced=0, truncated=False)),
        (pdf("one", ""), "a.pdf", FileDescription("a.pdf", len(pdf("one", "")), "pdf", 1, 2, 1, None, 0, False)),
        (b"", "../a.txt", FileDescription("a.txt", 0, refusal="a.txt is empty.", hint="Attach a file with text in it.")),
        (None, "a.txt", FileDescription("a.txt", None, refusal="a.txt could not be read.", hint="Attach it again.")),
    ],
    ids=["text", "pdf", "empty", "gone"],
)
async def test_what_is_told_of_a_file(data, name, expected, tmp_path):
    file = tmp_path / "upload"
    if data is not None:
        file.write_bytes(data)
    assert await ReadFiles().describe("me", file, name) == expected
