"""Qwen3-Next's forward pass for one sequence, with its MTP head where it has one, over the weights of transformers' modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional

from backend.local.network.attention import Places, attend, rotate
from backend.local.network.delta import DeltaNet
from backend.local.network.experts import Routing, SparseFeedForward
from backend.local.network.linear import RmsNorm, fused
from backend.local.network.stack import Stack
from backend.local.network.state import Attention, Recurrent, State

if TYPE_CHECKING:
    from transformers import Qwen3NextForCausalLM
    from transformers.modeling_layers import MtpModel
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention, Qwen3NextDecoderLayer


def _norm(module: Any) -> RmsNorm:
    """Qwen3-Next's norms hold their weight less one."""
    return RmsNorm(1.0 + module.weight.detach().float(), module.eps)


class GatedAttention:
    """One full-attention layer: normed queries and keys, a quarter of the width turned, the output gated."""

    def __init__(self, module: Qwen3NextAttention) -> None:
        self._m = module
        self._q_norm, self._k_norm = _norm(module.q_norm), _norm(module.k_norm)
        self._in = fused(module.q_proj, module.k_proj, module.v_proj)
        self._widths = tuple(p.out_features for p in (module.q_proj, module.k_proj, module.v_proj))

    def new_state(self, room: int, dtype: torch.dtype) -> Attention:
        heads = self._m.config.num_key_value_heads
        return Attention(heads, self._m.head_dim, room, dtype, self._m.k_norm.weight.device)

    def __call__(self, x: torch.Tensor, state: Attention, places: Places) -> torch.Tensor:
        m, tokens = self._m, len(x)
        if self._in is not None:
            both, keys, values = functional.linear(x, self._in).split(self._widths, dim=-1)
        else:
            both, keys, values = m.q_proj(x), m.k_proj(x), m.v_proj(x)
        queries, gate = both.view(tokens, -1, 2 * m.head_dim).chunk(2, dim=-1)
        queries = rotate(self._q_norm(queries), places)
        keys = rotate(self._k_norm(keys.view(tokens, -1, m.head_dim)), places)
        out = attend(queries, keys, values.view(tokens, -1, m.head_dim), state, places, m.scaling)
        return m.o_proj(out * gate.sigmoid().reshape(tokens, -1))  # type: ignore[no-any-return]


class Layer:
    """A token mixer and a feed-forward, each with its norm before and its sum after."""

    def __init__(self, module: Qwen3NextDecoderLayer) -> None:
        self._m = module
        linear = module.block_type == "linear_attention"
        self._mixer: DeltaNet | GatedAttention = DeltaNet(module.linear_attn) if linear else GatedAttention(module.self_attn)
        self._sparse = SparseFeedForward(module.mlp) if hasattr(module.mlp, "experts") else None
        self._before, self._between = _norm(module.input_layernorm), _norm(module.post_attention_layernorm)
        self.device = module.input_layernorm.weight.device

    def new_state(self, room: int, dtype: torch.dtype) -> Attention | Recurrent:
        return self._mixer.new_state(dtype) if isinstance(self._mixer, DeltaNet) else self._mixer.new_state(room, dtype)

    def __call__(self, x: torch.Tensor, state: Attention | Recurrent, places: Places, routings: list[Routing] | None) -> torch.Tensor:
        normed = self._before(x)
        if isinstance(self._mixer, DeltaNet):
            x = x + self._mixer(normed, cast("Recurrent", state))
        else:
            x = x + self._mixer(normed, cast("Attention", state), places)
        normed = self._between(x)
        return x + (self._m.mlp(normed) if self._sparse is None else self._sparse(normed, routings))


class Qwen3Next(Stack):
    """The network. `head` is the MTP head; its keys and values are the last layer of a state."""

    def __init__(self, model: Qwen3NextForCausalLM, head: MtpModel | None = None) -> None:
        super().__init__(model, [Layer(layer) for layer in model.model.layers], _norm(model.model.norm))
        first: Any = None if head is None else head.layers[0]
        self._head, self._draft_layer = first, None if head is None else Layer(first.mtp_block)
        self._draft_norms = None if head is None else (_norm(first.enorm), _norm(first.hnorm), _norm(first.post_norm))
        self.drafts = head is not None

    def new_state(self, room: int) -> State:
        state = super().new_state(room)
        if self._draft_layer is not None:
            state.layers.append(self._draft_layer.new_state(room, self.dtype))
        state.wants_hidden = self.drafts
        return state

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass of the MTP head, for the token after each of `ids`: (scores [vocabulary] after the last one, its hidden [1, width]).

        `hidden` [tokens, width] are the hidden states of the tokens *before* `ids`; `start` is the place of the first of `ids`. The
        head's own places begin with the second token, since there is nothing before the first.
        """
        assert self._draft_layer is not None and self._draft_norms is not None  # nosec B101: for the type checker
        (of_embedding, of_hidden, after), device = self._draft_norms, self._draft_layer.device
        state.make_room(start + len(ids))
        x = self._head.eh_proj(torch.cat((of_embedding(self.embed(ids).to(device)), of_hidden(hidden.to(device))), dim=-1))
        x = self._draft_layer(x, state.layers[-1], self.rotary[device].places(start - 1, len(ids)), None)
        out = after(x[-1:])
        return self.scores(out)[0], out
