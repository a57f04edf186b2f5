"""What a fused expert stack is, and how a packed one is named. Imports no bitsandbytes: with what that pulls in it takes seconds."""

from __future__ import annotations

from typing import Any

import torch

METHOD = "nf4_experts"  # the quantization method that a packed folder's config.json names
BLOCK = 64  # weights that share a scale
STACKS = ("gate_up_proj", "down_proj")
SCALES = "_absmax"


def is_experts(module: torch.nn.Module) -> bool:
    """Whether a module is one of transformers' fused expert stacks, with a gate."""
    return bool(getattr(module, "has_gate", False)) and hasattr(module, "num_experts") and all(hasattr(module, s) for s in STACKS)


def shape_of(experts: Any, stack: str) -> tuple[int, int]:
    """(rows, columns) of one expert's matrix in a stack."""
    if stack == "gate_up_proj":
        return 2 * experts.intermediate_dim, experts.hidden_dim
    return experts.hidden_dim, experts.intermediate_dim
