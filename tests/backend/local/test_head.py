"""The MTP head of a checkpoint is read as it was saved, from any file, packed or in FP8, and one that is not whole is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.errors import LocalModelError, ModelLoadError, OutOfMemory
from backend.local.head import load_head
from backend.local.packed.stacks import SCALES, STACKS
from backend.local.packed.storage import pack
from backend.local.tiny.writing import WEIGHTS
from tests.backend.local.fp8 import in_fp8, widened
from tests.backend.local.next_tiny import checkpoint, models


@pytest.fixture(scope="module")
def model():
    return models()[0]


@pytest.fixture
def folder(tmp_path):
    return checkpoint(tmp_path / "next")


def change(folder, changed):
    tensors = load_file(folder / WEIGHTS)
    changed(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def own(head):
    """The head's tensors without those that it shares with the model."""
    return dict(head.layers[0].state_dict())


@pytest.mark.parametrize("shards", [None, 3])
def test_a_head_has_the_tensors_that_were_saved(tmp_path, model, shards):
    folder, (_, saved) = checkpoint(tmp_path / "next", shards=shards), models()
    head = load_head("mine", model, folder, packed=False)
    assert own(head).keys() == own(saved).keys()
    assert all(torch.equal(tensor, own(saved)[name]) for name, tensor in own(head).items())
    assert not head.training and not any(p.requires_grad for p in head.layers.parameters())


def test_a_head_shares_the_models_embedding_and_output(folder, model):
    head = load_head("mine", model, folder, packed=False)
    assert head.embed_tokens is model.model.embed_tokens
    assert head.shared_head is model.lm_head


def test_a_head_is_in_the_models_dtype(tmp_path, model):
    folder = checkpoint(tmp_path / "next", dtype=torch.bfloat16)
    head = load_head("mine", model, folder, packed=False)
    assert {tensor.dtype for tensor in own(head).values()} == {model.dtype} == {torch.float32}


def test_a_packed_heads_experts_are_packed_and_nothing_else(folder, model):
    plain, packed = (own(load_head("mine", model, folder, packed=packed)) for packed in (False, True))
    for stack in STACKS:
        name = f"mtp_block.mlp.experts.{stack}"
        for found, expected in zip((packed.pop(name), packed.pop(name + SCALES)), pack(plain.pop(name)), strict=True):
            assert torch.equal(found, expected)
    assert packed.keys() == plain.keys()
    assert all(torch.equal(packed[name], plain[name]) for name in plain)


def test_a_checkpoint_without_a_head_has_none(folder, model):
    change(folder, lambda tensors: [tensors.pop(name) for name in [*tensors] if name.startswith("mtp.")])
    assert load_head("mine", model, folder, packed=False) is None


EXPERT = "mtp.layers.0.mlp.experts"


def without(*names):
    return lambda tensors: [tensors.pop(name) for name in names]


def shaped(name, *shape):
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(
    "changed",
    [
        without("mtp.fc.weight"),
        without("mtp.norm.weight"),
        without("mtp.layers.0.self_attn.q_norm.weight"),
        without("mtp.layers.0.mlp.gate.weight"),
        without("mtp.layers.0.mlp.shared_expert_gate.weight"),
        without(f"{EXPERT}.3.up_proj.weight"),
        without(f"{EXPERT}.3.down_proj.weight"),
        without(*(f"{EXPERT}.15.{part}_proj.weight" for part in ("gate", "up", "down"))),
        without(*(f"{EXPERT}.{number}.{part}_proj.weight" for number in range(16) for part in ("gate", "up", "down"))),
        shaped("mtp.fc.weight", 128, 128),
        shaped(f"{EXPERT}.3.down_proj.weight", 64, 64),
        lambda tensors: [shaped(f"{EXPERT}.{number}.down_proj.weight", 64, 128)(tensors) for number in range(16)],
        shaped("mtp.layers.1.self_attn.q_proj.weight", 256, 128),
        shaped("mtp.something.weight", 128),
    ],
    ids=[
        "fc",
        "norm",
        "q norm",
        "router",
        "shared gate",
        "up",
        "down",
        "last expert",
        "experts",
        "fc shape",
        "down shape",
        "stack shape",
        "layer",
        "unknown",
    ],
)
def test_a_head_that_is_not_whole_is_refused(folder, model, changed, packed):
    change(folder, changed)
    with pytest.raises(ModelLoadError, match=r"The MTP head of mine is incomplete or of another shape\.") as caught:
        load_head("mine", model, folder, packed=packed)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory, "ran out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), OutOfMemory, "ran out of memory"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), LocalModelError, "GPU failed"),
    ],
    ids=["GPU memory", "memory", "GPU"],
)
def test_a_head_without_room_is_not_called_damaged(folder, model, monkeypatch, error, expected, words):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr("backend.local.head.torch.empty", fails)
    with pytest.raises(expected, match=words):
        load_head("mine", model, folder, packed=True)


# ---- FP8, as Qwen3-Next-80B-A3B-*-FP8 is published: blocks of 128 x 128 weights with a scale each
@pytest.mark.parametrize("scales_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_head_in_fp8_is_widened_block_by_block(folder, model, scales_dtype):
    original, expected = load_file(folder / WEIGHTS), {}
    original["mtp.fc.weight"][:, 128:] *= 50  # so that one scale cannot stand for another

    def narrowed(tensors):
        for name in [n for n in original if (n.startswith("mtp.") and n.endswith("proj.weight")) or n == "mtp.fc.weight"]:
            narrow, scales = in_fp8(original[name])
            scales = scales.to(scales_dtype)
            tensors |= {name: narrow, f"{name}_scale_inv": scales}
            expected[name] = widened(narrow, scales.float())

    change(folder, narrowed)
    found = own(load_head("mine", model, folder, packed=False))
    assert torch.equal(found["eh_proj.weight"], expected["mtp.fc.weight"])
    block = "mtp.layers.0"
    for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.shared_expert.down_proj"):
        assert torch.equal(found[f"mtp_block.{part}.weight"], expected[f"{block}.{part}.weight"])
    for number in range(16):
        gate_up = torch.cat([expected[f"{EXPERT}.{number}.{half}_proj.weight"] for half in ("gate", "up")])
        assert torch.equal(found["mtp_block.mlp.experts.gate_up_proj"][number], gate_up)
        assert torch.equal(found["mtp_block.mlp.experts.down_proj"][number], expected[f"{EXPERT}.{number}.down_proj.weight"])
    error = (expected["mtp.fc.weight"] - original["mtp.fc.weight"]).norm() / original["mtp.fc.weight"].norm()
    assert 0.005 < error < 0.05


def test_a_head_in_fp8_is_packed_from_its_widened_weights(folder, model):
    def narrowed(tensors):
        for name in [n for n in tensors if EXPERT in n]:
            narrow, scales = in_fp8(tensors[name])
            tensors |= {name: narrow, f"{name}_scale_inv": scales}

    change(folder, narrowed)
    plain, packed = (own(load_head("mine", model, folder, packed=packed)) for packed in (False, True))
    name = "mtp_block.mlp.experts.down_proj"
    codes, scales = pack(plain[name])
    assert torch.equal(packed[name], codes) and torch.equal(packed[name + SCALES], scales)
