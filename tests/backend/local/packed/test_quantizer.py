"""A checkpoint is packed as it streams in: all experts, nothing else that should stay, and the model answers as its unpacked weights do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from backend.local.decoding import Decoder
from backend.local.loading import load_folder
from backend.local.names import Asked
from backend.local.packed.experts import NAME
from backend.local.packed.stacks import SCALES, STACKS
from backend.local.progress import unheard
from backend.local.sampling import Sampling
from tests.backend.local.next_tiny import checkpoint, models
from tests.backend.local.tiny import ids_of

ROOT = Path(__file__).resolve().parents[4]
PROMPT = ids_of("Xin chào, how are you? 北京")
CONVOLUTIONS = {f"model.layers.{n}.linear_attn.conv1d.weight" for n in range(3)}  # [channels, 1, kernel], small, and no experts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("next") / "sharded", shards=3)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def packed(folder, told):
    return load_folder(
        Asked("mine", "folder", str(folder), four_bit=True),
        folder,
        lambda stage, share, plan=None: told.append((stage, share)),
        torch.float32,
    )


def there_and_back(weights):
    return dequantize_4bit(*quantize_4bit(weights, blocksize=64, quant_type="nf4"))


@pytest.fixture(scope="module")
def reference(packed):
    """transformers' model with the weights that remain of what was packed."""
    model, _ = models()
    four_bit = {name for name, module in packed.model.named_modules() if type(module).__name__ == "Linear4bit"}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".experts." in name:
                parameter.copy_(torch.stack([there_and_back(expert) for expert in parameter]))
            elif name.removesuffix(".weight") in four_bit:
                parameter.copy_(there_and_back(parameter))
    return model


@torch.inference_mode()
def scores(model, ids=PROMPT):
    return model(torch.tensor([ids])).logits[0]


def test_no_experts_are_left_in_floating_point(packed):
    parameters = dict(packed.model.named_parameters())
    assert {name for name, p in parameters.items() if p.ndim == 3 and p.is_floating_point()} == CONVOLUTIONS
    stacks = [name for name in parameters if name.endswith(STACKS) and ".experts." in name]
    assert len(stacks) == 2 * 4
    assert all(parameters[name].dtype == torch.uint8 for name in stacks)


def test_experts_take_less_than_five_bits(packed):
    plain, _ = models()
    weights = sum(p.numel() for name, p in plain.named_parameters() if ".experts." in name)
    held = [*packed.model.named_parameters(), *packed.model.named_buffers()]
    assert 8 * sum(t.nbytes for name, t in held if ".experts." in name) / weights <= 4.6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.layers.0.linear_attn.in_proj_qkvz", "Linear4bit"),
        ("model.layers.0.linear_attn.out_proj", "Linear4bit"),
        ("model.layers.3.self_attn.q_proj", "Linear4bit"),
        ("model.layers.0.mlp.shared_expert.down_proj", "Linear4bit"),
        ("model.layers.0.linear_attn.in_proj_ba", "Linear"),  # 8 rows
        ("model.layers.0.mlp.shared_expert_gate", "Linear"),  # 1 row
        ("lm_head", "Linear"),
    ],
)
def test_other_layers_are_packed_where_the_packed_product_takes_them(packed, name, kind):
    assert type(packed.model.get_submodule(name)).__name__ == kind


def test_the_plan_knew_the_bytes_that_are_held(packed):
    linear = [m.weight.quant_state.absmax for m in packed.model.modules() if type(m).__name__ == "Linear4bit"]
    held = [*packed.model.parameters(), *packed.model.buffers(), *linear]
    assert sum(packed.plan.sizes.values()) == pytest.approx(sum(t.nbytes for t in held), rel=0.01)


def test_scores_are_those_of_the_unpacked_weights(packed, reference):
    expected = scores(reference)
    assert (scores(packed.model) - expected).norm() / expected.norm() < 1e-5
    assert (scores(models()[0]) - expected).norm() / expected.norm() > 1e-2  # packing does change them


