"""Our loop chooses what transformers' own `generate` chooses, and its samplers do what their numbers say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from backend.errors import ContextTooLong
from backend.local.decoding import Decoder
from backend.local.generation import generate
from backend.local.loading import load_folder
from backend.local.names import parse
from backend.local.network.plain import Plain
from backend.local.prefixes import Prefixes
from backend.local.processor import Processor
from backend.local.progress import unheard
from backend.local.sampling import Sampling
from backend.types import Finished, GenerationParameters, Waiting
from tests.backend.local.tiny import END, around, ask, checkpoint, config, ids_of, said, scripted, tokenizer

PROMPT = ids_of("Xin chào, how are you? 北京")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = checkpoint(tmp_path_factory.mktemp("tiny"))
    asked = parse(str(folder))
    return load_folder(asked, folder, unheard, dtype=torch.float32)


def ours(loaded, count, prompt=PROMPT, **sampling):
    decoder = Decoder(loaded, prompt, Sampling(**sampling))
    shares = list(decoder.read())
    assert shares == sorted(shares) and all(0 < share < 1 for share in shares)
    return [chosen.token for _ in range(count) for chosen in decoder.next()]


def theirs(loaded, count, **options):
    ids = torch.tensor([PROMPT])
    config = GenerationConfig(max_new_tokens=count, eos_token_id=None, pad_token_id=0, **options)
    return loaded.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, len(PROMPT) :].tolist()


def test_greedy_is_what_generate_gives(loaded):
    assert ours(loaded, 60) == theirs(loaded, 60, do_sample=False)


def test_greedy_with_repetition_penalty_is_what_generate_gives(loaded):
    mine = ours(loaded, 60, repetition_penalty=1.3)
    assert mine == theirs(loaded, 60, do_sample=False, repetition_penalty=1.3)
    assert mine != ours(loaded, 60)


@pytest.mark.parametrize("window", [None, 8])
def test_an_architecture_without_a_pass_of_ours_writes_what_generate_gives(window):
    torch.manual_seed(7)
    options = {name: getattr(config(), name) for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")}  # fmt: skip
    model = MistralForCausalLM(MistralConfig(**options, sliding_window=window, initializer_range=0.3)).eval()
    mistral = around(Plain(model), model=model)
    for _ in range(2):  # the second answer finds nothing of the first
        assert ours(mistral, 30) == theirs(mistral, 30, do_sample=False)


@pytest.mark.parametrize("chunk", [1, 3, 7, len(PROMPT)])
def test_a_prompt_read_in_chunks_gives_the_same(loaded, chunk):
    assert ours(replace(loaded, chunk_tokens=chunk), 20) == ours(loaded, 20)


@pytest.mark.parametrize(("borders", "ends"), [((), [4, 8, 11]), ((6,), [4, 6, 10, 11]), ((0, 4, 5, 11, 12, 90), [4, 5, 9, 11])])
def test_chunks_end_at_the_borders(loaded, borders, ends):
    decoder = Decoder(replace(loaded, chunk_tokens=4, prefixes=Prefixes(1 << 20)), PROMPT[:12], Sampling(), borders=borders)
    assert list(decoder.read()) == [end / 12 for end in ends]


def test_detail_is_given_where_it_is_asked_for(loaded):
    plain, detailed = (Decoder(loaded, PROMPT, Sampling(), detail=detail) for detail in (False, True))
    list(plain.read())
    (chosen,) = plain.next()
    assert chosen.scores is None and chosen.routings is None
    list(detailed.read())
    (told,) = detailed.next()
    assert told.token == chosen.token == int(told.scores.argmax())
    assert torch.allclose(told.scores, loaded.model(torch.tensor([PROMPT])).logits[0, -1], atol=1e-4)
    assert told.routings == []


def test_a_prompt_of_one_token_has_nothing_to_read_first(loaded):
    assert len(ours(loaded, 3, prompt=PROMPT[:1])) == 3


def test_one_seed_gives_one_text_and_another_seed_another(loaded):
    hot = {"temperature": 1.5, "top_k": 50, "top_p": 0.95}
    assert ours(loaded, 30, seed=1, **hot) == ours(loaded, 30, seed=1, **hot)
    assert ours(loaded, 30, seed=1, **hot) != ours(loaded, 30, seed=2, **hot)


def test_without_a_seed_two_runs_differ(loaded):
    assert ours(loaded, 30, temperature=2.0) != ours(loaded, 30, temperature=2.0)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999}], ids=lambda n: next(iter(n)))
def test_each_limit_alone_leaves_the_most_likely_token(loaded, narrow):
    assert ours(loaded, 20, temperature=1.0, seed=3, **narrow) == ours(loaded, 20)


def test_sampled_tokens_are_those_that_the_limits_leave(loaded):
    likely = set(loaded.model(torch.tensor([PROMPT])).logits[0, -1].topk(3).indices.tolist())
    drawn = {ours(loaded, 1, temperature=3.0, top_k=3, seed=seed)[0] for seed in range(40)}
    assert drawn == likely


@pytest.mark.parametrize(
    ("parameters", "config", "expected"),
    [
        ({}, {}, Sampling()),
        ({}, {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}, Sampling(0.6, 20, 0.95)),
        ({}, {"do_sample": True}, Sampling(1.0)),
        ({"temperature": 0.0}, {"do_sample": True, "temperature": 0.6}, Sampling(0.0)),
        ({"temperature": 0.7, "seed": 5}, {}, Sampling(0.7, seed=5)),
        ({"top_k": 0, "top_p": 1.0, "min_p": 0.1}, {"do_sample": True, "top_k": 20, "top_p": 0.5}, Sampling(1.0, min_p=0.1)),
        ({}, {"repetition_penalty": 1.2}, Sampling(repetition_penalty=1.2)),
        ({"presence_penalty": 1.5}, {}, Sampling(presence_penalty=1.5)),
    ],
)
def test_the_users_values_go_before_the_models_own(parameters, config, expected):
    found = Sampling.of(GenerationParameters(**parameters), GenerationConfig(**config))
    # a generation_config of transformers has values of its own for what a file leaves out
    if "top_k" not in {**parameters, **config}:
        found = replace(found, top_k=0)
    assert found == expected


@pytest.mark.parametrize("processor", [Processor(), Processor(bf16=True), Processor(one_thread=True), Processor(True, True)], ids=str)
def test_a_processor_steps_in_bf16_without_onednn_and_a_small_model_takes_one_thread_until_it_is_done(processor):
    loaded, seen = replace(scripted("x"), processor=processor), []
    answer = type(loaded.model).__call__

    class Watched(type(loaded.model)):
        def __call__(self, *args, **kwargs):
            seen.append((torch.backends.mkldnn.enabled, torch.get_num_threads()))
            return answer(self, *args, **kwargs)

    loaded.model.__class__ = Watched
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ours(loaded, 2)
        threads = 1 if processor.one_thread else 2
        assert seen == [(True, threads), (not processor.bf16, threads), (not processor.bf16, threads)]
        assert (torch.backends.mkldnn.enabled, torch.get_num_threads()) == (True, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("changes", "dtype", "expected"),
    [
        ({}, torch.float32, Processor(one_thread=True)),
        ({}, torch.bfloat16, Processor(bf16=True, one_thread=True)),
        ({"vocab_size": 50_000, "hidden_size": 128}, torch.float32, Processor()),
        ({"vocab_size": 50_000, "hidden_size": 128}, torch.bfloat16, Processor(bf16=True)),
    ],
)
def test_what_a_processor_is_told_of_a_model(changes, dtype, expected):
    assert Processor.of(LlamaForCausalLM(config(**changes)).to(dtype)) == expected


def run(loaded, request, stopped=lambda: False, max_tokens=100):
    return list(generate(loaded, request, max_tokens, stopped))


def test_the_order_of_events():
    events = run(scripted("Hello there" + END), ask())
    assert events[0] == Waiting("reading", share=0.0)
    assert isinstance(events[1], Waiting) and events[1].share > 0.5
    assert isinstance(events[-1], Finished) and events[-1].reason == "stop"
    assert said(events)[1] == "Hello there"


@pytest.mark.parametrize(("wanted", "default", "count"), [(5, 100, 5), (None, 7, 7), (10_000, 7, None)])
def test_the_number_of_tokens_is_what_was_asked_for_and_fits(wanted, default, count):
    loaded = scripted("on and ")
    finished = run(loaded, ask(max_tokens=wanted), max_tokens=default)[-1]
    prompt = finished.usage.input_tokens
    assert finished.reason == "length"
    assert finished.usage.output_tokens == (count or loaded.context_tokens - prompt)


def test_a_conversation_longer_than_the_context_says_both_numbers():
    loaded = scripted("x", context_tokens=40)
    text = "one " * 60
    tokens = len(tokenizer().apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False))
    with pytest.raises(ContextTooLong, match=rf"{tokens} tokens.*40"):
        run(loaded, ask(text))
    assert loaded.model.forwards == 0


def test_an_unknown_context_limits_nothing():
    assert run(scripted("on and ", context_tokens=None), ask(max_tokens=600))[-1].usage.output_tokens == 600


def test_reading_tells_its_share_chunk_by_chunk():
    events = run(scripted("x" + END, chunk_tokens=16), ask("one two three " * 10))
    shares = [e.share for e in events if isinstance(e, Waiting)]
    assert events[-1].usage.input_tokens - 1 in range(5 * 16 + 1, 6 * 16 + 1)
    assert len(shares) == 1 + 6 + 1 and shares == sorted(set(shares))  # one chunk more, since one ends with the message


def test_a_stop_while_the_prompt_is_read_ends_within_a_chunk():
    loaded = scripted("x", chunk_tokens=8)
    events = run(loaded, ask("one two three " * 20), stopped=lambda: loaded.model.forwards >= 2)
    assert loaded.model.forwards == 2
    assert not any(isinstance(e, Finished) for e in events)


def test_a_stop_while_the_answer_is_written_ends_within_a_token():
    loaded = scripted("on and ")
    events = run(loaded, ask(), stopped=lambda: loaded.model.forwards >= 10)
    assert loaded.model.forwards == 10
    assert not any(isinstance(e, Finished) for e in events)
