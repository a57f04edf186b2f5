"""The commands about models on this machine: `python app.py pack` and `python app.py bench`."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import BackendError, BadInput, OutOfMemory

if TYPE_CHECKING:
    from backend.local.model import LoadedModel


def pack(source: str, target: str) -> int:
    """0 where the folder was written, 1 with a sentence where not."""
    from backend.local.packed.folder import write

    last = -1

    def told(share: float) -> None:
        nonlocal last
        if int(10 * share) > last:
            last = int(10 * share)
            _say(f"{100 * share:3.0f} % read")

    try:
        size_bytes = write(Path(source).expanduser(), Path(target).expanduser(), told)
    except BackendError as error:
        return _failed(error)
    _say(f"{target}: {size_bytes / 1e9:,.3f} GB of weights. Chat with it: python app.py --model local:{target}")
    return 0


def bench(options: argparse.Namespace) -> int:
    """0 with a table, 1 with a sentence."""
    import torch

    from backend.local.bench import run
    from backend.local.memory import as_gpu_lost, as_out_of_memory

    try:
        if options.tokens < 2:
            raise BadInput("An answer of fewer than 2 tokens has no speed.", hint="Give --tokens 2 or more.")
        loaded = _random(options) if options.random_weights else _loaded(options.model)
        network, threads = loaded.network, f"{torch.get_num_threads()} threads"
        if loaded.processor.one_thread:  # generate is left with all of them
            threads = f"1 of {threads}"
        where = torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else threads
        _say(f"{loaded.name} in {str(network.dtype).removeprefix('torch.')} on {where} ({platform.machine()}), torch {torch.__version__}")
        if loaded.plan is not None:
            _say(loaded.plan.sentence())
        run(loaded, options.tokens, against=options.against is not None, say=_say)
    except BackendError as error:
        return _failed(error)
    except RuntimeError as error:
        known = as_out_of_memory(error) or as_gpu_lost(error)
        if known is None:
            raise
        return _failed(known)
    return 0


def _loaded(name: str) -> LoadedModel:
    from backend.local.loading import load
    from backend.local.names import parse
    from backend.local.progress import unheard
    from backend.settings import load_settings

    engine, _, model = name.partition(":")
    if engine != "local":
        raise BadInput(f"{name} is no model on this machine.", hint="Name one as local:qwen3-next-tiny or local:FOLDER.")
    return load(parse(model, whole=True), load_settings().data_dir / "models", allow_fetch=True, report=unheard)


def _random(options: argparse.Namespace) -> LoadedModel:
    from backend.local import tiny
    from backend.local.checkpoint import read_tokenizer
    from backend.local.loading import ready
    from backend.local.names import Asked
    from backend.local.plan import planned_size
    from backend.local.random_weights import CONFIGS, random_model

    config = CONFIGS[options.random_weights]()
    if options.layers:
        config.num_hidden_layers, config.layer_types = options.layers, (config.layer_types or [])[: options.layers]
    asked = Asked(options.random_weights, "folder", "", four_bit=True)
    planned = planned_size(asked, config)
    if planned.device_map != {"": planned.devices[0]}:
        raise OutOfMemory(
            f"{options.random_weights} does not fit on the first GPU, on which it is made: {planned.sentence()}.",
            hint="Name fewer --layers.",
        )
    model: Any = random_model(config, planned.devices[0], planned.dtype)
    return ready(asked, planned, model, read_tokenizer(tiny.NAME, tiny.FOLDER), None)


def _failed(error: BackendError) -> int:
    print(f"{error.message} {error.hint}", file=sys.stderr)  # noqa: T201
    return 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
