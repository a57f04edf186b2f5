"""The sparse feed-forward of Qwen3-Next: a router, the experts it chose for a token, and the shared expert."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextSparseMoeBlock

from backend.local.network.linear import fused

FEW_TOKENS = 8  # up to here only the chosen experts' weights are touched; more tokens together would touch most of them

Routing = tuple[torch.Tensor, torch.Tensor]
"""(expert numbers, weights), each [tokens, chosen experts]."""


class SparseFeedForward:
    """One layer, over the weights of transformers' module. `experts` packed or converted otherwise bring their own forward."""

    def __init__(self, module: Qwen3NextSparseMoeBlock) -> None:
        self._m = module
        stack = module.experts.gate_up_proj
        dense = isinstance(stack, nn.Parameter) and stack.is_floating_point() and stack.element_size() > 1
        self._few: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] = self._gathered if dense else module.experts
        shared = module.shared_expert
        both = fused(shared.gate_proj, shared.up_proj, module.shared_expert_gate)
        router = module.gate.weight.detach()
        self._in = None if both is None or not module.gate.norm_topk_prob else torch.cat((router, both))
        self._widths = (len(router), shared.gate_proj.out_features, shared.gate_proj.out_features, 1)

    def __call__(self, x: torch.Tensor, routings: list[Routing] | None) -> torch.Tensor:
        """x [tokens, hidden] -> the same. The routing is put into `routings` where there is such a list."""
        m, tokens = self._m, len(x)
        if self._in is not None:
            scores, gate, up, share = functional.linear(x, self._in).split(self._widths, dim=-1)
            best, chosen = scores.topk(m.gate.top_k)
            # the largest of a softmax, made to sum to one again, are the softmax of the largest
            weights = best.softmax(-1, dtype=torch.float32).to(x.dtype)
            shared = m.shared_expert.down_proj(functional.silu(gate).mul_(up)).mul_(share.sigmoid())
        else:
            _, weights, chosen = m.gate(x)
            shared = m.shared_expert(x) * m.shared_expert_gate(x).sigmoid()
        if routings is not None:
            routings.append((chosen, weights))
        routed = (self._few if tokens <= FEW_TOKENS else m.experts)(x, chosen, weights)
        return routed + shared  # type: ignore[no-any-return]

    def _gathered(self, x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The products of the chosen experts only: no sorting, no host synchronisation, shapes that never change."""
        experts, (tokens, top), ids = self._m.experts, chosen.shape, chosen.flatten()
        into = experts.gate_up_proj.index_select(0, ids)
        if tokens == 1:  # all experts read the same token: one product
            both = functional.linear(x, into.view(-1, x.shape[-1])).view(top, -1)
        else:
            rows = x.repeat_interleave(top, dim=0)[:, None]
            both = torch.bmm(rows, into.transpose(1, 2))[:, 0]
        gate, up = both.chunk(2, dim=-1)
        inner = functional.silu(gate).mul_(up).mul_(weights.view(-1, 1))
        out = torch.bmm(inner[:, None], experts.down_proj.index_select(0, ids).transpose(1, 2))
        return out.view(tokens, top, -1).sum(1)
