"""Our forward pass of Qwen3-Next gives transformers' scores on the same weights, however the tokens are cut into calls."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from backend.local.loading import load_folder
from backend.local.names import Asked
from backend.local.network.attention import Rotary, attend
from backend.local.network.qwen3_next import GatedAttention, Qwen3Next
from backend.local.progress import unheard
from tests.backend.local.next_tiny import checkpoint, models

IDS = torch.arange(5, 85) * 7 % 300
# The largest difference relative to the largest score. Weights of 0.02 as in checkpoints; wider ones make the model sharper, which
# multiplies rounding.
WIDTHS = {0.02: 1e-5, 0.1: 2e-4}


@pytest.fixture(scope="module", params=WIDTHS)
def pair(request):
    """(transformers' model, ours, its head, how near they must be)."""
    model, head = models(initializer_range=request.param)
    return model, Qwen3Next(model, head), head, WIDTHS[request.param]


@pytest.fixture(scope="module")
def network():
    return Qwen3Next(*models(initializer_range=0.02))


def apart(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.inference_mode()
def test_a_result_that_lies_token_by_token_is_read_aright(network, monkeypatch):
    """The memory-efficient product, which CUDA takes for masks, lays its result out [token, head]; a processor as the queries lie."""
    product = functional.scaled_dot_product_attention

    def laid_out_as_on_a_gpu(*args, **options):
        return product(*args, **options).transpose(1, 2).contiguous().transpose(1, 2)

    expected = network(IDS, network.new_state(128), logits=len(IDS))
    monkeypatch.setattr(functional, "scaled_dot_product_attention", laid_out_as_on_a_gpu)
    assert torch.equal(network(IDS, network.new_state(128), logits=len(IDS)), expected)


def stepped(network, ids, size, state=None):
    """The scores after each token, read so many at a time."""
    state = state or network.new_state(8)
    return torch.cat([network(part, state, logits=len(part)) for part in ids.split(size)])


@pytest.mark.parametrize("count", [1, 2, 8, 9, 63, 64, 65, 80])
@torch.inference_mode()
def test_a_whole_prompt_gives_transformers_scores(pair, count):
    model, network, _, near = pair
    assert apart(network(IDS[:count], network.new_state(100), logits=count), model(IDS[None, :count]).logits[0]) < near


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 64, 65])
@torch.inference_mode()
def test_any_steps_give_transformers_scores(pair, size):
    model, network, _, near = pair
    assert apart(stepped(network, IDS, size), model(IDS[None]).logits[0]) < near


@torch.inference_mode()
def test_reading_and_then_writing_gives_what_transformers_gives_with_its_cache(pair):
    from transformers import DynamicCache

    model, network, _, near = pair
    cache, state = DynamicCache(config=model.config), network.new_state(8)
    theirs, ours = model(IDS[None, :40], cache=cache, use_cache=True).logits[0, -1:], network(IDS[:40], state)
    assert apart(ours, theirs) < near
    for token in IDS[40:60].split(1):
        theirs, ours = model(token[None], cache=cache, use_cache=True).logits[0], network(token, state)
        assert apart(ours, theirs) < near


