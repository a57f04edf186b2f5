"""Batches in a SQLite file: what is stored comes back the same, to its owner only, and a cell is written once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.chat import Choices
from backend.compare.batches import Batch, BatchLane, BatchStore, Cell, answer_id, lane_from
from backend.compare.prompt_sets import Prompt
from backend.errors import BadInput, StorageError
from backend.history import AnswerError, History
from backend.types import GenerationParameters, Timing, Usage

INSTRUCT, THINKING = "dashscope:qwen3-next-80b-a3b-instruct", "dashscope:qwen3-next-80b-a3b-thinking"
PROMPTS = (Prompt("one", "be brief", "maths"), Prompt("hai", "", "vi"), Prompt("三"))
LANES = (BatchLane(Choices(INSTRUCT, GenerationParameters(temperature=0.7))), BatchLane(Choices(THINKING, GenerationParameters())))
FULL = Cell(
    1, 0, "done", "Bốn mươi hai.", "Để xem…", {"temperature": 0.2, "seed": 7, "system": ""}, Usage(12, 34, 5),
    Timing(ttft_s=0.25, decode_s=1.5, total_s=1.75), "stop", None, "singapore",
)  # fmt: skip
FAILED = Cell(0, 1, "error", "half", parameters={"seed": 1}, error=AnswerError("ContentFiltered", "Refused.", "Ask otherwise."))


def a_batch(**changed) -> Batch:
    return replace(Batch("set", "starter", LANES, len(PROMPTS)), **changed)


def stripped(batch: Batch) -> Batch:
    """Without the moment, which is the database's."""
    return replace(batch, updated_at_s=0.0)


async def opened(folder: Path) -> tuple[History, BatchStore]:
    history = await History.open(None, folder)
    return history, BatchStore(history.database)


@pytest.fixture
async def store(tmp_path):
    history, store = await opened(tmp_path)
    yield store
    await history.aclose()


# ---- lanes
@pytest.mark.parametrize(
    "lane",
    [
        BatchLane(Choices(INSTRUCT, GenerationParameters())),
        BatchLane(Choices(INSTRUCT, GenerationParameters(temperature=0.0, seed=0, enable_thinking=False)), "cold", {"temperature": 0.0}),
        BatchLane(Choices(THINKING, GenerationParameters(top_k=5, stop=("\n", "终"))), "top k 5, seed 1", {"top_k": 5}),
        BatchLane(Choices("server:a/b/c", GenerationParameters(extra={"guided": {"choice": ["có", "không"]}}), "Trả lời ngắn.", True)),
    ],
    ids=["nothing set", "zeros and false", "stops", "system and extra"],
)
def test_a_lane_comes_back_as_it_was_stored(lane):
    assert lane_from(json.loads(json.dumps(lane.stored()))) == lane


def test_a_lane_of_an_older_version_keeps_what_is_known():
    settings = {"temperature": 0.5, "a_parameter_of_long_ago": 1}
    assert lane_from({"model": "m:x", "settings": settings, "label": "", "point": {}}) == BatchLane(
        Choices("m:x", GenerationParameters(temperature=0.5))
    )


# ---- batches
async def test_a_batch_comes_back_as_it_was_created(store):
    batch = a_batch(kind="sweep", spec={"axes": [["temperature", [0.1, 1.0]]], "left_out": ["row 3: trống"]}, state="paused")
    await store.create("me", batch, PROMPTS)
    assert stripped(await store.load("me", batch.id)) == stripped(batch)
    assert await store.prompts("me", batch.id) == list(PROMPTS)
    assert [await store.prompts("me", batch.id, row) for row in range(len(PROMPTS))] == [[prompt] for prompt in PROMPTS]
    assert (await store.states("me", batch.id), await store.cells("me", batch.id)) == ({}, [])


def test_a_batch_takes_an_answer_of_each_prompt_in_each_lane():
    assert a_batch(rows=7).total == 14


async def test_two_batches_are_never_one(store):
    first, second = a_batch(), a_batch()
    assert first.id != second.id
    await store.create("me", first, PROMPTS)
    with pytest.raises(StorageError):
        await store.create("me", replace(second, id=first.id, title="another"), PROMPTS)
    assert (await store.load("me", first.id)).title == "starter"


