"""Plain 4-bit (bitsandbytes NF4) for dense models: which layers take it, and which models must not be loaded so.

bitsandbytes packs `nn.Linear` and nothing else. Experts of today's transformers are stacks of three dimensions, so a mixture of
experts would keep nearly all its weights in 16 bit while it calls itself 4-bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import ModelLoadError

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel

NF4_BYTES = 4.5 / 8  # per weight: 4 bits and one fp32 scale for 64 of them
_ROW_STEP, _BLOCK = 32, 64  # the CPU's packed product asks for rows in steps of 32, each of whole blocks of 64 weights
_MOST_IN_STACKS = 0.1  # a few convolutions have three dimensions too


@dataclass(frozen=True, slots=True)
class FourBit:
    config: BitsAndBytesConfig
    packed_weights: int


def four_bit(name: str, skeleton: PreTrainedModel, dtype: torch.dtype) -> FourBit:
    """`skeleton` is the model without its weights. Raises `ModelLoadError` where plain 4-bit would leave most weights alone."""
    from torch import nn
    from transformers import BitsAndBytesConfig

    total = skeleton.num_parameters()
    stacked = sum(p.numel() for p in skeleton.parameters() if p.ndim == 3)
    if stacked > _MOST_IN_STACKS * total:
        raise ModelLoadError(
            f"{name} is a mixture of experts: plain 4-bit would leave {stacked / 1e9:,.1f} of its {total / 1e9:,.1f} billion "
            f"weights in 16 bit and still need about {(stacked * 2 + (total - stacked) * NF4_BYTES) / 1e9:,.0f} GB.",
            hint="Choose it on DashScope, or serve it with vLLM, SGLang or llama.cpp and set OPENAI_BASE_URL.",
        )
    head = skeleton.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = [(n, m) for n, m in skeleton.named_modules() if isinstance(m, nn.Linear)]
    left = [n for n, m in linear if m is head or m.out_features % _ROW_STEP or m.in_features % _BLOCK]
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=left,  # the setting's name is older than 4-bit; it holds for both
    )
    return FourBit(config, sum(m.weight.numel() for n, m in linear if n not in left))
