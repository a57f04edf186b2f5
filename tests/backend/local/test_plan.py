"""What a model takes is known before it is loaded: the form, the devices, and the sentence where it does not fit."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, Qwen3NextConfig

from backend.errors import ModelLoadError, ModelTooLarge
from backend.local import devices, plan, sizing
from backend.local.checkpoint import draft_weights_bytes
from backend.local.names import Asked
from backend.local.packed.stacks import METHOD
from tests.backend.local import next_tiny, tiny

CPU = (torch.device("cpu"),)
USUAL_BYTES = devices._USUAL_BYTES


def make(folder, *, four_bit=False, dtype=None):
    return plan.make(Asked("mine@4bit" if four_bit else "mine", "folder", str(folder), four_bit), folder, dtype)


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory is free, on a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def set_free(size_bytes):
        monkeypatch.setattr(sizing, "free_bytes", lambda devices: float(size_bytes))

    set_free(10**12)
    return set_free


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Qwen3-Next-80B-A3B as far as a plan reads it."""
    folder = tmp_path_factory.mktemp("real")
    Qwen3NextConfig().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """Llama 2 7B: 6.74 billion parameters."""
    folder = tmp_path_factory.mktemp("dense")
    LlamaConfig().save_pretrained(folder)
    return folder


# ---- the real size
def test_the_plain_plan_of_the_real_model(real, free):
    planned = make(real)
    assert planned.form == "plain" and planned.quantization is None
    assert planned.dtype == torch.bfloat16 and planned.devices == CPU
    assert planned.weights_bytes / 2 == pytest.approx(79.7e9, rel=0.001)
    assert planned.per_1k_bytes == pytest.approx(24.6e6, rel=0.002)


def test_the_packed_plan_of_the_real_model(real, free):
    planned = make(real, four_bit=True)
    assert planned.form == "4-bit"
    assert planned.weights_bytes == pytest.approx(45.8e9, rel=0.03)
    assert planned.per_1k_bytes == pytest.approx(24.6e6, rel=0.002)
    stack_bytes = 512 * 1024 * 2048 * 2
    assert stack_bytes < planned.most_extra_bytes < 2 * stack_bytes
    assert planned.needed_bytes == planned.weights_bytes + planned.most_extra_bytes + planned.per_1k_bytes


def test_sizes_are_told_tensor_by_tensor(real, free):
    planned = make(real, four_bit=True)
    assert sum(planned.sizes.values()) == planned.weights_bytes
    assert planned.sizes["model.layers.0.mlp.experts.gate_up_proj"] == 512 * 1024 * 2048 * 4.5 / 8
    assert planned.sizes["model.layers.0.mlp.shared_expert.up_proj.weight"] == 512 * 2048 * 4.5 / 8
    assert planned.sizes["lm_head.weight"] == 151_936 * 2048 * 2
    assert planned.sizes["model.norm.weight"] == 2048 * 2


@pytest.mark.parametrize(("free_gb", "form"), [(200, "plain"), (159, "4-bit"), (80, "4-bit"), (50, "4-bit")])
def test_a_mixture_of_experts_is_packed_by_itself_where_only_that_fits(real, free, free_gb, form):
    free(free_gb * 1e9)
    assert make(real).form == form


@pytest.mark.parametrize("four_bit", [False, True])
def test_what_does_not_fit_packed_either_names_no_way_to_pack_it(real, free, four_bit):
    free(46e9)  # the weights, but nothing beside them
    with pytest.raises(ModelTooLarge, match=r"does not fit: .* of weights .*; 46\.0 GB are free on this processor\.") as caught:
        make(real, four_bit=four_bit)
    assert "@4bit" not in caught.value.hint
    assert "DashScope" in caught.value.hint and "OPENAI_BASE_URL" in caught.value.hint


# ---- dense models
def test_a_dense_model_that_fits_in_four_bits_is_told_by_what_name(dense, free):
    free(8e9)
    with pytest.raises(ModelTooLarge, match=r"13\.5 GB of weights in 16 bits") as caught:
        make(dense)
    assert "name it mine@4bit" in caught.value.hint
    assert make(dense, four_bit=True).form == "4-bit"


def test_a_dense_model_that_fits_in_no_form_is_told_no_other_name(dense, free):
    free(3e9)
    with pytest.raises(ModelTooLarge) as caught:
        make(dense)
    assert "@4bit" not in caught.value.hint
    with pytest.raises(ModelTooLarge) as caught:
        make(dense, four_bit=True)
    assert "@4bit" not in caught.value.hint


