"""The forward pass over packed experts, registered with transformers as the experts implementation "nf4".

A few tokens touch only the experts that were chosen for them. Many tokens together would touch nearly all, so then one whole stack
at a time is unpacked and goes through transformers' grouped product.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward

from backend.local.packed.stacks import SCALES, STACKS, shape_of
from backend.local.packed.storage import unpack

NAME = "nf4"
FEW_TOKENS = 8  # up to here the chosen experts only
_FUSED_ROWS = 4  # bitsandbytes takes its fused CUDA kernel up to so many input rows


def forward(experts: Any, x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """x [tokens, hidden], chosen and weights [tokens, top] -> [tokens, hidden]. `experts` is the module of transformers."""
    if len(x) > FEW_TOKENS:
        out: torch.Tensor = grouped_mm_experts_forward(cast("torch.nn.Module", _Unpacked(experts, x.dtype)), x, chosen, weights)
        return out
    return (_fused if x.is_cuda else _gathered)(experts, x, chosen, weights)


def _gathered(experts: Any, x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The chosen experts of all tokens unpacked in one go: where there is no fused product, on a processor."""
    (tokens, top), ids = chosen.shape, chosen.flatten()
    rows = x[:, None].expand(tokens, top, x.shape[-1]).reshape(tokens * top, -1, 1)
    inner = experts._apply_gate(torch.bmm(_of(experts, "gate_up_proj", ids, x.dtype), rows)[..., 0])
    out = torch.bmm(_of(experts, "down_proj", ids, x.dtype), inner[..., None])[..., 0]
    return (out.view(tokens, top, -1) * weights[..., None]).sum(1).to(x.dtype)


def _fused(experts: Any, x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """bitsandbytes' fused product on the packed rows: nothing is unpacked to memory, no host synchronisation, fixed shapes."""
    top, hidden, middle = chosen.shape[1], experts.hidden_dim, experts.intermediate_dim
    outs = []
    for t in range(len(x)):
        ids = chosen[t]
        # all experts of a token read the same input: one product
        both = _product(x[t : t + 1], experts.gate_up_proj[ids], experts.gate_up_proj_absmax[ids], top * 2 * middle)
        inner = (experts._apply_gate(both.view(top, 2 * middle)) * weights[t, :, None]).to(x.dtype)
        # each has its own input on the way down: a few inputs with a few weights at once, of which the diagonal is wanted
        total = torch.zeros(hidden, dtype=torch.float32, device=x.device)
        for rows, group in zip(inner.split(_FUSED_ROWS), ids.split(_FUSED_ROWS), strict=True):
            n = len(rows)
            full = _product(rows, experts.down_proj[group], experts.down_proj_absmax[group], n * hidden)
            total = total + full.view(n, n, hidden).diagonal(dim1=0, dim2=1).float().sum(-1)
        outs.append(total)
    return torch.stack(outs).to(x.dtype)


def _product(x: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor, rows: int) -> torch.Tensor:
    """x [n, columns] times packed [rows, columns] transposed -> [n, rows]."""
    shape = [rows, x.shape[-1]]
    out: torch.Tensor = torch.ops.bitsandbytes.gemm_4bit(x, codes.reshape(-1, 1), shape, scales.reshape(-1), 64, "nf4")
    return out


def _of(experts: Any, stack: str, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return unpack(getattr(experts, stack)[ids], getattr(experts, stack + SCALES)[ids], shape_of(experts, stack), dtype)


class _Unpacked:
    """A module of experts as transformers' grouped product sees it, each stack unpacked when it is asked for and not before."""

    def __init__(self, experts: Any, dtype: torch.dtype) -> None:
        self._experts, self._dtype = experts, dtype

    def __getattr__(self, name: str) -> Any:
        if name in STACKS:
            m = self._experts
            return unpack(getattr(m, name), getattr(m, name + SCALES), shape_of(m, name), self._dtype)
        return getattr(self._experts, name)


ALL_EXPERTS_FUNCTIONS.register(NAME, forward)
