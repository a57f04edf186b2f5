"""A checkpoint that was packed once answers as one packed while it loads, and packing leaves a whole folder or none."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backend.errors import ModelLoadError, OutOfMemory
from backend.local import sizing
from backend.local.generation import generate
from backend.local.loading import load_folder
from backend.local.names import Asked
from backend.local.packed import folder as packed_folder
from backend.local.packed.folder import HEAD_FILE, write
from backend.local.progress import unheard
from backend.types import Finished
from tests.backend.local import tiny
from tests.backend.local.next_tiny import checkpoint
from tests.backend.local.tiny import ask, ids_of, said

ROOT = Path(__file__).resolve().parents[4]
PROMPT = ids_of("Xin chào, how are you? 北京")


def load(folder, *, four_bit=False, dtype=torch.float32):
    return load_folder(Asked("mine", "folder", str(folder), four_bit), folder, unheard, dtype)


def quietly(share):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("source") / "next", dtype=torch.bfloat16, shards=3)


@pytest.fixture(scope="module")
def written(source, tmp_path_factory):
    """(the packed folder, its size as told, the shares told)."""
    target, told = tmp_path_factory.mktemp("packed") / "next-4bit", []
    return target, write(source, target, told.append), told


@pytest.fixture(scope="module")
def from_source(source):
    return load(source, four_bit=True)


@pytest.fixture(scope="module")
def from_packed(written):
    return load(written[0])


def test_a_packed_folder_holds_what_packing_while_loading_gives(from_source, from_packed):
    expected, found = from_source.model.state_dict(), from_packed.model.state_dict()
    assert found.keys() == expected.keys()
    assert sum(".experts." in name for name in found) == 4 * 4  # of 4 layers: 2 stacks, each with its scales
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_packed_folder_gives_the_same_scores(from_source, from_packed):
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        assert torch.equal(from_packed.model(ids).logits, from_source.model(ids).logits)


def test_the_mtp_head_is_there_too(source, written, from_source, from_packed):
    assert from_source.network.drafts and from_packed.network.drafts
    stored = load_file(written[0] / HEAD_FILE)
    original = {
        name: tensor for file in source.glob("*.safetensors") for name, tensor in load_file(file).items() if name.startswith("mtp.")
    }
    assert stored.keys() == original.keys()
    assert all(torch.equal(stored[name], original[name]) for name in original)


@pytest.mark.parametrize("drafts", [0, 2])
def test_a_packed_folder_writes_the_same_text(from_source, from_packed, drafts):
    request = ask(draft_tokens=drafts, max_tokens=24)
    answers = [list(generate(loaded, request, 24, lambda: False)) for loaded in (from_source, from_packed)]
    (expected, found) = (said(events) for events in answers)
    assert found == expected and any(found)
    for events in answers:
        assert isinstance(events[-1], Finished)
        assert bool(events[-1].usage.drafted_tokens) is (drafts > 0)
    assert answers[0][-1].usage.accepted_tokens == answers[1][-1].usage.accepted_tokens


def test_packing_tells_its_shares_and_its_size(source, written):
    target, size_bytes, told = written
    assert told[0] == 0.0 and told == sorted(told) and told[-1] == 1.0
    assert size_bytes == sum(file.stat().st_size for file in target.glob("*.safetensors"))
    stored = sum(t.nbytes for name, t in load_file(target / "model.safetensors").items() if ".experts." in name)
    original = sum(
        t.nbytes
        for file in source.glob("*.safetensors")
        for name, t in load_file(file).items()
        if ".experts." in name and name.startswith("model.")
    )
    assert stored == original * 4.5 / 16


def test_a_packed_folder_is_one_that_names_its_method_and_brings_the_small_files(written, source):
    target = written[0]
    quantization = json.loads((target / "config.json").read_text())["quantization_config"]
    assert quantization["quant_method"] == "nf4_experts"
    assert "load_in_4bit" not in quantization
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert json.loads((target / "generation_config.json").read_text())["do_sample"] is False
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_is_packed_is_not_packed_again(written, tmp_path):
    with pytest.raises(ModelLoadError, match="packed already"):
        load(written[0], four_bit=True)
    with pytest.raises(ModelLoadError, match="packed already"):
        write(written[0], tmp_path / "twice", quietly)


def test_a_dense_model_can_be_packed_too(tmp_path):
    source, target = tiny.checkpoint(tmp_path / "llama"), tmp_path / "llama-4bit"
    write(source, target, quietly)
    assert not (target / HEAD_FILE).exists()
    expected, found = load(source, four_bit=True), load(target)
    assert type(found.model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        assert torch.equal(found.model(ids).logits, expected.model(ids).logits)


# ---- what cannot be packed, and what is left of it
@pytest.fixture
def copied(source, tmp_path):
    return Path(shutil.copytree(source, tmp_path / "next"))


def without(pattern):
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "hyena-9000"}))


def one_layer_more(folder):
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in config.items() if key != "layer_types"}
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))


def cut(folder):
    file = folder / "model-00002-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "no folder"),
        (without("config.json"), "no config.json"),
        (without("model-00002*"), "model-00002-of-00003.safetensors"),
        (without("*.safetensors*"), "no weights in the safetensors format"),
        (without("tokenizer*"), "no tokenizer"),
        (architecture, "hyena-9000"),
        (one_layer_more, "incomplete"),
        (cut, "damaged or cut short|could not be packed"),
    ],
    ids=["folder", "config", "shard", "weights", "tokenizer", "architecture", "layer", "cut"],
)
def test_what_cannot_be_packed_is_said_and_leaves_nothing(copied, damage, words):
    damage(copied)
    before = sorted(copied.parent.iterdir())
    with pytest.raises(ModelLoadError, match=words) as caught:
        write(copied, copied.parent / "out", quietly)
    assert str(caught.value).endswith(".") and caught.value.hint
    assert sorted(copied.parent.iterdir()) == before


def test_a_folder_that_exists_is_not_written_over(copied):
    target = copied.parent / "out"
    target.mkdir()
    (target / "mine").write_text("kept")
    with pytest.raises(ModelLoadError, match="exists already") as caught:
        write(copied, target, quietly)
    assert "does not exist yet" in caught.value.hint
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_weights_that_do_not_fit_into_memory_are_not_begun(copied, monkeypatch):
    monkeypatch.setattr(sizing, "free_bytes", lambda devices: 1000.0)
    with pytest.raises(OutOfMemory, match="are free"):
        write(copied, copied.parent / "out", lambda share: pytest.fail("was begun"))
    assert list(copied.parent.iterdir()) == [copied]


Disk = namedtuple("Disk", "total used free")


def test_a_disk_without_room_is_known_before_anything_is_read(copied, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ModelLoadError, match="of disk") as caught:
        write(copied, copied.parent / "out", lambda share: pytest.fail("was begun"))
    assert "larger disk" in caught.value.hint
    assert list(copied.parent.iterdir()) == [copied]


def test_the_room_asked_for_is_that_of_all_files_the_head_as_it_is_written(copied, written, monkeypatch):
    free = int(0.97 * written[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9 - free, free))
    with pytest.raises(ModelLoadError, match="of disk"):
        write(copied, copied.parent / "out", quietly)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        # what safetensors raises on a full disk
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_disk_that_fills_up_is_said_and_leaves_nothing(copied, monkeypatch, error):
    room = [10**12]

    def fails(model, folder, **_):
        (Path(folder) / "model-00001-of-00002.safetensors").write_bytes(bytes(1000))
        room[0] = 0
        raise error

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**12, 0, room[0]))
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", fails)
    with pytest.raises(ModelLoadError, match=r"[Dd]isk") as caught:
        write(copied, copied.parent / "out", quietly)
    assert "larger disk" in caught.value.hint
    assert list(copied.parent.iterdir()) == [copied]


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), RuntimeError("something else")], ids=lambda e: type(e).__name__
)
def test_any_other_failure_leaves_nothing_either(copied, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(packed_folder, "_write_head", fails)
    with pytest.raises(ModelLoadError) as caught:
        write(copied, copied.parent / "out", quietly)
    assert caught.value.__cause__ is error
    assert caught.value.hint
    assert list(copied.parent.iterdir()) == [copied]


def test_what_a_killed_run_left_is_cleared_away_and_not_taken_in(copied):
    target, part = copied.parent / "out", copied.parent / ".out.part-4194305"  # a number that no process has
    part.mkdir()
    (part / "model-00009-of-00009.safetensors").write_bytes(b"half")
    write(copied, target, quietly)
    assert sorted(copied.parent.iterdir()) == [copied, target]
    assert sorted(file.name for file in target.glob("*.safetensors")) == ["model.safetensors", HEAD_FILE]


def test_a_run_leaves_the_folder_of_another_one_that_still_runs(copied):
    other = copied.parent / f".out.part-{os.getppid()}"
    other.mkdir()
    write(copied, copied.parent / "out", quietly)
    assert other.is_dir()


KILLED = """
import os, sys
from pathlib import Path
from backend.local.packed.folder import write
write(Path(sys.argv[1]), Path(sys.argv[2]), lambda share: share > 0.5 and os._exit(9))
"""


@pytest.mark.slow
def test_a_killed_run_leaves_no_target_and_the_next_one_succeeds(copied):
    target = copied.parent / "out"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(copied), str(target)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == 9, killed.stderr
    assert len(list(copied.parent.glob(".out.part-*"))) == 1 and not target.exists()
    write(copied, target, quietly)
    assert sorted(copied.parent.iterdir()) == [copied, target]


# ---- damage after packing
def rewritten(change, name="model.safetensors"):
    def damage(folder):
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return damage


def truncated(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1000])


def reshaped(key, *shape):
    return rewritten(lambda tensors: tensors.update({key: tensors[key].reshape(*shape).contiguous()}))


EXPERTS = "model.layers.1.mlp.experts"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated("model.safetensors"), "damaged or cut short"),
        (truncated(HEAD_FILE), "damaged or cut short|MTP head"),
        (reshaped(f"{EXPERTS}.gate_up_proj", 32, -1), "packed weights of mine are damaged"),
        (reshaped(f"{EXPERTS}.down_proj_absmax", -1), "could not be loaded"),
        (rewritten(lambda tensors: tensors.pop(f"{EXPERTS}.down_proj")), "incomplete|could not be loaded"),
        (rewritten(lambda tensors: tensors.pop(f"{EXPERTS}.down_proj_absmax")), "incomplete"),
        (rewritten(lambda tensors: tensors.pop("mtp.norm.weight"), HEAD_FILE), "MTP head"),
        (rewritten(lambda tensors: tensors.pop("mtp.layers.0.mlp.experts.15.up_proj.weight"), HEAD_FILE), "MTP head"),
    ],
    ids=["cut", "cut head", "codes", "scales", "no codes", "no scales", "no norm", "no expert"],
)
def test_a_damaged_packed_folder_is_said_in_a_sentence(written, tmp_path, damage, words):
    folder = Path(shutil.copytree(written[0], tmp_path / "damaged"))
    damage(folder)
    with pytest.raises(ModelLoadError, match=words) as caught:
        load(folder)
    assert str(caught.value).endswith(".") and caught.value.hint
