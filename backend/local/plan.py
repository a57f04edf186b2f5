"""A plan before a load: in which form the weights go into memory, on which devices, and whether that fits. Reads configs only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

from backend.errors import ModelLoadError, OutOfMemory
from backend.local.checkpoint import check_weights, draft_weights_bytes, read_config, unusable_config
from backend.local.names import FOUR_BIT, Asked
from backend.local.packed.stacks import BLOCK, STACKS, is_experts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Form = Literal["plain", "4-bit", "as stored"]

NF4_BYTES = 4.5 / 8  # per weight: 4 bits and one fp32 scale for 64 of them
_ROW_STEP = 32  # the processor's packed product asks for rows in steps of 32, each of whole blocks
_SMALL_PARAMETERS = 20_000_000  # below, a processor computes in fp32: bf16 saves memory that nobody misses and costs time
_WORK_BYTES = 600_000_000  # activations, a prompt's mask and the runtime's own, beside everything that is counted


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes are estimates. `most_extra_bytes`: the most that is needed for a moment beside the weights.

    `per_1k_bytes`: keys and values of 1,000 tokens; `sizes`: bytes of each tensor once loaded, by name.
    """

    name: str
    config: PreTrainedConfig
    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    form: Form
    quantization: Any | None
    weights_bytes: float
    most_extra_bytes: float
    per_1k_bytes: float
    free_bytes: float
    sizes: dict[str, float]

    @property
    def needed_bytes(self) -> float:
        """Weights, what they need for a moment, and 1,000 tokens."""
        return self.weights_bytes + self.most_extra_bytes + self.per_1k_bytes

    @property
    def device_map(self) -> Any:
        """For `from_pretrained`: the first device where that is enough."""
        several = len(self.devices) > 1 and self.needed_bytes > free_bytes(self.devices[:1])
        return "auto" if several else {"": self.devices[0]}

    def sentence(self) -> str:
        """For people, as: 45.8 GB of weights in 4 bits, 2.4 GB beside them while it works, 0.02 GB for 1,000 tokens; 79 GB are free."""
        form = {"plain": f"in {8 * self.dtype.itemsize} bits", "4-bit": "in 4 bits", "as stored": "as stored"}[self.form]
        return (
            f"{_gb(self.weights_bytes)} of weights {form}, {_gb(self.most_extra_bytes)} beside them while it works, "
            f"{_gb(self.per_1k_bytes)} for 1,000 tokens; {_gb(self.free_bytes)} are free {_place(self.devices)}"
        )


def make(asked: Asked, folder: Path, dtype: torch.dtype | None = None) -> Plan:
    """Raises `ModelLoadError` for what cannot be loaded as asked, `OutOfMemory` for what does not fit, with what would."""
    config = read_config(asked.name, folder)
    stored_bytes = check_weights(asked.name, folder) if any(folder.glob("*.safetensors")) else 0
    return planned_size(asked, config, dtype, stored_bytes=stored_bytes, head_bytes=draft_weights_bytes(folder))


def planned_size(
    asked: Asked, config: PreTrainedConfig, dtype: torch.dtype | None = None, *, stored_bytes: int = 0, head_bytes: int = 0
) -> Plan:
    """The plan for a config whose files take `stored_bytes`, `head_bytes` of them the MTP head in 16 bits. Raises as `make`."""
    skeleton = _skeleton(asked.name, config)
    devices, own_dtype = place(skeleton.num_parameters())
    dtype = dtype or own_dtype
    free = free_bytes(devices)
    if getattr(config, "quantization_config", None) is not None:
        if asked.four_bit:
            raise ModelLoadError(f"{asked.name} is packed already.", hint=f"Name it without {FOUR_BIT}.")
        # what is stored may be unpacked on the way in, which only that method knows: the files are the least it can be
        plan = _planned(asked, config, skeleton, devices, dtype, free, "as stored", float(stored_bytes))
        return _checked(plan, None)
    plain = _planned(asked, config, skeleton, devices, dtype, free, "plain", head_bytes)
    if not asked.four_bit and plain.needed_bytes <= free:
        return plain
    odd = _odd_stack(skeleton)
    if odd is not None:
        if asked.four_bit:
            raise ModelLoadError(f"{asked.name} cannot be packed in 4 bits: {odd}.", hint=f"Name it without {FOUR_BIT}.")
        return _checked(plain, None)
    packed = _planned(asked, config, skeleton, devices, dtype, free, "4-bit", head_bytes * NF4_BYTES / 2)
    if asked.four_bit:
        return _checked(packed, None)
    if free >= packed.needed_bytes and _stacked(skeleton):
        return packed  # a mixture of experts is hardly ever wanted in 16 bit: it is packed where that is what fits
    return _checked(plain, packed)


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


