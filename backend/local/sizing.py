"""What a model takes once it is loaded, in one form or another, and how that lies on the devices. Reads no weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers.utils.import_utils import KERNELS_MAX_VERSION, KERNELS_MIN_VERSION, is_kernels_available

from backend.errors import ModelLoadError
from backend.local.devices import free_bytes, named, spread
from backend.local.head import empty_head
from backend.local.packed.stacks import BLOCK, METHOD, STACKS, is_experts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Form = Literal["plain", "4-bit", "as stored"]

NF4_BYTES = 4.5 / 8  # per weight: 4 bits and one fp32 scale for 64 of them
_ROW_STEP = 32  # the processor's packed product asks for rows in steps of 32, each of whole blocks
_WORK_BYTES = 600_000_000  # activations, a prompt's mask and the runtime's own, beside everything that is counted
_FP8_CAPABILITY = (8, 9)  # of a CUDA device from which on transformers multiplies FP8 as it is
_HEAD_IS_BESIDE = "model.norm.weight"  # the MTP head lies on the device of the last norm


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes are estimates. `most_extra_bytes`: the most that is needed for a moment beside the weights.

    `per_1k_bytes`: keys and values of 1,000 tokens; `sizes`: bytes of each tensor once loaded, by name; `device_map` is for
    `from_pretrained`, `None` where the model does not fit.
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
    device_map: dict[str, torch.device] | None

    @property
    def needed_bytes(self) -> float:
        """Weights, what they need for a moment, and 1,000 tokens."""
        return self.weights_bytes + self.most_extra_bytes + self.per_1k_bytes

    def sentence(self) -> str:
        """For people, as: 45.8 GB of weights in 4 bits, 2.4 GB beside them while it works, 0.02 GB for 1,000 tokens; 79 GB are free."""
        form = {"plain": f"in {8 * self.dtype.itemsize} bits", "4-bit": "in 4 bits", "as stored": "as stored"}[self.form]
        return (
            f"{_gb(self.weights_bytes)} of weights {form}, {_gb(self.most_extra_bytes)} beside them while it works, "
            f"{_gb(self.per_1k_bytes)} for 1,000 tokens; {_gb(self.free_bytes)} are free {named(self.devices)}"
        )


@dataclass(frozen=True, slots=True)
class Sizing:
    """What all plans for one model have in common. `head`: there is an MTP head, loaded beside the skeleton."""

    name: str
    skeleton: PreTrainedModel
    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    freed: Mapping[torch.device, float]
    head: bool

    def stored(self, method: str, stored_bytes: int) -> Plan:
        """Of a checkpoint that is quantised already."""
        if method == METHOD:
            return replace(self.plan("4-bit"), quantization=None)
        if method != "fp8":
            return self.plan("as stored", stored_bytes)  # what it is unpacked to, only that method knows: the files are the least
        if self.devices[0].type != "cuda" or torch.cuda.get_device_capability(self.devices[0]) < _FP8_CAPABILITY:
            return self.plan("plain")  # transformers widens it while it loads
        if not is_kernels_available():
            versions = f"kernels>={KERNELS_MIN_VERSION},<{KERNELS_MAX_VERSION}"
            raise ModelLoadError(
                f"{self.name} is stored in FP8, whose products are in a package that is not installed.",
                hint=f'pip install "{versions}" and start again, or name the checkpoint in 16 bits.',
            )
        widened_bytes = self._head_bytes(packed=False) / 2 if stored_bytes else 0.0  # the head goes from 8 bits to 16
        return self.plan("as stored", stored_bytes + widened_bytes)

    def plan(self, form: Form, stored_bytes: float = 0.0) -> Plan:
        """`stored_bytes` are what the files take, with "as stored"."""
        quantization, packed = packing(self.skeleton, self.dtype) if form == "4-bit" else (None, set[str]())
        sizes = _sizes(self.skeleton.named_parameters(), packed, self.dtype)  # a tied weight once
        head_bytes = self._head_bytes(packed=form == "4-bit")
        weights_bytes = sum(sizes.values()) + head_bytes
        if form == "as stored":
            widened = stored_bytes / weights_bytes if stored_bytes else 1.0
            weights_bytes, sizes = stored_bytes, {n: size * widened for n, size in sizes.items()}
        largest = max((p.numel() for p in self.skeleton.parameters()), default=0)
        # packing holds one tensor as it was read; a prompt holds one stack unpacked
        extra = largest * (self.dtype.itemsize + NF4_BYTES) if packed else 0.0
        most_extra = extra + min(_WORK_BYTES, 0.5 * sum(sizes.values()))
        per_1k = _per_1k_bytes(self.skeleton.config, self.dtype, self.head)
        free = [free_bytes((device,)) + self.freed.get(device, 0.0) for device in self.devices]
        return Plan(
            name=self.name,
            config=self.skeleton.config,
            devices=self.devices,
            dtype=self.dtype,
            form=form,
            quantization=quantization,
            weights_bytes=weights_bytes,
            most_extra_bytes=most_extra,
            per_1k_bytes=per_1k,
            free_bytes=sum(free),
            sizes=sizes,
            device_map=self._map(weights_bytes, sizes, head_bytes, [size - most_extra - per_1k for size in free]),
        )

    def _head_bytes(self, *, packed: bool) -> float:
        """Of the head only the expert stacks are packed."""
        if not self.head:
            return 0.0
        parameters = dict(empty_head(self.skeleton).layers.named_parameters())
        return sum(_sizes(parameters.items(), {n for n in parameters if packed and n.endswith(STACKS)}, self.dtype).values())

    def _map(self, weights_bytes: float, sizes: dict[str, float], head_bytes: float, rooms: list[float]) -> dict[str, torch.device] | None:
        """The first device, where that is enough (CUDA_VISIBLE_DEVICES makes another the first). Each must have room for what is needed for
        a moment."""
        if weights_bytes <= rooms[0]:
            return {"": self.devices[0]}
        if len(rooms) == 1:
            return None
        places = spread(self.skeleton, {**sizes, _HEAD_IS_BESIDE: sizes.get(_HEAD_IS_BESIDE, 0.0) + head_bytes}, rooms)
        return None if places is None else {name: self.devices[at] for name, at in places.items()}


def _sizes(named_parameters: Iterable[tuple[str, nn.Parameter]], packed: set[str], dtype: torch.dtype) -> dict[str, float]:
    return {n: p.numel() * (NF4_BYTES if n in packed else dtype.itemsize) for n, p in named_parameters}


def _per_1k_bytes(config: PreTrainedConfig, dtype: torch.dtype, head: bool) -> float:
    """Keys and values of 1,000 tokens, in the layers that keep them, of which the MTP head is one more."""
    text = config.get_text_config(decoder=True)
    types: list[str] = getattr(text, "layer_types", None) or ["full_attention"] * getattr(text, "num_hidden_layers", 0)
    heads: int = getattr(text, "num_key_value_heads", 0) or getattr(text, "num_attention_heads", 0)
    width: int = getattr(text, "head_dim", 0) or getattr(text, "hidden_size", 0) // max(1, getattr(text, "num_attention_heads", 1))
    return 2000.0 * heads * width * dtype.itemsize * (sum(kind != "linear_attention" for kind in types) + head)


def packing(skeleton: PreTrainedModel, dtype: torch.dtype) -> tuple[Any, set[str]]:
    """The quantization for 4 bits, and the names of the weights that it packs: linear layers, and expert stacks where there are any."""
    head = skeleton.get_output_embeddings()
    linear = [(n, m) for n, m in skeleton.named_modules() if isinstance(m, nn.Linear)]
    left = [n for n, m in linear if m is head or m.out_features % _ROW_STEP or m.in_features % BLOCK]
    packed = {f"{n}.weight" for n, _ in linear if n not in set(left)} | set(stacked(skeleton))
    from backend.local.packed.quantizer import PackedConfig

    return PackedConfig(left, bnb_4bit_compute_dtype=dtype), packed


def stacked(skeleton: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The expert stacks, by name."""
    return {f"{n}.{s}": getattr(m, s) for n, m in skeleton.named_modules() if is_experts(m) for s in STACKS}


def _gb(size_bytes: float) -> str:
    """ "-" for 0: a checkpoint that is not here yet and has no index does not tell its size."""
    if not size_bytes:
        return "-"
    if size_bytes < 1e8:
        return f"{size_bytes / 1e6:,.1f} MB"
    return f"{size_bytes / 1e9:,.{0 if size_bytes >= 100e9 else 1}f} GB"
