"""A packed stack holds bitsandbytes' own bytes, expert by expert, at four and a half bits a weight."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from backend.local.packed.stacks import is_experts
from backend.local.packed.storage import pack, unpack
from tests.backend.local.next_tiny import models


def stack(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 64, 64), (16, 128, 128), (33, 32, 192), (70, 96, 64)], ids=str)
def test_each_expert_has_the_bytes_that_it_has_when_it_is_packed_alone(shape, dtype):
    whole = stack(*shape, dtype=dtype)
    codes, scales = pack(whole)
    assert len(codes) == len(scales) == len(whole)
    unpacked = unpack(codes, scales, shape[1:], dtype)
    assert unpacked.dtype == dtype
    for number, expert in enumerate(whole):
        alone, state = quantize_4bit(expert, blocksize=64, quant_type="nf4")
        assert torch.equal(codes[number], alone.flatten())
        assert torch.equal(scales[number], state.absmax)
        assert torch.equal(unpacked[number], dequantize_4bit(alone, state))


def test_what_comes_back_is_near_what_was_packed():
    whole = stack(16, 128, 128)
    back = unpack(*pack(whole), (128, 128), torch.float32)
    assert 0.05 < (back - whole).norm() / whole.norm() < 0.12  # 16 levels for a normal distribution


def test_any_experts_can_be_unpacked_without_the_others():
    codes, scales = pack(stack(16, 128, 64))
    chosen = torch.tensor([11, 3, 3])
    assert torch.equal(
        unpack(codes[chosen], scales[chosen], (128, 64), torch.float32), unpack(codes, scales, (128, 64), torch.float32)[chosen]
    )


def test_a_stack_that_lies_otherwise_in_memory_is_packed_alike():
    whole = stack(16, 128, 64)
    turned = whole.transpose(1, 2).contiguous().transpose(1, 2)
    assert not turned.is_contiguous()
    for found, expected in zip(pack(turned), pack(whole), strict=True):
        assert torch.equal(found, expected)


def test_a_weight_takes_four_and_a_half_bits():
    whole = stack(16, 128, 128)
    codes, scales = pack(whole)
    assert 8 * (codes.nbytes + scales.nbytes) / whole.numel() == 4.5


@pytest.mark.parametrize("columns", [32, 63, 96, 100])
def test_columns_that_are_no_whole_blocks_are_refused(columns):
    with pytest.raises(ValueError, match=f"{columns} columns"):
        pack(stack(4, 64, columns))


def test_the_fused_stacks_of_a_model_and_nothing_else_are_experts():
    model, head = models()
    found = [name for part in (model, head.layers) for name, module in part.named_modules() if is_experts(module)]
    assert found == [*(f"model.layers.{n}.mlp.experts" for n in range(4)), "0.mtp_block.mlp.experts"]
