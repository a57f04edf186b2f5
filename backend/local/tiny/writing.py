"""The trained tiny model as a folder in the layout of the published Qwen3-Next checkpoints, its MTP head with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3NextForCausalLM
    from transformers.modeling_layers import MtpModel

WEIGHTS = "model.safetensors"
_NAMES = {
    "eh_proj.weight": "mtp.fc.weight",
    "enorm.weight": "mtp.pre_fc_norm_embedding.weight",
    "hnorm.weight": "mtp.pre_fc_norm_hidden.weight",
    "post_norm.weight": "mtp.norm.weight",
}


def write(
    model: Qwen3NextForCausalLM, head: MtpModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Experts apart from each other, the head under `mtp.`, everything in `dtype`. Greedy is the recommended way to ask it."""
    model = model.to(dtype)  # type: ignore[arg-type]
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False)
    model.save_pretrained(folder)
    tensors = load_file(folder / WEIGHTS) | {name: tensor.to(dtype).contiguous() for name, tensor in _head_tensors(head).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


def _head_tensors(head: MtpModel) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor] = {}
    for name, tensor in head.layers[0].state_dict().items():
        target = _NAMES.get(name) or name.replace("mtp_block.", "mtp.layers.0.", 1)
        stack = re.fullmatch(r"(.*\.experts)\.(gate_up|down)_proj", target)
        if stack is None:
            made[target] = tensor
            continue
        for number, expert in enumerate(tensor):
            parts = zip(("gate", "up"), expert.chunk(2), strict=True) if stack[2] == "gate_up" else [("down", expert)]
            made |= {f"{stack[1]}.{number}.{part}_proj.weight": value for part, value in parts}
    return made
