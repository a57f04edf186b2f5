"""A request on a loaded model: a thinking budget is kept whatever is guessed ahead, and each token's detail is the model's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from backend.local.decoding import Decoder
from backend.local.generation import generate
from backend.local.network.dense import Dense
from backend.local.network.qwen3_next import Qwen3Next
from backend.local.prompt import build
from backend.local.sampling import Sampling
from backend.types import Detail, Finished, TextDelta, ThinkingDelta, TokenDetail
from tests.backend.local import next_tiny
from tests.backend.local.tiny import END, HYBRID, OPENS, PLAIN, around, ask, config, ids_of, said, scripted, tokenizer

CLOSING = ids_of("\n</think>\n\n")
TO_TAG = CLOSING.index(ids_of("</think>")[0]) + 1
TRACE = ids_of("One, two, three. Hello, how are you today? The end")


def run(loaded, detail=None, **parameters):
    return list(generate(loaded, replace(ask(**parameters), detail=detail), 100, lambda: False))


def decoded(ids):
    return tokenizer().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module")
def network():
    return Qwen3Next(*next_tiny.models())


# ---- the thinking budget
@pytest.mark.parametrize("budget", [1, 2, 7, len(TRACE) - 1])
@pytest.mark.parametrize(("template", "opening"), [(OPENS, ""), (HYBRID, "<think>")], ids=["opens", "hybrid"])
def test_a_trace_is_closed_at_its_budget_and_the_answer_follows(template, opening, budget):
    opened = len(ids_of(opening))
    events = run(scripted([*ids_of(opening), *TRACE, *ids_of(END)], template), thinking_budget=budget)
    within, after = TRACE[: budget - opened], TRACE[budget - opened :]
    trace, answer = said(events)
    assert trace.rstrip("\n") == decoded(within) and answer == decoded(after).lstrip("\n")
    usage = events[-1].usage
    assert usage.reasoning_tokens == budget + TO_TAG
    assert usage.output_tokens == opened + len(TRACE) + len(CLOSING) + 1
    assert events[-1].reason == "stop"


def test_the_network_reads_the_tokens_that_close_a_trace():
    loaded, read = scripted([*TRACE, *ids_of(END)], OPENS), []
    model = type(loaded.model)

    class Watched(model):
        def __call__(self, input_ids, **options):
            read.append(input_ids[0].tolist())
            return super().__call__(input_ids, **options)

    loaded.model.__class__ = Watched
    run(loaded, thinking_budget=3)
    closing = read.index([TRACE[2], *CLOSING[:-1]])
    assert read[closing - 2 : closing] == [[TRACE[0]], [TRACE[1]]]
    assert read[closing + 1 : closing + 3] == [[CLOSING[-1]], [TRACE[3]]]


@pytest.mark.parametrize("budget", [len(TRACE) + 1, len(TRACE) + 2, 1000, None])
def test_a_budget_larger_than_the_trace_changes_nothing(budget):
    """The closing tag counts as one of its tokens."""
    ids = [*TRACE, *ids_of("</think>\n\nParis" + END)]
    events = run(scripted(ids, OPENS), thinking_budget=budget)
    assert events == run(scripted(ids, OPENS))
    assert said(events) == (decoded(TRACE), "Paris")
    assert events[-1].usage.reasoning_tokens == len(TRACE) + 1


@pytest.mark.parametrize(("template", "tags"), [(PLAIN, True), (PLAIN, False), (HYBRID, True)])
def test_a_budget_is_nothing_to_an_answer_without_a_trace(template, tags):
    ids = [*TRACE, *ids_of(END)]
    events = run(scripted(ids, template, tags=tags), thinking_budget=2)
    assert said(events) == ("", decoded(TRACE))
    assert events[-1].usage.output_tokens == len(ids)


@pytest.mark.parametrize("room", range(-1, len(CLOSING) + 2))
@pytest.mark.parametrize("drafts", [0, 3])
def test_an_answer_that_runs_out_of_tokens_while_its_trace_is_closed_has_no_more(network, room, drafts):
    budget = 6
    events = run(around(network, OPENS, ends=False), thinking_budget=budget, max_tokens=budget + room, draft_tokens=drafts)
    usage = events[-1].usage
    assert events[-1].reason == "length"
    assert usage.output_tokens == budget + room
    assert usage.reasoning_tokens == budget + min(room, TO_TAG)
    assert room > len(CLOSING) or said(events)[1] == ""


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 3, "top_k": 30, "repetition_penalty": 1.3, "presence_penalty": 0.5}], ids=["greedy", "hot"])  # fmt: skip
@pytest.mark.parametrize("budget", [1, 5, 12])
def test_guesses_change_nothing_about_a_closed_trace(network, sampling, budget):
    options = {"thinking_budget": budget, "max_tokens": 40, **sampling}
    plain = run(around(network, OPENS, ends=False), draft_tokens=0, **options)
    usage = plain[-1].usage
    assert usage.reasoning_tokens == budget + TO_TAG and usage.output_tokens == 40
    for drafts in (1, 2, 3):
        for right in (0.0, 1.0):
            loaded = around(right_at(network, plain_ids(network, options), right), OPENS, ends=False)
            events = run(loaded, draft_tokens=drafts, **options)
            assert said(events) == said(plain)
            found = events[-1].usage
            assert (found.reasoning_tokens, found.output_tokens) == (usage.reasoning_tokens, usage.output_tokens)
            assert (found.accepted_tokens > 40 / 4) == (right == 1.0)


def plain_ids(network, options):
    """The tokens of that answer, the closing ones among them."""
    loaded, budget = around(network, OPENS, ends=False), options["thinking_budget"]
    request = ask(**options)
    built = build(loaded.tokenizer, request, loaded.think)
    decoder = Decoder(loaded, built.ids, Sampling.of(request.parameters, loaded.model.generation_config), borders=built.borders)
    list(decoder.read())
    ids = [decoder.next()[0].token for _ in range(budget)]
    decoder.force(CLOSING)
    return len(built.ids), [*ids, *CLOSING, *(decoder.next()[0].token for _ in range(40))]


def right_at(network, known, right):
    """The same network with a head that guesses what comes, or what never does."""
    prompt, ids = known

    class Knows(Qwen3Next):
        def draft(self, given, hidden, state, start):
            scores, hidden = super().draft(given, hidden, state, start)
            place = start + len(given) - prompt
            told = torch.zeros_like(scores)
            told[ids[place] if right and place < len(ids) else tokenizer().eos_token_id] = 1000.0
            return told, hidden

    network = Qwen3Next(*next_tiny.models())
    network.__class__ = Knows
    return network


def test_a_stop_string_ends_an_answer_in_the_middle_of_a_leap(network):
    loaded = around(network, ends=False)
    whole = said(run(loaded, draft_tokens=0, max_tokens=40))[1]
    stop = whole[12:15]
    for drafts in (0, 3):
        events = run(loaded, draft_tokens=drafts, max_tokens=40, stop=(stop,))
        assert said(events)[1] == whole[: whole.index(stop)]
        assert events[-1].reason == "stop"


# ---- details
HOT = {"temperature": 1.2, "top_k": 40, "seed": 2, "repetition_penalty": 1.3, "max_tokens": 12}


def answer_ids(loaded, **parameters):
    """(the prompt's length, prompt and answer) of the same request."""
    request = ask(**parameters)
    built = build(loaded.tokenizer, request, loaded.think)
    decoder = Decoder(loaded, built.ids, Sampling.of(request.parameters, loaded.model.generation_config), borders=built.borders)
    list(decoder.read())
    return len(built.ids), [*built.ids, *(decoder.next()[0].token for _ in range(parameters["max_tokens"]))]


def details(events):
    return [event for event in events if isinstance(event, TokenDetail)]


@torch.inference_mode()
def test_log_probabilities_are_those_of_the_scores_themselves(network):
    model, _ = next_tiny.models()
    loaded = around(network, ends=False)
    found = details(run(loaded, Detail(5), **HOT))
    prompt, ids = answer_ids(loaded, **HOT)
    expected = model(torch.tensor([ids])).logits[0, prompt - 1 :].log_softmax(-1)
    assert len(found) == HOT["max_tokens"]
    for told, row, token in zip(found, expected, ids[prompt:], strict=False):
        assert told.token == decoded([token])
        assert told.logprob == pytest.approx(float(row[token]), abs=1e-3)
        best = row.topk(5)
        assert [text for text, _ in told.alternatives] == [decoded([int(i)]) for i in best.indices]
        assert [value for _, value in told.alternatives] == pytest.approx(best.values.tolist(), abs=1e-3)
        values = [value for _, value in told.alternatives]
        assert values == sorted(values, reverse=True) and told.logprob <= values[0] + 1e-6


@torch.inference_mode()
def test_experts_are_those_that_the_routers_chose(network):
    model, _ = next_tiny.models()
    seen = []
    hooks = [layer.mlp.gate.register_forward_hook(lambda _m, _x, out: seen.append(out[1:])) for layer in model.model.layers]
    loaded = around(network, ends=False)
    found = details(run(loaded, Detail(experts=True), **HOT))
    prompt, ids = answer_ids(loaded, **HOT)
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    for place, told in enumerate(found):
        assert told.alternatives == ()
        assert len(told.experts) == len(seen) == 4
        for layer, (weights, chosen) in zip(told.experts, seen, strict=True):
            at = prompt - 1 + place
            assert [expert for expert, _ in layer] == chosen[at].tolist()
            assert [weight for _, weight in layer] == pytest.approx(weights[at].tolist(), abs=1e-3)
            assert sum(weight for _, weight in layer) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: Qwen3Next(*next_tiny.models()), 4),
        (lambda: Qwen3Next(*next_tiny.models(mlp_only_layers=[1])), 3),
        (lambda: Dense(LlamaForCausalLM(config()).eval()), 0),
        (None, 0),
    ],
    ids=["all layers", "three layers", "dense", "plain"],
)
@pytest.mark.parametrize("asked", [True, False])
def test_there_is_one_entry_for_each_layer_with_experts(make, layers, asked):
    loaded = scripted("on and ") if make is None else around(make(), ends=False)
    found = details(run(loaded, Detail(2, experts=asked), max_tokens=3))
    assert [len(told.experts) for told in found] == [layers * asked] * 3
    assert [len(told.alternatives) for told in found] == [2] * 3


