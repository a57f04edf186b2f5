"""What the page is told of the files in the composer, and of whose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend import FileDescription, ReadFiles
from ui.attached import MAX_PATH_CHARS, describe, notes
from ui.uploads import MAX_FILES, UploadedFiles


@pytest.fixture
def uploads() -> UploadedFiles:
    uploads = UploadedFiles(bounded=True, left_grace_s=3600.0)
    uploads.arrive("me")
    return uploads


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "notes.txt"
    file.write_bytes("姓名,年龄\n张三,18\n".encode("gbk"))
    return file


async def test_a_visitors_file_is_described_as_json(uploads, file):
    uploads.keep("me", [file])
    (told,) = await describe([str(file)], "me", uploads=uploads, read_files=ReadFiles())
    assert json.loads(json.dumps(told)) == {
        "path": str(file), "name": "notes.txt", "size_bytes": 18, "kind": "text", "tokens": told["tokens"], "pages": None,
        "pages_without_text": None, "encoding": "GB18030", "replaced": 0, "truncated": False, "refusal": None, "hint": None,
        "kind_name": "Text", "notes": ["read as GB18030"],
    }  # fmt: skip
    assert told["tokens"] > 0


async def test_the_name_that_it_had_is_told(uploads, file):
    uploads.keep("me", [file])
    (told,) = await describe([{"path": str(file), "orig_name": "my notes.txt"}], "me", uploads=uploads, read_files=ReadFiles())
    assert told["name"] == "my notes.txt"


async def test_a_file_of_another_or_of_this_machine_is_as_if_it_were_not_there(uploads, file):
    uploads.keep("you", [file])
    for path in (str(file), "/etc/passwd", "", None, 7, {"path": 5}, ["x"], str(file) + "x" * MAX_PATH_CHARS):
        (told,) = await describe([path], "me", uploads=uploads, read_files=ReadFiles())
        assert told["refusal"].endswith("is not here any more.") and told["hint"] and told["size_bytes"] is None and told["tokens"] is None


@pytest.mark.parametrize("files", [None, "text", {"path": "x"}, 5])
async def test_what_is_no_list_of_files_is_none(files, uploads):
    assert await describe(files, "me", uploads=uploads, read_files=ReadFiles()) == []


async def test_as_many_are_described_as_a_visitor_may_have(uploads):
    assert len(await describe([""] * (MAX_FILES + 1), "me", uploads=uploads, read_files=ReadFiles())) == MAX_FILES


async def test_files_that_go_take_what_was_read_of_them_along(file):
    read_files = ReadFiles()
    uploads = UploadedFiles(bounded=True, on_forget=read_files.forget)
    uploads.arrive("me")
    uploads.keep("me", [file])
    await describe([str(file)], "me", uploads=uploads, read_files=read_files)
    assert read_files._kept
    uploads.forget("me")
    assert not read_files._kept and not uploads.has("me", file)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (FileDescription("a"), []),
        (FileDescription("a", replaced=0, truncated=False, pages=3, pages_without_text=0), []),
        (FileDescription("a", replaced=1), ["1 character could not be read"]),
        (FileDescription("a", encoding="Big5", replaced=1200), ["read as Big5", "1,200 characters could not be read"]),
        (FileDescription("a", pages=12, pages_without_text=3, truncated=True), ["3 of 12 pages have no text", "only the beginning"]),
    ],
)
def test_notes_say_what_was_guessed_and_left_out(told, expected):
    assert notes(told) == expected
