"""What holds while a token is decoded on a processor, and not while a prompt is read: no oneDNN in bf16, few threads for small models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ONE_THREAD_BYTES = 20_000_000  # of all weights
"""Up to here steps take one thread. `qwen3-next-tiny` (9 MB) decodes as fast on one as on two, but when a browser wants one of the two
cores, the threads wait for each other: 41 to 83 tokens a second on two, 160 to 330 on one. A model of 270 MB gains 1.6 x from the second
where nothing else runs (2 cores AMD EPYC, torch 2.13, 2026-11-26)."""


@dataclass(frozen=True, slots=True)
class Stepping:
    """Call it around each step, in the thread that makes it: `with stepping(): ...`."""

    without_onednn: bool = False
    one_thread: bool = False

    @classmethod
    def of(cls, model: PreTrainedModel) -> Stepping:
        """What is fastest for this model; nothing on a GPU."""
        here = model.device.type == "cpu"
        return cls(
            # oneDNN repacks the weights of a bf16 product each time: with one row, going without was 1.7 times as fast.
            without_onednn=here and model.dtype == torch.bfloat16,
            one_thread=here and sum(parameter.nbytes for parameter in model.parameters()) <= _ONE_THREAD_BYTES,
        )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        set_flags = torch.backends.mkldnn.set_flags
        threads = torch.get_num_threads()
        enabled = set_flags(_enabled=False, _fp32_precision=None)[0] if self.without_onednn else None  # type: ignore[no-untyped-call]
        if self.one_thread:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if enabled is not None:
                set_flags(_enabled=enabled, _fp32_precision=None)  # type: ignore[no-untyped-call]
            if self.one_thread:
                torch.set_num_threads(threads)
