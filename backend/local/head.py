"""The MTP head of a Qwen3-Next checkpoint: the `mtp.*` tensors, which transformers leaves out when it loads the model.

Names are those of the published checkpoints; transformers' `MtpModel` has the layers. Read here rather than by its own loader so that
each expert stack can be packed as it comes, FP8 blocks can be widened, and a packed folder can hold the head in a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.modeling_layers import MtpModel

from backend.errors import ModelLoadError
from backend.local.checkpoint import DRAFT_PREFIX
from backend.local.memory import as_gpu_lost, as_out_of_memory
from backend.local.packed.stacks import SCALES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Qwen3NextForCausalLM

_NAMES = {
    "mtp.fc.weight": "layers.0.eh_proj.weight",
    "mtp.pre_fc_norm_embedding.weight": "layers.0.enorm.weight",
    "mtp.pre_fc_norm_hidden.weight": "layers.0.hnorm.weight",
    "mtp.norm.weight": "layers.0.post_norm.weight",
}
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
_FP8_SCALES = "_scale_inv"
_FP8_BLOCK = 128  # rows and columns that share one scale, in DeepSeek's and Qwen's FP8 checkpoints


class Tensors:
    """The `mtp.*` tensors of a folder, read when they are asked for."""

    def __init__(self, folder: Path, closing: ExitStack, device: str = "cpu") -> None:
        self.device = device
        self._files = [
            closing.enter_context(safe_open(path, framework="pt", device=device)) for path in sorted(folder.glob("*.safetensors"))
        ]
        self._where = {key: file for file in self._files for key in file.keys() if key.startswith(DRAFT_PREFIX)}  # noqa: SIM118

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._where if not key.endswith(_FP8_SCALES))

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, key: str) -> torch.Tensor:
        value: torch.Tensor = self._where[key].get_tensor(key)
        if f"{key}{_FP8_SCALES}" not in self._where:
            return value
        scales = self[f"{key}{_FP8_SCALES}"].float()
        wide = scales.repeat_interleave(_FP8_BLOCK, 0).repeat_interleave(_FP8_BLOCK, 1)
        return value.float() * wide[: value.shape[0], : value.shape[1]]


def load_head(name: str, model: Qwen3NextForCausalLM, folder: Path, *, packed: bool) -> MtpModel | None:
    """The head beside `model`, on its last layer's device and in its dtype, its experts packed with `packed`. `None` where there is none.

    Raises `ModelLoadError` where a tensor is missing or of another shape, `OutOfMemory`, and `LocalModelError` for a GPU that failed.
    """
    device = model.model.norm.weight.device
    with ExitStack() as closing:
        try:
            tensors = Tensors(folder, closing, str(device))
            if not len(tensors):
                return None
            head = empty_head(model)
            _fill(head, tensors, model.dtype, packed=packed)
        except SafetensorError as error:
            raise ModelLoadError(f"A weight file of {name} is damaged or cut short.", hint="Fetch the checkpoint again.") from error
        except (KeyError, RuntimeError, ValueError) as error:
            damaged = ModelLoadError(f"The MTP head of {name} is incomplete or of another shape.", hint="Fetch the checkpoint again.")
            raise as_out_of_memory(error) or as_gpu_lost(error) or damaged from error  # torch raises all of them as RuntimeError
    head.tie_with_main_model(model)
    head.eval().requires_grad_(False)
    return head


def empty_head(model: PreTrainedModel) -> MtpModel:
    """One layer of full attention, as Qwen3-Next's is, without memory for its weights."""
    config: Any = model.config
    config.num_mtp_layers, config.mtp_layer_types = 1, ["full_attention"]  # what transformers' head looks for
    with torch.device("meta"):
        return MtpModel(model, 1)


def _fill(head: MtpModel, tensors: Tensors, dtype: torch.dtype, *, packed: bool) -> None:
    wanted = {n for n, _ in head.layers.named_parameters(prefix="layers")}
    for key in tensors:
        if _EXPERT.fullmatch(key) is None:
            target = _NAMES.get(key) or key.replace(f"{DRAFT_PREFIX}layers.0.", "layers.0.mtp_block.")
            if target not in wanted:
                raise KeyError(key)
            _put(head, target, tensors[key].to(dtype))
            wanted.discard(target)
    for name in sorted(n for n in wanted if ".experts." in n):
        target, _, stack = name.rpartition(".")
        source = target.replace("layers.0.mtp_block.", f"{DRAFT_PREFIX}layers.0.")
        whole = _stack(tensors, source, stack, getattr(head.get_submodule(target), stack).shape, dtype)
        if packed:
            from backend.local.packed.storage import pack

            codes, scales = pack(whole)
            head.get_submodule(target).register_buffer(stack + SCALES, scales)
            setattr(head.get_submodule(target), stack, torch.nn.Parameter(codes, requires_grad=False))
        else:
            _put(head, name, whole)
        wanted.discard(name)
    if wanted:
        raise KeyError(min(wanted))


def _stack(tensors: Tensors, source: str, stack: str, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """One fused stack [experts, rows, columns] filled expert by expert: of the full size it takes 2.1 GB, and nothing else beside it."""
    parts = ("down",) if stack == "down_proj" else ("gate", "up")
    whole = torch.empty(shape, dtype=dtype, device=tensors.device)
    for expert, place in enumerate(whole):
        for part, rows in zip(parts, place.chunk(len(parts)), strict=True):
            value = tensors[f"{source}.{expert}.{part}_proj.weight"]
            if value.shape != rows.shape:  # copying would spread a smaller one
                raise RuntimeError(f"{source}.{expert}.{part}_proj: {tuple(value.shape)}")
            rows.copy_(value)
    beyond = {int(m[2]) for key in tensors if (m := _EXPERT.fullmatch(key)) and m[1] == source} - set(range(len(whole)))
    if beyond:
        raise RuntimeError(f"{source}: an expert {min(beyond)}")
    return whole


def _put(head: MtpModel, name: str, value: torch.Tensor) -> None:
    place, _, leaf = name.rpartition(".")
    module: Any = head.get_submodule(place)
    if getattr(module, leaf).shape != value.shape:
        raise RuntimeError(f"{name}: {tuple(value.shape)}")
    setattr(module, leaf, torch.nn.Parameter(value, requires_grad=False))
