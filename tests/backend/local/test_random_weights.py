"""A model of random weights is packed as a loaded one is, and our forward pass over it is transformers' own."""

from __future__ import annotations

import torch
from bitsandbytes.nn.modules import Linear4bit

from backend.local.network.qwen3_next import Qwen3Next
from backend.local.packed.stacks import is_experts
from backend.local.random_weights import CONFIGS, random_model
from tests.backend.local.next_tiny import config


@torch.inference_mode()
def test_it_is_whole_packed_and_computes():
    model = random_model(config(), torch.device("cpu"), torch.float32)
    assert not [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    experts = [module for module in model.modules() if is_experts(module)]
    assert len(experts) == 4 and all(module.gate_up_proj.dtype == torch.uint8 for module in experts)
    linear = [m.weight.quant_state for m in model.modules() if isinstance(m, Linear4bit) and m.weight.quant_state is not None]
    assert linear and not any(state.nested for state in linear)  # scales in fp32, as those of a loaded model
    network, ids = Qwen3Next(model), torch.arange(40)
    found = network(ids, network.new_state(64), logits=40)
    assert torch.allclose(found, model(input_ids=ids[None]).logits[0], atol=1e-4)
    assert 0.01 < float(found.std()) < 100


def test_the_full_size_is_the_published_one():
    made = CONFIGS["qwen3-next-80b"]()
    assert (made.num_hidden_layers, made.hidden_size, made.num_experts, made.num_experts_per_tok) == (48, 2048, 512, 10)
    assert (made.moe_intermediate_size, made.vocab_size, made.layer_types[3]) == (512, 151936, "full_attention")
