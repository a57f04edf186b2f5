"""Full attention over a growing cache, for one sequence: rotary places, causal masks, grouped heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from backend.local.network.state import Attention

FEW_TOKENS = 8  # up to here it is a step


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of one call stand. `index` [tokens] are their places, `span` how many places are looked at.

    `mask` [tokens, span] is true where a token may look; `None` where every one of them may look everywhere. `cos` and `sin`
    [tokens, 1, rotary width], the sines of the first half with their sign changed (see `rotate`).
    """

    index: torch.Tensor
    span: int
    mask: torch.Tensor | None
    cos: torch.Tensor
    sin: torch.Tensor


class Rotary:
    """The model's own rotary embedding as a table, made once for as many places as were needed so far."""

    def __init__(self, embedding: torch.nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self._embedding, self._dtype, self.device = embedding, dtype, device
        self._cos = self._sin = torch.empty(0, 0)

    @property
    def table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(cosines, sines) as they are now; a captured graph reads them, so whoever has one holds them."""
        return self._cos, self._sin

    def places(self, start: int, count: int) -> Places:
        """For tokens that follow `start` others. A mask is needed only where there are several."""
        end = start + count
        if end > len(self._cos):
            self._grow(end)
        index = torch.arange(start, end, device=self.device)
        mask = None if count == 1 else torch.arange(end, device=self.device)[None] <= index[:, None]
        return Places(index, end, mask, self._cos[start:end], self._sin[start:end])

    def fixed(self, index: torch.Tensor, span: int) -> Places:
        """The same with shapes that do not depend on `index`, a tensor on the device: for a graph captured once."""
        if span > len(self._cos):
            self._grow(span)
        mask = torch.arange(span, device=self.device)[None] <= index[:, None]
        return Places(index, span, mask, self._cos[index], self._sin[index])

    def _grow(self, end: int) -> None:
        places = torch.arange(max(end, 2 * len(self._cos), 512), device=self.device)
        like = torch.empty(1, 1, dtype=self._dtype, device=self.device)
        # accelerate's hook on a model over several devices answers on the embedding's own
        cos, sin = (table.to(self.device) for table in self._embedding(like, places[None]))
        half = sin.shape[-1] // 2
        self._cos, self._sin = cos[0][:, None], torch.cat((-sin[0, :, :half], sin[0, :, half:]), dim=-1)[:, None]


def rotate(x: torch.Tensor, places: Places) -> torch.Tensor:
    """x [tokens, heads, width]; the first part of the width turns, the rest is passed (Qwen3-Next turns a quarter).

    (a, b) -> (a cos - b sin, b cos + a sin), written as x cos + (x with its halves swapped) (-sin, sin).
    """
    width = places.cos.shape[-1]
    turned = x if width == x.shape[-1] else x[..., :width]
    out = torch.addcmul(turned * places.cos, turned.roll(width // 2, dims=-1), places.sin)
    return out if width == x.shape[-1] else torch.cat((out, x[..., width:]), dim=-1)


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cache: Attention, places: Places, scaling: float
) -> torch.Tensor:
    """queries [tokens, heads, width], keys and values [tokens, kv heads, width] -> [tokens, heads * width].

    In a step the queries that share a kv head are laid out as rows of it: 41 us in place of 168 us with `enable_gqa`, which copies
    keys and values (bf16, 200 places, 2 cores AMD EPYC, torch 2.13, 2026-11-25). In a prompt they are heads of their own, so that
    one mask [tokens, span] does for all of them: repeated for 8 heads it takes gigabytes in a long chat.
    """
    cache.keys.index_copy_(1, places.index, keys.transpose(0, 1))
    cache.values.index_copy_(1, places.index, values.transpose(0, 1))
    tokens, heads, width = queries.shape
    groups, blocks = heads // keys.shape[1], 1
    if tokens <= FEW_TOKENS:
        groups, blocks = 1, groups  # rows of one kv head: group by group, token by token
    looked_at = (cache.keys.narrow(1, 0, places.span).unsqueeze(1), cache.values.narrow(1, 0, places.span).unsqueeze(1))
    if groups > 1:
        looked_at = (looked_at[0].expand(-1, groups, -1, -1), looked_at[1].expand(-1, groups, -1, -1))
    out = functional.scaled_dot_product_attention(
        queries.transpose(0, 1).reshape(keys.shape[1], groups, -1, width),
        *looked_at,
        attn_mask=None if places.mask is None else places.mask.repeat(blocks, 1)[None, None],
        scale=scaling,
    )
    # no view: on a GPU the product for masks lays its result out token by token, on a processor as the queries lie
    return out.reshape(heads, tokens, width).transpose(0, 1).reshape(tokens, -1)
