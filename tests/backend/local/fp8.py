"""Weights in FP8 as Qwen3-Next-80B-A3B-*-FP8 is published: blocks of 128 x 128 with a scale each."""

from __future__ import annotations

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from backend.local.tiny.writing import WEIGHTS
from tests.backend.local import next_tiny


def blocks(weights):
    """Where each block of a matrix lies."""
    rows, columns = weights.shape
    return [
        (r // 128, c // 128, (slice(r, min(r + 128, rows)), slice(c, min(c + 128, columns))))
        for r in range(0, rows, 128)
        for c in range(0, columns, 128)
    ]


def in_fp8(weights):
    """(the blocks in FP8, each scaled to the whole range, and the scales)."""
    narrow = torch.empty(weights.shape, dtype=torch.float8_e4m3fn)
    scales = torch.empty(-(-weights.shape[0] // 128), -(-weights.shape[1] // 128))
    for row, column, place in blocks(weights):
        scales[row, column] = weights[place].abs().max() / 448
        narrow[place] = (weights[place] / scales[row, column]).to(torch.float8_e4m3fn)
    return narrow, scales


def widened(narrow, scales):
    wide = torch.empty(narrow.shape)
    for row, column, place in blocks(narrow):
        wide[place] = narrow[place].float() * scales[row, column]
    return wide


def checkpoints(folder):
    """A small Qwen3-Next in FP8, head and all, and the same with its weights widened again."""
    narrow, wide = folder / "narrow", folder / "wide"
    next_tiny.checkpoint(wide)
    tensors = load_file(wide / WEIGHTS)
    stored, expected = dict(tensors), dict(tensors)
    for name in [n for n in tensors if n.endswith("proj.weight") or n == "mtp.fc.weight"]:
        stored[name], stored[f"{name}_scale_inv"] = in_fp8(tensors[name])
        expected[name] = widened(stored[name], stored[f"{name}_scale_inv"])
    shutil.copytree(wide, narrow)
    save_file(stored, narrow / WEIGHTS, metadata={"format": "pt"})
    save_file(expected, wide / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((narrow / "config.json").read_text())
    left = [
        "lm_head",
        *(n.removesuffix(".weight") for n in tensors if n.endswith(("gate.weight", "in_proj_ba.weight", "in_proj_qkvz.weight"))),
    ]
    config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": left,
    }
    (narrow / "config.json").write_text(json.dumps(config))
    return narrow, wide
