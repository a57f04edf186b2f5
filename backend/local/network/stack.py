"""What all forward passes of ours share: embedding, layers that may lie on several devices, a norm and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from backend.local.network.attention import Places, Rotary
from backend.local.network.experts import Routing
from backend.local.network.linear import RmsNorm
from backend.local.network.state import Attention, Recurrent, State

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Layer(Protocol):
    @property
    def device(self) -> torch.device: ...

    def new_state(self, room: int, dtype: torch.dtype) -> Attention | Recurrent: ...

    def __call__(self, x: torch.Tensor, state: Any, places: Places, routings: list[Routing] | None) -> torch.Tensor:
        """x [tokens, width] -> the same; moves `state` on."""
        ...


class Stack:
    """A network (see `Network`). Calls are made inside `torch.inference_mode`."""

    drafts = False
    reusable = True
    saved_bytes = 0  # of the weights a step need not read, because it reads smaller copies

    def __init__(self, model: PreTrainedModel, layers: Sequence[Layer], norm: RmsNorm) -> None:
        inner: Any = model.get_decoder()
        self.embed, self._norm, self._lm_head = inner.embed_tokens, norm, model.get_output_embeddings()
        self.layers = list(layers)
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = inner.embed_tokens.weight.device
        self.vocabulary: int = model.config.vocab_size
        # the device of the norm is that of an MTP head, too
        self.rotary = {d: Rotary(inner.rotary_emb, self.dtype, d) for d in {*(layer.device for layer in self.layers), norm.device}}

    @property
    def devices(self) -> set[torch.device]:
        """Of everything that a step goes through."""
        return {*self.rotary, self.device, self._lm_head.weight.device}

    def new_state(self, room: int) -> State:
        return State([layer.new_state(room, self.dtype) for layer in self.layers], room)

    def __call__(self, ids: torch.Tensor, state: State, *, logits: int = 1, routings: list[Routing] | None = None) -> torch.Tensor:
        """ids [tokens] -> the scores [logits, vocabulary] in fp32 after the last `logits` of them; moves `state` on."""
        count = len(ids)
        state.make_room(state.length + count)
        places = {device: rotary.places(state.length, count) for device, rotary in self.rotary.items()}
        hidden = self.hidden(ids, state, places, routings)
        state.went_on(count, hidden)
        return self.scores(hidden[count - logits :])

    def hidden(
        self, ids: torch.Tensor, state: State, places: dict[torch.device, Places], routings: list[Routing] | None = None
    ) -> torch.Tensor:
        """[tokens, width], after the last norm. Changes the layers of `state`, not its length."""
        x = self.embed(ids)
        for layer, kept in zip(self.layers, state.layers, strict=False):  # an MTP head's is one more
            x = layer(x.to(layer.device), kept, places[layer.device], routings)
        return self._norm(x.to(self._norm.device))

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self._lm_head(hidden.to(self._lm_head.weight.device))
        return scores.float().to(self.device)

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("there is no MTP head")
