"""A full-size model of random weights, made directly in its packed form on its device: speed and memory without a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import nn
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

from backend.local.packed.experts import NAME
from backend.local.packed.quantizer import make_place
from backend.local.packed.stacks import SCALES, STACKS, is_experts
from backend.local.sizing import packing

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGS: dict[str, Callable[[], Qwen3NextConfig]] = {"qwen3-next-80b": Qwen3NextConfig}  # transformers' defaults are its real config
_STD = 0.02  # of the initial weights, as the config says
_LARGEST_OF_A_BLOCK = 2.4 * _STD  # the mean of the largest of 64 normal values, which is what a scale holds


def random_model(config: Qwen3NextConfig, device: torch.device, dtype: torch.dtype, seed: int = 7) -> Qwen3NextForCausalLM:
    """Experts and linear layers in NF4; nothing in 16 bits is ever larger than one linear layer. Values mean nothing."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        model: Any = Qwen3NextForCausalLM(config).to(dtype)  # type: ignore[arg-type]
    quantization, _ = packing(model, dtype)
    replace_with_bnb_linear(model, quantization.llm_int8_skip_modules, quantization, pre_quantized=False)
    for module in model.modules():
        if is_experts(module):
            _fill_experts(module, device)
        elif isinstance(module, Linear4bit):
            value = torch.randn(module.out_features, module.in_features, dtype=dtype, device=device) * _STD
            # scales as a load leaves them, not packed themselves
            packed: Any = Params4bit(value, requires_grad=False, quant_type="nf4", blocksize=64, compress_statistics=False, module=module)
            module.weight = packed.to(device)
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:
            place, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(place), leaf, nn.Parameter(_plain(leaf, parameter, device), requires_grad=False))
    inner: Any = model.model
    inner.rotary_emb = type(inner.rotary_emb)(config=config).to(device)
    model.config._experts_implementation = NAME
    model.eval()
    made: Qwen3NextForCausalLM = model
    return made


def _fill_experts(module: nn.Module, device: torch.device) -> None:
    make_place(module, packed=True)
    for stack in STACKS:
        codes, scales = getattr(module, stack), getattr(module, stack + SCALES)
        setattr(module, stack, nn.Parameter(torch.randint(0, 256, codes.shape, dtype=torch.uint8, device=device), requires_grad=False))
        module.register_buffer(stack + SCALES, torch.full(scales.shape, _LARGEST_OF_A_BLOCK, dtype=torch.float32, device=device))


def _plain(leaf: str, like: torch.Tensor, device: torch.device) -> torch.Tensor:
    """What stays unpacked: norms begin at zero (the model adds one) or one, decays in their usual range, the rest is normal."""
    made = torch.empty(like.shape, dtype=like.dtype, device=device)
    if leaf == "A_log":
        return made.uniform_(0.01, 16).log_()
    if like.ndim == 1:
        return made.fill_(1.0 if leaf == "dt_bias" else 0.0)
    return made.normal_(0.0, _STD)
