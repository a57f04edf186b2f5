"""The forward pass of the plain decoders (Llama, Qwen2, Qwen3) for one sequence, over the weights of transformers' modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from backend.local.network.attention import Places, Rotary, attend, rotate
from backend.local.network.experts import Routing
from backend.local.network.int4 import Int4Linear
from backend.local.network.state import Attention, State

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


class Layer:
    def __init__(self, module: Any, *, packed: bool) -> None:
        self._m, self._attention, self._mlp = module, module.self_attn, module.mlp
        self._widths = [p.out_features for p in (module.self_attn.q_proj, module.self_attn.k_proj, module.self_attn.v_proj)]
        self._normed = hasattr(module.self_attn, "q_norm")
        a, m = module.self_attn, module.mlp
        packed = packed and not self._normed
        self._qkv = Int4Linear([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]) if packed else None
        self._o = Int4Linear([a.o_proj.weight]) if packed else None
        self._gate_up = Int4Linear([m.gate_proj.weight, m.up_proj.weight]) if packed else None
        self._down = Int4Linear([m.down_proj.weight]) if packed else None
        self.device = module.input_layernorm.weight.device

    def __call__(self, x: torch.Tensor, state: Attention, places: Places) -> torch.Tensor:
        a, m, tokens = self._attention, self._mlp, len(x)
        few = tokens <= _FEW_TOKENS
        normed = self._m.input_layernorm(x)
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
        normed = self._m.post_attention_layernorm(x)
        if few and self._gate_up is not None and self._down is not None:
            gate, up = self._gate_up(normed).chunk(2, dim=-1)
            return x + self._down(functional.silu(gate) * up)
        return x + m.down_proj(functional.silu(m.gate_proj(normed)) * m.up_proj(normed))  # type: ignore[no-any-return]


class Dense:
    """The network. With `packed`, steps over a few tokens use 4-bit copies of the weights (see int4.py)."""

    drafts = False
    reusable = True

    def __init__(self, model: PreTrainedModel, *, packed: bool = False) -> None:
        inner: Any = model.get_decoder()
        self._m, self._lm_head = inner, model.get_output_embeddings()
        self._layers = [Layer(layer, packed=packed) for layer in inner.layers]
        self.dtype, self.device = model.dtype, inner.embed_tokens.weight.device
        self.vocabulary = model.config.vocab_size
        self._heads, self._width = model.config.num_key_value_heads, inner.layers[0].self_attn.head_dim
        self._rotary = {d: Rotary(inner.rotary_emb, self.dtype, d) for d in {layer.device for layer in self._layers}}

    def new_state(self, room: int) -> State:
        return State([Attention(self._heads, self._width, room, self.dtype, layer.device) for layer in self._layers], room)

    def __call__(self, ids: torch.Tensor, state: State, *, logits: int = 1, routings: list[Routing] | None = None) -> torch.Tensor:
        """ids [tokens] -> the scores [logits, vocabulary] in fp32 after the last `logits` of them; moves `state` on."""
        count = len(ids)
        state.make_room(state.length + count)
        places = {device: rotary.places(state.length, count) for device, rotary in self._rotary.items()}
        x = self._m.embed_tokens(ids)
        for layer, kept in zip(self._layers, state.layers, strict=True):
            assert isinstance(kept, Attention)
            x = layer(x.to(layer.device), kept, places[layer.device])
        state.length, state.stepped = state.length + count, count
        scores: torch.Tensor = self._lm_head(self._m.norm(x[count - logits :]))
        return scores.float()

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("there is no MTP head")
