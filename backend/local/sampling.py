"""From scores to the next token: penalties, temperature and limits as probabilities, and how one is drawn from them.

Penalties and limits do what transformers' processors of the same names do, in the order of its `generate`; the presence penalty is
that of vLLM and OpenAI: it counts what was generated, not the prompt. Written as probabilities because speculative
decoding needs both whole distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from backend.types import GenerationParameters

if TYPE_CHECKING:
    from transformers import GenerationConfig

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
    """Chooses the tokens of one answer. `prompt` and what is `told` since count for the penalties.

    Scores are [vocabulary] in fp32. The methods that take `after` count these tokens too, as if they had been told.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], vocabulary: int, device: torch.device) -> None:
        self._s = sampling
        self._random = torch.Generator(device=device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)
        self._present = self._generated = None
        if sampling.repetition_penalty != 1.0:
            self._present = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._present[torch.tensor(prompt, device=device)] = True
        if sampling.presence_penalty != 0.0:
            self._generated = torch.zeros(vocabulary, dtype=torch.bool, device=device)

    def told(self, token: int) -> None:
        """This token is part of the answer."""
        for seen in (self._present, self._generated):
            if seen is not None:
                seen[token] = True

    def choose(self, scores: torch.Tensor) -> int:
        scores = self._penalised(scores, ())
        return int(scores.argmax()) if self._s.greedy else self._draw(self._limited(scores))

    def probabilities(self, scores: torch.Tensor, after: Sequence[int] = ()) -> torch.Tensor:
        """[vocabulary]; all of it on one token where the choice is greedy."""
        scores = self._penalised(scores, after)
        if self._s.greedy:
            return torch.zeros_like(scores).index_fill_(0, scores.argmax(), 1.0)
        return self._limited(scores)

    def draft(self, scores: torch.Tensor, after: Sequence[int]) -> tuple[int, torch.Tensor]:
        """A token of a guess, and the distribution that it was drawn from."""
        distribution = self.probabilities(scores, after)
        return int(distribution.argmax()) if self._s.greedy else self._draw(distribution), distribution

    def verify(self, scores: torch.Tensor, drafts: Sequence[int], guesses: Sequence[torch.Tensor]) -> list[int]:
        """The tokens that follow: some first drafts, as they are, and one more. scores [drafts + 1, vocabulary].

        Speculative sampling (Leviathan et al. 2023; Chen et al. 2023): a draft x stays with probability min(1, p(x) / q(x)); the
        first that does not stay is replaced by a draw from max(0, p - q), so that each token is distributed as p, as without drafts.
        """
        kept: list[int] = []
        for place, (draft, guess) in enumerate(zip(drafts, guesses, strict=True)):
            if self._s.greedy:
                chosen = int(self._penalised(scores[place], kept).argmax())
                kept.append(chosen)
                if chosen != draft:
                    return kept
                continue
            wanted = self.probabilities(scores[place], kept)
            luck = torch.rand((), generator=self._random, device=scores.device)
            if bool(luck * guess[draft] < wanted[draft]):
                kept.append(draft)
                continue
            kept.append(self._draw((wanted - guess).clamp_min_(0.0)))
            return kept
        last = self._penalised(scores[len(drafts)], kept)
        kept.append(int(last.argmax()) if self._s.greedy else self._draw(self._limited(last)))
        return kept

    def _draw(self, weights: torch.Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self._random))

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
        more[torch.tensor(after, device=seen.device)] = True
        return more

    def _limited(self, scores: torch.Tensor) -> torch.Tensor:
        """Temperature, then top-k, top-p and min-p; each of the latter leaves at least the most likely token."""
        s, all_tokens = self._s, scores.numel()
        scores = scores / s.temperature
        if not (s.top_k or s.top_p < 1.0):
            chances = scores.softmax(-1)
            return chances if s.min_p == 0.0 else torch.where(chances >= s.min_p * chances.max(), chances, 0.0)
        best, places = scores.topk(min(s.top_k or all_tokens, all_tokens))
        chances = best.softmax(-1)  # the most likely first
        if s.top_p < 1.0:
            chances = torch.where(chances.cumsum(-1) - chances < s.top_p, chances, 0.0)
        if s.min_p > 0.0:
            chances = torch.where(chances >= s.min_p * chances[0], chances, 0.0)
        return torch.zeros_like(scores).scatter_(0, places, chances / chances.sum())