@torch.inference_mode()
def test_only_the_last_scores_are_made_where_only_they_are_asked_for(network):
    whole = network(IDS, network.new_state(8), logits=80)
    assert whole.shape == (80, network.vocabulary) and whole.dtype == torch.float32
    for count in (1, 3):
        assert torch.allclose(network(IDS, network.new_state(8), logits=count), whole[-count:], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_network_without_sparse_layers_or_a_share_of_heads_gives_the_same():
    model, head = models(initializer_range=0.02, mlp_only_layers=[1, 3], linear_num_value_heads=2, decoder_sparse_step=1)
    assert not hasattr(model.model.layers[1].mlp, "experts")
    assert apart(stepped(Qwen3Next(model, head), IDS, 5), model(IDS[None]).logits[0]) < WIDTHS[0.02]


@torch.inference_mode()
def test_weights_of_experts_that_do_not_sum_to_one_are_left_so():
    model, head = models(initializer_range=0.1, norm_topk_prob=False)
    routings = []
    ours = Qwen3Next(model, head)(IDS, Qwen3Next(model, head).new_state(8), logits=80, routings=routings)
    assert apart(ours, model(IDS[None]).logits[0]) < WIDTHS[0.1]
    assert all(float(weights.sum(-1).max()) < 0.99 for _, weights in routings)


# ---- the state
@pytest.mark.parametrize("size", [1, 3, 16])
@torch.inference_mode()
def test_a_room_that_grows_gives_the_same_as_one_that_is_large_enough(network, size):
    small, large = network.new_state(1), network.new_state(200)
    assert torch.equal(stepped(network, IDS, size, small), stepped(network, IDS, size, large))
    assert 80 <= small.room < 160 and large.room == 200


@torch.inference_mode()
def test_a_room_that_could_not_be_made_whole_is_made_by_the_next_try(network, monkeypatch):
    from backend.local.network.state import Attention

    grow, failing = Attention.grow, [False, True]

    def grown(layer, room):
        if failing and failing.pop(0):
            raise torch.OutOfMemoryError("no room")
        grow(layer, room)

    state, other = network.new_state(8), network.new_state(64)
    network(IDS[:8], state)
    network(IDS[:8], other)
    monkeypatch.setattr(Attention, "grow", grown)
    with pytest.raises(torch.OutOfMemoryError):
        network(IDS[8:20], state)
    assert torch.allclose(network(IDS[8:20], state), network(IDS[8:20], other), atol=1e-5)


@pytest.mark.parametrize("before", [1, 20])
@pytest.mark.parametrize("size", range(2, 9))
@torch.inference_mode()
def test_what_a_step_took_back_was_never_read(network, before, size):
    for kept in range(1, size + 1):
        back, never = network.new_state(8), network.new_state(8)
        for state in (back, never):
            network(IDS[:before], state)
        network(IDS[before : before + size], back)
        back.keep(kept)
        network(IDS[before : before + kept], never)
        assert back.length == never.length == before + kept and back.stepped == kept
        assert torch.allclose(back.hidden, never.hidden, rtol=0, atol=1e-5)
        after = IDS[40:46]
        for part in (after[:1], after[1:4], after[4:]):
            assert torch.allclose(network(part, back, logits=len(part)), network(part, never, logits=len(part)), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_step_may_be_taken_back_twice(network):
    back, never = network.new_state(8), network.new_state(8)
    network(IDS[:6], back)
    back.keep(4)
    back.keep(2)
    network(IDS[:2], never)
    assert torch.allclose(network(IDS[30:31], back), network(IDS[30:31], never), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", [0, -1, 4])
@torch.inference_mode()
def test_no_more_is_kept_than_was_read_and_no_less_than_a_token(network, kept):
    state = network.new_state(8)
    network(IDS[:3], state)
    with pytest.raises(ValueError, match=f"{kept} of 3"):
        state.keep(kept)


@pytest.mark.parametrize("at", [1, 5, 30])
@torch.inference_mode()
def test_a_state_goes_back_to_a_mark_as_often_as_wanted(network, at):
    state, hidden = network.new_state(8), None
    network(IDS[:at], state)
    mark, hidden = state.mark(), state.hidden[-1].clone()
    found = []
    for size in (1, 4, 20):
        state.back_to(mark)
        assert state.length == at and torch.equal(state.hidden[0], hidden)
        found.append(stepped(network, IDS[40:60], size, state))
    assert all(apart(other, found[0]) < 1e-5 for other in found[1:])


@torch.inference_mode()
def test_a_cleared_state_is_a_new_one(network):
    used, new = network.new_state(8), network.new_state(8)
    network(IDS, used)
    used.clear()
    assert used.length == used.stepped == 0 and used.hidden is None
    assert torch.equal(stepped(network, IDS[:20], 3, used), stepped(network, IDS[:20], 3, new))


# ---- routing
@pytest.mark.parametrize("size", [1, 5, 30])
@torch.inference_mode()
def test_routings_are_what_the_routers_of_transformers_chose(pair, size):
    model, network, _, _ = pair
    seen, ours = [], []
    hooks = [layer.mlp.gate.register_forward_hook(lambda _m, _x, out: seen.append(out[1:])) for layer in model.model.layers]
    model(IDS[None, :size])
    for hook in hooks:
        hook.remove()
    network(IDS[:size], network.new_state(8), routings=ours)
    assert len(ours) == len(seen) == len(model.model.layers)
    for (chosen, weights), (their_weights, their_chosen) in zip(ours, seen, strict=True):
        assert chosen.shape == weights.shape == (size, model.config.num_experts_per_tok)
        assert torch.equal(chosen, their_chosen)
        assert torch.allclose(weights, their_weights, rtol=0, atol=1e-4)
        assert torch.allclose(weights.sum(-1), torch.ones(size))


# ---- packed experts
@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = checkpoint(tmp_path_factory.mktemp("packed"), initializer_range=0.02)
    return load_folder(Asked("x", "folder", str(folder), True), folder, unheard, dtype=torch.float32)


@pytest.mark.parametrize("size", [1, 3, 8, 9, 40])
@torch.inference_mode()
def test_packed_weights_go_through_the_same_pass(packed, size):
    network = packed.network
    assert network.drafts and not packed.model.model.layers[0].mlp.experts.gate_up_proj.is_floating_point()
    assert apart(stepped(network, IDS, size), packed.model(IDS[None]).logits[0]) < 1e-5


@torch.inference_mode()
def test_packed_weights_say_nearly_what_whole_ones_say(packed, network):
    ours, whole = stepped(packed.network, IDS, 4), stepped(network, IDS, 4)
    assert 1e-4 < apart(ours, whole) < 0.5
    assert torch.nn.functional.cosine_similarity(ours.flatten(), whole.flatten(), dim=0) > 0.95


# ---- the head
def their_draft(model, head, count):
    """The head of transformers over the first tokens: its scores after each but the first, from the model's own hidden states."""
    embedded, positions = model.model.embed_tokens(IDS[None, 1:count]), torch.arange(1, count)[None]
    out = head.layers[0](
        embedded,
        model.model(IDS[None, :count]).last_hidden_state[:, :-1],
        position_embeddings=model.model.rotary_emb(embedded, positions),
        attention_mask=torch.ones(count - 1, count - 1, dtype=torch.bool).tril()[None, None],
        position_ids=positions,
        cache=None,
    )
    return model.lm_head(out)[0]


@pytest.mark.parametrize("count", [2, 3, 6, 20, 80])
@torch.inference_mode()
def test_a_draft_is_what_the_head_of_transformers_says(pair, count):
    model, network, head, near = pair
    state = network.new_state(100)
    network(IDS[:count], state)
    scores, hidden = network.draft(IDS[1:count], state.hidden[:-1], state, 1)
    assert hidden.shape == (1, model.config.hidden_size)
    assert apart(scores, their_draft(model, head, count)[-1]) < near


@torch.inference_mode()
def test_the_head_reads_a_prompt_in_pieces_as_in_one(network):
    whole, pieces = network.new_state(100), network.new_state(100)
    network(IDS, whole)
    expected, _ = network.draft(IDS[1:], whole.hidden[:-1], whole, 1)
    hidden = whole.hidden
    for start in range(1, 80, 7):
        end = min(start + 7, 80)
        scores, _ = network.draft(IDS[start:end], hidden[start - 1 : end - 1], pieces, start)
    assert apart(scores, expected) < 1e-5


@torch.inference_mode()
def test_a_room_that_grows_between_two_guesses_loses_nothing(network):
    """The head reads ahead of what the network has read."""
    found = []
    for room in (21, 100):
        state = network.new_state(room)
        network(IDS[:20], state)
        network.draft(IDS[1:20], state.hidden[:-1], state, 1)
        ids, hidden, guesses = IDS[20:21], state.hidden[-1:], []
        for ahead in range(3):
            scores, hidden = network.draft(ids, hidden, state, 20 + ahead)
            guesses.append(scores)
            ids = scores.argmax()[None]
        found.append(torch.stack(guesses))
    assert torch.equal(*found)


def test_a_network_without_a_head_guesses_nothing():
    network = Qwen3Next(models()[0])
    assert not network.drafts and len(network.new_state(8).layers) == 4
    assert Qwen3Next(*models()).drafts


# ---- fixed shapes
@pytest.mark.parametrize(("start", "count", "span"), [(0, 1, 16), (5, 1, 6), (5, 3, 8), (20, 4, 64), (0, 8, 8)])
@torch.inference_mode()
def test_fixed_shapes_attend_to_the_same(pair, start, count, span):
    model, _, _, near = pair
    module = model.model.layers[3].self_attn
    attention, rotary = GatedAttention(module), Rotary(model.model.rotary_emb, torch.float32, torch.device("cpu"))
    random = torch.Generator().manual_seed(1)
    found = []
    before, x = torch.randn(24, 128, generator=random), torch.randn(count, 128, generator=random)
    for places in (rotary.places(start, count), rotary.fixed(torch.arange(start, start + count), span)):
        state = attention.new_state(64, torch.float32)
        if start:
            attention(before[:start], state, rotary.places(0, start))
        state.keys[:, start + count :] = state.values[:, start + count :] = 50.0  # what lies behind must not be looked at
        found.append(attention(x, state, places))
    assert apart(found[1], found[0]) < near


@torch.inference_mode()
def test_attention_is_that_of_torch_over_all_tokens(network):
    from torch.nn import functional

    random = torch.Generator().manual_seed(2)
    queries, keys, values = (torch.randn(12, heads, 32, generator=random) for heads in (4, 2, 2))
    state, rotary = network.new_state(32).layers[3], next(iter(network.rotary.values()))
    ours = torch.cat(
        [attend(queries[a:b], keys[a:b], values[a:b], state, rotary.places(a, b - a), 0.3) for a, b in ((0, 7), (7, 8), (8, 12))]
    )
    theirs = functional.scaled_dot_product_attention(
        *(t.transpose(0, 1)[None] for t in (queries, keys, values)), is_causal=True, scale=0.3, enable_gqa=True
    )
    assert torch.allclose(ours, theirs[0].transpose(0, 1).reshape(12, -1), rtol=0, atol=1e-5)
