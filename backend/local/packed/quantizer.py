"""Packing while a checkpoint streams in, through transformers' registries: the quantization method "nf4_experts".

Each fused stack is read onto the device it is going to, packed there and freed before the next; other linear layers become
bitsandbytes' 4-bit ones. A packed folder names the method in its config.json and is loaded by the same quantizer, as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name

from backend.local.packed.experts import NAME
from backend.local.packed.stacks import BLOCK, METHOD, SCALES, STACKS, is_experts
from backend.local.packed.storage import pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register_quantization_config(METHOD)
class PackedConfig(BitsAndBytesConfig):
    """`skip` names the linear layers that stay as they are: the head, and what the packed product cannot take."""

    def __init__(self, skip: list[str] | None = None, **given: Any) -> None:
        if skip is not None:
            given["llm_int8_skip_modules"] = skip  # the setting's name is older than 4-bit; it holds for both
        super().__init__(**{**given, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})  # type: ignore[no-untyped-call]
        self.quant_method = METHOD  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Without `load_in_4bit`, which in a config.json would select plain bitsandbytes."""
        return {k: v for k, v in super().to_dict().items() if "load_in" not in k}


class _Pack(Bnb4bitQuantize):
    def convert(  # type: ignore[override]
        self, input_dict: dict[str, Any], full_layer_name: str = "", model: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        module, _ = get_module_from_name(model, full_layer_name)
        if not is_experts(module):
            done: dict[str, Any] = super().convert(input_dict, full_layer_name=full_layer_name, model=model, **kwargs)
            return done
        ((_, value),) = input_dict.items()
        codes, scales = pack(value[0] if isinstance(value, list) else value)
        module._is_hf_initialized = True
        return {full_layer_name: codes, f"{full_layer_name}{SCALES}": scales}


@register_quantizer(METHOD)
class PackedQuantizer(Bnb4BitHfQuantizer):
    def _process_model_before_weight_loading(self, model: PreTrainedModel, device_map: Any = None, **kwargs: Any) -> None:
        super()._process_model_before_weight_loading(model, device_map, **kwargs)
        for module in model.modules():
            if is_experts(module):
                make_place(module, packed=self.pre_quantized)
            elif isinstance(module, Linear4bit) and module.compute_dtype == torch.float32:
                # on processors with AVX512-BF16 bitsandbytes multiplies in bf16 whatever the dtype: 3 digits of a result in place of 6
                module.support_avx512bf16_for_cpu = False
        model.config._experts_implementation = NAME

    @property
    def is_compileable(self) -> bool:
        return True  # static shapes, no host synchronisation; the method it comes from says no

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **kwargs: Any) -> bool:
        module, name = get_module_from_name(model, param_name)
        return (is_experts(module) and name in STACKS) or bool(super().param_needs_quantization(model, param_name, **kwargs))

    def get_quantize_ops(self) -> _Pack:
        return _Pack(self)  # type: ignore[no-untyped-call]


def make_place(module: torch.nn.Module, *, packed: bool) -> None:
    """Places for the scales of a module of experts without weights, and with `packed` for codes in place of the weights."""
    for name in STACKS:
        experts, rows, columns = getattr(module, name).shape
        module.register_buffer(name + SCALES, torch.empty(experts, rows * columns // BLOCK, dtype=torch.float32, device="meta"))
        if packed:
            codes = torch.empty(experts, rows * columns // 2, dtype=torch.uint8, device="meta")
            setattr(module, name, torch.nn.Parameter(codes, requires_grad=False))