async def test_batches_are_listed_by_kind_the_latest_first(store, monkeypatch):
    moments = iter(range(1_000, 2_000))
    monkeypatch.setattr("backend.compare.batches.time.time", lambda: float(next(moments)))
    old, new, sweep = a_batch(title="old"), a_batch(title="new", rows=1), a_batch(title="sweep", kind="sweep")
    for batch in (old, new, sweep):
        await store.create("me", batch, PROMPTS[: batch.rows])
    assert [(b.title, b.rows) for b in await store.all("me", "set")] == [("new", 1), ("old", 3)]
    assert [b.title for b in await store.all("me", "sweep")] == ["sweep"]
    await store.set_state("me", old.id, "paused")
    assert [(b.title, b.state) for b in await store.all("me", "set")] == [("old", "paused"), ("new", "running")]
    assert [b.title for b in await store.all("me", "set", limit=1)] == ["old"]


@pytest.mark.parametrize("state", ["running", "paused", "done"])
async def test_a_state_is_kept(store, state):
    batch = a_batch(state="done" if state == "running" else "running")
    await store.create("me", batch, PROMPTS)
    await store.set_state("me", batch.id, state)
    assert (await store.load("me", batch.id)).state == state


async def test_deleting_takes_prompts_and_cells_of_that_batch_only(store):
    gone, stays = a_batch(), a_batch(title="stays")
    for batch in (gone, stays):
        await store.create("me", batch, PROMPTS)
        await store.write(batch.id, [FULL])
    await store.delete("me", gone.id)
    with pytest.raises(BadInput) as raised:
        await store.load("me", gone.id)
    assert raised.value.code == "not_found" and raised.value.hint
    await store.create("me", replace(gone, title="again"), [])  # under the same id: nothing of the old one is found
    assert (await store.prompts("me", gone.id), await store.cells("me", gone.id)) == ([], [])
    assert (await store.prompts("me", stays.id), await store.cells("me", stays.id)) == (list(PROMPTS), [FULL])


# ---- owners
@pytest.mark.parametrize("method", ["load", "prompts", "states", "counts", "cells", "forget_failed"])
async def test_another_owner_finds_nothing(store, method):
    batch = a_batch()
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [FULL, FAILED])
    with pytest.raises(BadInput) as theirs:
        await getattr(store, method)("you", batch.id)
    with pytest.raises(BadInput) as none:
        await getattr(store, method)("you", "never-was")
    assert (str(theirs.value), theirs.value.code) == (str(none.value), "not_found"), "nor can they tell that it is there"
    assert await store.cells("me", batch.id) == [FAILED, FULL]


async def test_another_owner_changes_nothing(store):
    batch = a_batch()
    await store.create("me", batch, PROMPTS)
    await store.set_state("you", batch.id, "done")
    await store.delete("you", batch.id)
    assert (await store.load("me", batch.id)).state == "running"
    assert await store.all("you", "set") == []


# ---- cells
async def test_cells_come_back_as_they_were_written_by_row_and_lane(store):
    batch = a_batch()
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [Cell(2, 0, "done", "x")])
    await store.write(batch.id, [FULL, FAILED])
    assert await store.cells("me", batch.id) == [FAILED, FULL, Cell(2, 0, "done", "x")]
    assert await store.cells("me", batch.id, 1) == [FULL]
    assert await store.cells("me", batch.id, 99) == []
    assert await store.states("me", batch.id) == {(0, 1): "error", (1, 0): "done", (2, 0): "done"}
    assert await store.counts("me", batch.id) == {(0, "done"): 2, (1, "error"): 1}


@pytest.mark.parametrize("second", [Cell(0, 0, "done", "later"), Cell(0, 0, "error", error=AnswerError("X", "failed"))])
async def test_a_cell_is_written_once_and_its_first_content_stays(store, second):
    batch, first = a_batch(), Cell(0, 0, "done", "first")
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [first])
    await store.write(batch.id, [second, Cell(0, 1, "done", "new")])
    assert await store.cells("me", batch.id) == [first, Cell(0, 1, "done", "new")]


async def test_of_one_cell_twice_in_one_write_the_first_counts(store):
    batch = a_batch()
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [Cell(0, 0, "done", "first"), Cell(0, 0, "done", "second")])
    assert [cell.content for cell in await store.cells("me", batch.id)] == ["first"]


async def test_a_cell_of_a_deleted_batch_is_passed_over(store):
    batch, other = a_batch(), a_batch()
    await store.create("me", batch, PROMPTS)
    await store.create("me", other, PROMPTS)
    await store.delete("me", batch.id)
    await store.write(batch.id, [FULL])
    await store.create("me", batch, PROMPTS)
    assert await store.cells("me", batch.id) == [] and await store.cells("me", other.id) == []


