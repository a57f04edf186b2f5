"""What a network remembers of one sequence: keys and values that grow with it, and states of fixed size that do not.

Every tensor keeps its address until the sequence outgrows its room, which a captured CUDA graph relies on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import DynamicCache


class Attention:
    """Keys and values [heads, room, width] of one full-attention layer, of which the first `length` places count."""

    def __init__(self, heads: int, width: int, room: int, dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.zeros(heads, room, width, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)

    def grow(self, room: int) -> None:
        """Into new tensors of more room, everything copied: an MTP head has written further than the sequence is long."""
        for name in ("keys", "values"):
            old: torch.Tensor = getattr(self, name)
            if old.shape[1] >= room:
                continue
            new = old.new_zeros(old.shape[0], room, old.shape[2])
            new[:, : old.shape[1]] = old
            setattr(self, name, new)


class Recurrent:
    """The last inputs of the convolution [channels, kernel - 1] and the memory [heads, key, value] in fp32 of one linear layer.

    After a step over several tokens `trail` holds what both were after each of them but the last, for `State.keep`.
    """

    def __init__(self, channels: int, kernel: int, heads: int, key: int, value: int, dtype: torch.dtype, device: torch.device) -> None:
        self.conv = torch.zeros(channels, kernel - 1, dtype=dtype, device=device)
        self.memory = torch.zeros(heads, key, value, dtype=torch.float32, device=device)
        self.trail: list[tuple[torch.Tensor, torch.Tensor]] = []


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a sequence that it can be taken back to: `length` tokens, and the recurrent layers as they were there.

    `hidden` [width] is the last hidden state there, which a draft begins from; `None` where no head drafts.
    """

    length: int
    recurrent: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    hidden: torch.Tensor | None

    @property
    def size_bytes(self) -> int:
        kept = [t for pair in self.recurrent for t in pair] + ([] if self.hidden is None else [self.hidden])
        return sum(t.nbytes for t in kept)


@dataclass
class State:
    """One sequence. `length` counts the tokens read; `stepped` those of the last step, which `keep` may take back in part.

    `hidden` [tokens of the last call, width] is kept for a draft where `wants_hidden`. `cache` is transformers', for a network
    that goes through its forward. `moves` counts how often the tensors went to other addresses.
    """

    layers: list[Attention | Recurrent]
    room: int
    wants_hidden: bool = False
    length: int = 0
    stepped: int = 0
    hidden: torch.Tensor | None = None
    cache: DynamicCache | None = None
    moves: int = 0

    def keep(self, count: int) -> None:
        """Of the last step's tokens only the first `count` (at least 1) happened."""
        if not 1 <= count <= self.stepped:
            raise ValueError(f"{count} of {self.stepped} tokens cannot be kept")
        if count < self.stepped:
            for layer in self.layers:
                if isinstance(layer, Recurrent):
                    conv, memory = layer.trail[count - 1]
                    layer.conv.copy_(conv)
                    layer.memory.copy_(memory)
            self.length -= self.stepped - count
            if self.hidden is not None:
                self.hidden = self.hidden[:count]
        self.stepped = count

    def went_on(self, count: int, hidden: torch.Tensor) -> None:
        """A call read `count` tokens more; `hidden` [count, width] came of it."""
        self.length, self.stepped = self.length + count, count
        self.hidden = hidden if self.wants_hidden else None

    def mark(self) -> Mark:
        kept = tuple((r.conv.clone(), r.memory.clone()) for r in self.layers if isinstance(r, Recurrent))
        return Mark(self.length, kept, None if self.hidden is None else self.hidden[-1].clone())

    def back_to(self, mark: Mark) -> None:
        """Keys and values up to there must be as they were: nothing may have been written over them since."""
        recurrent = [r for r in self.layers if isinstance(r, Recurrent)]
        for layer, (conv, memory) in zip(recurrent, mark.recurrent, strict=True):
            layer.conv.copy_(conv)
            layer.memory.copy_(memory)
        self.length, self.stepped = mark.length, 0
        self.hidden = None if mark.hidden is None else mark.hidden[None].clone()

    def make_room(self, room: int) -> None:
        """For `room` tokens in all; grows by doubling, so that a long answer is copied a few times only."""
        if room <= self.room:
            return
        room, self.moves = max(room, 2 * self.room), self.moves + 1
        for layer in self._attentions():
            layer.grow(room)
        self.room = room  # last: where memory runs out in between, the next call grows the rest

    def segment(self, start: int, end: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Copies of the keys and values of these places, layer by layer."""
        return [(a.keys[:, start:end].clone(), a.values[:, start:end].clone()) for a in self._attentions()]

    def put(self, start: int, segment: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Keys and values from `segment` into the places from `start`; there must be room."""
        for layer, (keys, values) in zip(self._attentions(), segment, strict=True):
            layer.keys[:, start : start + keys.shape[1]] = keys
            layer.values[:, start : start + keys.shape[1]] = values

    def clear(self) -> None:
        """Before the first token again."""
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                layer.conv.zero_()
                layer.memory.zero_()
        self.length, self.stepped, self.hidden = 0, 0, None
        if self.cache is not None:
            self.cache.reset()

    def _attentions(self) -> list[Attention]:
        return [layer for layer in self.layers if isinstance(layer, Attention)]

    @property
    def size_bytes(self) -> int:
        return sum(
            layer.keys.nbytes + layer.values.nbytes if isinstance(layer, Attention) else layer.conv.nbytes + layer.memory.nbytes
            for layer in self.layers
        )
