"""The recordings one can watch: the shipped ones for all, each visitor's own for that visitor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.errors import BadInput, Unavailable, UnknownModel
from backend.providers.replay import ReplayProvider
from backend.recording import load, loads
from backend.run import Run
from backend.shelf import SHIPPED, Shelf, ShelfEntry, recording_of
from backend.types import ChatRequest, Finished, Message, Started, TextDelta, ThinkingDelta, Usage


def ended(error: Exception | None = None, *, stopped: bool = False) -> Run:
    request = ChatRequest("m", (Message("system", "s"), Message("user", "What?")))
    run = Run(owner="me", conversation_id="c", node_id="n", model="dashscope:m", request=request)
    for event in (Started("m"), ThinkingDelta("hm", 1), TextDelta("ü <b>")):
        run.take(event)
    if stopped:
        run.end("stopped")
    elif error is not None:
        run.end("error", error)
    else:
        run.take(Finished("stop", Usage(3, 2, 1), request_id="r"))
    return run


def file_of(shelf: Shelf, entry: ShelfEntry) -> Path:
    return shelf.own("me") / f"{entry.name.removeprefix('own/')}.jsonl"


def cut(path: Path) -> None:
    """As a disk that was full leaves a file."""
    path.write_text('{"format"', encoding="utf-8")


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path)


async def test_the_shipped_recordings_are_there_for_all(shelf):
    entries = await shelf.entries("anyone")
    assert [e.name for e in entries] == sorted(path.stem for path in SHIPPED.glob("*.jsonl")) and entries
    assert all(e.title and e.prompt and e.scripted for e in entries)


async def test_an_added_recording_is_listed_after_the_shipped_and_only_for_its_owner(shelf):
    shipped = await shelf.entries("me")
    entry = await shelf.add("me", recording_of(ended()), "my run.qnrun.jsonl")
    assert await shelf.entries("me") == [*shipped, entry]
    assert await shelf.entries("you") == shipped
    assert (entry.prompt, entry.scripted) == ("What?", False)


async def test_the_newest_of_ones_own_comes_first(shelf):
    first = await shelf.add("me", recording_of(ended()), "first.jsonl")
    second = await shelf.add("me", recording_of(ended()), "second.jsonl")
    os.utime(file_of(shelf, first), (1, 1))
    own = (await shelf.entries("me"))[-2:]
    assert own == [second, first]


async def test_a_recording_is_read_once_and_again_when_it_has_changed(shelf, monkeypatch):
    entry = await shelf.add("me", recording_of(ended()), "run.jsonl")
    read = []
    monkeypatch.setattr("backend.shelf.load", lambda path, load=load: read.append(path.name) or load(path))
    assert entry in await shelf.entries("me") and entry in await shelf.entries("me")
    assert read.count("run.jsonl") == 1
    cut(file_of(shelf, entry))
    assert entry not in await shelf.entries("me")
    assert read.count("run.jsonl") == 2


async def test_another_recording_of_the_same_name_stays_and_the_same_one_is_kept_once(shelf):
    text = recording_of(ended())
    first = await shelf.add("me", text, "run.jsonl")
    second = await shelf.add("me", recording_of(ended(stopped=True)), "run.jsonl")
    assert first.name != second.name and await shelf.add("me", text, "run.jsonl") == first
    assert {e.name for e in (await shelf.entries("me"))[-2:]} == {first.name, second.name}


async def test_beyond_the_limit_the_oldest_goes(shelf, monkeypatch):
    monkeypatch.setattr("backend.shelf.KEPT", 2)
    names = []
    for number in range(3):
        entry = await shelf.add("me", recording_of(ended()), f"run{number}.jsonl")
        os.utime(file_of(shelf, entry), (number, number))
        names.append(entry.name)
    shipped = len(await shelf.entries("you"))
    assert [e.name for e in (await shelf.entries("me"))[shipped:]] == [names[2], names[1]]


async def test_an_added_recording_can_be_played(shelf):
    entry = await shelf.add("me", recording_of(ended()), "run.jsonl")
    provider = ReplayProvider(SHIPPED, None, own=shelf.own("me"))
    events = [e async for e in provider.stream(ChatRequest(entry.name, (Message("user", "x"),)))]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["ü <b>"] and isinstance(events[-1], Finished)


async def test_a_recording_outside_the_folder_cannot_be_played(shelf, tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_text(recording_of(ended()), encoding="utf-8")
    provider = ReplayProvider(SHIPPED, None, own=shelf.own("me"))
    with pytest.raises(UnknownModel):
        await provider.capabilities(str(shelf.folder / ".." / "outside.jsonl"))


@pytest.mark.parametrize("name", ["../../escape.jsonl", "/etc/passwd", "..", "", "a/b\\c.jsonl", "ü" * 300, ".hidden", "nul\0byte.jsonl"])
async def test_a_file_name_never_leads_out_of_the_owners_folder(shelf, tmp_path, name):
    await shelf.add("me", recording_of(ended()), name)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 1 and written[0].suffix == ".jsonl" and not written[0].name.startswith(".")
    assert written[0].parent.parent == shelf.folder


async def test_an_owners_folder_does_not_tell_the_owner(shelf, tmp_path):
    await shelf.add("visitor:secret-token", recording_of(ended()), "run.jsonl")
    assert not any("secret-token" in str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("text", ["", "{", '{"format": "other"}\n', "not json\n"])
async def test_what_is_no_recording_is_refused_and_not_kept(shelf, tmp_path, text):
    with pytest.raises(BadInput):
        await shelf.add("me", text, "broken.jsonl")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_one_damaged_file_does_not_hide_the_others(shelf):
    entry = await shelf.add("me", recording_of(ended()), "good.jsonl")
    bad = await shelf.add("me", recording_of(ended()), "bad.jsonl")
    cut(file_of(shelf, bad))
    assert entry in await shelf.entries("me")


@pytest.mark.parametrize(
    ("run", "end"),
    [(ended(), None), (ended(stopped=True), "stopped"), (ended(Unavailable("It broke.")), "failed")],
    ids=["done", "stopped", "failed"],
)
def test_a_run_becomes_a_recording_with_its_texts_times_and_end(run, end):
    recording = loads(recording_of(run), "x")
    assert [e for _, e in recording.events if isinstance(e, TextDelta | ThinkingDelta)] == [ThinkingDelta("hm", 1), TextDelta("ü <b>")]
    times = [at_s for at_s, _ in recording.events]
    assert times == sorted(times) and times[0] >= 0
    assert recording.end == (end or recording.end) and (end is not None or isinstance(recording.events[-1][1], Finished))
    assert recording.error == ("It broke." if end == "failed" else None)
    assert recording.header.model == "dashscope:m" and [m.role for m in recording.header.messages] == ["system", "user"]
