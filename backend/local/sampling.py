"""From scores to the next token: penalties, temperature and limits as probabilities, and a draw that depends on the seed and the place.

Penalties and limits do what transformers' processors of the same names do, in the order of its `generate`; the presence penalty is
that of vLLM and OpenAI: it counts what was generated, not the prompt.

A token is drawn as the largest of p / e, with e drawn anew from Exp(1) for each token of the vocabulary: that is distributed as p (the
exponential race, or Gumbel-max trick). The e of a place in the answer come from the seed and that place alone. So a guess drawn from the
MTP head's distribution with the same e mostly agrees with the model's own draw, and whether or not anything was guessed, the text is
the same (a coupling in place of the rejection step of Leviathan et al. 2023; see Daliri et al. 2024).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from backend.types import GenerationParameters

if TYPE_CHECKING:
    from transformers import GenerationConfig

_64_BITS = (1 << 64) - 1
COLDEST = 1e-4  # below this temperature the most likely token is taken, which is what it means


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 takes the most likely one; 0, 1.0, 0.0, 0.0 and 1.0 switch the others off."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    @classmethod
    def of(cls, parameters: GenerationParameters, config: GenerationConfig) -> Self:
        """The user's values; what was not set is as the model's own generation_config.json says."""
        sampled = bool(config.do_sample)

        def chosen(own: float | None, models: float | None, off: float) -> float:
            return own if own is not None else models if models is not None else off

        return cls(
            temperature=chosen(parameters.temperature, config.temperature if sampled else 0.0, 1.0),
            top_k=int(chosen(parameters.top_k, config.top_k if sampled else None, 0)),
            top_p=chosen(parameters.top_p, config.top_p if sampled else None, 1.0),
            min_p=chosen(parameters.min_p, config.min_p if sampled else None, 0.0),
            presence_penalty=chosen(parameters.presence_penalty, None, 0.0),
            repetition_penalty=chosen(parameters.repetition_penalty, config.repetition_penalty, 1.0),
            seed=parameters.seed,
        )

    @property
    def greedy(self) -> bool:
        return self.temperature < COLDEST


class Sampler:
    """Chooses the tokens of one answer. `prompt` and what is `told` since count for the penalties, the latter also as the place.

    Scores are [vocabulary] in fp32. The methods that take `after` count these tokens too, as if they had been told.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], vocabulary: int, device: torch.device) -> None:
        self._s = sampling
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._random = torch.Generator(device=device)
        self._told: list[int] = []
        self._prompt, self._vocabulary, self._device = list(prompt), vocabulary, device
        self._mark_seen()

    def told(self, *tokens: int) -> None:
        """These tokens are part of the answer."""
        self._told += tokens
        for seen in (self._present, self._generated):
            if seen is not None:
                seen[list(tokens)] = True

    def taken_back(self, count: int) -> None:
        """The last `count` tokens are not part of the answer after all."""
        if count:
            del self._told[-count:]
            self._mark_seen()

    def choose(self, scores: torch.Tensor, after: Sequence[int] = ()) -> int:
        """The next token, or a guess of it where the scores are an MTP head's."""
        if self._s.greedy:
            return int(self._penalised(scores, after).argmax())
        return int((self.probabilities(scores, after) / self._race(len(self._told) + len(after))).argmax())

    def verify(self, scores: torch.Tensor, drafts: Sequence[int]) -> list[int]:
        """The tokens that follow: the first drafts that came true, and one more. scores [drafts + 1, vocabulary]."""
        found: list[int] = []
        for place in range(len(drafts) + 1):
            found.append(self.choose(scores[place], found))
            if place == len(drafts) or found[-1] != drafts[place]:
                break
        return found

    def probabilities(self, scores: torch.Tensor, after: Sequence[int] = ()) -> torch.Tensor:
        """What the next token is drawn from where the choice is not greedy: [vocabulary]."""
        return self._limited(self._penalised(scores, after))

    def _race(self, place: int) -> torch.Tensor:
        """Exp(1) for each token, from the seed and the place."""
        self._random.manual_seed(_mixed(self._seed, place))
        drawn = torch.empty(self._vocabulary, dtype=torch.float32, device=self._device)
        return drawn.exponential_(generator=self._random).clamp_min_(torch.finfo(torch.float32).tiny)

    def _mark_seen(self) -> None:
        self._present = self._generated = None
        if self._s.repetition_penalty != 1.0:
            self._present = torch.zeros(self._vocabulary, dtype=torch.bool, device=self._device)
            self._present[self._prompt + self._told] = True
        if self._s.presence_penalty != 0.0:
            self._generated = torch.zeros(self._vocabulary, dtype=torch.bool, device=self._device)
            self._generated[self._told] = True

    def _penalised(self, scores: torch.Tensor, after: Sequence[int]) -> torch.Tensor:
        if self._present is not None:
            factor, seen = self._s.repetition_penalty, self._with(self._present, after)
            scores = torch.where(seen, torch.where(scores < 0, scores * factor, scores / factor), scores)
        if self._generated is not None:
            scores = scores - self._s.presence_penalty * self._with(self._generated, after)
        return scores

    @staticmethod
    def _with(seen: torch.Tensor, after: Sequence[int]) -> torch.Tensor:
        if not after:
            return seen
        more = seen.clone()
        more[list(after)] = True
        return more

    def _limited(self, scores: torch.Tensor) -> torch.Tensor:
        """Temperature, then top-k, top-p and min-p; each of the latter leaves at least the most likely token."""
        s, all_tokens = self._s, scores.numel()
        scores = scores / s.temperature
        if not (s.top_k or s.top_p < 1.0):
            chances = scores.softmax(-1)
            if s.min_p == 0.0:
                return chances
            kept = torch.where(chances >= s.min_p * chances.max(), chances, 0.0)
            return kept / kept.sum()
        best, places = scores.topk(min(s.top_k or all_tokens, all_tokens))
        chances = best.softmax(-1)  # the most likely first
        if s.top_p < 1.0:
            chances = torch.where(chances.cumsum(-1) - chances < s.top_p, chances, 0.0)
        if s.min_p > 0.0:
            chances = torch.where(chances >= s.min_p * chances[0], chances, 0.0)
        return torch.zeros_like(scores).scatter_(0, places, chances / chances.sum())


def _mixed(seed: int, place: int) -> int:
    """One 63-bit number from two, by the finaliser of SplitMix64 (Steele et al. 2014): near inputs, unrelated outputs."""
    x = (seed + (place + 1) * 0x9E3779B97F4A7C15) & _64_BITS
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return (x ^ (x >> 31)) >> 1
