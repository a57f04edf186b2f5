"""A comparison as files, driven through the tab's handlers: the page, the run file, opening it, what cannot be saved or opened."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest

from backend.compare import sharing
from backend.private_files import write_text
from tests.ui.compare_tab import Compare, event
from tests.ui.tab import INSTRUCT, House, until
from ui.compare.share import Share
from ui.text import WORDS as W


async def page_of(compare: Compare) -> str:
    update = await Share(compare.core).page(compare.session, compare.request)
    return update[compare.parts.files]["text"]


async def run_file_of(compare: Compare) -> str:
    update = await Share(compare.core).run_file(compare.session, compare.request)
    return update[compare.parts.files]["text"]


async def opened(house: House, path: Path) -> Compare:
    tab = await Compare(house).load()
    tab.take_one(await Share(tab.core).open(str(path), tab.session, tab.request))
    return tab


async def reopened(compare: Compare, folder: Path) -> Compare:
    """A page of its own that plays what `compare` was saved as."""
    file = folder / "saved.qncompare.jsonl"
    file.write_text(await run_file_of(compare), encoding="utf-8")
    return await opened(compare.tab.house, file)


async def until_played(tab: Compare, turns: int, panes: int = 2) -> None:
    comparing = await tab.core.backend.side_by_side()
    while True:
        await tab.take(tab.asking.resume(tab.session, tab.request))
        tab.take_one(await tab.asking.over(tab.session, tab.request))
        if all(len(pane["turns"]) == 2 * turns for pane in tab.panes[:panes]) and not tab.core.running(comparing, tab.session, tab.request):
            return


async def test_the_page_holds_prompts_answers_traces_settings_votes_and_no_key(compare):
    await compare.choose(0, system="Trả lời ngắn. [[words:7]]")
    await compare.send("Câu hỏi [[think:4]]")
    await compare.vote("1", "vi")
    page = await page_of(compare)
    for text in ("Câu hỏi", "Trả lời ngắn.", "Thought for", "dashscope:qwen3-next-80b-a3b-thinking", "pane 1 is the best", "Tag: vi."):
        assert text in page
    assert "sk-secret-key" not in page and "<script" not in page


async def test_a_run_file_is_opened_and_played_with_the_same_texts_and_times(compare, house, tmp_path):
    await compare.send("một [[think:5]][[words:9]]")
    await compare.send("二 [[think:5]][[words:4]]")
    await compare.vote("2")
    text = await run_file_of(compare)
    assert "sk-secret-key" not in text and str(tmp_path) not in text
    file = tmp_path / "mine.qncompare.jsonl"
    file.write_text(text, encoding="utf-8")
    for _ in range(2):
        tab = await opened(house, file)
        await until_played(tab, 2)
        assert tab.id != compare.id
        for pane in (0, 1):
            assert tab.panes[pane]["name"] == compare.panes[pane]["name"]
            mine, played = ([turn["copy"] for turn in each.panes[pane]["turns"]] for each in (compare, tab))
            assert played == mine
            assert (
                tab.panes[pane]["foot"].split("finished")[0].count("<b") == compare.panes[pane]["foot"].split("finished")[0].count("<b") - 1
            )
        assert W.share_voted.format(turn=2, verdict="pane 2 is the best") in tab.bench["note"]
        again = await run_file_of(tab)
        assert [json.loads(line).get("text") for line in again.splitlines()[1:]] == [
            json.loads(line).get("text") for line in text.splitlines()[1:]
        ]
        assert str(tmp_path) not in again and str(house.backend.settings.data_dir) not in again


async def test_after_a_run_file_was_played_its_panes_ask_their_own_models_again(compare, house, tmp_path):
    await compare.send("first [[think:2]][[words:3]]")
    tab = await reopened(compare, tmp_path)
    await until_played(tab, 1)
    await tab.send("second [[think:2]][[words:6]]")
    assert [len(pane["turns"]) for pane in tab.panes] == [4, 4]
    assert "<b class='tokens-answer'>6</b>" in tab.panes[1]["foot"]


async def test_a_recording_in_a_pane_answers_no_other_question(compare):
    await compare.choose(1, "replay:python-code")
    await compare.send("something else [[think:2]][[words:3]]")
    assert "answers only the question it was made of" in compare.last(1) and compare.panes[0]["state"] == "done"


async def test_failed_and_stopped_answers_stay_what_they_are_in_a_run_file(compare, house, tmp_path):
    await compare.choose(0, system="[[fault:cut]]")
    await compare.choose(1, "dashscope:no-such-model")
    await compare.send("both fail [[think:2]][[words:30]]")
    file = tmp_path / "failed.jsonl"
    file.write_text(await run_file_of(compare), encoding="utf-8")
    tab = await opened(house, file)
    await until_played(tab, 1)
    assert [pane["state"] for pane in tab.panes] == ["error", "error"]
    assert "does not know this model" in tab.last(1)


async def test_an_answer_without_its_recording_is_saved_from_what_is_stored(compare, house):
    await compare.send("gone [[think:3]][[words:5]]")
    comparing = await house.backend.side_by_side()
    for file in comparing.folder_of("local", compare.id).glob("*.jsonl"):
        file.unlink()
    text = await run_file_of(compare)
    assert "Only the end result was kept" in text and text.count('"TextDelta"') == 2


@pytest.mark.parametrize("form", [page_of, run_file_of])
async def test_nothing_and_what_is_hidden_cannot_be_saved(compare, form):
    with pytest.raises(KeyError):
        await form(compare)
    await compare.blind()
    await compare.send("blind [[think:2]][[words:3]]")
    share = Share(compare.core)
    for update in (await share.page(compare.session, compare.request), await share.run_file(compare.session, compare.request)):
        assert "Vote first" in update[compare.parts.live]["error"]
    await compare.vote("tie")
    assert "a tie" in await page_of(compare)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"", "line 1"),
        (b'{"format": "qwen-playground-recording", "version": 1}', "line 1"),
        (
            b'{"format": "qwen-playground-comparison", "version": 1, "title": "", "made_at": "", "panes": [{"model": "m", "settings": {}}]}',
            "no answer",
        ),
        (b'{"format": "qwen-playground-comparison", "version": 1, "title": "", "made_at": "", "panes": []}\n', "panes"),
    ],
)
async def test_a_file_that_is_none_is_named_and_the_open_comparison_stays(compare, house, tmp_path, raw, sentence):
    await compare.send("stays [[think:2]][[words:3]]")
    file = tmp_path / "wrong.jsonl"
    file.write_bytes(raw)
    compare.take_one(await Share(compare.core).open(str(file), compare.session, compare.request))
    assert sentence in compare.live["error"] and "wrong.jsonl" in compare.live["error"]
    assert compare.turns(0) == ["user", "assistant"]


async def test_a_run_file_on_a_full_disk_is_told_and_leaves_nothing_behind(compare, house, tmp_path, monkeypatch):
    await compare.send("full [[think:2]][[words:3]]")
    path = tmp_path / "c.qncompare.jsonl"
    path.write_text(await run_file_of(compare), encoding="utf-8")
    comparisons = house.backend.shelf.own("local") / "comparisons"
    there, written = sorted(comparisons.iterdir()), []

    def fills_up(file: Path, text: str) -> None:
        written.append(file)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_text(file, text)

    monkeypatch.setattr(sharing, "write_text", fills_up)
    update = await Share(compare.core).open(str(path), compare.session, compare.request)
    (shown,) = update.values()
    assert "no room left to save this run file" in shown["error"] and len(written) == 2
    assert sorted(comparisons.iterdir()) == there


async def test_what_a_file_plays_is_watched_from_its_first_moment(compare, house, started, tmp_path):
    """Of every turn, though the page follows it later: an answer that nobody watches is ended before that."""
    for number in range(2):
        await compare.send(f"{number} [[think:2]][[words:3]]")
    tab = await Compare(house).load()
    file = tmp_path / "saved.qncompare.jsonl"
    file.write_text(await run_file_of(compare), encoding="utf-8")
    started.hold()
    opening = asyncio.create_task(Share(tab.core).open(str(file), tab.session, tab.request))
    for number in (2, 4):
        await until(lambda number=number: len(started.runs) == number)
        assert [set(run.watchers) for run in started.runs] == [{tab.request.session_hash}] * number
        started.go_on(2)
    await opening


async def test_stopping_what_is_played_ends_the_file(compare, house, tmp_path):
    for number in range(3):
        await compare.send(f"{number} [[think:40]][[words:60]][[rate:60]]")
    tab = await reopened(compare, tmp_path)
    comparing = await house.backend.side_by_side()
    assert comparing.busy("local", *tab.session.side_by_side.comparison.panes)
    await tab.stop()
    assert not comparing.busy("local", *tab.session.side_by_side.comparison.panes)
    tab.take_one(await tab.asking.over(tab.session, tab.request))
    assert all(len(pane["turns"]) < 6 for pane in tab.panes), "the last turn was not asked any more"


async def test_while_a_file_is_played_nothing_else_is_asked_of_its_panes_and_what_is_added_stays(compare, house, tmp_path):
    for number in range(2):
        await compare.send(f"{number} [[think:30]][[words:40]][[rate:{20 if number == 0 else 2000}]]")
    tab = await reopened(compare, tmp_path)
    for op in ("again", "select"):
        tab.take_one(await tab.asking.act(event(op=op, place=0), tab.session, tab.request))
        assert "still answering" in tab.live["error"]
    await tab.send("too early")
    assert "still answering" in tab.live["error"]
    await tab.add()
    await until_played(tab, 2, panes=2)
    assert [len(pane["turns"]) for pane in tab.panes] == [4, 4, 1]
    assert len((await Compare(house, compare=tab.id).load()).panes) == 3


async def test_a_comparison_that_is_deleted_while_its_file_is_played_is_gone(compare, house, tmp_path):
    for number in range(2):
        await compare.send(f"{number} [[think:30]][[words:40]][[rate:60]]")
    tab = await reopened(compare, tmp_path)
    comparing = await house.backend.side_by_side()
    await comparing.delete("local", tab.id)
    assert not comparing.busy("local", *tab.session.side_by_side.comparison.panes)
    assert [each.id for each in await comparing.summaries("local")] == [compare.id]


async def test_a_pane_that_joined_later_joins_later_in_what_is_played_too(compare, house, tmp_path):
    await compare.send("first [[think:3]][[words:4]]")
    await compare.add()
    await compare.send("second [[think:3]][[words:5]]")
    tab = await reopened(compare, tmp_path)
    await until_played(tab, 2, panes=2)
    assert [tab.turns(pane) for pane in (0, 1, 2)] == [["user", "assistant"] * 2] * 2 + [["user", "assistant"]]
    assert tab.panes[2]["turns"][0]["copy"].startswith("second")
    await tab.send("third [[think:3]][[words:6]]")
    assert [len(tab.turns(pane)) for pane in (0, 1, 2)] == [6, 6, 4]


async def test_panes_that_answer_in_json_come_back_from_a_run_file(compare, house, tmp_path):
    for pane in (0, 1):
        await compare.choose(pane, INSTRUCT, json_on=True, json_schema='{"type": "object", "properties": {"n": {"type": "integer"}}}')
    await compare.send("JSON, 用 JSON")
    assert all("class='json'" in pane["turns"][-1]["html"] for pane in compare.panes)
    file = tmp_path / "json.qncompare.jsonl"
    file.write_text(await run_file_of(compare), encoding="utf-8")
    tab = await opened(house, file)
    await until_played(tab, 1)
    assert [pane["turns"][-1]["copy"] for pane in tab.panes] == [pane["turns"][-1]["copy"] for pane in compare.panes]
    assert all("Keeps to the schema." in pane["turns"][-1]["html"] for pane in tab.panes)
