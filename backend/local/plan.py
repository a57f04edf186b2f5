"""A plan before a load: in which form the weights go into memory, on which devices, and whether that fits. Reads configs only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

from backend.errors import ModelLoadError, ModelTooLarge
from backend.local.checkpoint import check_weights, has_draft_weights, read_config, stored_weights_bytes, unusable_config
from backend.local.devices import place
from backend.local.names import FOUR_BIT, Asked
from backend.local.packed.stacks import BLOCK
from backend.local.sizing import Plan, Sizing, stacked

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def make(asked: Asked, folder: Path, dtype: torch.dtype | None = None, freed: Mapping[torch.device, float] | None = None) -> Plan:
    """Raises `ModelLoadError` for what cannot be loaded as asked, `ModelTooLarge` for what does not fit, with what would.

    `freed`: bytes that are taken now and will not be by then. Of a hub model the weights need not be here yet.
    """
    config = read_config(asked.name, folder)
    if asked.kind != "hub" and any(folder.glob("*.safetensors")):
        check_weights(asked.name, folder)
    stored_bytes, head = stored_weights_bytes(asked.name, folder), has_draft_weights(asked.name, folder)
    return planned_size(asked, config, dtype, stored_bytes=stored_bytes, head=head, freed=freed)


def planned_size(
    asked: Asked,
    config: PreTrainedConfig,
    dtype: torch.dtype | None = None,
    *,
    stored_bytes: int = 0,
    head: bool = False,
    freed: Mapping[torch.device, float] | None = None,
) -> Plan:
    """The plan for a config whose files take `stored_bytes` (0 = unknown), with an MTP head among them or not. Raises as `make`."""
    skeleton = _skeleton(asked.name, config)
    devices, own_dtype = place(skeleton.num_parameters())
    head = head and type(skeleton).__name__ == "Qwen3NextForCausalLM"  # those of other models stay in their files
    sizing = Sizing(asked.name, skeleton, devices, dtype or own_dtype, freed or {}, head)
    method = stored_method(config)
    if method is not None:
        if asked.four_bit:
            raise ModelLoadError(f"{asked.name} is packed already ({method}).", hint=f"Name it without {FOUR_BIT}.")
        return _checked(sizing.stored(method, stored_bytes), None)
    plain = sizing.plan("plain")
    if not asked.four_bit and plain.device_map is not None:
        return plain
    stacks = stacked(skeleton)
    odd = _odd_stack(stacks)
    if odd is not None:
        if asked.four_bit:
            raise ModelLoadError(f"{asked.name} cannot be packed in 4 bits: {odd}.", hint=f"Name it without {FOUR_BIT}.")
        return _checked(plain, None)
    packed = sizing.plan("4-bit")
    if asked.four_bit:
        return _checked(packed, None)
    if packed.device_map is not None and stacks:
        return packed  # a mixture of experts is hardly ever wanted in 16 bit: it is packed where that is what fits
    return _checked(plain, packed)


def stored_method(config: PreTrainedConfig) -> str | None:
    """The method that a checkpoint is quantised by, `None` where it is not."""
    stored: Any = getattr(config, "quantization_config", None)
    return None if stored is None else str(stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", ""))


def _skeleton(name: str, config: PreTrainedConfig) -> PreTrainedModel:
    """Not by `from_config`: that sets the default dtype of the whole process for a moment, in which another thread may be loading."""
    try:
        with torch.device("meta"):
            classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING
            made: PreTrainedModel = classes[type(config)](config)
            return made
    except Exception as error:  # values that do not go together, each found out in its own way
        raise unusable_config(name, error) from error


def _odd_stack(stacks: Mapping[str, torch.Tensor]) -> str | None:
    """Why the expert stacks cannot be packed, `None` where they can: a block must not straddle two rows."""
    for name, stack in stacks.items():
        if stack.shape[-1] % BLOCK:
            return f"the rows of {name} are {stack.shape[-1]} wide, which is no multiple of {BLOCK}"
    return None


def _checked(plan: Plan, packed: Plan | None) -> Plan:
    """The plan, where it fits. `packed` is the same in 4 bits, an alternative where that fits."""
    if plan.device_map is not None:
        return plan
    other = f"In 4 bits it would fit: name it {plan.name}{FOUR_BIT}. " if packed and packed.device_map is not None else ""
    raise ModelTooLarge(
        f"{plan.name} does not fit: {plan.sentence()}.",
        hint=f"{other}Close other programs, choose a smaller model, choose it on DashScope, or serve it elsewhere and set OPENAI_BASE_URL.",
    )
