"""Twenty prompts through two real models of this machine, the process killed half-way: resumed, nothing is lost and nothing doubled.

Needs a package index for the demo model's weights. Run with `-m slow`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend import Access, Backend, Batch, BatchLane, Choices, load_settings, shipped_prompts
from tests.backend.local.real_demo import real_demo

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
MODELS = ("local:demo", "local:qwen3-next-tiny")
SCRIPT = """
import asyncio, sys
from tests.backend.compare.test_killed_set import begin
asyncio.run(begin(sys.argv[1]))
"""


async def begin(data: str) -> None:
    """What the process does that is going to be killed."""
    backend = Backend(load_settings(data_dir=Path(data)))
    runner, prompts = await backend.background(), shipped_prompts().prompts
    lanes = tuple(BatchLane(Choices.from_stored(model, {"max_tokens": 24, "temperature": 0.7})) for model in MODELS)
    await runner.begin("local", Access(), Batch("set", "killed", lanes, len(prompts), id="killedset"), prompts)
    await asyncio.Event().wait()


def written(data: Path) -> list[tuple[int, int, str]]:
    if not (data / "history.db").exists():
        return []
    with sqlite3.connect(f"file:{data / 'history.db'}?mode=ro", uri=True, timeout=10) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'playground_cells'").fetchone():
            return []
        return connection.execute("SELECT row, lane, content FROM playground_cells ORDER BY row, lane").fetchall()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    shutil.copytree(real_demo(tmp_path_factory) / "models", folder / "models")
    return folder


def kill_half_way(data: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(data)], cwd=ROOT)
    try:
        deadline_s = time.monotonic() + 300
        while len(written(data)) < 15:
            assert process.poll() is None and time.monotonic() < deadline_s, "the set does not get on"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def test_a_set_of_twenty_prompts_is_killed_half_way_and_resumed_with_nothing_lost_or_doubled(data):
    await asyncio.to_thread(kill_half_way, data)
    before = written(data)
    assert 15 <= len(before) < 40, "it was killed half-way"

    backend = Backend(load_settings(data_dir=data))
    try:
        runner = await backend.background()
        batch = await runner.store.load("local", "killedset")
        assert batch.state == "running" and not runner.runs(batch.id), "the page offers to resume it"
        asked: list[tuple[int, int]] = []
        write = runner.store.write

        async def counted(batch_id: str, cells) -> None:
            asked.extend((cell.row, cell.lane) for cell in cells)
            await write(batch_id, cells)

        runner.store.write = counted  # type: ignore[method-assign]
        await runner.resume("local", Access(), batch.id)
        async with asyncio.timeout(300):
            while runner.runs(batch.id):
                await asyncio.sleep(0.05)
        assert (await runner.store.load("local", batch.id)).state == "done"
        cells = await runner.store.cells("local", batch.id)
    finally:
        await backend.aclose()
    everything = [(row, lane) for row in range(20) for lane in (0, 1)]
    assert [(cell.row, cell.lane) for cell in cells] == everything, "nothing lost"
    assert sorted(asked) == sorted(set(everything) - {(row, lane) for row, lane, _ in before}), "nothing asked twice"
    assert all(cell.status == "done" and (cell.content or cell.thinking) for cell in cells)
    assert {(row, lane): content for row, lane, content in before}.items() <= {(c.row, c.lane): c.content for c in cells}.items()