def test_our_forward_pass_gives_the_scores_of_the_unpacked_weights(packed, reference):
    expected = scores(reference)
    with torch.inference_mode():
        found = packed.network(torch.tensor(PROMPT), packed.network.new_state(len(PROMPT)), logits=len(PROMPT))
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_greedy_tokens_are_those_of_the_unpacked_weights(packed, reference):
    decoder = Decoder(packed, PROMPT, Sampling())
    list(decoder.read())
    found = [chosen.token for _ in range(24) for chosen in decoder.next()]
    ids = torch.tensor([PROMPT])
    expected = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert found == expected[0, len(PROMPT) :].tolist()
    assert len(set(found)) > 3


def test_one_file_and_several_give_the_same(packed, tmp_path):
    whole = checkpoint(tmp_path / "whole")
    assert not (whole / "model.safetensors.index.json").exists()
    other = load_folder(Asked("mine", "folder", str(whole), four_bit=True), whole, unheard, torch.float32)
    found, expected = other.model.state_dict(), packed.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_progress_is_told_in_shares_of_bytes(packed, told):
    assert {stage for stage, _ in told} == {"loading"}
    shares = [share for _, share in told]
    assert shares[0] == 0.0 and shares == sorted(shares) and shares[-1] == 1.0
    steps = sorted(after - before for before, after in pairwise(shares) if after > before)
    sizes = sorted(packed.plan.sizes.values())
    assert steps == pytest.approx([size / sum(sizes) for size in sizes])
    assert steps[-1] > 100 * steps[0]


def test_plain_four_bit_loading_still_leaves_the_experts_in_floating_point(folder):
    """Where this fails, transformers or bitsandbytes have begun to pack experts, and ours may not be needed any more."""
    plain = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(load_in_4bit=True), dtype=torch.float32, device_map={"": "cpu"}
    )
    assert type(plain.model.layers[3].self_attn.q_proj).__name__ == "Linear4bit"
    for layer in plain.model.layers:
        assert all(getattr(layer.mlp.experts, stack).is_floating_point() for stack in STACKS)
        assert not hasattr(layer.mlp.experts, STACKS[0] + SCALES)
    assert plain.config._experts_implementation != NAME


WATCHED_LOAD = """
import json, sys, threading
from pathlib import Path
from backend.local.loading import load_folder
from backend.local.names import Asked
from backend.local.progress import unheard

def held_bytes():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

def load(folder):
    return load_folder(Asked("mine", "folder", folder, four_bit=True), Path(folder), unheard)

load(sys.argv[1])  # imports everything that a load imports
before = most = held_bytes()
done = threading.Event()

def watch():
    global most
    while not done.wait(0.001):
        most = max(most, held_bytes())

watcher = threading.Thread(target=watch)
watcher.start()
loaded = load(sys.argv[2])
done.set()
watcher.join()
print(json.dumps({"most": most - before, "dtype": str(loaded.model.dtype), "sizes": loaded.plan.sizes, "weights": loaded.plan.weights_bytes}))
"""
RUNTIME_BYTES = 25_000_000  # tokenizer, names of 6,000 tensors, working memory of the measured steps


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_load_holds_the_packed_model_and_a_few_stacks_never_the_whole_in_sixteen_bits(folder, tmp_path):
    large = checkpoint(
        tmp_path / "large", dtype=torch.bfloat16, shards=6, num_hidden_layers=8, hidden_size=256, num_experts=256, moe_intermediate_size=64
    )
    # freed memory goes back at once, so that what is counted is what is in use
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_LOAD, str(folder), str(large)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["dtype"] == "torch.bfloat16"
    stack_bytes = 256 * (2 * 64) * 256 * 2
    bound = told["weights"] + 3 * stack_bytes + RUNTIME_BYTES
    assert told["most"] < bound
    assert bound < 0.75 * sum(file.stat().st_size for file in large.glob("*.safetensors"))


def test_products_of_fp32_are_not_left_to_a_processors_bf16(folder, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = load_folder(Asked("mine@4bit", "folder", str(folder), four_bit=True), folder, unheard, torch.float32).model
    linear = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert linear and not any(module.support_avx512bf16_for_cpu for module in linear)