def test_a_dense_model_that_fits_is_packed_only_when_asked(dense, free):
    free(20e9)
    assert make(dense).form == "plain"
    assert make(dense, four_bit=True).form == "4-bit"


@pytest.mark.parametrize(
    ("middle", "left"),
    [
        (128, {"lm_head"}),
        (96, {"lm_head", "down_proj"}),  # no whole blocks of 64, in steps of 32
        (120, {"lm_head", "gate_proj", "up_proj", "down_proj"}),  # nor steps of 32
    ],
)
def test_in_four_bits_the_head_and_odd_widths_stay(tmp_path, free, middle, left):
    tiny.config(intermediate_size=middle).save_pretrained(tmp_path)
    planned, plain = make(tmp_path, four_bit=True), make(tmp_path)
    skipped = planned.quantization.llm_int8_skip_modules
    assert {name.rpartition(".")[2] for name in skipped} == left
    for name, size in planned.sizes.items():
        stays = name.removesuffix(".weight") in skipped or not re.search("(proj)", name)
        assert size == plain.sizes[name] * (1 if stays else 4.5 / 8 / plain.dtype.itemsize)


# ---- what is packed already
def quantised(folder):
    tiny.checkpoint(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq", "bits": 4}}))
    return folder


def test_what_is_packed_already_is_not_packed_again(tmp_path, free):
    with pytest.raises(ModelLoadError, match=r"mine@4bit is packed already \(gptq\)\.") as caught:
        make(quantised(tmp_path), four_bit=True)
    assert "without @4bit" in caught.value.hint


def test_what_is_packed_already_takes_what_its_files_take(tmp_path, free):
    planned = make(quantised(tmp_path))
    assert planned.form == "as stored" and planned.quantization is None
    assert planned.weights_bytes == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    free(1000)
    with pytest.raises(ModelTooLarge, match="of weights as stored") as caught:
        make(tmp_path)
    assert "@4bit" not in caught.value.hint


def indexed(folder, total, *tensors, quantised_by=None):
    """A hub checkpoint before its weights are here: the config and the index of its files."""
    config = Qwen3NextConfig()
    if quantised_by is not None:
        config.quantization_config = {"quant_method": quantised_by}
    config.save_pretrained(folder)
    index = {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(tensors, "model-00001-of-00041.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def hub(folder, *, four_bit=False):
    return plan.make(Asked("Qwen/Next", "hub", "Qwen/Next", four_bit), folder)


def test_a_quantised_checkpoint_that_is_not_here_yet_takes_what_its_index_says(tmp_path, free):
    folder = indexed(tmp_path, int(41e9), quantised_by="awq")
    assert hub(folder).weights_bytes == 41e9
    free(30e9)
    with pytest.raises(ModelTooLarge, match=r"41\.0 GB of weights as stored"):
        hub(folder)


def test_a_head_that_is_not_here_yet_is_counted(tmp_path, free):
    without = hub(indexed(tmp_path, int(160e9)), four_bit=True)
    with_it = hub(indexed(tmp_path, int(163e9), "mtp.fc.weight"), four_bit=True)
    assert with_it.weights_bytes - without.weights_bytes == pytest.approx(0.98e9, rel=0.1)
    assert with_it.per_1k_bytes == pytest.approx(without.per_1k_bytes * 13 / 12)


@pytest.mark.parametrize("part", ["metadata", "weight_map"])
def test_an_index_that_is_damaged_is_said(tmp_path, free, part):
    index = indexed(tmp_path, 1) / "model.safetensors.index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), part: ["x"]}))
    with pytest.raises(ModelLoadError, match=r"index\.json of Qwen/Next is damaged"):
        hub(tmp_path)


def test_a_size_that_nothing_tells_is_no_zero(tmp_path, free):
    (indexed(tmp_path, 0, quantised_by="awq") / "model.safetensors.index.json").unlink()
    assert hub(tmp_path).sentence().startswith("- of weights as stored, ")


def test_a_folder_that_we_packed_takes_what_packing_gives(real, tmp_path, free):
    config = Qwen3NextConfig()
    config.quantization_config = {"quant_method": METHOD}
    config.save_pretrained(tmp_path)
    packed, stored = make(real, four_bit=True), make(tmp_path)
    assert stored.quantization is None and stored.sentence() == packed.sentence()


# ---- FP8
@pytest.mark.parametrize(("capability", "form"), [((8, 0), "plain"), ((8, 9), "as stored"), ((9, 0), "as stored")])
def test_fp8_stays_where_a_gpu_multiplies_it_and_is_widened_elsewhere(tmp_path, gpus, monkeypatch, capability, form):
    gpus(200e9)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(sizing, "is_kernels_available", lambda: True)
    planned = hub(indexed(tmp_path, int(82e9), "mtp.fc.weight", quantised_by="fp8"))
    assert planned.form == form
    expected = 82e9 + 1.65e9 if form == "as stored" else 159.4e9 + 3.3e9
    assert planned.weights_bytes == pytest.approx(expected, rel=0.01)


def test_fp8_on_a_processor_takes_what_it_is_widened_to(tmp_path, free):
    folder = indexed(tmp_path, int(82e9), quantised_by="fp8")
    assert hub(folder).weights_bytes == pytest.approx(159.4e9, rel=0.001)
    free(100e9)
    with pytest.raises(ModelTooLarge, match="159 GB of weights in 16 bits"):
        hub(folder)


def test_fp8_without_its_products_is_said_before_anything_is_fetched(tmp_path, gpus, monkeypatch):
    gpus(200e9)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(sizing, "is_kernels_available", lambda: False)
    with pytest.raises(ModelLoadError, match="stored in FP8") as caught:
        hub(indexed(tmp_path, int(82e9), quantised_by="fp8"))
    assert re.search(r'pip install "kernels>=[\d.]+,<[\d.]+"', caught.value.hint)


# ---- the MTP head
def test_the_head_beside_a_model_is_counted(tmp_path, free):
    next_tiny.checkpoint(tmp_path, dtype=torch.bfloat16)
    _, head = next_tiny.models()
    numbers = sum(p.numel() for p in head.layers.parameters())
    assert draft_weights_bytes(tmp_path) == 2 * numbers
    plain = make(tmp_path, dtype=torch.bfloat16)
    assert plain.weights_bytes - sum(plain.sizes.values()) == 2 * numbers
    assert plain.per_1k_bytes == 2 * 1000 * 2 * 2 * 32 * 2  # keys and values, one layer of the model and the head's
    packed = make(tmp_path, four_bit=True, dtype=torch.bfloat16)
    assert 4.5 / 8 * numbers <= packed.weights_bytes - sum(packed.sizes.values()) < numbers


# ---- the sentence
@pytest.mark.parametrize(
    ("four_bit", "free_bytes", "sentence"),
    [
        (
            False,
            200e9,
            "159 GB of weights in 16 bits, 0.6 GB beside them while it works, 24.6 MB for 1,000 tokens; 200 GB are free on this processor",
        ),
        (
            True,
            79.1e9,
            r"4\d.\d GB of weights in 4 bits, 3.\d GB beside them while it works, 24.6 MB for 1,000 tokens; 79.1 GB are free on this processor",
        ),
    ],
)
def test_a_plan_is_one_sentence(real, free, four_bit, free_bytes, sentence):
    free(free_bytes)
    assert re.fullmatch(sentence, make(real, four_bit=four_bit).sentence())


# ---- devices
@pytest.mark.parametrize(
    ("parameters", "dtype"), [(2_000_000, torch.float32), (135_000_000, torch.bfloat16), (80_000_000_000, torch.bfloat16)]
)
def test_a_processor_computes_small_models_in_fp32_and_others_in_bf16(free, parameters, dtype):
    assert plan.place(parameters) == (CPU, dtype)


def test_a_dtype_that_is_asked_for_goes_before_the_devices_own(tmp_path, free):
    tiny.config().save_pretrained(tmp_path)
    assert make(tmp_path).dtype == torch.float32
    asked = make(tmp_path, dtype=torch.bfloat16)
    assert asked.dtype == torch.bfloat16
    assert 2 * asked.weights_bytes == make(tmp_path).weights_bytes


@pytest.fixture
def gpus(monkeypatch):
    """As many GPUs as there are sizes of free memory."""

    def plug(*free_bytes, bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free_bytes))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes[device.index], 80e9))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L40S")

    return plug


