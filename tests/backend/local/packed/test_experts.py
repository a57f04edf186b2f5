"""The products of packed experts are those of their unpacked weights, on every path, and a step touches the chosen experts only."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextExperts

from backend.local.packed import experts as packed_experts
from backend.local.packed.experts import FEW_TOKENS, NAME, forward
from backend.local.packed.stacks import SCALES, STACKS
from backend.local.packed.storage import pack
from tests.backend.local.next_tiny import config

EXPERTS, HIDDEN, MIDDLE = 24, 128, 64
TOKENS = (1, FEW_TOKENS, FEW_TOKENS + 1, 40)


def made(top=4):
    """(packed experts, the same as transformers computes them with the unpacked weights)."""
    torch.manual_seed(7)
    settings = config(num_experts=EXPERTS, hidden_size=HIDDEN, moe_intermediate_size=MIDDLE, num_experts_per_tok=top)
    packed, plain = Qwen3NextExperts(settings), Qwen3NextExperts(settings)
    for stack in STACKS:
        weights = 0.1 * torch.randn_like(getattr(packed, stack))
        codes, scales = pack(weights)
        setattr(packed, stack, torch.nn.Parameter(codes, requires_grad=False))
        packed.register_buffer(stack + SCALES, scales)
        back = [dequantize_4bit(*quantize_4bit(expert, blocksize=64, quant_type="nf4")) for expert in weights]
        setattr(plain, stack, torch.nn.Parameter(torch.stack(back)))
    return packed, plain


def inputs(tokens, top=4, dtype=torch.float32):
    """Hidden states, experts that differ within each token, and their weights."""
    random = torch.Generator().manual_seed(tokens)
    chosen = torch.stack([torch.randperm(EXPERTS, generator=random)[:top] for _ in range(tokens)])
    weights = torch.rand(tokens, top, generator=random).softmax(-1)
    return torch.randn(tokens, HIDDEN, generator=random).to(dtype), chosen, weights.to(dtype)


def reference(plain, x, chosen, weights):
    """In fp32, expert by expert."""
    out = torch.zeros(x.shape)
    for t, ids in enumerate(chosen):
        for number, weight in zip(ids, weights[t], strict=True):
            gate, up = (plain.gate_up_proj[number] @ x[t].float()).chunk(2)
            out[t] += weight.float() * (plain.down_proj[number] @ (torch.nn.functional.silu(gate) * up))
    return out


def apart(found, expected):
    return float((found.float() - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("tokens", TOKENS)
def test_packed_products_are_those_of_the_unpacked_weights(tokens):
    packed, plain = made()
    x, chosen, weights = inputs(tokens)
    assert apart(forward(packed, x, chosen, weights), reference(plain, x, chosen, weights)) < 1e-5


@pytest.mark.parametrize("tokens", TOKENS)
def test_transformers_takes_this_forward_where_the_config_names_it(tokens):
    packed, _ = made()
    packed.config._experts_implementation = NAME
    x, chosen, weights = inputs(tokens)
    assert torch.equal(packed(x, chosen, weights), forward(packed, x, chosen, weights))


@pytest.mark.parametrize("tokens", TOKENS)
def test_in_bf16_packed_products_are_as_near_as_bf16_is(tokens):
    packed, plain = made()
    x, chosen, weights = inputs(tokens, dtype=torch.bfloat16)
    found = forward(packed, x, chosen, weights)
    assert found.dtype == torch.bfloat16
    assert apart(found, reference(plain, x, chosen, weights)) < 2e-2


@pytest.mark.parametrize("tokens", TOKENS)
def test_gathered_experts_and_whole_stacks_give_the_same(tokens, monkeypatch):
    packed, _ = made()
    given = inputs(tokens)
    monkeypatch.setattr(packed_experts, "FEW_TOKENS", 0)
    whole = forward(packed, *given)
    monkeypatch.setattr(packed_experts, "FEW_TOKENS", tokens)
    assert apart(forward(packed, *given), whole) < 1e-5


@pytest.mark.parametrize("top", [1, 2, 4, 10])
@pytest.mark.parametrize("tokens", [1, 3, FEW_TOKENS])
def test_the_fused_products_for_a_gpu_give_the_same(tokens, top):
    packed, plain = made(top)
    x, chosen, weights = inputs(tokens, top)
    assert apart(packed_experts._fused(packed, x, chosen, weights), reference(plain, x, chosen, weights)) < 1e-5


class Largest(TorchDispatchMode):
    """The size of the largest tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("path", ["_gathered", "_fused"])
def test_a_step_touches_the_chosen_experts_only(path):
    packed, _ = made()
    step = getattr(packed_experts, path)
    x, chosen, weights = inputs(2, top=4)
    expected = step(packed, x, chosen, weights)
    others = [number for number in range(EXPERTS) if number not in chosen]
    assert len(others) >= EXPERTS - 8
    for stack in STACKS:
        getattr(packed, f"{stack}_absmax")[others] = torch.nan
    with Largest() as largest:
        found = step(packed, x, chosen, weights)
    assert torch.equal(found, expected) and found.isfinite().all()
    assert largest.numbers <= chosen.numel() * 2 * MIDDLE * HIDDEN < packed.gate_up_proj.numel()


def test_on_a_processor_a_step_gathers(monkeypatch):
    packed, _ = made()
    taken = []
    monkeypatch.setattr(packed_experts, "_gathered", lambda experts, x, *_: taken.append(len(x)) or x)
    for tokens in TOKENS:
        forward(packed, *inputs(tokens))
    assert taken == [1, FEW_TOKENS]
