"""From a model's name to a `LoadedModel`: find the files, judge them, see that the weights fit, load them, choose a forward pass."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from backend.errors import BackendError, ModelLoadError, ModelTooLarge
from backend.local import demo, devices, hub, plan, tiny, zero_gpu
from backend.local.checkpoint import check_weights, read_tokenizer
from backend.local.drafting import measure
from backend.local.facts import thinking_of
from backend.local.memory import as_gpu_lost, as_out_of_memory
from backend.local.model import LoadedModel
from backend.local.names import Asked
from backend.local.network import Network
from backend.local.network.dense import Dense, takes
from backend.local.network.graphs import Graphed
from backend.local.network.plain import Plain
from backend.local.network.stack import Stack
from backend.local.packed.stacks import METHOD, STACKS, is_experts, shape_of
from backend.local.prefixes import Prefixes
from backend.local.processor import Processor
from backend.local.progress import Report, weights_told_to
from backend.local.prompt import think_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from backend.local.sizing import Plan

log = logging.getLogger(__name__)

_CPU_CHUNK_WORK = 32_000_000_000  # weights x tokens of one chunk: some 0.2 s on two cores
_GPU_CHUNK_TOKENS = 2048
_PREFIX_SHARE, _MOST_PREFIX_BYTES = 0.1, 4 << 30  # of what is free once the model is loaded


def load(asked: Asked, models: Path, *, allow_fetch: bool, report: Report) -> LoadedModel:
    """Loads what was asked for; the demo's weights live in `models`. `report` may raise to give the load up.

    Raises `ModelLoadError`, `ModelTooLarge` or `UnknownModel`.
    """
    match asked.kind:
        case "demo":
            folder = demo.ensure(models, allow_fetch=allow_fetch, report=report)
        case "tiny":
            folder = tiny.FOLDER
        case "folder":
            folder = Path(asked.place)
        case "hub":
            folder = hub.fetch(asked.place, hub.SMALL_FILES, report)
            plan.make(asked, folder)  # refuses what will not load before its weights are fetched
            hub.check_room(asked.place, folder)
            folder = hub.fetch(asked.place, hub.WEIGHTS, report)
    return load_folder(asked, folder, report)


def load_folder(asked: Asked, folder: Path, report: Report, dtype: torch.dtype | None = None) -> LoadedModel:
    started_s = time.monotonic()
    report("loading", 0.0)
    planned = plan.make(asked, folder, dtype)
    check_weights(asked.name, folder)
    tokenizer = read_tokenizer(asked.name, folder)
    report("loading", 0.0, planned.sentence())
    log.info("%s: %s", asked.name, planned.sentence())
    model = _weights(planned, folder, report)
    made = ready(asked, planned, model, tokenizer, folder)
    report("loading", 1.0)
    log.info("%s loaded in %.1f s", asked.name, time.monotonic() - started_s)
    return made


def ready(asked: Asked, planned: Plan, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | None) -> LoadedModel:
    """A model in memory with its forward pass, its MTP head from `folder` where it has one, and room for known beginnings."""
    network, processor = _network(asked, planned, model, folder), Processor.of(model)
    ends = model.generation_config.eos_token_id
    return LoadedModel(
        name=asked.name,
        model=model,
        tokenizer=tokenizer,
        end_ids=frozenset({*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}),
        context_tokens=getattr(planned.config.get_text_config(decoder=True), "max_position_embeddings", None),
        think=think_tokens(tokenizer),
        thinking=thinking_of(tokenizer.get_chat_template()),
        chunk_tokens=_chunk_tokens(planned.devices[0], model.num_parameters()),
        network=network,
        prefixes=Prefixes(int(min(_MOST_PREFIX_BYTES, _PREFIX_SHARE * devices.free_bytes((network.device,))))),
        processor=processor,
        drafting=None if zero_gpu.is_here() else measure(network, processor),  # there the GPU comes only with the first question
        plan=planned,
    )


def _network(asked: Asked, planned: Plan, model: PreTrainedModel, folder: Path | None) -> Network:
    """The forward pass for a model, its steps captured where there is a GPU.

    The demo's weights were 4-bit to begin with, so its steps may be too (see int4.py).
    """
    if type(model).__name__ == "Qwen3NextForCausalLM":
        from backend.local.head import load_head
        from backend.local.network.qwen3_next import Qwen3Next

        next_model: Any = model
        head = None if folder is None else load_head(asked.name, next_model, folder, packed=planned.form == "4-bit")
        return _stepping(Qwen3Next(next_model, head))
    if takes(model):
        steps_in_4_bit = asked.kind == "demo" and not asked.four_bit and model.device.type == "cpu" and model.dtype == torch.bfloat16
        return _stepping(Dense(model, packed=steps_in_4_bit))
    return Plain(model)


def _stepping(network: Stack) -> Network:
    """With its steps captured where that pays: not on ZeroGPU, where each answer has a new process."""
    return Graphed(network) if network.device.type == "cuda" and not zero_gpu.is_here() else network


def _weights(planned: Plan, folder: Path, report: Report) -> PreTrainedModel:
    options: dict[str, Any] = {"quantization_config": planned.quantization} if planned.quantization is not None else {}
    if plan.stored_method(planned.config) == METHOD:
        import backend.local.packed.quantizer  # noqa: F401  # makes the method known to transformers
    try:
        with weights_told_to(lambda share: report("loading", share), planned.sizes):
            loaded: Any = AutoModelForCausalLM.from_pretrained(  # nosec B615: a folder here, no download
                folder,
                config=planned.config,
                dtype=planned.dtype,
                device_map=planned.device_map,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except BackendError:
        raise  # the load was given up through `report`
    except Exception as error:
        raise as_out_of_memory(error, ModelTooLarge) or as_gpu_lost(error) or _load_error(planned.name, error) from error
    model: PreTrainedModel = loaded[0]
    missing = loaded[1]["missing_keys"]
    if missing:  # transformers fills them with random numbers and only warns
        raise ModelLoadError(
            f"{planned.name} is incomplete: {len(missing)} of its tensors are in no file.",
            hint="Fetch the checkpoint again.",
        )
    _check_packed(planned.name, model)
    return model  # in eval mode already


def _check_packed(name: str, model: PreTrainedModel) -> None:
    """transformers does not look at the shapes of packed weights."""
    for path, module in model.named_modules():
        for stack in STACKS if is_experts(module) else ():
            codes: torch.Tensor = getattr(module, stack)
            rows, columns = shape_of(module, stack)
            if codes.dtype == torch.uint8 and codes.shape != (int(cast(Any, module).num_experts), rows * columns // 2):
                raise ModelLoadError(f"The packed weights of {name} are damaged: {path}.{stack} has another shape.", hint="Pack it again.")


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