def test_two_gpus_are_filled_one_after_the_other(real, gpus):
    gpus(30e9, 28e9)
    planned = make(real)
    assert len(planned.device_map) == 48 + 4  # embedding, layers, norm, rotary table, head
    for device, free in zip(planned.devices, (30e9, 28e9), strict=True):
        there = [name for name, where in planned.device_map.items() if where == device]
        taken = sum(size for tensor, size in planned.sizes.items() if any(tensor.startswith(f"{name}.") for name in there))
        assert 0 < taken <= free - planned.most_extra_bytes - planned.per_1k_bytes
    assert list(planned.device_map.values()) == sorted(planned.device_map.values(), key=str)
    assert [str(device) for device in planned.devices] == ["cuda:0", "cuda:1"]
    assert planned.form == "4-bit"
    assert planned.free_bytes == 58e9
    assert planned.sentence().endswith("58.0 GB are free on 2 x NVIDIA L40S")


def test_two_gpus_that_hold_the_weights_but_not_what_each_needs_beside_them_do_not_do(real, gpus):
    gpus(26e9, 25e9)
    with pytest.raises(ModelTooLarge, match="on 2 x NVIDIA L40S"):
        make(real, four_bit=True)


def test_of_two_gpus_the_first_is_enough_where_it_is(dense, gpus):
    gpus(20e9, 20e9)
    assert make(dense).device_map == {"": torch.device("cuda", 0)}


