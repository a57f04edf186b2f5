"""The forward pass of the plain decoders (Llama, Qwen2, Qwen3) for one sequence, over the weights of transformers' modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from backend.local.network.attention import Places, attend, rotate
from backend.local.network.experts import Routing
from backend.local.network.int4 import Int4Linear
from backend.local.network.linear import RmsNorm
from backend.local.network.stack import Stack
from backend.local.network.state import Attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLASSES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_STEADY_ROPE = ("default", "linear", "llama3", "yarn")  # the others change their table with the length
_FEW_TOKENS = 4  # up to here the packed weights are faster than the product of many rows


def takes(model: PreTrainedModel) -> bool:
    """Whether this forward pass is the model's: its class, no sliding window, rotary places that do not depend on the length."""
    config = model.config
    sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    activation = getattr(config, "hidden_act", None)
    return type(model).__name__ in CLASSES and not sliding and rope in _STEADY_ROPE and activation == "silu"


def _norm(module: Any) -> RmsNorm:
    return RmsNorm(module.weight, module.variance_epsilon)


class Layer:
    def __init__(self, module: Any, *, packed: bool) -> None:
        self._attention, self._mlp = module.self_attn, module.mlp
        self._widths = [p.out_features for p in (module.self_attn.q_proj, module.self_attn.k_proj, module.self_attn.v_proj)]
        self._normed = hasattr(module.self_attn, "q_norm")
        a, m = module.self_attn, module.mlp
        packed = packed and not self._normed and module.self_attn.q_proj.bias is None
        self._qkv = Int4Linear([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]) if packed else None
        self._o = Int4Linear([a.o_proj.weight]) if packed else None
        self._gate_up = Int4Linear([m.gate_proj.weight, m.up_proj.weight]) if packed else None
        self._down = Int4Linear([m.down_proj.weight]) if packed else None
        copies = [copy for copy in (self._qkv, self._o, self._gate_up, self._down) if copy is not None]
        self.saved_bytes = sum(copy.saved_bytes for copy in copies)
        self._before, self._between = _norm(module.input_layernorm), _norm(module.post_attention_layernorm)
        self.device = module.input_layernorm.weight.device

    def new_state(self, room: int, dtype: torch.dtype) -> Attention:
        heads = self._widths[1] // self._attention.head_dim
        return Attention(heads, self._attention.head_dim, room, dtype, self.device)

    def __call__(self, x: torch.Tensor, state: Attention, places: Places, routings: list[Routing] | None) -> torch.Tensor:
        a, m, tokens = self._attention, self._mlp, len(x)
        few = tokens <= _FEW_TOKENS
        normed = self._before(x)
        if few and self._qkv is not None:
            both, values = self._qkv(normed).split((sum(self._widths[:2]), self._widths[2]), dim=-1)
            turned = rotate(both.view(tokens, -1, a.head_dim), places)
            queries, keys = turned.split((self._widths[0] // a.head_dim, self._widths[1] // a.head_dim), dim=1)
        else:
            queries, keys, values = (project(normed) for project in (a.q_proj, a.k_proj, a.v_proj))
            queries, keys = queries.view(tokens, -1, a.head_dim), keys.view(tokens, -1, a.head_dim)
            if self._normed:
                queries, keys = a.q_norm(queries), a.k_norm(keys)
            queries, keys = rotate(queries, places), rotate(keys, places)
        mixed = attend(queries, keys, values.view(tokens, -1, a.head_dim), state, places, a.scaling)
        x = x + (self._o if few and self._o is not None else a.o_proj)(mixed)
        normed = self._between(x)
        if few and self._gate_up is not None and self._down is not None:
            gate, up = self._gate_up(normed).chunk(2, dim=-1)
            return x + self._down(functional.silu(gate) * up)
        return x + m.down_proj(functional.silu(m.gate_proj(normed)) * m.up_proj(normed))  # type: ignore[no-any-return]


class Dense(Stack):
    """The network. With `packed`, steps over a few tokens use 4-bit copies of the weights (see int4.py)."""

    def __init__(self, model: PreTrainedModel, *, packed: bool = False) -> None:
        inner: Any = model.get_decoder()
        layers = [Layer(layer, packed=packed) for layer in inner.layers]
        super().__init__(model, layers, _norm(inner.norm))
        self.saved_bytes = sum(layer.saved_bytes for layer in layers)
