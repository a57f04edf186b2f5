"""Gated DeltaNet, the linear attention of Qwen3-Next, for one sequence: token by token in a step, by chunks in a prompt.

The recurrence is that of transformers' `torch_recurrent_gated_delta_rule` (Yang et al., "Gated Delta Networks", 2024); prompts go
through transformers' `torch_chunk_gated_delta_rule`, which takes the fla kernels where they are installed.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet, torch_chunk_gated_delta_rule

from backend.local.network.linear import RmsNorm, fused
from backend.local.network.state import Recurrent

LONGEST_STEP = 8  # tokens that go one by one; more go by chunks
_NORM_EPS = 1e-6  # of the L2 norm of queries and keys, as fla's


class DeltaNet:
    """One layer, over the weights of transformers' module."""

    def __init__(self, module: Qwen3NextGatedDeltaNet) -> None:
        self._m = module
        self._conv = module.conv1d.weight.detach().squeeze(1)  # [channels, kernel]
        self._decay = -module.A_log.detach().float().exp()
        self._groups = module.num_v_heads // module.num_k_heads
        self._out_norm = RmsNorm(module.norm.weight, module.norm.variance_epsilon)
        width = module.head_k_dim  # an L2 norm is an RMS norm divided by the root of the width
        self._unit = RmsNorm(torch.full((width,), width**-0.5, device=self._conv.device), _NORM_EPS / width)
        scales = torch.ones(2 * module.num_k_heads, 1, device=self._conv.device)
        scales[: module.num_k_heads] = width**-0.5  # queries, then keys
        self._scales = scales
        weight = fused(module.in_proj_qkvz, module.in_proj_ba)
        self._in = None if weight is None else weight[self._order()]

    def new_state(self, dtype: torch.dtype) -> Recurrent:
        m = self._m
        return Recurrent(m.conv_dim, m.conv_kernel_size, m.num_v_heads, m.head_k_dim, m.head_v_dim, dtype, self._conv.device)

    def __call__(self, x: torch.Tensor, state: Recurrent) -> torch.Tensor:
        """x [tokens, hidden] -> [tokens, hidden]; moves `state` on."""
        m, tokens = self._m, len(x)
        mixed, gate, beta, alpha = self._project(x)
        mixed = self._convolve(mixed, state)
        values = mixed[:, 2 * m.key_dim :].reshape(tokens, m.num_v_heads, m.head_v_dim)
        pair = mixed[:, : 2 * m.key_dim].reshape(tokens, 2 * m.num_k_heads, m.head_k_dim)
        decay = functional.softplus(alpha.float() + m.dt_bias).mul_(self._decay)
        out = (self._steps if tokens <= LONGEST_STEP else self._chunks)(pair, values, decay, beta.sigmoid(), state)
        out = self._out_norm(out) * functional.silu(gate.float())
        return m.out_proj(out.to(x.dtype).reshape(tokens, -1))  # type: ignore[no-any-return]

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs of the convolution [tokens, channels], gate [tokens, value heads, width], beta and alpha [tokens, value heads]."""
        m, tokens, heads = self._m, len(x), self._m.num_v_heads
        if self._in is not None:
            mixed, gate, beta, alpha = functional.linear(x, self._in).split((m.conv_dim, m.value_dim, heads, heads), dim=-1)
            return mixed, gate.view(tokens, heads, -1), beta, alpha
        values = self._groups * m.head_v_dim
        grouped = m.in_proj_qkvz(x).view(tokens, m.num_k_heads, -1)
        queries, keys, wide, gate = grouped.split((m.head_k_dim, m.head_k_dim, values, values), dim=-1)
        beta, alpha = m.in_proj_ba(x).view(tokens, m.num_k_heads, 2 * self._groups).split(self._groups, dim=-1)
        mixed = torch.cat([part.reshape(tokens, -1) for part in (queries, keys, wide)], dim=-1)
        return mixed, gate.reshape(tokens, heads, -1), beta.reshape(tokens, -1), alpha.reshape(tokens, -1)

    def _order(self) -> torch.Tensor:
        """The rows of both projections, which the checkpoint groups by key head, as: queries, keys, values, gates, betas, alphas."""
        m, values = self._m, self._groups * self._m.head_v_dim
        first = torch.arange(m.conv_dim + m.value_dim).view(m.num_k_heads, -1)
        second = first.numel() + torch.arange(2 * m.num_v_heads).view(m.num_k_heads, -1)
        parts = [*first.split((m.head_k_dim, m.head_k_dim, values, values), dim=-1), *second.split(self._groups, dim=-1)]
        return torch.cat([part.flatten() for part in parts])

    def _convolve(self, mixed: torch.Tensor, state: Recurrent) -> torch.Tensor:
        """mixed [tokens, channels]; causal, channel by channel, with the last inputs of the tokens before."""
        tokens, kernel = len(mixed), self._conv.shape[1]
        window = torch.cat((state.conv, mixed.t()), dim=1)
        state.trail = []
        if tokens == 1:
            out = (window * self._conv).sum(-1, keepdim=True)
        elif tokens <= LONGEST_STEP:
            out = (window.unfold(1, kernel, 1) * self._conv[:, None]).sum(-1)
            state.trail = [(window[:, place : place + kernel - 1], state.memory) for place in range(1, tokens)]
        else:
            out = functional.conv1d(window[None], self._conv[:, None], groups=len(self._conv))[0]
        state.conv.copy_(window[:, tokens:])
        return functional.silu(out).t()

    def _steps(self, pair: torch.Tensor, values: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor, state: Recurrent) -> torch.Tensor:
        """pair [tokens, 2 x key heads, width]: queries, then keys. fp32 inside, the dtype of `values` out; [tokens, heads, width]."""
        heads = values.shape[1]
        pair = self._unit(pair.float()) * self._scales
        if self._groups > 1:
            pair = pair.repeat_interleave(self._groups, dim=1)
        shrink, wide, strength, memory = decay.exp()[..., None, None], values.float(), beta.float()[..., None], state.memory
        queries, keys, outs = pair[:, :heads, None], pair[:, heads:, None], []
        for t in range(len(pair)):
            memory.mul_(shrink[t])
            change = (wide[t] - torch.bmm(keys[t], memory)[:, 0]).mul_(strength[t])
            memory.baddbmm_(keys[t].transpose(1, 2), change[:, None])
            outs.append(torch.bmm(queries[t], memory)[:, 0])
            if t < len(pair) - 1:
                state.trail[t] = (state.trail[t][0], memory.clone())
        return (outs[0][None] if len(outs) == 1 else torch.stack(outs)).to(values.dtype)

    def _chunks(self, pair: torch.Tensor, values: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor, state: Recurrent) -> torch.Tensor:
        queries, keys = pair.chunk(2, dim=1)
        out, memory = torch_chunk_gated_delta_rule(
            queries[None],
            keys[None],
            values[None],
            g=decay[None],
            beta=beta[None],
            initial_state=state.memory[None],
            output_final_state=True,
            use_qk_l2norm_in_kernel=True,
        )
        state.memory.copy_(memory[0])
        return out[0]  # type: ignore[no-any-return]
