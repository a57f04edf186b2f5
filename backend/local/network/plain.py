"""Any causal language model through transformers' own forward and cache: for architectures that have no forward pass here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from backend.local.network.experts import Routing
from backend.local.network.state import State

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Plain:
    """The network. Its states cannot be taken back, so no prefix is kept."""

    drafts = False
    reusable = False

    def __init__(self, model: PreTrainedModel) -> None:
        self._m = model
        self.dtype, self.device = model.dtype, model.device
        self.vocabulary = model.config.get_text_config(decoder=True).vocab_size

    def new_state(self, room: int) -> State:
        return State([], room, cache=DynamicCache(config=self._m.config))

    def __call__(self, ids: torch.Tensor, state: State, *, logits: int = 1, routings: list[Routing] | None = None) -> torch.Tensor:
        """ids [tokens] -> the scores [logits, vocabulary] in fp32 after the last `logits` of them; moves `state` on."""
        state.length, state.stepped = state.length + len(ids), len(ids)
        out: torch.Tensor = self._m(input_ids=ids[None], cache=state.cache, use_cache=True, logits_to_keep=logits).logits
        return out[0].float()

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("there is no MTP head")