@pytest.mark.parametrize("detail", [None, Detail()])
def test_no_more_is_told_than_was_asked_for(network, detail):
    found = details(run(around(network, ends=False), detail, max_tokens=5))
    assert len(found) == (0 if detail is None else 5)
    assert all(told.alternatives == told.experts == () for told in found)


def test_details_change_nothing_else(network):
    loaded = around(network, OPENS, ends=False)
    plain, detailed = run(loaded, **HOT), run(loaded, Detail(3, experts=True), **HOT)
    assert [event for event in detailed if isinstance(event, TextDelta | ThinkingDelta)] == [
        event for event in plain if isinstance(event, TextDelta | ThinkingDelta)
    ]
    assert detailed[-1].usage.output_tokens == plain[-1].usage.output_tokens


@pytest.mark.parametrize("text", ["想一想\n</think>\n\n北京 is the capital" + END, "</think>at once" + END, "never closed" + END])
def test_a_detail_comes_before_the_text_that_its_token_makes(text):
    events = run(scripted(text, OPENS), Detail(1))
    told = 0
    for event in events:
        told += isinstance(event, TokenDetail)
        if isinstance(event, ThinkingDelta | TextDelta):
            assert told == event.tokens
    assert told == events[-1].usage.output_tokens == len(ids_of(text))
    assert [event.token for event in details(events)] == [decoded([token]) for token in ids_of(text)]


