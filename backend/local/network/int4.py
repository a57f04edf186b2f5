"""Products with weights of 4 bits on a processor, by torch's own kernel: for weights that were 4-bit to begin with.

A GGUF file of type Q4_1 holds blocks of 32 weights as `scale * code + least` with codes 0..15; read into bf16, each block still has
at most 16 values, evenly apart, so the codes are found again and nothing is lost but the rounding of the scales to bf16.
"""

from __future__ import annotations

import torch

BLOCK = 32
_TOP_CODE, _MIDDLE_CODE = 15, 8
_INNER_TILES = 1  # a layout parameter of the GPU's kernel; the processor's takes no notice of it


def codes(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bf16 [rows, columns] -> codes int32 [rows, columns] and (scale, value of the middle code) [columns / 32, rows, 2] in bf16."""
    rows, columns = weight.shape
    blocks = weight.float().view(rows, columns // BLOCK, BLOCK)
    least, most = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)  # `aminmax` takes longer than both
    scale = ((most - least) / _TOP_CODE).clamp_min_(torch.finfo(torch.float32).tiny)
    found = blocks.sub_(least).div_(scale).round_().clamp_(0, _TOP_CODE).to(torch.int32)
    scales = torch.cat((scale, least.add_(scale, alpha=_MIDDLE_CODE)), dim=-1)
    return found.view(rows, columns), scales.transpose(0, 1).to(torch.bfloat16).contiguous()


class Int4Linear:
    """x [tokens, columns] in bf16 -> [tokens, rows]; several weights of one input are laid one under the other."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        whole = torch.cat([weight.detach() for weight in weights])  # recorded for autograd, all of this takes five times as long
        found, self._scales = codes(whole)
        self._packed = torch._convert_weight_to_int4pack_for_cpu(found, _INNER_TILES)
        self.saved_bytes = whole.nbytes - self._packed.nbytes - self._scales.nbytes  # of what a product reads

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch._weight_int4pack_mm_for_cpu(x.contiguous(), self._packed, BLOCK, self._scales)
        return out
