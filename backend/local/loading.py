"""From a model's name to a `LoadedModel`: find the files, judge them, see that the weights fit, load them.

Dense causal language models through transformers. An architecture with an engine of its own takes its place in `_weights`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from backend.errors import BackendError, ModelLoadError
from backend.local import demo, hub
from backend.local.checkpoint import check_weights, read_config, read_tokenizer, unusable_config
from backend.local.facts import thinking_of
from backend.local.memory import as_out_of_memory, check_fits
from backend.local.model import LoadedModel
from backend.local.names import Asked
from backend.local.progress import Report, weights_told_to
from backend.local.prompt import think_tokens
from backend.local.quantise import NF4_BYTES, FourBit, four_bit

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

_CPU_CHUNK_WORK = 32_000_000_000  # weights x tokens of one chunk: some 0.2 s on two cores
_GPU_CHUNK_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Plan:
    """How a checkpoint is going to be loaded.

    `needed_bytes` estimates the weights in memory; `None` where only the size of the files tells (they are packed already).
    """

    name: str
    config: PreTrainedConfig
    device: torch.device
    dtype: torch.dtype
    packing: FourBit | None
    needed_bytes: float | None


def load(asked: Asked, models: Path, *, allow_fetch: bool, report: Report) -> LoadedModel:
    """Loads what was asked for; the demo's weights live in `models`. `report` may raise to give the load up.

    Raises `ModelLoadError`, `OutOfMemory` or `UnknownModel`.
    """
    match asked.kind:
        case "demo":
            folder = demo.ensure(models, allow_fetch=allow_fetch, report=report)
        case "folder":
            folder = Path(asked.place)
        case "hub":
            folder = hub.fetch(asked.place, hub.SMALL_FILES, report)
            planned = plan(asked, folder)  # refuses what will not load before its weights are fetched
            if planned.needed_bytes is not None:
                check_fits(asked.name, planned.needed_bytes, planned.device)
            folder = hub.fetch(asked.place, hub.WEIGHTS, report)
    return load_folder(asked, folder, report)


def load_folder(asked: Asked, folder: Path, report: Report, dtype: torch.dtype | None = None) -> LoadedModel:
    started_s = time.monotonic()
    report("loading", 0.0)
    planned = plan(asked, folder, dtype)
    size_bytes = check_weights(asked.name, folder)
    tokenizer = read_tokenizer(asked.name, folder)
    check_fits(asked.name, planned.needed_bytes or size_bytes, planned.device)
    model = _weights(planned, folder, report)
    report("loading", 1.0)
    log.info("%s loaded in %.1f s on %s as %s", asked.name, time.monotonic() - started_s, planned.device, planned.dtype)
    ends = model.generation_config.eos_token_id
    return LoadedModel(
        name=asked.name,
        model=model,
        tokenizer=tokenizer,
        end_ids=frozenset({*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}),
        context_tokens=getattr(planned.config.get_text_config(decoder=True), "max_position_embeddings", None),
        think=think_tokens(tokenizer),
        thinking=thinking_of(tokenizer.get_chat_template()),
        chunk_tokens=_chunk_tokens(planned.device, model.num_parameters()),
    )


def plan(asked: Asked, folder: Path, dtype: torch.dtype | None = None) -> Plan:
    """Reads the config only. Raises `ModelLoadError` for what cannot be loaded as asked."""
    config = read_config(asked.name, folder)
    device, own_dtype = place()
    dtype = dtype or own_dtype
    try:
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    except Exception as error:  # values that do not go together, each found out in its own way
        raise unusable_config(asked.name, error) from error
    if getattr(config, "quantization_config", None) is not None:
        if asked.four_bit:
            raise ModelLoadError(f"{asked.name} is packed already.", hint="Name it without @4bit.")
        return Plan(asked.name, config, device, dtype, packing=None, needed_bytes=None)
    packing = four_bit(asked.name, skeleton, dtype) if asked.four_bit else None
    packed = packing.packed_weights if packing is not None else 0
    needed_bytes = (skeleton.num_parameters() - packed) * dtype.itemsize + packed * NF4_BYTES
    return Plan(asked.name, config, device, dtype, packing, needed_bytes)


def place() -> tuple[torch.device, torch.dtype]:
    """A CUDA device where there is one, else the CPU; bf16 on both.

    On CPUs too old for bf16 products an answer is still written faster than in fp32 (45 against 16 tokens/s, with oneDNN held to
    AVX2) in half the memory; the prompt, where fp32 is the faster, is read with its products in fp32 (see widened.py).
    """
    if torch.cuda.is_available():
        return torch.device("cuda", 0), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.device("cpu"), torch.bfloat16


def _weights(planned: Plan, folder: Path, report: Report) -> PreTrainedModel:
    options: dict[str, Any] = {"quantization_config": planned.packing.config} if planned.packing is not None else {}
    try:
        with weights_told_to(lambda share: report("loading", share)):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=planned.config,
                dtype=planned.dtype,
                device_map={"": planned.device},
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except BackendError:
        raise  # the load was given up through `report`
    except Exception as error:
        raise as_out_of_memory(error) or _load_error(planned.name, error) from error
    model: PreTrainedModel = loaded[0]
    missing = loaded[1]["missing_keys"]
    if missing:  # transformers fills them with random numbers and only warns
        raise ModelLoadError(
            f"{planned.name} is incomplete: {len(missing)} of its tensors are in no file.",
            hint="Fetch the checkpoint again.",
        )
    return model  # in eval mode already


def _load_error(name: str, error: Exception) -> ModelLoadError:
    log.warning("%s was not loaded", name, exc_info=error)
    if isinstance(error, SafetensorError):
        return ModelLoadError(f"A weight file of {name} is damaged or cut short.", hint="Fetch the checkpoint again.")
    if isinstance(error, ImportError):
        return ModelLoadError(f"{name} needs a package that is not installed: {error.name or error}.", hint="Install it and try again.")
    return ModelLoadError(
        f"{name} could not be loaded ({type(error).__name__}).",
        hint="Its files do not fit its config, or this transformers cannot read them. The log says more.",
    )


def _chunk_tokens(device: torch.device, parameters: int) -> int:
    if device.type != "cpu":
        return _GPU_CHUNK_TOKENS
    return max(16, min(256, _CPU_CHUNK_WORK // max(parameters, 1)))
