"""How a processor reads and writes with one model: bf16 without oneDNN's slow paths, and a small model on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from backend.local.widened import reads_in_fp32, widened

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ONE_THREAD_BYTES = 20_000_000  # of all weights
"""Up to here one thread is enough. `qwen3-next-tiny` (9 MB) decodes as fast on one as on two, and where a browser wants one of two
cores, two threads wait for each other: 41 to 83 tokens a second on the page, 160 to 330 with one; the first after 0.1 to 0.7 s, with
one 0.06 to 0.34 s. A model of 270 MB gains 1.6 x from its second thread (2 cores AMD EPYC, torch 2.13, 2026-11-26)."""


@dataclass(frozen=True, slots=True)
class Processor:
    """Call `reading` and `stepping` in the thread that does it. Neither field set, as on a GPU, both change nothing."""

    bf16: bool = False
    one_thread: bool = False

    @classmethod
    def of(cls, model: PreTrainedModel) -> Processor:
        here = model.device.type == "cpu"
        return cls(
            bf16=here and model.dtype == torch.bfloat16,
            one_thread=here and sum(parameter.nbytes for parameter in model.parameters()) <= _ONE_THREAD_BYTES,
        )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around a chunk of a prompt."""
        with self._threads(), widened() if self.bf16 and reads_in_fp32() else nullcontext():
            yield

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Around one token, or a few. oneDNN repacks bf16 weights each time: with one row, going without was 1.7 times as fast."""
        set_flags = torch.backends.mkldnn.set_flags
        with self._threads():
            enabled = set_flags(_enabled=False, _fp32_precision=None)[0] if self.bf16 else None  # type: ignore[no-untyped-call]
            try:
                yield
            finally:
                if enabled is not None:
                    set_flags(_enabled=enabled, _fp32_precision=None)  # type: ignore[no-untyped-call]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        if self.one_thread:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if self.one_thread:
                torch.set_num_threads(before)
