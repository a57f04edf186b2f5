"""The devices of this machine: which are used, how much of them is free, and how a model is spread over several of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_USUAL_BYTES = 400_000_000  # memory of its own that a process with torch and transformers has (334 MB on Linux, 2026-11-26)
_SMALL_PARAMETERS = 20_000_000  # below, a processor computes in fp32: bf16 saves memory that nobody misses and costs time


def place(parameters: int) -> tuple[tuple[torch.device, ...], torch.dtype]:
    """All CUDA devices where there are any, else the CPU; bf16, but fp32 for a very small model on a CPU.

    On CPUs too old for bf16 products an answer is still written faster than in fp32 (45 against 16 tokens/s, with oneDNN held to
    AVX2) in half the memory; the prompt, where fp32 is the faster, is read with its products in fp32 (see widened.py).
    """
    if torch.cuda.is_available():
        devices = tuple(torch.device("cuda", n) for n in range(torch.cuda.device_count()))
        return devices, torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return (torch.device("cpu"),), torch.float32 if parameters < _SMALL_PARAMETERS else torch.bfloat16


def free_bytes(devices: tuple[torch.device, ...]) -> float:
    if devices[0].type == "cuda":
        return float(sum(torch.cuda.mem_get_info(device)[0] for device in devices))
    return float(psutil.virtual_memory().available)


def held_bytes(weights_bytes: float) -> dict[torch.device, float]:
    """What is freed on each device once a model whose weights take `weights_bytes` has gone, beside what `free_bytes` counts.

    On GPUs all that torch holds there, kept beginnings and graphs too. On a processor weights in the dtype of their file are pages of
    that file, which count as available already: at most what the process has of its own beside its usual size.
    """
    if torch.cuda.is_available():
        return {device: float(torch.cuda.memory_reserved(device)) for device in place(0)[0]}
    info = psutil.Process().memory_info()
    own_bytes = getattr(info, "private", info.rss - getattr(info, "shared", info.rss))  # Windows; Linux; elsewhere nothing tells
    return {torch.device("cpu"): min(weights_bytes, max(0.0, own_bytes - _USUAL_BYTES))}


def spread(skeleton: PreTrainedModel, sizes: Mapping[str, float], rooms: Sequence[float]) -> dict[str, int] | None:
    """The place in `rooms` of each block of a model, in their order, each device filled before the next; `None` where they do not fit.

    `sizes` in bytes by tensor name. Not accelerate's own "auto": it keeps a share of each GPU back, and what then finds no place goes to
    the processor or the disk.
    """
    found: dict[str, int] = {}
    at, left = 0, list(rooms)
    tied = skeleton.get_output_embeddings() if skeleton.config.tie_word_embeddings else None
    blocks = list(_blocks(skeleton))
    for name, block in blocks:
        if block is tied:  # the embedding's weights once more
            found[name] = found[next(n for n, m in blocks if m is skeleton.get_input_embeddings())]
            continue
        size = sum(size for tensor, size in sizes.items() if tensor == name or tensor.startswith(f"{name}."))
        while left[at] < size:
            at += 1
            if at == len(left):
                return None
        left[at] -= size
        found[name] = at
    return found


def _blocks(skeleton: PreTrainedModel) -> Iterator[tuple[str, nn.Module | torch.Tensor]]:
    """What must lie on one device: the layers, and whatever is beside them."""
    whole = set(skeleton._no_split_modules or ())

    def within(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module | torch.Tensor]]:
        children = list(module.named_children())
        if type(module).__name__ in whole or not children:
            yield name, module
            return
        prefix = f"{name}." if name else ""
        for leaf, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            yield f"{prefix}{leaf}", tensor
        for leaf, child in children:
            yield from within(child, f"{prefix}{leaf}")

    return within(skeleton, "")


def named(devices: tuple[torch.device, ...]) -> str:
    """For people."""
    if devices[0].type == "cpu":
        return "on this processor"
    name = torch.cuda.get_device_name(devices[0])
    return f"on {len(devices)} x {name}" if len(devices) > 1 else f"on {name}"