async def test_forgetting_failed_cells_leaves_the_answers_and_makes_room(store):
    batch, other, mended = a_batch(), a_batch(), Cell(FAILED.row, FAILED.lane, "done", "now")
    for each in (batch, other):
        await store.create("me", each, PROMPTS)
        await store.write(each.id, [FULL, FAILED])
    await store.forget_failed("me", batch.id)
    assert await store.states("me", batch.id) == {(1, 0): "done"}
    await store.write(batch.id, [mended])
    assert await store.cells("me", batch.id) == [mended, FULL]
    assert await store.cells("me", other.id) == [FAILED, FULL]


async def test_ten_thousand_rows_keep_their_order(store):
    prompts = [Prompt(f"prompt {n}", tag=str(n % 7)) for n in range(10_000)]
    batch = a_batch(rows=len(prompts))
    await store.create("me", batch, prompts)
    assert await store.prompts("me", batch.id) == prompts
    assert ((await store.load("me", batch.id)).rows, [b.rows for b in await store.all("me", "set")]) == (10_000, [10_000])
    await store.write(batch.id, [Cell(row, 1, "done", str(row)) for row in (9_999, 0, 500)])
    assert [cell.row for cell in await store.cells("me", batch.id)] == [0, 500, 9_999]


@pytest.mark.parametrize(
    "text", ["Xin chào, thế giới! Phở bò tái nạm gầu", "你好，世界。简体與繁體", "Thiếu dấu: Tiê\u0301ng Viê\u0323t", "🙂 ﷽ \u202eabc", ""]
)
async def test_letters_of_any_language_come_back_as_they_were(store, text):
    lanes = (BatchLane(Choices(INSTRUCT, GenerationParameters(), text), text, {}),)
    batch = Batch("set", text, lanes, 1, spec={"left_out": [text]})
    cell = Cell(0, 0, "done", text, text or None, {"system": text})
    await store.create("người dùng 用户", batch, [Prompt(text, text, text)])
    await store.write(batch.id, [cell])
    assert stripped(await store.load("người dùng 用户", batch.id)) == stripped(batch)
    assert await store.prompts("người dùng 用户", batch.id) == [Prompt(text, text, text)]
    assert await store.cells("người dùng 用户", batch.id) == [cell]


async def test_what_no_database_takes_is_replaced_and_the_rest_of_an_answer_stays(store):
    batch = a_batch()
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [Cell(0, 0, "done", "a\0b\ud800c", parameters={"system": "\ud800"})])
    (cell,) = await store.cells("me", batch.id)
    assert (cell.content, cell.parameters) == ("a\ufffdb\ufffdc", {"system": "\ufffd"})


async def test_everything_is_there_when_the_file_is_opened_again(tmp_path):
    batch = a_batch(spec={"left_out": ["row 2: the prompt is empty"]})
    history, store = await opened(tmp_path)
    await store.create("me", batch, PROMPTS)
    await store.write(batch.id, [FULL, FAILED])
    await history.aclose()
    history, store = await opened(tmp_path)
    try:
        assert stripped(await store.load("me", batch.id)) == stripped(batch)
        assert (await store.load("me", batch.id)).state == "running", "so that it is offered to go on"
        assert (await store.prompts("me", batch.id), await store.cells("me", batch.id)) == (list(PROMPTS), [FAILED, FULL])
    finally:
        await history.aclose()


# ---- shown as turns
def test_a_cell_as_a_turn_carries_all_that_is_known_of_it():
    batch = a_batch(id="b1", updated_at_s=86_400.0)
    node = FULL.node(batch)
    assert node.id == answer_id("b1", 1, 0), "what a vote calls it"
    assert (node.conversation_id, node.parent_id, node.role, node.model) == ("b1", None, "assistant", INSTRUCT)
    assert node.created_at == datetime(1970, 1, 2, tzinfo=UTC)
    same = [name for name in asdict(FULL) if name not in ("row", "lane")]
    assert [getattr(node, name) for name in same] == [getattr(FULL, name) for name in same]


def test_a_failed_cell_as_a_turn_tells_its_error_and_the_model_of_its_lane():
    node = FAILED.node(a_batch())
    assert (node.status, node.content, node.error, node.model) == ("error", "half", FAILED.error, THINKING)


def test_cells_of_different_batches_rows_and_lanes_are_different_answers():
    keys = [("a", 1, 11), ("a", 11, 1), ("b", 1, 11), ("a", 1, 1)]
    assert len({answer_id(*key) for key in keys}) == len(keys)
