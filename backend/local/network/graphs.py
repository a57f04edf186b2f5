"""Steps captured as CUDA graphs: one launch for a whole forward pass in place of thousands, which is what bounds eager decoding.

A captured step has fixed shapes: it looks at `span` places of the cache, the next power of two, of which a mask leaves those that count.
Where capturing fails the steps stay eager, and `how` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from backend.local.network.delta import LONGEST_STEP
from backend.local.network.experts import Routing
from backend.local.network.stack import Stack
from backend.local.network.state import Recurrent, State

log = logging.getLogger(__name__)

Run = Callable[[], tuple[torch.Tensor, torch.Tensor]]
"""One step on tensors of fixed addresses: (scores, hidden)."""
Capture = Callable[[Run], tuple[Callable[[], None], tuple[torch.Tensor, torch.Tensor]]]
"""Makes a replay of a run, and the tensors that a replay fills."""

_SHORTEST_SPAN = 256
_WARM_UPS = 3  # runs before a capture, in which libraries choose their kernels and workspaces


@dataclass(frozen=True, slots=True)
class _Step:
    ids: torch.Tensor
    index: torch.Tensor
    replay: Callable[[], None]
    scores: torch.Tensor
    hidden: torch.Tensor
    trails: list[list[tuple[torch.Tensor, torch.Tensor]]]
    kept: Any  # tables that the graph reads, which must not be freed


class Graphed:
    """A network whose steps over a few tokens are replayed. Everything else goes through `network` as it is."""

    def __init__(self, network: Stack, capture: Capture | None = None) -> None:
        self._net, self._capture = network, capture or on_cuda
        self.drafts, self.reusable = network.drafts, network.reusable
        self.dtype, self.device, self.vocabulary = network.dtype, network.device, network.vocabulary
        self._works = len(network.devices) == 1
        self.how = "CUDA graphs" if self._works else "eager (several GPUs)"
        self._steps: dict[int, _Step] = {}  # by their number of tokens
        # state, how often it had moved, and span that they belong to; one span at a time, since each keeps up to 0.5 GB of the full size
        self._of: tuple[State | None, int, int] = (None, 0, 0)

    def new_state(self, room: int) -> State:
        return self._net.new_state(room)

    def draft(self, ids: torch.Tensor, hidden: torch.Tensor, state: State, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._net.draft(ids, hidden, state, start)

    def __call__(self, ids: torch.Tensor, state: State, *, logits: int = 1, routings: list[Routing] | None = None) -> torch.Tensor:
        count = len(ids)
        if not self._works or routings is not None or count > LONGEST_STEP:
            return self._net(ids, state, logits=logits, routings=routings)
        step = self._step(count, state)
        if step is None:
            return self._net(ids, state, logits=logits)
        step.ids.copy_(ids)
        step.index.copy_(torch.arange(state.length, state.length + count, device=self.device))
        step.replay()
        for layer, trail in zip(_recurrent(state), step.trails, strict=True):
            layer.trail = list(trail)
        state.went_on(count, step.hidden)
        return step.scores[count - logits :]

    def _step(self, count: int, state: State) -> _Step | None:
        span = _SHORTEST_SPAN
        while span < state.length + count:
            span *= 2
        state.make_room(span)
        if self._of[0] is not state or self._of[1:] != (state.moves, span):
            self._steps.clear()  # their addresses are gone, or they look at too little
            self._of = (state, state.moves, span)
        found = self._steps.get(count)
        if found is None:
            try:
                found = self._steps[count] = self._captured(count, span, state)
            except RuntimeError as error:
                log.warning("steps stay eager: they could not be captured", exc_info=error)
                self._steps.clear()
                self._works, self.how = False, f"eager ({type(error).__name__} in capturing)"
        return found

    def _captured(self, count: int, span: int, state: State) -> _Step:
        ids = torch.zeros(count, dtype=torch.long, device=self.device)
        index = torch.arange(state.length, state.length + count, device=self.device)
        (rotary,) = self._net.rotary.values()
        rotary.fixed(index, span)  # makes the table

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            hidden = self._net.hidden(ids, state, {rotary.device: rotary.fixed(index, span)})
            return self._net.scores(hidden), hidden

        before, held = state.mark(), state.hidden
        try:
            replay, (scores, hidden) = self._capture(run)
            trails = [list(layer.trail) for layer in _recurrent(state)]
        finally:  # the runs before a capture that failed have moved the state on, too
            state.back_to(before)
            state.hidden = held
        return _Step(ids, index, replay, scores, hidden, trails, rotary.table)


def on_cuda(run: Run) -> tuple[Callable[[], None], tuple[torch.Tensor, torch.Tensor]]:
    """Captures on the current CUDA device. Raises `RuntimeError` where something in the run cannot be captured."""
    before = torch.cuda.current_stream()
    side = _side_stream(before.device)
    side.wait_stream(before)
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            run()
    before.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # thread_local: a plan on another thread may ask the device for its free memory meanwhile
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            filled = run()
    finally:
        torch.cuda.set_stream(before)  # a capture that fails at its end leaves the thread on the other one
    return graph.replay, filled


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: libraries keep a workspace for each stream that they have seen."""
    return torch.cuda.Stream(device)


def _recurrent(state: State) -> list[Recurrent]:
    return [layer for layer in state.layers if isinstance(layer, Recurrent)]