def test_a_tied_head_lies_with_the_embedding(tmp_path, gpus):
    LlamaConfig(tie_word_embeddings=True).save_pretrained(tmp_path)
    gpus(9e9, 9e9)
    found = make(tmp_path).device_map
    assert found["lm_head"] == found["model.embed_tokens"] == torch.device("cuda", 0)
    assert found["model.norm"] == torch.device("cuda", 1)


def test_what_the_present_model_takes_is_free_for_the_next_one(real, gpus):
    gpus(30e9)
    present = {torch.device("cuda", 0): 46e9}
    planned = plan.make(Asked("mine@4bit", "folder", str(real), four_bit=True), real, freed=present)
    assert planned.free_bytes == 76e9


def test_on_gpus_all_that_torch_holds_goes_with_a_model(gpus, monkeypatch):
    gpus(30e9, 20e9)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: (50 + device.index) * 10**9)
    assert devices.held_bytes(46e9) == {torch.device("cuda", 0): 50e9, torch.device("cuda", 1): 51e9}


@pytest.mark.parametrize(
    ("info", "freed_bytes"),
    [
        (SimpleNamespace(rss=USUAL_BYTES + 8.8e9, shared=8.6e9), 0.2e9),  # 16-bit weights of 8 GB, in pages of their file
        (SimpleNamespace(rss=USUAL_BYTES + 9e9, shared=0.1e9), 8e9),  # packed while they were loaded
        (SimpleNamespace(rss=USUAL_BYTES - 1e8, shared=0.1e9), 0.0),
        (SimpleNamespace(rss=9e9, private=USUAL_BYTES + 3e9), 3e9),
        (SimpleNamespace(rss=9e9), 0.0),
    ],
)
def test_on_a_processor_pages_of_the_weights_file_are_free_already(monkeypatch, info, freed_bytes):
    monkeypatch.setattr(devices.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: info))
    assert devices.held_bytes(8e9) == {torch.device("cpu"): pytest.approx(freed_bytes)}


def test_one_gpu_is_named_where_it_is_too_small(real, gpus):
    gpus(30e9)
    with pytest.raises(ModelTooLarge, match=r"30\.0 GB are free on NVIDIA L40S\."):
        make(real)


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_the_sixteen_bits_that_it_has(gpus, bf16, dtype):
    gpus(40e9, bf16=bf16)
    assert plan.place(2_000_000) == ((torch.device("cuda", 0),), dtype)


# ---- what cannot be planned
def test_expert_stacks_of_odd_widths_are_not_promised_in_four_bits(tmp_path, free):
    next_tiny.config(moe_intermediate_size=96).save_pretrained(tmp_path)
    plain = make(tmp_path)
    free(0.9 * plain.needed_bytes)
    with pytest.raises(ModelTooLarge) as caught:
        make(tmp_path)
    assert "@4bit" not in caught.value.hint
    with pytest.raises(ModelLoadError, match=r"pack|4 bit"):
        make(tmp_path, four_bit=True)


def test_values_that_do_not_go_together_are_said(tmp_path):
    next_tiny.config().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "shrug"}))
    with pytest.raises(ModelLoadError, match="describes no model that can be built"):
        make(tmp_path)
