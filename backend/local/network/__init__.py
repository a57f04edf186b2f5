"""The forward pass of one sequence, ours: the same weights as transformers' modules, far fewer operations a token.

A `Network` reads a prompt in chunks and then steps over one or a few tokens at a time; a `State` is what it remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from backend.local.network.experts import Routing
    from backend.local.network.state import State


class Network(Protocol):
    """`drafts`: it has an MTP head. `reusable`: its states can be marked and taken back to a mark."""

    @property
    def drafts(self) -> bool: ...
    @property
    def reusable(self) -> bool: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def vocabulary(self) -> int: ...

    def new_state(self, room: int) -> State: ...

    def __call__(self, ids: torch.Tensor, state: State, *, logits: int = 1, routings: list[Routing] | None = None) -> torch.Tensor:
        """ids [tokens] -> the scores [logits, vocabulary] in fp32 after the last `logits` of them; moves `state` on."""
        ...

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Qwen3Next.draft`; never called where nothing `drafts`."""
        ...
