"""The decoding loop: prompt in chunks, then one token at a time over the model's own cache, samplers from transformers.

Our own rather than `generate`, so that a stop takes effect between any two tokens or chunks and nothing waits for a reader.
Knows token ids only. A growing cache is used: without compiling, a static one was not faster here (22 against 25 tokens/s)
and its cost grows with the longest text it could hold (13 tokens/s at 8,192).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from backend.local.model import LoadedModel
from backend.local.widened import reads_in_fp32, widened
from backend.types import GenerationParameters

if TYPE_CHECKING:
    from transformers import GenerationConfig

COLDEST = 1e-4  # below this temperature the most likely token is taken, which is what it means


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 takes the most likely one; 0, 1.0, 0.0 and 1.0 switch the others off."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
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
            repetition_penalty=chosen(parameters.repetition_penalty, config.repetition_penalty, 1.0),
            seed=parameters.seed,
        )

    @property
    def greedy(self) -> bool:
        return self.temperature < COLDEST

    def processors(self) -> LogitsProcessorList:
        """In the order of transformers' `generate`, so that the same values give the same choice."""
        processors = LogitsProcessorList()
        if self.repetition_penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.greedy:
            return processors
        if self.temperature != 1.0:
            processors.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k > 0:
            processors.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            processors.append(TopPLogitsWarper(self.top_p))
        if self.min_p > 0.0:
            processors.append(MinPLogitsWarper(self.min_p))
        return processors


class Decoder:
    """One sequence. `read` goes through the prompt, then each `next` gives one token; `room` is how many may follow."""

    def __init__(self, loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, room: int) -> None:
        self._model, self._chunk = loaded.model, loaded.chunk_tokens
        device = loaded.model.device
        self._ids = torch.zeros((1, len(prompt) + room), dtype=torch.long, device=device)
        self._ids[0, : len(prompt)] = torch.tensor(prompt)
        self._prompt, self._seen, self._length = len(prompt), 0, len(prompt)
        self._cache = DynamicCache(config=loaded.model.config)
        self._greedy, self._processors = sampling.greedy, sampling.processors()
        self._random = torch.Generator(device=device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)
        # oneDNN repacks the weights of a bf16 product each time: with one row, going without was 1.7 times as fast.
        self._lean = device.type == "cpu" and loaded.model.dtype == torch.bfloat16
        self._wide = self._lean and reads_in_fp32()

    def read(self) -> Iterator[float]:
        """Reads the prompt but for its last token; after each chunk the share that has been read."""
        while (left := self._prompt - 1 - self._seen) > 0:
            with widened() if self._wide else nullcontext():
                self._forward(min(left, self._chunk))
            yield self._seen / self._prompt

    def next(self) -> int:
        """Reads the last token and chooses the one after it."""
        with _without_onednn() if self._lean else nullcontext():
            scores = self._forward(1)
        token = self._choose(scores)
        self._ids[0, self._length] = token
        self._length += 1
        return token

    @torch.inference_mode()
    def _choose(self, scores: torch.Tensor) -> int:
        scores = self._processors(cast("torch.LongTensor", self._ids[:, : self._length]), cast("torch.FloatTensor", scores))
        if self._greedy:
            return int(scores.argmax(dim=-1))
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=self._random))

    @torch.inference_mode()
    def _forward(self, count: int) -> torch.Tensor:
        """Scores [1, vocabulary] in fp32 after the next `count` tokens."""
        ids = self._ids[:, self._seen : self._seen + count]
        self._seen += count
        logits: torch.Tensor = self._model(input_ids=ids, cache=self._cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1].to(torch.float32)


@contextmanager
def _without_onednn() -> Iterator[None]:
    set_flags = torch.backends.mkldnn.set_flags
    before = set_flags(_enabled=False, _fp32_precision=None)[0]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        set_flags(_enabled=before, _fp32_precision=None)  # type: ignore[no-untyped-call]
