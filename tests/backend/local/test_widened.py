"""bf16 products of many rows are made in fp32 where that is faster, and only while a prompt is read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from backend.local.decoding import Decoder
from backend.local.loading import load_folder
from backend.local.names import parse
from backend.local.processor import Processor
from backend.local.progress import unheard
from backend.local.sampling import Sampling
from backend.local.widened import FEWEST_ROWS, widened
from tests.backend.local.tiny import checkpoint, ids_of, scripted


def left_and_weight(rows: int, dtype: torch.dtype = torch.bfloat16) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(1, rows, 512, generator=random).to(dtype), torch.randn(64, 512, generator=random).to(dtype)


def test_many_rows_are_multiplied_in_fp32_and_rounded_once():
    left, weight = left_and_weight(FEWEST_ROWS)
    with widened():
        product = functional.linear(left, weight)
    assert product.dtype == torch.bfloat16
    assert torch.equal(product, functional.linear(left.float(), weight.float()).to(torch.bfloat16))


@pytest.mark.parametrize(("rows", "dtype"), [(FEWEST_ROWS - 1, torch.bfloat16), (FEWEST_ROWS, torch.float32)])
def test_few_rows_and_fp32_are_left_as_they_are(rows, dtype):
    left, weight = left_and_weight(rows, dtype)
    with widened():
        product = functional.linear(left, weight)
    assert torch.equal(product, functional.linear(left, weight))


def test_a_prompt_read_so_leads_to_the_same_scores_as_fp32_but_for_rounding(tmp_path):
    folder = checkpoint(tmp_path)
    ids = torch.tensor([ids_of("Xin chào, how are you? 北京 " * 8)])
    assert ids.shape[-1] >= FEWEST_ROWS
    models = {dtype: load_folder(parse(str(folder)), folder, unheard, dtype=dtype).model for dtype in (torch.float32, torch.bfloat16)}
    with torch.inference_mode():
        exact = models[torch.float32](input_ids=ids).logits
        with widened():
            wide = models[torch.bfloat16](input_ids=ids).logits
    assert wide.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(wide.float().flatten(), exact.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("slow", [True, False])
def test_only_reading_is_widened_and_only_where_bf16_products_are_slow(monkeypatch, slow):
    within, seen = [], []

    @contextmanager
    def noted():
        within.append(True)
        yield
        within.pop()

    monkeypatch.setattr("backend.local.processor.widened", noted)
    monkeypatch.setattr("backend.local.processor.reads_in_fp32", lambda: slow)
    loaded = replace(scripted("x"), processor=Processor(bf16=True))
    answer = type(loaded.model).__call__

    class Watched(type(loaded.model)):
        def __call__(self, *args, **kwargs):
            seen.append(bool(within))
            return answer(self, *args, **kwargs)

    loaded.model.__class__ = Watched
    decoder = Decoder(loaded, [1, 2, 3], Sampling())
    list(decoder.read())
    decoder.next()
    assert seen == [slow, False]
