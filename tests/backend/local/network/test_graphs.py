"""Captured steps give what eager ones give: their fixed shapes, their masks, what they leave in the state; and eager where capturing fails."""

from __future__ import annotations

import pytest
import torch

from backend.local.network.dense import Dense
from backend.local.network.graphs import Graphed
from backend.local.network.qwen3_next import Qwen3Next
from tests.backend.local.next_tiny import models
from tests.backend.local.tiny import config


def replayed(captured, states=()):
    """Stands where CUDA captures: a replay runs the same step and fills the same tensors, the trails of `states` too."""

    def trails():
        return [t for state in states for layer in state.layers for pair in getattr(layer, "trail", ()) for t in pair]

    def capture(run):
        filled = run()
        captured.append(filled[0].shape[0])
        kept = [*filled, *trails()]

        def replay():
            new = run()
            for old, value in zip(kept, [*new, *trails()], strict=True):
                old.copy_(value)

        return replay, filled

    return capture


def llama():
    from transformers import LlamaForCausalLM

    torch.manual_seed(7)
    return Dense(LlamaForCausalLM(config(initializer_range=0.1)).eval())


def hybrid():
    model, head = models()
    return Qwen3Next(model, head)


IDS = torch.arange(3, 303) % 300


@pytest.mark.parametrize("make", [llama, hybrid])
@torch.inference_mode()
def test_captured_steps_are_the_eager_ones(make):
    eager, captured = make(), []
    graphed = Graphed(eager, replayed(captured))
    states = [network.new_state(16) for network in (eager, graphed)]
    for part in [IDS[:40], *IDS[40:60].split(1), IDS[60:63], *IDS[63:240].split(3), *IDS[240:300].split(1)]:
        ours, theirs = (net(part, state, logits=len(part)) for net, state in zip((graphed, eager), reversed(states), strict=True))
        assert torch.allclose(ours, theirs, atol=1e-4), len(part)
    assert captured == [1, 3, 1]  # the last one anew: the state had moved to a room of 512
    assert states[0].length == states[1].length == 300


@torch.inference_mode()
def test_after_a_captured_step_part_of_it_is_taken_back():
    network = hybrid()
    state, whole = network.new_state(256), network.new_state(16)
    graphed = Graphed(network, replayed([], [state]))
    graphed(IDS[:20], state)
    graphed(torch.cat((IDS[20:22], IDS[:2])), state, logits=4)
    state.keep(2)
    found = graphed(IDS[22:23], state)
    assert torch.allclose(found, network(IDS[:23], whole), atol=1e-4)


@torch.inference_mode()
def test_a_capture_leaves_the_state_as_it_was():
    network = hybrid()
    ran = []

    def capture(run):
        for _ in range(3):
            ran.append(run())
        return lambda: None, ran[-1]

    state = network.new_state(300)
    network(IDS[:20], state)
    before = state.mark()
    Graphed(network, capture)._captured(1, 256, state)
    for (conv, memory), (conv_after, memory_after) in zip(before.recurrent, state.mark().recurrent, strict=True):
        assert torch.equal(conv, conv_after) and torch.equal(memory, memory_after)
    assert len(ran) == 3 and state.length == 20


@torch.inference_mode()
def test_a_capture_that_fails_after_its_runs_leaves_the_state_as_it_was_too():
    network = hybrid()

    def capture(run):
        for _ in range(3):
            run()
        raise torch.OutOfMemoryError("out of memory while capturing")

    graphed, other = Graphed(network, capture), network.new_state(64)
    state = graphed.new_state(64)
    for part in (IDS[:20], IDS[20:21], IDS[21:22]):
        assert torch.equal(graphed(part, state), network(part, other))
    assert graphed.how.startswith("eager")


@torch.inference_mode()
def test_where_capturing_fails_the_steps_are_eager_and_it_is_said():
    def capture(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    network = hybrid()
    graphed = Graphed(network, capture)
    assert graphed.how == "CUDA graphs"
    state, other = graphed.new_state(16), network.new_state(16)
    assert torch.equal(graphed(IDS[:1], state), network(IDS[:1], other))
    assert graphed.how == "eager (RuntimeError in capturing)"
    assert state.length == 1


@torch.inference_mode()
def test_a_step_whose_routing_is_asked_for_is_eager():
    captured, routings = [], []
    graphed = Graphed(hybrid(), replayed(captured))
    graphed(IDS[:1], graphed.new_state(16), routings=routings)
    assert captured == [] and len(routings) == 4


@torch.inference_mode()
def test_steps_of_one_span_are_kept_at_a_time():
    """Each holds what it may have to take back, half a gigabyte at the full size."""
    graphed = Graphed(hybrid(), replayed(captured := []))
    state = graphed.new_state(1024)
    for part in (IDS[:250], IDS[:1], IDS[:2], IDS[:2], IDS[:2], IDS[:1]):  # from 255 places on the span is 512
        graphed(part, state)
    assert captured == [1, 2, 2, 1]
    assert len(graphed._steps) == 2


@torch.inference_mode()
@pytest.mark.parametrize("elsewhere", ["layers", "embedding", "head"])
def test_over_several_gpus_steps_are_eager_and_it_is_said(elsewhere):
    network, captured = hybrid(), []
    other = torch.device("meta")
    if elsewhere == "layers":
        network.rotary = {other: None, **network.rotary}
    elif elsewhere == "embedding":
        network.device = other
    else:
        network._lm_head = torch.nn.Linear(1, 1, device=other)
    graphed = Graphed(network, replayed(captured))
    assert graphed.how == "eager (several GPUs)"
    eager = []
    graphed._net = lambda ids, state, **_: eager.append(len(ids))
    graphed(torch.tensor([1]), None)
    assert eager == [1] and not captured


@torch.inference_mode()
def test_steps_that_were_captured_are_given_up_with_the_one_that_could_not_be():
    network, captures = hybrid(), 0

    def capture(run):
        nonlocal captures
        captures += 1
        if captures == 2:
            raise torch.OutOfMemoryError("out of memory while capturing")
        filled = run()
        return lambda: None, filled

    graphed = Graphed(network, capture)
    state = graphed.new_state(256)
    graphed(IDS[:1], state)
    graphed(IDS[:2], state)
    assert captures == 2 and graphed._steps == {} and graphed.how == "eager (OutOfMemoryError in capturing)"