def test_each_whole_character_follows_the_detail_of_its_last_token():
    ids = ids_of("a北b")
    events = run(scripted([*ids, *ids_of(END)]), Detail())
    shape = "".join("d" if isinstance(e, TokenDetail) else "t" for e in events if isinstance(e, TokenDetail | TextDelta))
    assert shape == "dt" + "d" * (len(ids) - 2) + "t" + "dt" + "d"


def test_tokens_that_close_a_trace_have_no_detail():
    """Nobody chose them."""
    events = run(scripted([*TRACE, *ids_of(END)], OPENS), Detail(), thinking_budget=4)
    assert len(details(events)) == events[-1].usage.output_tokens - len(CLOSING) == len(TRACE) + 1


def test_a_likely_token_has_a_log_probability_near_zero_and_an_unlikely_one_a_low_one():
    told = details(run(scripted("x" + END), Detail(3)))[0]
    assert told.token == "x" and -1e-3 < told.logprob <= 0.0
    assert told.alternatives[0] == ("x", told.logprob)
    assert all(value < -40 for _, value in told.alternatives[1:])


def test_the_finish_is_the_last_event():
    events = run(scripted("x" + END), Detail(1, experts=True))
    assert isinstance(events[-1], Finished) and sum(isinstance(event, Finished) for event in events) == 1
