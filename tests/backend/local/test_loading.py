"""Checkpoints on disk: what loads, and the sentence for each that does not."""

from __future__ import annotations

import json
import logging
import shutil

import psutil
import pytest
import torch
import transformers
from backend.local.quantise import four_bit
from transformers import Qwen3NextConfig

from backend.errors import BackendError, LocalModelError, ModelLoadError, OutOfMemory, UnknownModel
from backend.local import hub, loading, memory
from backend.local.names import Asked, parse
from tests.backend.local.tiny import HYBRID, OPENS, checkpoint, tokenizer


def load(folder, *, name="mine", four_bit=False, report=lambda stage, share: None, dtype=None):
    return loading.load_folder(Asked(name, "folder", str(folder), four_bit), folder, report, dtype)


@pytest.fixture
def folder(tmp_path):
    return checkpoint(tmp_path / "tiny", OPENS)


def test_a_checkpoint_loads_with_what_its_files_tell(folder):
    shares = []
    loaded = load(folder, report=lambda stage, share: shares.append((stage, share)))
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.context_tokens == 512
    assert loaded.end_ids == {tokenizer().eos_token_id}
    assert loaded.thinking == "always" and loaded.think is not None
    assert 16 <= loaded.chunk_tokens <= 256
    assert shares[0] == ("loading", 0.0) and shares[-1] == ("loading", 1.0)


def test_several_end_tokens_all_end_an_answer(folder):
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [3, 4]}))
    assert load(folder).end_ids == {3, 4, tokenizer().eos_token_id}


def test_loading_draws_nothing_in_the_terminal(folder, capfd):
    load(folder)
    out, err = capfd.readouterr()
    assert "Loading weights" not in out + err


def test_a_load_is_given_up_where_its_report_raises(folder):
    def report(stage, share):
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
    with pytest.raises(OutOfMemory, match="GB are free"):
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
    with pytest.raises(OutOfMemory if expected else ModelLoadError) as caught:
        load(folder)
    assert caught.value.__cause__ is error


# ---- 4 bit
def test_four_bit_packs_the_layers_and_answers_alike(tmp_path):
    from backend.local.decoding import Decoder, Sampling

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
    decoder = Decoder(packed, [5, 6, 7], Sampling(), 8)
    list(decoder.read())
    assert len({decoder.next() for _ in range(8)}) >= 1


def qwen3_next(layers=4, experts=32):
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(
            Qwen3NextConfig(num_hidden_layers=layers, num_experts=experts), dtype=torch.bfloat16
        )


def test_experts_are_not_called_four_bit_when_they_would_stay_in_sixteen():
    with pytest.raises(ModelLoadError, match=r"77\.3 of its 79\.7 billion") as caught:
        four_bit("Qwen/Qwen3-Next-80B-A3B-Instruct", qwen3_next(48, 512), torch.bfloat16)
    assert "DashScope" in caught.value.hint and "OPENAI_BASE_URL" in caught.value.hint


def test_a_qwen3_next_folder_asked_for_in_four_bit_is_refused_before_its_weights_are_read(tmp_path):
    Qwen3NextConfig(num_hidden_layers=4, num_experts=32).save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="mixture of experts"):
        load(tmp_path, four_bit=True)


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
        loading.load(parse("someone/model"), tmp_path, allow_fetch=True, report=lambda *_: None)


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
        Qwen3NextConfig(num_hidden_layers=4, num_experts=32).save_pretrained(tmp_path)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelLoadError, match="mixture of experts"):
        loading.load(parse("Qwen/Next@4bit"), tmp_path, allow_fetch=True, report=lambda *_: None)
    assert fetched == [hub.SMALL_FILES]


def test_a_hub_checkpoint_loads_and_tells_its_bytes(tmp_path, monkeypatch):
    folder, told = checkpoint(tmp_path / "snapshot"), []

    def snapshot_download(model_id, *, allow_patterns, tqdm_class):
        with tqdm_class(total=100, unit="B", mininterval=0) as bytes_, tqdm_class(total=3, unit="it", mininterval=0) as files:
            bytes_.update(50)
            files.update(1)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    asked = parse("someone/tiny")
    loaded = loading.load(asked, tmp_path, allow_fetch=True, report=lambda stage, share: told.append((stage, share)))
    assert loaded.name == "someone/tiny"
    assert ("fetching", 0.5) in told
    assert not any(stage == "fetching" and share not in (0.0, 0.5) for stage, share in told)


def test_a_failed_load_is_logged_with_its_cause(folder, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(BackendError):
        config(intermediate_size=256)(folder)
        load(folder)
    assert any(record.exc_info for record in caplog.records)