def packing(skeleton: PreTrainedModel, dtype: torch.dtype) -> tuple[Any, set[str]]:
    """The quantization for 4 bits, and the names of the weights that it packs: linear layers, and expert stacks where there are any."""
    head = skeleton.get_output_embeddings()
    linear = [(n, m) for n, m in skeleton.named_modules() if isinstance(m, nn.Linear)]
    left = [n for n, m in linear if m is head or m.out_features % _ROW_STEP or m.in_features % BLOCK]
    packed = {f"{n}.weight" for n, _ in linear if n not in set(left)} | set(_stacked(skeleton))
    from backend.local.packed.quantizer import PackedConfig

    return PackedConfig(left, bnb_4bit_compute_dtype=dtype), packed


def _skeleton(name: str, config: PreTrainedConfig) -> PreTrainedModel:
    """Not by `from_config`: that sets the default dtype of the whole process for a moment, in which another thread may be loading."""
    try:
        with torch.device("meta"):
            classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING
            made: PreTrainedModel = classes[type(config)](config)
            return made
    except Exception as error:  # values that do not go together, each found out in its own way
        raise unusable_config(name, error) from error


def _stacked(skeleton: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The expert stacks, by name."""
    return {f"{n}.{s}": getattr(m, s) for n, m in skeleton.named_modules() if is_experts(m) for s in STACKS}


def _odd_stack(skeleton: PreTrainedModel) -> str | None:
    """Why the expert stacks cannot be packed, `None` where they can: a block must not straddle two rows."""
    for name, stack in _stacked(skeleton).items():
        if stack.shape[-1] % BLOCK:
            return f"the rows of {name} are {stack.shape[-1]} wide, which is no multiple of {BLOCK}"
    return None


def _planned(
    asked: Asked,
    config: PreTrainedConfig,
    skeleton: PreTrainedModel,
    devices: tuple[torch.device, ...],
    dtype: torch.dtype,
    free: float,
    form: Form,
    more_bytes: float,
) -> Plan:
    """`more_bytes`: what the skeleton does not have, as an MTP head, or with "as stored" all of it."""
    quantization, packed = packing(skeleton, dtype) if form == "4-bit" else (None, set[str]())
    parameters = dict(skeleton.named_parameters())  # a tied weight once
    sizes = {n: p.numel() * (NF4_BYTES if n in packed else dtype.itemsize) for n, p in parameters.items()}
    largest = max((p.numel() for n, p in parameters.items()), default=0)
    # packing holds one tensor as it was read; a prompt holds one stack unpacked
    extra = largest * (dtype.itemsize + NF4_BYTES) if packed else 0.0
    return Plan(
        name=asked.name,
        config=config,
        devices=devices,
        dtype=dtype,
        form=form,
        quantization=quantization,
        weights_bytes=more_bytes if form == "as stored" else sum(sizes.values()) + more_bytes,
        most_extra_bytes=extra + min(_WORK_BYTES, 0.5 * sum(sizes.values())),
        per_1k_bytes=_per_1k_bytes(config, dtype),
        free_bytes=free,
        sizes=sizes,
    )


def _per_1k_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> float:
    """Keys and values of 1,000 tokens, in the layers that keep them."""
    text = config.get_text_config(decoder=True)
    types: list[str] = getattr(text, "layer_types", None) or ["full_attention"] * getattr(text, "num_hidden_layers", 0)
    heads: int = getattr(text, "num_key_value_heads", 0) or getattr(text, "num_attention_heads", 0)
    width: int = getattr(text, "head_dim", 0) or getattr(text, "hidden_size", 0) // max(1, getattr(text, "num_attention_heads", 1))
    return 2000.0 * heads * width * dtype.itemsize * sum(kind != "linear_attention" for kind in types)


def _checked(plan: Plan, packed: Plan | None) -> Plan:
    """The plan, where it fits. `packed` is the same in 4 bits, an alternative where that fits."""
    if plan.needed_bytes <= plan.free_bytes:
        return plan
    other = f"In 4 bits it would fit: name it {plan.name}{FOUR_BIT}. " if packed and packed.needed_bytes <= packed.free_bytes else ""
    raise OutOfMemory(
        f"{plan.name} does not fit: {plan.sentence()}.",
        hint=f"{other}Close other programs, choose a smaller model, choose it on DashScope, or serve it elsewhere and set OPENAI_BASE_URL.",
    )


def _gb(size_bytes: float) -> str:
    return (
        f"{size_bytes / 1e9:,.0f} GB"
        if size_bytes >= 100e9
        else f"{size_bytes / 1e9:.1f} GB"
        if size_bytes >= 1e8
        else f"{size_bytes / 1e6:,.1f} MB"
    )


def _place(devices: tuple[torch.device, ...]) -> str:
    if devices[0].type == "cpu":
        return "on this processor"
    names = torch.cuda.get_device_name(devices[0])
    return f"on {len(devices)} x {names}" if len(devices) > 1 else f"on {names}"
