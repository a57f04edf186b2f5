"""`app.py pack` and `app.py bench` as they are typed: what they print, what they return, what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import app
from backend.local import random_weights, tiny
from backend.local.generation import generate
from backend.local.loading import load
from backend.local.names import parse
from backend.local.progress import unheard
from backend.types import ChatRequest, Finished, GenerationParameters, Message, TextDelta
from tests.backend.local.next_tiny import config

SUM = ChatRequest("x", (Message("user", "What is 4821 + 394?"),), GenerationParameters(temperature=0.0, max_tokens=300))


def table(out: str) -> dict[str, list[str]]:
    """The rows of the printed table by their names."""
    rows = [re.split(r" {2,}", line.strip()) for line in out.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 6}


def test_the_tiny_model_is_packed_and_answers_from_the_packed_folder(tmp_path, capsys):
    target = tmp_path / "tiny-4bit"
    assert app.main(["pack", str(tiny.FOLDER), str(target)]) == 0
    out = capsys.readouterr().out
    assert "100 % read" in out and f"python app.py --model local:{target}" in out
    loaded = load(parse(str(target)), tmp_path, allow_fetch=False, report=unheard)
    experts = loaded.model.get_submodule("model.layers.0.mlp.experts")
    assert experts.gate_up_proj.dtype == torch.uint8
    events = list(generate(loaded, SUM, 300, lambda: False))
    assert "5215" in "".join(event.text for event in events if isinstance(event, TextDelta))
    assert isinstance(events[-1], Finished) and events[-1].reason == "stop"


def test_a_folder_that_is_no_model_is_one_sentence_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert app.main(["pack", str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert told.out == "" and "config.json" in told.err and "Traceback" not in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_bench_prints_each_way_and_generate_in_one_table(capsys):
    assert app.main(["bench", "--tokens", "12", "--against", "transformers"]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert f"in float32 on 1 of {torch.get_num_threads()} threads" in out.splitlines()[0]
    assert list(rows) == ["ours", "ours, 1 ahead", "ours, 2 ahead", "ours, 3 ahead", "transformers generate"]
    assert rows["ours"][-1] == "1.00" and rows["ours"][-2] == "-"
    passes = [float(rows[name][-1]) for name in list(rows)[:4]]
    assert passes == sorted(passes) and passes[1] > 1.5
    assert all(re.fullmatch(r"[\d.]+ /s", row[1]) and re.fullmatch(r"[\d.]+ /s", row[2]) for row in rows.values())
    assert re.search(r"decoding against generate: [\d.]+ x", out) and "steps: eager" in out
    assert re.search(r"at most [\d,]+ tokens a second, of which [\d.]+ %", out)
    assert re.search(r"second turn: [\d,]+ tokens, [1-9][\d,]* of them known", out) and re.search(r"peak memory: [\d.]+ GB", out)


def test_bench_of_random_weights_takes_the_config_and_as_many_layers_as_named(monkeypatch, capsys):
    monkeypatch.setitem(random_weights.CONFIGS, "qwen3-next-80b", lambda: config(vocab_size=8192))
    assert app.main(["bench", "--random-weights", "qwen3-next-80b", "--layers", "2", "--tokens", "4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("qwen3-next-80b in ") and list(table(out)) == ["ours"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("dashscope:qwen-plus", "no model on this machine"),
        ("local:/no/such/folder", "no folder named '/no/such/folder'"),
        ("local:nonsense", "nonsense"),
    ],
)
def test_bench_of_what_cannot_be_loaded_is_one_sentence(model, said, capsys):
    assert app.main(["bench", "--model", model]) == 1
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1


FRESH = """
import sys
from pathlib import Path
from backend.local.loading import load
from backend.local.names import parse
from backend.local.progress import unheard
for name in sys.argv[1:]:
    load(parse(name), Path(), allow_fetch=False, report=unheard)
    print("bitsandbytes" in sys.modules)
"""


def test_a_fresh_process_loads_the_tiny_model_without_bitsandbytes_and_a_packed_folder_with_it(tmp_path):
    """What registers the packed format with transformers, and what costs seconds to import, is only seen where nothing was imported."""
    assert app.main(["pack", str(tiny.FOLDER), str(tmp_path / "packed")]) == 0
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tiny.NAME, str(tmp_path / "packed")],
        env={**os.environ, "PYTHONPATH": str(Path(app.__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"]


def test_bench_of_an_answer_without_a_speed_is_refused(capsys):
    assert app.main(["bench", "--tokens", "1"]) == 1
    assert "--tokens 2" in capsys.readouterr().err


def test_bench_that_runs_out_of_memory_says_so(monkeypatch, capsys):
    def fails(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("backend.local.bench.run", fails)
    assert app.main(["bench", "--tokens", "4"]) == 1
    assert "ran out of memory" in capsys.readouterr().err


def test_random_weights_that_do_not_fit_on_one_device_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("backend.local.sizing.free_bytes", lambda devices: 30e9)
    monkeypatch.setattr("backend.local.plan.place", lambda parameters: (2 * (torch.device("cpu"),), torch.bfloat16))
    monkeypatch.setattr("backend.local.sizing.named", lambda devices: "on two GPUs")
    assert app.main(["bench", "--random-weights", "qwen3-next-80b", "--tokens", "4"]) == 1
    assert "does not fit on the first GPU" in capsys.readouterr().err


def test_packing_what_is_packed_says_what_to_do_with_it(tmp_path, capsys):
    assert app.main(["pack", str(tiny.FOLDER), str(tmp_path / "packed")]) == 0
    capsys.readouterr()
    assert app.main(["pack", str(tmp_path / "packed"), str(tmp_path / "again")]) == 1
    told = capsys.readouterr().err
    assert "packed already (nf4_experts)" in told and "@4bit" not in told
