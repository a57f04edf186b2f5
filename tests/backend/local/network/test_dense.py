"""Our forward pass of the plain decoders gives transformers' scores, and 4-bit products those of the weights they came from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from backend.local.network.dense import Dense, takes
from backend.local.network.int4 import BLOCK, Int4Linear, codes
from tests.backend.local.tiny import config

IDS = torch.arange(5, 85) * 7 % 300
NEAR = 1e-5  # the largest difference in fp32, relative to the largest score


def llama(**changes):
    torch.manual_seed(7)
    return moved(LlamaForCausalLM(config(initializer_range=0.1, **changes)))


def qwen(kind, **changes):
    torch.manual_seed(7)
    options = {name: getattr(config(), name) for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings")}  # fmt: skip
    made, model = {2: (Qwen2Config, Qwen2ForCausalLM), 3: (Qwen3Config, Qwen3ForCausalLM)}[kind]
    return moved(model(made(**{**options, "initializer_range": 0.1, **changes})))


def moved(model):
    """With norms and biases that differ from one another, so that none can be left out unseen."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
MODELS = {
    "llama": llama,
    "llama, tied, all heads": lambda: llama(tie_word_embeddings=True, num_key_value_heads=4),
    "llama, biases, one kv head": lambda: llama(attention_bias=True, mlp_bias=True, num_key_value_heads=1),
    "llama, wide heads": lambda: llama(head_dim=32),
    "llama, places as llama 3": lambda: llama(**LLAMA3),
    "llama, places by yarn": lambda: llama(**YARN),
    "llama, places stretched": lambda: llama(**rope("linear", factor=4.0)),
    "qwen2": lambda: qwen(2),
    "qwen3": lambda: qwen(3, head_dim=32),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def apart(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


def stepped(network, size, state=None):
    state = state or network.new_state(8)
    return torch.cat([network(part, state, logits=len(part)) for part in IDS.split(size)])


@torch.inference_mode()
def test_any_steps_give_transformers_scores(model):
    assert takes(model)
    network, theirs = Dense(model), model(IDS[None]).logits[0]
    assert (network.drafts, network.reusable, network.vocabulary) == (False, True, model.config.vocab_size)
    for size in (80, 1, 3, 9, 64):
        assert apart(stepped(network, size), theirs) < NEAR, size


@torch.inference_mode()
def test_only_the_last_scores_are_made_where_only_they_are_asked_for(model):
    network = Dense(model)
    whole = network(IDS, network.new_state(8), logits=80)
    assert whole.shape == (80, network.vocabulary) and whole.dtype == torch.float32
    assert apart(network(IDS, network.new_state(8)), whole[-1:]) < NEAR


@torch.inference_mode()
def test_what_a_step_took_back_was_never_read(model):
    network = Dense(model)
    back, never = network.new_state(8), network.new_state(200)
    for state, count in ((back, 25), (never, 22)):
        network(IDS[:20], state)
        network(IDS[20:count], state)
    back.keep(2)
    assert back.length == never.length == 22
    assert apart(network(IDS[50:53], back, logits=3), network(IDS[50:53], never, logits=3)) < NEAR


@torch.inference_mode()
def test_a_bf16_network_scores_as_transformers_does_but_for_rounding():
    model = llama().to(torch.bfloat16)
    ours, theirs = stepped(Dense(model), 5), model(IDS[None]).logits[0].float()
    assert ours.dtype == torch.float32
    assert functional.cosine_similarity(ours, theirs).min() > 0.999


@pytest.mark.parametrize(
    ("make", "taken"),
    [
        (llama, True),
        (lambda: qwen(2, use_sliding_window=True, max_window_layers=1), False),
        (lambda: qwen(3, use_sliding_window=True, max_window_layers=1), False),
        (lambda: qwen(3, use_sliding_window=False), True),
        (lambda: llama(**rope("dynamic", factor=2.0)), False),
        (lambda: llama(**rope("longrope", factor=2.0, short_factor=[1.0] * 8, long_factor=[2.0] * 8, original_max_position_embeddings=64)), False),
        (lambda: llama(**YARN), True),
        (lambda: llama(hidden_act="gelu"), False),
        (lambda: MistralForCausalLM(MistralConfig(vocab_size=99, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)), False),
        (lambda: GemmaForCausalLM(GemmaConfig(vocab_size=99, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16)), False),
    ],
)  # fmt: skip
def test_only_what_it_computes_is_taken(make, taken):
    assert takes(make()) is taken


# ---- 4-bit weights
def four_bit(rows, columns, *, exact, seed=3):
    """(bf16 weights of blocks with 16 values evenly apart, their codes). With `exact` scales of few bits, which bf16 holds."""
    random = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 16, (rows, columns // BLOCK, BLOCK), generator=random)
    blocks[..., 3], blocks[..., 17] = 0, 15  # as a block's own least and largest value
    shape = (rows, columns // BLOCK, 1)
    scale = 2.0 ** torch.randint(-7, -3, shape, generator=random) if exact else 0.02 + 0.1 * torch.rand(shape, generator=random)
    middle = scale * torch.randint(-3, 4, shape, generator=random) if exact else scale * torch.randn(shape, generator=random)
    values = middle + (blocks - 8) * scale
    return values.to(torch.bfloat16).view(rows, columns), blocks.view(rows, columns)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_codes_are_found_again(exact, seed):
    weight, expected = four_bit(48, 256, exact=exact, seed=seed)
    found, scales = codes(weight)
    assert found.dtype == torch.int32 and torch.equal(found.long(), expected)
    assert scales.shape == (256 // BLOCK, 48, 2) and scales.dtype == torch.bfloat16
    scale, middle = (s.t()[..., None].float() for s in scales.unbind(-1))
    again = (middle + (found.view(48, -1, BLOCK) - 8) * scale).reshape(48, 256)
    assert torch.equal(again, weight.float()) if exact else apart(again, weight.float()) < 2**-7


@pytest.mark.parametrize("value", [0.0, 1.0, -0.375])
def test_a_block_of_one_value_keeps_it(value):
    weight = torch.full((32, 64), value, dtype=torch.bfloat16)
    found, scales = codes(weight)
    scale, middle = scales.float().unbind(-1)
    assert torch.equal((middle.t() + (found[:, ::BLOCK] - 8) * scale.t()), weight[:, ::BLOCK].float())


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_product_of_codes_is_that_of_the_weights(rows):
    weights = [four_bit(n, 256, exact=True, seed=n)[0] for n in (64, 32, 96)]
    x = torch.randn(rows, 256, generator=torch.Generator().manual_seed(rows)).to(torch.bfloat16)
    ours, exact = Int4Linear(weights)(x), functional.linear(x.double(), torch.cat(weights).double())
    assert ours.dtype == torch.bfloat16 and ours.shape == (rows, 192)
    assert torch.allclose(ours.double(), exact, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 4])
def test_scales_that_bf16_rounds_change_a_product_little(rows):
    weight, _ = four_bit(128, 512, exact=False)
    x = torch.randn(rows, 512, generator=torch.Generator().manual_seed(rows)).to(torch.bfloat16)
    exact = functional.linear(x.float(), weight.float())
    assert float((Int4Linear([weight])(x).float() - exact).norm() / exact.norm()) < 0.01


def quartered(model):
    """The same model with weights that were 4-bit to begin with."""
    model = model.to(torch.bfloat16)
    for place, layer in enumerate(model.model.layers):
        for module in (m for m in layer.modules() if isinstance(m, torch.nn.Linear)):
            module.weight.data = four_bit(*module.weight.shape, exact=True, seed=place)[0]
    return model


@pytest.mark.parametrize(
    "make",
    [
        llama,
        lambda: llama(tie_word_embeddings=True, num_key_value_heads=4),
        lambda: qwen(3),
        lambda: qwen(2),
        lambda: llama(attention_bias=True),
    ],
    ids=["llama", "llama, tied", "qwen3", "qwen2", "llama, biases"],
)
@torch.inference_mode()
def test_steps_in_4_bit_score_as_steps_in_16_but_for_rounding(make):
    model = quartered(make())
    packed, plain = Dense(model, packed=True), Dense(model)
    for size in (1, 3, 4, 20):
        ours, theirs = stepped(packed, size), stepped(plain, size)
        assert functional.cosine_similarity(ours, theirs).min() > 0.995, size
    assert torch.equal(stepped(packed, 20), stepped(plain, 20))


def test_what_has_no_head_cannot_draft():
    with pytest.raises(NotImplementedError):
        Dense(llama()).draft(IDS[:1], torch.zeros(1, 64), SimpleNamespace(), 0)
