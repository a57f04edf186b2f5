"""Reading a prompt on a processor without bf16 products: the weights stay bf16, each product of many rows is made in fp32.

There oneDNN emulates bf16 products, which costs far more than widening the weights for each chunk: SmolLM2-135M read 670 tokens in
1.6 s in place of 9.0 s, 128 in 0.44 s in place of 1.6 s (AMD EPYC held to AVX2, 2 cores, torch 2.13, 2026-11-25).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FEWEST_ROWS = 24  # widening the weights costs as much as it saves at 16 rows: 0.28 s against 0.29 s, at 32 0.50 against 0.25


def reads_in_fp32() -> bool:
    """Whether this processor's bf16 products are emulated slowly. With AVX-512 oneDNN has kernels for them."""
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2")


class _Widened(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if function not in (functional.linear, functional.scaled_dot_product_attention) or args[0].shape[-2] < FEWEST_ROWS:
            return function(*args, **named)
        wide = function(*map(_wide, args), **{name: _wide(value) for name, value in named.items()})
        return wide.to(args[0].dtype)


def widened() -> TorchFunctionMode:
    """Within it bf16 products of at least `FEWEST_ROWS` rows are made in fp32, and rounded to bf16 once."""
    return _Widened()


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value
