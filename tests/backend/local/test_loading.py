"""Checkpoints on disk: what loads, and the sentence for each that does not."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import weakref
from types import SimpleNamespace

import psutil
import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from huggingface_hub.file_download import DryRunFileInfo
from transformers import Qwen3NextConfig

from backend.errors import BackendError, LocalModelError, ModelLoadError, ModelTooLarge, UnknownModel
from backend.local import devices, hub, loading, memory, plan, sizing
from backend.local.decoding import Decoder
from backend.local.names import Asked, parse
from backend.local.progress import unheard
from backend.local.sampling import Sampling
from tests.backend.local import fp8, next_tiny
from tests.backend.local.tiny import HYBRID, OPENS, checkpoint, tokenizer


def load(folder, *, name="mine", four_bit=False, report=unheard, dtype=None):
    return loading.load_folder(Asked(name, "folder", str(folder), four_bit), folder, report, dtype)


@pytest.fixture
def folder(tmp_path):
    return checkpoint(tmp_path / "tiny", OPENS)


def test_a_checkpoint_loads_with_what_its_files_tell(folder):
    shares, plans = [], []

    def report(stage, share, plan=None):
        shares.append((stage, share))
        plans.append(plan)

    loaded = load(folder, report=report)
    assert loaded.model.dtype == torch.float32
    assert loaded.context_tokens == 512
    assert loaded.end_ids == {tokenizer().eos_token_id}
    assert loaded.thinking == "always" and loaded.think is not None
    assert 16 <= loaded.chunk_tokens <= 256
    assert shares[0] == ("loading", 0.0) and shares[-1] == ("loading", 1.0)
    assert [plan for plan in plans if plan] == [loaded.plan.sentence()]


def test_several_end_tokens_all_end_an_answer(folder):
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [3, 4]}))
    assert load(folder).end_ids == {3, 4, tokenizer().eos_token_id}


def test_loading_draws_nothing_in_the_terminal(folder, capfd):
    load(folder)
    out, err = capfd.readouterr()
    assert "Loading weights" not in out + err


def test_a_load_is_given_up_where_its_report_raises(folder):
    def report(stage, share, plan=None):
        if share:
            raise LocalModelError("closed")

    with pytest.raises(LocalModelError, match="closed"):
        load(folder, report=report)


def config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def cut_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def only_gguf(folder):
    (folder / "config.json").unlink()
    (folder / "model.gguf").write_bytes(b"GGUF")


SHARDS = json.dumps({"weight_map": {"a": "model-00002.safetensors"}}).encode()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "no folder"),
        (without("config.json"), "no config.json"),
        (only_gguf, "GGUF"),
        (written("config.json", b"{"), "config.json of mine is damaged"),
        (written("config.json", b"[]"), "config.json of mine is damaged"),
        (written("config.json", b"{}"), "architecture None"),
        (config(model_type="hyena-9000"), "hyena-9000"),
        (written("config.json", b'{"model_type": "vit"}'), "no language model"),
        (config(num_attention_heads="four"), "describes no model that can be built"),
        (config(hidden_act="shrug"), "describes no model that can be built"),
        (without("model.safetensors"), "no weights in the safetensors format"),
        (cut_weights, "damaged or cut short"),
        (written("model.safetensors", bytes(100)), "damaged or cut short"),
        (written("model.safetensors.index.json", SHARDS), "model-00002.safetensors"),
        (config(num_hidden_layers=3), "incomplete: 9 of its tensors"),
        (config(intermediate_size=256), "could not be loaded"),
        (without("tokenizer.json", "tokenizer_config.json"), "no tokenizer"),
        (written("tokenizer.json", b"{}"), "no tokenizer"),
        (without("chat_template.jinja"), "no chat template"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(folder, damage, words):
    damage(folder)
    with pytest.raises(ModelLoadError, match=words) as caught:
        load(folder)
    assert caught.value.hint
    assert str(caught.value).endswith(".")


def test_weights_that_do_not_fit_are_not_even_begun(folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    monkeypatch.setattr(loading, "_weights", lambda *_: pytest.fail("was loaded"))
    with pytest.raises(ModelTooLarge, match="are free"):
        load(folder)


def real_allocation_failure():
    try:
        torch.empty(10**17)
    except RuntimeError as error:
        return error
    raise AssertionError("the allocation went well")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (real_allocation_failure, True),
        (lambda: torch.OutOfMemoryError("CUDA out of memory"), True),
        (lambda: MemoryError(), True),
        (lambda: OSError(12, "Cannot allocate memory"), True),
        (lambda: torch.AcceleratorError("CUDA error: out of memory"), True),
        (lambda: RuntimeError("size mismatch"), False),
        (lambda: OSError(28, "No space left on device"), False),
    ],
)
def test_failed_allocations_are_known_as_such(folder, monkeypatch, make, expected):
    error = make()
    assert (memory.as_out_of_memory(error) is not None) is expected

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(ModelTooLarge if expected else ModelLoadError) as caught:
        load(folder)
    assert caught.value.__cause__ is error


# ---- 4 bit
def test_four_bit_packs_the_layers_and_answers(tmp_path):
    folder = checkpoint(tmp_path / "tiny", HYBRID, intermediate_size=96)  # no whole blocks of 64, in steps of 32
    odd = checkpoint(tmp_path / "odd", HYBRID, intermediate_size=120)  # nor steps of 32
    packed, plain = load(folder, four_bit=True), load(folder)
    kinds = {name: type(module).__name__ for name, module in packed.model.named_modules()}
    assert kinds["model.layers.0.self_attn.q_proj"] == "Linear4bit"
    assert kinds["model.layers.0.mlp.up_proj"] == "Linear4bit"
    assert kinds["model.layers.0.mlp.down_proj"] == "Linear"
    assert kinds["lm_head"] == "Linear"
    assert type(load(odd, four_bit=True).model.model.layers[0].mlp.up_proj).__name__ == "Linear"
    assert packed.model.get_memory_footprint() < plain.model.get_memory_footprint()
    decoder = Decoder(packed, [5, 6, 7], Sampling())
    list(decoder.read())
    assert [len(decoder.next()) for _ in range(8)] == [1] * 8


@pytest.mark.parametrize("four_bit", [True, False])
def test_a_mixture_of_experts_is_packed_when_asked(tmp_path, four_bit):
    loaded = load(next_tiny.checkpoint(tmp_path / "next"), four_bit=four_bit)
    assert loaded.plan.form == ("4-bit" if four_bit else "plain")
    for experts in [layer.mlp.experts for layer in loaded.model.model.layers]:
        assert experts.gate_up_proj.is_floating_point() is experts.down_proj.is_floating_point() is not four_bit
    assert loaded.network.drafts


def test_a_mixture_of_experts_that_fits_packed_only_is_packed_unasked(tmp_path, monkeypatch):
    folder = next_tiny.checkpoint(tmp_path / "next")
    monkeypatch.setattr(sizing, "free_bytes", lambda devices: 8e6)
    loaded = load(folder)
    assert loaded.plan.form == "4-bit" and "in 4 bits" in loaded.plan.sentence()
    assert loaded.model.model.layers[0].mlp.experts.gate_up_proj.dtype == torch.uint8


def test_a_model_without_an_mtp_head_is_not_asked_to_guess_ahead(folder):
    loaded = load(folder)
    assert not loaded.network.drafts and loaded.drafting is None


def test_what_is_packed_already_is_not_packed_again(folder):
    path = folder / "config.json"
    packed = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **packed}))
    with pytest.raises(ModelLoadError, match="packed already"):
        load(folder, four_bit=True)


# ---- the hub
def test_offline_a_hub_id_that_is_not_here_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE forbids"):
        loading.load(parse("someone/model"), tmp_path, allow_fetch=True, report=unheard)


def answered(kind, status):
    import httpx2
    from huggingface_hub import errors

    response = httpx2.Response(status, request=httpx2.Request("GET", "http://localhost/api"))
    return getattr(errors, kind)("said the hub", response=response)


def not_here(_kind=None):
    from huggingface_hub.errors import LocalEntryNotFoundError

    return LocalEntryNotFoundError("no network")


@pytest.mark.parametrize(
    ("make", "expected", "words"),
    [
        (lambda: answered("RepositoryNotFoundError", 404), UnknownModel, "has no model"),
        (lambda: answered("GatedRepoError", 403), UnknownModel, "accepted its terms"),
        (lambda: answered("HfHubHTTPError", 500), ModelLoadError, "could not be fetched"),
        (not_here, ModelLoadError, "cannot be reached"),
        (lambda: OSError(28, "No space left on device"), ModelLoadError, "disk is full"),
        (lambda: LocalModelError("given up"), LocalModelError, "given up"),
    ],
)
def test_each_failure_of_the_hub_has_its_sentence(monkeypatch, make, expected, words):
    def fails(*_, **__):
        raise make()

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(expected, match=words):
        hub.fetch("someone/model", hub.SMALL_FILES, lambda *_: None)


def test_a_hub_checkpoint_is_judged_before_its_weights_are_fetched(tmp_path, monkeypatch):
    fetched = []

    def snapshot_download(model_id, *, allow_patterns, tqdm_class):
        fetched.append(tuple(allow_patterns))
        Qwen3NextConfig().save_pretrained(tmp_path)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr(sizing, "free_bytes", lambda devices: 20e9)
    with pytest.raises(ModelTooLarge, match="Qwen/Next@4bit does not fit"):
        loading.load(parse("Qwen/Next@4bit"), tmp_path, allow_fetch=True, report=unheard)
    assert fetched == [hub.SMALL_FILES]


def test_a_hub_checkpoint_loads_and_tells_its_bytes(tmp_path, monkeypatch):
    folder, told = checkpoint(tmp_path / "snapshot"), []

    def snapshot_download(model_id, *, allow_patterns, tqdm_class, dry_run=False):
        if dry_run:
            return []
        with tqdm_class(total=100, unit="B", mininterval=0) as bytes_, tqdm_class(total=3, unit="it", mininterval=0) as files:
            bytes_.update(50)
            files.update(1)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    asked = parse("someone/tiny")
    loaded = loading.load(asked, tmp_path, allow_fetch=True, report=lambda stage, share, plan=None: told.append((stage, share)))
    assert loaded.name == "someone/tiny"
    assert ("fetching", 0.5) in told
    assert not any(stage == "fetching" and share not in (0.0, 0.5) for stage, share in told)


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """A hub with one model in three files, of which the cache has one; fetching weights brings the others."""
    whole, here, fetched = next_tiny.checkpoint(tmp_path / "whole", shards=3), tmp_path / "here", []
    shutil.copytree(whole, here)
    for file in sorted(here.glob("*.safetensors"))[1:]:
        file.unlink()

    def snapshot_download(model_id, *, allow_patterns, tqdm_class, dry_run=False):
        if dry_run:
            return [
                DryRunFileInfo("0", file.stat().st_size, file.name, "", is_cached=there, will_download=not there)
                for file in whole.glob(allow_patterns[0])
                for there in [(here / file.name).exists()]
            ]
        fetched.append(tuple(allow_patterns))
        if hub.WEIGHTS[0] in allow_patterns:
            shutil.copytree(whole, here, dirs_exist_ok=True)
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return here, fetched


def test_a_fetch_that_was_interrupted_goes_on(snapshot, tmp_path):
    loaded = loading.load(parse("someone/next"), tmp_path, allow_fetch=True, report=unheard)
    assert snapshot[1] == [hub.SMALL_FILES, hub.WEIGHTS] and loaded.network.drafts


def test_a_disk_without_room_is_known_before_weights_are_fetched(snapshot, tmp_path, monkeypatch):
    here, fetched = snapshot
    missing = sum(file.stat().st_size for file in (tmp_path / "whole").glob("*.safetensors") if not (here / file.name).exists())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=missing - 1))
    with pytest.raises(ModelLoadError, match="of someone/next are still to be fetched; the disk has") as caught:
        loading.load(parse("someone/next"), tmp_path, allow_fetch=True, report=unheard)
    assert "HF_HOME" in caught.value.hint and fetched == [hub.SMALL_FILES]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=missing))
    loading.load(parse("someone/next"), tmp_path, allow_fetch=True, report=unheard)


def test_what_the_cache_has_under_another_revision_is_no_longer_missing(snapshot, tmp_path, monkeypatch):
    """The snapshot of a new commit has links to nothing yet, or to what was deleted."""
    here = snapshot[0]
    for file in here.glob("*.safetensors"):
        file.unlink()
        file.symlink_to(tmp_path / "deleted")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(ModelLoadError, match="still to be fetched"):
        hub.check_room("someone/next", here)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, dry_run, **__: [DryRunFileInfo("0", 9, "model.safetensors", "", True, False)]
    )
    hub.check_room("someone/next", here)
    assert plan.make(parse("someone/next"), here).weights_bytes > 0


def test_without_the_hub_nothing_is_said_of_room(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=-1))
    hub.check_room("someone/next", tmp_path)


def test_a_gpu_that_is_lost_while_a_model_loads_is_said(folder, monkeypatch):
    def fails(*args, **options):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(LocalModelError, match="The GPU failed"):
        load(folder)


# ---- several devices, as far as a processor shows it: a map that names every block
def test_a_model_loads_by_a_map_of_its_blocks(tmp_path, monkeypatch):
    folder = next_tiny.checkpoint(tmp_path)
    whole = load(folder)
    monkeypatch.setattr(devices, "place", lambda parameters: (2 * (torch.device("cpu"),), torch.float32))
    monkeypatch.setattr(plan, "place", devices.place)
    monkeypatch.setattr(sizing, "free_bytes", lambda _: 0.7 * (whole.plan.weights_bytes + 2 * whole.plan.most_extra_bytes))
    spread = load(folder)
    assert spread.plan.device_map.keys() > {"model.embed_tokens", "model.layers.0", "model.layers.3", "model.norm", "lm_head"}
    assert all(torch.equal(a, b) for a, b in zip(spread.model.parameters(), whole.model.parameters(), strict=True))


# ---- FP8, as far as a processor can: transformers widens it
def test_a_checkpoint_in_fp8_is_widened_and_answers_as_its_widened_weights_do(tmp_path):
    narrow, wide = fp8.checkpoints(tmp_path)
    found, expected = load(narrow), load(wide)
    assert found.plan.form == "plain" and found.network.drafts
    ids = torch.arange(3, 43)
    with torch.inference_mode():
        ours, theirs = (m.network(ids, m.network.new_state(64), logits=40) for m in (found, expected))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_failed_load_is_logged_with_its_cause(folder, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(BackendError):
        config(intermediate_size=256)(folder)
        load(folder)
    assert any(record.exc_info for record in caplog.records)


def test_what_the_warm_up_froze_is_given_back_with_the_model(tmp_path):
    """Each 4-bit layer is in a cycle with its weight, which no reference count ends."""
    loaded = load(next_tiny.checkpoint(tmp_path), four_bit=True)
    layer = weakref.ref(next(m for m in loaded.model.modules() if isinstance(m, Linear4bit)))
    gc.freeze()
    try:
        del loaded
        gc.collect()
        assert layer() is not None  # else this shows nothing
        memory.release()
        assert layer() is None and gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
