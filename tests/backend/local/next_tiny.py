"""A Qwen3-Next small enough for any test, with its MTP head: random in fp32, in memory or on disk as people have it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM
from transformers.modeling_layers import MtpModel

from backend.local.tiny.writing import WEIGHTS, write
from tests.backend.local.tiny import OPENS, tokenizer


def config(**changes: object) -> Qwen3NextConfig:
    """Three linear layers to one of full attention; every width fits the packed products."""
    words = tokenizer()
    options = {
        "vocab_size": len(words),
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": None,
        "tie_word_embeddings": False,
        "num_mtp_layers": 1,
        "mtp_layer_types": ["full_attention"],
    }
    return Qwen3NextConfig(**{**options, **changes})


def models(seed: int = 7, **changes: object) -> tuple[Qwen3NextForCausalLM, MtpModel]:
    """The model and its head, in eval mode and fp32. Norms differ from one another, so that none can stand in for another."""
    torch.manual_seed(seed)
    model = Qwen3NextForCausalLM(config(**changes))
    head = MtpModel(model, 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for parameter in head.layers.parameters():  # MtpModel leaves its experts as it found the memory
            parameter.normal_(std=0.1)
    return model.eval(), head.eval()


def checkpoint(
    folder: Path, template: str = OPENS, dtype: torch.dtype = torch.float32, shards: int | None = None, **changes: object
) -> Path:
    """The same on disk, experts apart from each other; with `shards` in so many files and their index, the head in the last ones."""
    model, head = models(**changes)
    write(model, head, tokenizer(template), folder, dtype)
    if shards is not None:
        _split(folder, shards)
    return folder


def _split(folder: Path, shards: int) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    where = {name: f"model-{1 + place * shards // len(names):05}-of-{shards:05}.safetensors" for place, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in names if where[name] == file}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
