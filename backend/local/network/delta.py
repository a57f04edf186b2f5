"""Gated DeltaNet, the linear attention of Qwen3-Next, for one sequence: token by token in a step, by chunks in a prompt.

The recurrence is that of transformers' `torch_recurrent_gated_delta_rule` (Yang et al., "Gated Delta Networks", 2024); prompts go
through transformers' `torch_chunk_gated_delta_rule`, which takes the fla kernels where they are installed.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet, torch_chunk_gated_delta_rule

from backend.local.network.state import Recurrent

LONGEST_STEP = 8  # tokens that go one by one; more go by chunks
_NORM_EPS = 1e-6  # of the L2 norm of queries and keys, as fla's


class DeltaNet:
    """One layer, over the weights of transformers' module."""

    def __init__(self, module: Qwen3NextGatedDeltaNet) -> None:
        self._m = module
        self._conv = module.conv1d.weight.squeeze(1)  # [channels, kernel]
        self._decay = -module.A_log.float().exp()
        self._groups = module.num_v_heads // module.num_k_heads
        self._scale = module.head_k_dim**-0.5

    def new_state(self, dtype: torch.dtype) -> Recurrent:
        m = self._m
        return Recurrent(m.conv_dim, m.conv_kernel_size, m.num_v_heads, m.head_k_dim, m.head_v_dim, dtype, self._conv.device)

    def __call__(self, x: torch.Tensor, state: Recurrent) -> torch.Tensor:
        """x [tokens, hidden] -> [tokens, hidden]; moves `state` on."""
        m, tokens = self._m, len(x)
        grouped = m.in_proj_qkvz(x).view(tokens, m.num_k_heads, -1)
        values = self._groups * m.head_v_dim
        queries, keys, heads, gate = grouped.split((m.head_k_dim, m.head_k_dim, values, values), dim=-1)
        beta, alpha = m.in_proj_ba(x).view(tokens, m.num_k_heads, 2 * self._groups).split(self._groups, dim=-1)
        mixed = torch.cat((queries.reshape(tokens, -1), keys.reshape(tokens, -1), heads.reshape(tokens, -1)), dim=-1)
        mixed = self._convolve(mixed, state)
        queries, keys, heads = mixed.split((m.key_dim, m.key_dim, m.value_dim), dim=-1)
        beta = beta.reshape(tokens, -1).sigmoid()
        decay = self._decay * functional.softplus(alpha.reshape(tokens, -1).float() + m.dt_bias)
        queries = queries.view(tokens, m.num_k_heads, m.head_k_dim)
        keys = keys.view(tokens, m.num_k_heads, m.head_k_dim)
        heads = heads.view(tokens, m.num_v_heads, m.head_v_dim)
        out = (self._steps if tokens <= LONGEST_STEP else self._chunks)(queries, keys, heads, decay, beta, state)
        out = m.norm(out.reshape(-1, m.head_v_dim), gate.reshape(-1, m.head_v_dim))
        return m.out_proj(out.view(tokens, -1))  # type: ignore[no-any-return]

    def _convolve(self, mixed: torch.Tensor, state: Recurrent) -> torch.Tensor:
        """mixed [tokens, channels]; causal, channel by channel, with the last inputs of the tokens before."""
        tokens, kernel = len(mixed), self._conv.shape[1]
        window = torch.cat((state.conv, mixed.t()), dim=1)
        if tokens <= LONGEST_STEP:
            out = (window.unfold(1, kernel, 1) * self._conv[:, None]).sum(-1)
        else:
            out = functional.conv1d(window[None], self._conv[:, None], groups=len(self._conv))[0]
        state.conv.copy_(window[:, tokens:])
        state.trail = (
            [(window[:, place : place + kernel - 1], state.memory) for place in range(1, tokens)] if tokens <= LONGEST_STEP else []
        )
        return functional.silu(out).t()

    def _steps(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor, state: Recurrent
    ) -> torch.Tensor:
        """fp32 inside, the dtype of `values` out; [tokens, heads, width]."""
        keys = _unit(keys.float()).repeat_interleave(self._groups, dim=1)
        queries = (_unit(queries.float()) * self._scale).repeat_interleave(self._groups, dim=1)
        shrink, wide, strength, memory = decay.exp()[..., None, None], values.float(), beta.float()[..., None], state.memory
        outs = []
        for t in range(len(keys)):
            memory.mul_(shrink[t])
            known = torch.matmul(keys[t, :, None], memory)[:, 0]
            memory.baddbmm_(keys[t, :, :, None], ((wide[t] - known) * strength[t])[:, None])
            outs.append(torch.matmul(queries[t, :, None], memory)[:, 0])
            if t < len(keys) - 1:
                state.trail[t] = (state.trail[t][0], memory.clone())
        return torch.stack(outs).to(values.dtype)

    def _chunks(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, decay: torch.Tensor, beta: torch.Tensor, state: Recurrent
    ) -> torch.Tensor:
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


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + _NORM_EPS)
