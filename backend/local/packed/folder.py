"""`python app.py pack MODEL_DIR OUT_DIR`: a checkpoint packed once, so that later starts read a quarter and pack nothing.

Written into a hidden folder beside OUT_DIR and renamed when it is whole: what a killed run left behind is no OUT_DIR, and the next run
clears it away.
"""

from __future__ import annotations

import errno
import glob
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from backend.errors import BackendError, ModelLoadError
from backend.local import plan
from backend.local.checkpoint import check_weights, draft_weights_bytes, read_config, read_tokenizer
from backend.local.head import Tensors
from backend.local.memory import as_out_of_memory
from backend.local.names import Asked
from backend.local.progress import weights_told_to

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from backend.local.sizing import Plan

log = logging.getLogger(__name__)

HEAD_FILE = "mtp.safetensors"
_NO_ROOM_BYTES = 1 << 20
_SMALL_FILES = ("tokenizer*", "chat_template*", "vocab*", "merges*", "special_tokens*", "added_tokens*", "generation_config.json", "*.md")


def write(source: Path, target: Path, told: Callable[[float], None]) -> int:
    """Packs `source` into `target`; returns the size of the weights in bytes. `told` is given shares of the source read.

    Raises `ModelLoadError` where `source` cannot be packed or `target` is taken or cannot be written, `OutOfMemory` where the packed
    weights do not fit.
    """
    if target.exists():
        raise ModelLoadError(f"{target} exists already.", hint="Name a folder that does not exist yet.")
    name = source.name or source.resolve().name
    if (method := plan.stored_method(read_config(name, source))) is not None:
        raise ModelLoadError(f"{name} is packed already ({method}).", hint="Chat with it as it is, or pack the checkpoint in 16 bits.")
    planned = plan.make(Asked(name, "folder", str(source), four_bit=True), source)
    check_weights(name, source)
    read_tokenizer(name, source)
    work = target.with_name(f"{_part(target)}{os.getpid()}")
    _clear_away_what_killed_runs_left(target)
    try:
        work.mkdir(parents=True)
        _room_for(planned, source, work)
        _write_model(planned, source, work, told)
        _write_head(source, work)
        for pattern in _SMALL_FILES:
            for file in source.glob(pattern):
                shutil.copy2(file, work)
        work.rename(target)
    except BackendError:
        raise
    except (OSError, SafetensorError) as error:
        raise _not_written(source, target, work, error) from error
    except Exception as error:
        log.warning("%s was not packed", source, exc_info=error)
        raise as_out_of_memory(error) or ModelLoadError(
            f"{source} could not be packed ({type(error).__name__}).", hint="The log says more."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return check_weights(target.name, target)


def _part(target: Path) -> str:
    return f".{target.name}.part-"


def _clear_away_what_killed_runs_left(target: Path) -> None:
    """Their folders end in the number of their process, which is gone; a second run beside this one keeps its own."""
    for left in target.parent.glob(f"{glob.escape(_part(target))}*"):
        number = left.name.removeprefix(_part(target))
        if not number.isdigit() or int(number) == os.getpid() or not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _not_written(source: Path, target: Path, work: Path, error: OSError | SafetensorError) -> ModelLoadError:
    """safetensors reports a full disk and a damaged source by one class of its own: what room is left tells them apart."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or (isinstance(error, SafetensorError) and shutil.disk_usage(work).free < _NO_ROOM_BYTES):
        return ModelLoadError("The disk filled up.", hint="Name a folder on a larger disk.")
    if isinstance(error, SafetensorError):
        return ModelLoadError(f"A weight file of {source} is damaged or cut short.", hint="Fetch the checkpoint again.")
    return ModelLoadError(f"{target} cannot be written ({error.strerror}).", hint="Name a folder that you may write to, on a larger disk.")


def _write_model(planned: Plan, source: Path, work: Path, told: Callable[[float], None]) -> None:
    with weights_told_to(told, planned.sizes):
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # nosec B615: a folder here, no download
            source,
            config=planned.config,
            dtype=planned.dtype,
            device_map=planned.device_map,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            quantization_config=planned.quantization,
        )
    if loaded[1]["missing_keys"]:
        raise ModelLoadError(
            f"{source} is incomplete: {len(loaded[1]['missing_keys'])} of its tensors are in no file.", hint="Fetch it again."
        )
    save_as_packed(loaded[0], work)


def save_as_packed(model: PreTrainedModel, folder: Path) -> None:
    """The packed stacks as they are: transformers would split them into experts again. Before the first forward pass, which on some
    processors lays the 4-bit layers out anew."""
    writing: Any = model
    conversions, writing._weight_conversions = writing._weight_conversions, []
    try:
        model.save_pretrained(folder)
    finally:
        writing._weight_conversions = conversions


def _write_head(source: Path, work: Path) -> None:
    """The MTP head unpacked, under its own names; it is packed as it is loaded, in a moment."""
    with ExitStack() as closing:
        tensors = Tensors(source, closing)
        found = {key: tensors[key] for key in tensors}
        if found:
            save_file({k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in found.items()}, work / HEAD_FILE)


def _room_for(planned: Plan, source: Path, work: Path) -> None:
    free = shutil.disk_usage(work).free
    needed = planned.weights_bytes + draft_weights_bytes(source)  # the head lies there unpacked, too
    if needed > free:
        raise ModelLoadError(
            f"Packed, {planned.name} takes {needed / 1e9:,.1f} GB of disk; {free / 1e9:,.1f} GB are free.",
            hint="Name a folder on a larger disk.",
        )
