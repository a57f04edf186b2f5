"""NF4 storage of expert stacks: 4 bits a weight and one fp32 scale for 64 of them, 4.5 bits in all.

NF4 is the data type of QLoRA (Dettmers et al. 2023); the codes are bitsandbytes', byte for byte as if each expert were packed alone.
"""

from __future__ import annotations

import torch
from bitsandbytes.functional import quantize_4bit

from backend.local.packed.stacks import BLOCK

_AT_ONCE = 32  # experts; bounds what packing needs beside the stack itself


def pack(stack: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[experts, rows, columns] -> codes uint8 [experts, rows * columns / 2], scales fp32 [experts, rows * columns / 64].

    Raises `ValueError` where columns are not whole blocks: a block would then straddle two rows.
    """
    experts, rows, columns = stack.shape
    if columns % BLOCK:
        raise ValueError(f"{columns} columns are not a multiple of {BLOCK}")
    codes = torch.empty(experts, rows * columns // 2, dtype=torch.uint8, device=stack.device)
    scales = torch.empty(experts, rows * columns // BLOCK, dtype=torch.float32, device=stack.device)
    for first in range(0, experts, _AT_ONCE):
        part = stack[first : first + _AT_ONCE].contiguous()
        packed, state = quantize_4bit(part, blocksize=BLOCK, quant_type="nf4")
        codes[first : first + _AT_ONCE] = packed.view(len(part), -1)
        scales[first : first + _AT_ONCE] = state.absmax.view(len(part), -1)
    return codes, scales


def unpack(codes: torch.Tensor, scales: torch.Tensor, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """The inverse for any number of experts: [experts, *shape] in `dtype`."""
    whole = [len(codes), *shape]
    out: torch.Tensor = torch.ops.bitsandbytes.dequantize_4bit(codes.reshape(-1, 1), scales.reshape(-1), BLOCK, "nf4", whole, dtype)
    return out
