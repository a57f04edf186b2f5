"""The sparse feed-forward of Qwen3-Next: a router, the experts it chose for a token, and the shared expert."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextSparseMoeBlock

FEW_TOKENS = 8  # up to here only the chosen experts' weights are touched; more tokens together would touch most of them

Routing = tuple[torch.Tensor, torch.Tensor]
"""(expert numbers, weights), each [tokens, chosen experts]."""


class SparseFeedForward:
    """One layer, over the weights of transformers' module. `experts` packed or converted otherwise bring their own forward."""

    def __init__(self, module: Qwen3NextSparseMoeBlock) -> None:
        self._m = module
        plain = isinstance(module.experts.gate_up_proj, torch.nn.Parameter) and module.experts.gate_up_proj.is_floating_point()
        dense = plain and module.experts.gate_up_proj.element_size() > 1
        self._few: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = self._gathered if dense else module.experts

    def __call__(self, x: torch.Tensor, routings: list[Routing] | None) -> torch.Tensor:
        """x [tokens, hidden] -> the same. The routing is put into `routings` where there is such a list."""
        m, tokens = self._m, len(x)
        _, weights, chosen = m.gate(x)
        if routings is not None:
            routings.append((chosen, weights))
        routed = (self._few if tokens <= FEW_TOKENS else m.experts)(x, chosen, weights)
        shared = m.shared_expert(x) * m.shared_expert_gate(x).sigmoid()
        return routed + shared  # type: ignore[no-any-return]

    def _gathered(self, x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The products of the chosen experts only: no sorting, no host synchronisation, shapes that never change."""
        experts = self._m.experts
        tokens, top = chosen.shape
        ids = chosen.flatten()
        rows = x[:, None].expand(tokens, top, x.shape[-1]).reshape(tokens * top, -1, 1)
        gate, up = torch.bmm(experts.gate_up_proj[ids], rows)[..., 0].chunk(2, dim=-1)
        inner = functional.silu(gate) * up
        out = torch.bmm(experts.down_proj[ids], inner[..., None])[..., 0]
        return (out.view(tokens, top, -1) * weights[..., None]).sum(1)
