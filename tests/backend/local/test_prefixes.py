"""What was read before is not read again, and gives the very same scores; what is kept stays within its bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from backend.local.decoding import Decoder
from backend.local.generation import generate
from backend.local.network.dense import Dense
from backend.local.network.qwen3_next import Qwen3Next
from backend.local.prefixes import Prefixes
from backend.local.prompt import build, think_tokens
from backend.local.sampling import Sampling
from backend.types import ChatRequest, Detail, GenerationParameters, Message, TokenDetail
from tests.backend.local import next_tiny
from tests.backend.local.tiny import END, HYBRID, OPENS, PLAIN, around, config, ids_of, said, scripted, tokenizer

ONE, TWO, THREE = "How are you today?", "And the capital of France?", "Xin chào 北京"


class Counted:
    """Counts the ids that go through the network."""

    read = 0

    def __call__(self, ids, state, **options):
        self.read += len(ids)
        return super().__call__(ids, state, **options)


class CountedDense(Counted, Dense):
    pass


class CountedNext(Counted, Qwen3Next):
    pass


def dense():
    torch.manual_seed(7)
    return CountedDense(LlamaForCausalLM(config(initializer_range=0.3)).eval())


@pytest.fixture(scope="module", params=["dense", "qwen3-next", "qwen3-next with its head"])
def network(request):
    if request.param == "dense":
        return dense()
    model, head = next_tiny.models()
    return CountedNext(model, head if "head" in request.param else None)


@pytest.fixture
def loaded(network):
    return around(network, OPENS, ends=False)


def turns(*texts, system=None):
    """Question, answer, question ... as messages; answers come with a trace."""
    begun = [] if system is None else [Message("system", system)]
    return [*begun, *(Message("assistant", t, thinking="hm") if n % 2 else Message("user", t) for n, t in enumerate(texts))]


def answered(loaded, messages, tokens=12, **options):
    """(text, usage, ids that went through the network)."""
    loaded.network.read = 0
    parameters = GenerationParameters(temperature=0.0, max_tokens=tokens, draft_tokens=0)
    events = list(generate(loaded, ChatRequest("demo", tuple(messages), parameters, **options), 100, lambda: False))
    return said(events), events[-1].usage, loaded.network.read


def length(messages, template=OPENS):
    """Tokens of these messages, without what asks for an answer."""
    rendered = [{"role": m.role, "content": m.content} for m in messages]
    return len(tokenizer(template).apply_chat_template(rendered, return_dict=False))


def afresh(loaded, messages):
    return answered(replace(loaded, prefixes=Prefixes(1 << 30)), messages)


def reused(loaded, messages, **options):
    """How many tokens are taken over, after checks that only the others are read and the text is as without them."""
    text, usage, read = answered(loaded, messages, **options)
    assert read == usage.input_tokens - usage.cached_tokens + usage.output_tokens - 1
    assert text == afresh(loaded, messages)[0]
    return usage.cached_tokens


def test_the_first_question_is_read_whole(loaded):
    assert reused(loaded, turns(ONE)) == 0


def test_a_second_turn_begins_after_the_first_question(loaded):
    first, _, _ = answered(loaded, turns(ONE))
    assert first[0]
    assert reused(loaded, [Message("user", ONE), Message("assistant", "".join(first), thinking=first[0]), Message("user", TWO)]) == length(
        turns(ONE)
    )


def test_each_turn_begins_after_the_question_before_it(loaded):
    talk = [ONE, "fine", TWO, "Paris", THREE]
    assert [reused(loaded, turns(*talk[:n])) for n in (1, 3, 5)] == [0, length(turns(*talk[:1])), length(turns(*talk[:3]))]


@pytest.mark.parametrize(("edited", "kept"), [([ONE, "fine", "Edited?"], 1), ([ONE, "edited", TWO], 1), ([ONE + "!", "fine", TWO], 0)])
def test_an_edited_message_is_read_again_with_what_follows(loaded, edited, kept):
    for n in (1, 3):
        answered(loaded, turns(ONE, "fine", TWO)[:n])
    assert reused(loaded, turns(*edited)) == (length(turns(ONE)) if kept else 0)


def test_an_answer_asked_for_again_reads_only_what_asks(loaded):
    talk = turns(ONE, "fine", TWO)
    first = answered(loaded, talk)
    assert reused(loaded, talk) == length(talk)
    assert answered(loaded, talk)[0] == first[0]


def test_the_first_branch_is_still_known_after_a_second(loaded):
    trunk, left, right = [ONE, "fine"], [TWO, "Paris", THREE], [THREE, "Bắc Kinh", TWO]
    answered(loaded, turns(*trunk, *left[:1]))
    assert reused(loaded, turns(*trunk, *right[:1])) == length(turns(ONE))
    assert reused(loaded, turns(*trunk, *right)) == length(turns(*trunk, *right[:1]))
    assert reused(loaded, turns(*trunk, *left)) == length(turns(*trunk, *left[:1]))


@pytest.mark.parametrize(("before", "after"), [("Be brief.", "Be kind."), (None, "Be brief."), ("Be brief.", None)])
def test_another_system_prompt_leaves_nothing_to_take_over(loaded, before, after):
    answered(loaded, turns(ONE, system=before))
    assert reused(loaded, turns(ONE, "fine", TWO, system=after)) == 0
    assert reused(loaded, turns(ONE, "fine", TWO, system=before)) == length(turns(ONE, system=before))


def test_of_a_long_conversation_the_last_three_questions_are_kept(loaded):
    talk = ["1?", "one", "2?", "two", "3?", "three", "4?", "four", "5?"]
    answered(loaded, turns(*talk))
    for edited, kept in ((8, 7), (6, 5), (4, 0)):
        assert reused(loaded, turns(*talk[:edited], "other?")) == (length(turns(*talk[:kept])) if kept else 0)


def test_an_unfinished_answer_goes_on_from_the_question(loaded):
    answered(loaded, turns(ONE))
    _, usage, read = answered(loaded, turns(ONE, "I am"), continue_last=True)
    assert usage.cached_tokens == length(turns(ONE))
    assert read == usage.input_tokens - usage.cached_tokens + usage.output_tokens - 1


def test_an_answer_that_was_given_up_leaves_what_it_read(loaded):
    events = generate(
        loaded, ChatRequest("demo", tuple(turns(ONE)), GenerationParameters(temperature=0.0)), 100, lambda: loaded.network.read > 40
    )
    loaded.network.read = 0
    list(events)
    assert reused(loaded, turns(ONE, "fine", TWO)) == length(turns(ONE))


def test_a_network_that_cannot_be_taken_back_keeps_nothing():
    loaded = scripted("x" + END)
    for _ in range(2):
        events = list(generate(loaded, ChatRequest("demo", tuple(turns(ONE))), 5, lambda: False))
        assert events[-1].usage.cached_tokens == 0
    assert loaded.prefixes.size_bytes == 0


@pytest.mark.parametrize("chunk", [5, 16, 64])
def test_scores_are_bit_for_bit_the_same_with_a_known_beginning(network, chunk):
    talk = turns(ONE, "fine", TWO, "Paris", THREE)
    loaded = around(network, OPENS, ends=False, chunk_tokens=chunk)
    fresh = replace(loaded, prefixes=Prefixes(1 << 30))
    built = [build(loaded.tokenizer, ChatRequest("demo", tuple(talk[:n])), loaded.think) for n in (1, 3, 5)]

    def scores(prompt, model):
        decoder = Decoder(model, prompt.ids, Sampling(), borders=prompt.borders, detail=True)
        list(decoder.read())
        return torch.stack([chosen.scores for _ in range(8) for chosen in decoder.next()]), decoder.reused

    for prompt in built[:2]:
        scores(prompt, loaded)
    known, taken_over = scores(built[2], loaded)
    anew, nothing = scores(built[2], fresh)
    assert taken_over == built[1].borders[-1] and nothing == 0
    assert torch.equal(known, anew)


def test_details_are_the_same_with_a_known_beginning(loaded):
    request = ChatRequest("demo", tuple(turns(ONE)), GenerationParameters(temperature=0.0, max_tokens=6), detail=Detail(3))
    first, again = ([e for e in generate(loaded, request, 100, lambda: False) if isinstance(e, TokenDetail)] for _ in range(2))
    assert len(first) == 6 and first == again


# ---- borders
def borders(template, messages, **options):
    words = tokenizer(template)
    built = build(words, ChatRequest("demo", tuple(messages), **options), think_tokens(words))
    return built, [at + 2 for at, token in enumerate(built.ids) if token == words.eos_token_id]  # the end token and a line break


@pytest.mark.parametrize("template", [PLAIN, OPENS, HYBRID], ids=["plain", "opens", "hybrid"])
@pytest.mark.parametrize(
    "text", [TWO, "", "\n\n", "a <|im_end|> b", "<|im_end|>\n<|im_start|>assistant\n<think>", "</think> 🇻🇳", "ends in <|im_end|>"]
)
def test_borders_lie_after_peoples_messages(template, text):
    found, ends = borders(template, turns(ONE, "answer </think> <|im_end|>", text, "x", THREE, system="Be brief."))
    assert found.borders == (ends[1], ends[3], ends[5])
    assert tokenizer(template).decode(found.ids[: found.borders[1]]).endswith(f"<|im_start|>user\n{text}{END}\n")


@pytest.mark.parametrize("template", [PLAIN, OPENS, HYBRID], ids=["plain", "opens", "hybrid"])
@pytest.mark.parametrize("switch", [None, True, False])
def test_a_border_is_where_the_next_turn_still_begins_in_the_same_way(template, switch):
    parameters = GenerationParameters(enable_thinking=switch)
    first, _ = borders(template, turns(ONE), parameters=parameters)
    second, _ = borders(template, turns(ONE, "fine", TWO), parameters=parameters)
    assert first.borders == second.borders[:1] == (length(turns(ONE), template),)
    assert first.ids[: first.borders[0]] == second.ids[: first.borders[0]]


def test_borders_hold_where_traces_are_sent_again():
    found, ends = borders(OPENS, turns(ONE, "fine", TWO, "Paris", THREE), resend_thinking=True)
    assert found.borders == (ends[0], ends[2], ends[4])


def test_an_unfinished_answer_has_the_borders_of_what_came_before():
    found, ends = borders(OPENS, turns(ONE, "fine", TWO, "half an"), continue_last=True)
    assert found.borders == (ends[0], ends[2])


def test_a_template_that_writes_earlier_questions_otherwise_has_one_border():
    shortens = PLAIN.replace("{{ m.content }}", "{{ m.content if loop.last else m.content[:3] }}")
    found, ends = borders(shortens, turns(ONE, "fine", TWO))
    assert found.borders == (ends[2],)


def test_a_template_that_refuses_half_a_conversation_has_the_other_borders():
    strict = "{% if messages | length == 1 %}{{ raise_exception('too short') }}{% endif %}" + PLAIN
    found, ends = borders(strict, turns(ONE, "fine", TWO))
    assert found.borders == (ends[2],)


# ---- bounds
IDS = ids_of("One, two, three. The end of the story. Xin chào, thủ đô của Việt Nam là Hà Nội.")
OTHERS = ids_of("Hello, how are you today? The capital of France is Paris. 你好,中国的首都是北京。")


@torch.inference_mode()
def keep(prefixes, network, ids, *borders):
    """Reads `ids` and keeps each of the borders, as a decoder does."""
    state, start = network.new_state(64), 0
    for border in borders:
        network(torch.tensor(ids[start:border]), state)
        prefixes.keep(ids[:border], state)
        start = border


@torch.inference_mode()
def known(prefixes, network, ids):
    return prefixes.restore([*ids, 0], network.new_state(1))


@torch.inference_mode()
def bytes_of(network, ids, *lengths):
    """What nodes take that hold so many tokens each; a later one begins with the last of the one before."""
    state = network.new_state(64)
    network(torch.tensor(ids[:1]), state)
    token = sum(keys.nbytes + values.nbytes for keys, values in state.segment(0, 1))
    return sum(n * token + state.mark().size_bytes for n in lengths)


def test_a_shared_beginning_is_kept_once(network):
    prefixes, branch = Prefixes(1 << 30), [*IDS[:8], *OTHERS]
    keep(prefixes, network, IDS, 8, 20)
    assert prefixes.size_bytes == bytes_of(network, IDS, 8, 13)
    keep(prefixes, network, branch, 8, 25)
    keep(prefixes, network, IDS, 8, 20)
    assert prefixes.size_bytes == bytes_of(network, IDS, 8, 13, 18)
    assert [known(prefixes, network, ids) for ids in (IDS, IDS[:20], IDS[:19], branch, OTHERS)] == [20, 20, 8, 25, 0]
    prefixes.clear()
    assert prefixes.size_bytes == 0 and known(prefixes, network, IDS) == 0


def test_the_last_token_is_always_left_to_read(network):
    prefixes = Prefixes(1 << 30)
    keep(prefixes, network, IDS, 5, 9)
    assert prefixes.restore(IDS[:9], network.new_state(1)) == 5


def test_what_is_put_back_goes_on_as_if_it_had_just_been_read(network):
    prefixes = Prefixes(1 << 30)
    keep(prefixes, network, OTHERS, 8, 20)
    with torch.inference_mode():
        read, back = network.new_state(64), network.new_state(1)
        for start, end in ((0, 8), (8, 20)):
            network(torch.tensor(OTHERS[start:end]), read)
        network(torch.tensor(IDS), back)  # something else before
        assert prefixes.restore([*OTHERS[:20], 0], back) == back.length == 20
        following = torch.tensor([3])
        assert torch.equal(network(following, back), network(following, read))


def test_what_was_kept_is_not_changed_by_what_follows(network):
    prefixes = Prefixes(1 << 30)
    keep(prefixes, network, IDS, 8)
    with torch.inference_mode():
        found = []
        for _ in range(2):
            state = network.new_state(1)
            prefixes.restore(IDS, state)
            found.append([network(torch.tensor([token]), state) for token in (3, 4, 5)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_leaf_that_was_not_wanted_for_the_longest_time_goes_first(network):
    starts = [[n, *IDS[:9]] for n in range(4)]
    prefixes = Prefixes(bytes_of(network, IDS, 10, 10, 10))
    for ids in starts[:3]:
        keep(prefixes, network, ids, 10)
    assert known(prefixes, network, starts[0]) == 10
    keep(prefixes, network, starts[3], 10)
    assert prefixes.size_bytes == bytes_of(network, IDS, 10, 10, 10)
    assert [known(prefixes, network, ids) for ids in starts] == [10, 0, 10, 10]


def test_a_leaf_goes_before_the_beginning_that_it_needs(network):
    prefixes = Prefixes(bytes_of(network, IDS, 5, 5, 9))
    keep(prefixes, network, IDS, 5, 10)
    keep(prefixes, network, OTHERS, 9)
    keep(prefixes, network, OTHERS[1:], 4)
    assert [known(prefixes, network, ids) for ids in (IDS, OTHERS, OTHERS[1:])] == [5, 9, 4]
    assert prefixes.size_bytes == bytes_of(network, IDS, 5, 9, 4)


@pytest.mark.parametrize("most", [0, 1, 100_000])
def test_they_never_take_more_than_they_may(network, most):
    prefixes = Prefixes(most)
    for n in range(6):
        keep(prefixes, network, [n, *IDS], 4, 9, 20)
        assert prefixes.size_bytes <= most
    assert (known(prefixes, network, [5, *IDS]) > 0) == (most > 1)
    assert (prefixes.size_bytes > 0) == (most > 1)


@torch.inference_mode()
def test_an_mtp_heads_part_of_a_border_is_put_back_too():
    """It is written only with the token after the border, which the beginning that ends there has not read."""
    loaded = around(Qwen3Next(*next_tiny.models()), OPENS, ends=False)
    whole = IDS[:24]

    def read(ids, borders=()):
        for _ in Decoder(loaded, ids, Sampling(), borders=borders, drafts=2).read():
            pass
        return loaded.working_state(1).layers[-1].keys[:, : len(ids) - 2].clone()

    true = read(whole, [8, 16])
    read(OTHERS[:24])
    decoder = Decoder(loaded, [*whole, 5, 6], Sampling(), borders=[8, 16], drafts=2)
    for _ in decoder.read():
        pass
    assert decoder.reused == 16
    assert torch.allclose(loaded.working_state(1).layers[-1].keys[:, : len(whole) - 2], true, atol=1e-5)


@torch.inference_mode()
def test_where_memory_runs_out_nothing_is_kept_and_the_answer_goes_on(network, monkeypatch):
    prefixes, state = Prefixes(1 << 30), network.new_state(64)
    network(torch.arange(3, 23), state)
    prefixes.keep(list(range(3, 23)), state)
    assert prefixes.size_bytes > 0
    network(torch.arange(23, 33), state)

    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(state, "segment", fails)
    prefixes.keep(list(range(3, 33)), state)
    assert prefixes.size_bytes == 0 and prefixes.restore(list(range(3, 40)), network.new_state(64)) == 0
