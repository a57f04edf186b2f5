"""Products and norms of a step in as few operations as they take: what bounds decoding is their number, not their size."""

from __future__ import annotations

import torch
from torch import nn


class RmsNorm:
    """x / rms(x) * weight over the last dimension, in fp32, out in the dtype of x.

    The root of the width goes into the weight, so that a sum does in place of a mean, which is the slower one on a processor.
    """

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        width, self.device = weight.shape[-1], weight.device
        self._weight, self._eps = weight.detach().float() * width**0.5, eps * width

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        scale = wide.square().sum(-1, keepdim=True).add_(self._eps).rsqrt_()
        return (wide * scale).mul_(self._weight).to(x.dtype)


def fused(*modules: nn.Module) -> torch.Tensor | None:
    """The weights of several layers with one input, one under the other, for a single product; `None` where that cannot be.

    Only on a processor, where operations cost most and a second copy of these weights is small; only for plain weights.
    """
    weights = [module.weight for module in modules]
    plain = all(type(m) is nn.Linear and m.bias is None for m in modules)
    if not plain or not all(isinstance(w, torch.Tensor) and w.device.type == "cpu" and w.is_floating_point() for w in weights):
        return None
    return torch.cat([w.detach() for w in weights if isinstance(w, torch.Tensor)])
