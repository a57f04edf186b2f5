"""Whether guessing ahead pays on this machine: what steps and drafts take, measured once a load, and how often guesses come true."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from backend.local.network import Network
    from backend.local.processor import Processor

MOST_DRAFTS = 3
_FIRST_SEEN, _FIRST_RIGHT = 10.0, 7.0
_ENOUGH_SEEN = 20.0
_FADE = 0.95
_TIMES = 7
_BEFORE_TOKENS = 64


@dataclass
class Drafting:
    """Seconds of a step over 1, 2, ... tokens and of one draft; `seen` and `right` count first guesses.

    The counts begin with a guess of our own, 7 of 10, that a few answers outweigh.
    """

    step_s: tuple[float, ...]
    draft_s: float
    seen: float = _FIRST_SEEN
    right: float = _FIRST_RIGHT

    def learn(self, seen: int, right: int) -> None:
        """Of one answer. Old counts fade towards the first guess, so that guessing is tried again after a while without it."""
        self.seen = _FADE * self.seen + (1 - _FADE) * _FIRST_SEEN + seen
        self.right = _FADE * self.right + (1 - _FADE) * _FIRST_RIGHT + right

    @property
    def acceptance(self) -> float:
        return self.right / self.seen

    def best(self) -> int:
        """How many tokens to guess ahead so that a token takes the least time; 0 where guessing does not pay.

        Expected tokens of a leap with k drafts that come true with probability a each: 1 + a + ... + a^k. While too little was seen
        to know a, one is guessed wherever that could pay.
        """

        def token_s(ahead: int, acceptance: float) -> float:
            return (self.step_s[ahead] + ahead * self.draft_s) / sum(acceptance**k for k in range(ahead + 1))

        found = min(range(len(self.step_s)), key=lambda ahead: token_s(ahead, self.acceptance))
        untried = self.seen < _ENOUGH_SEEN and len(self.step_s) > 1 and token_s(1, 1.0) < self.step_s[0]
        return 1 if untried and found == 0 else found


@torch.inference_mode()
def measure(network: Network, processor: Processor) -> Drafting | None:
    """`None` where there is no head. Steps are made as those of an answer are, on `processor`."""
    if not network.drafts:
        return None
    lengths = range(1, MOST_DRAFTS + 2)
    state = network.new_state(_BEFORE_TOKENS + _TIMES * sum(lengths) + 1)  # all of it at once: growing in between would be measured, too
    state.wants_hidden = True
    ids = torch.zeros(_BEFORE_TOKENS, dtype=torch.long, device=network.device)
    network(ids, state)

    hidden: list[torch.Tensor] = []

    def step(count: int) -> None:
        network(ids[:count], state, logits=count)
        assert state.hidden is not None  # nosec B101: for the type checker
        hidden[:] = [state.hidden[-1:]]

    calls: list[Callable[[], object]] = [partial(step, count) for count in lengths]
    calls.append(lambda: network.draft(ids[:1], hidden[0], state, state.length))
    fastest_s = [math.inf] * len(calls)
    for _ in range(_TIMES):  # in turn, so that what else the machine does for a moment falls on all of them
        for place, call in enumerate(calls):
            start_s = time.perf_counter()
            with processor.stepping():
                call()
            if network.device.type == "cuda":
                torch.cuda.synchronize(network.device)
            fastest_s[place] = min(fastest_s[place], time.perf_counter() - start_s)
    return Drafting(tuple(fastest_s[:-1]), fastest_s[-1])
