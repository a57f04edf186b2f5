"""Guessing ahead changes no token, whatever the head guesses; it only takes fewer forward passes, and says how many."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from backend.local.decoding import Decoder
from backend.local.drafting import MOST_DRAFTS, Drafting, measure
from backend.local.generation import generate
from backend.local.network.dense import Dense
from backend.local.network.qwen3_next import Qwen3Next
from backend.local.prefixes import Prefixes
from backend.local.processor import Processor
from backend.local.sampling import Sampling
from backend.types import Detail, Finished
from tests.backend.local import next_tiny
from tests.backend.local.tiny import around, ask, config, ids_of, said

PROMPT = ids_of("Xin chào, how are you? 北京 is the capital.")
COUNT = 48
HOT = {"temperature": 1.0, "top_k": 40, "seed": 5}
SAMPLINGS = {"greedy": {}, "hot": HOT, "penalised": {**HOT, "repetition_penalty": 1.3, "presence_penalty": 0.5, "min_p": 0.01}}


class Watched(Qwen3Next):
    """Counts its forward passes. With `truth`, the tokens that follow `prompt`, its guesses come true with probability `right`."""

    truth, prompt, right = (), 0, 0.0

    def __init__(self, *parts):
        super().__init__(*parts)
        self.forwards, self.guesses, self._chance = 0, [], torch.Generator().manual_seed(3)

    def __call__(self, ids, state, **options):
        self.forwards += 1
        return super().__call__(ids, state, **options)

    def draft(self, ids, hidden, state, start):
        scores, hidden = super().draft(ids, hidden, state, start)
        self.guesses.append((start + len(ids), scores))
        place = start + len(ids) - self.prompt
        if 0 <= place < len(self.truth) and torch.rand((), generator=self._chance) < self.right:
            scores = torch.zeros_like(scores)
            scores[self.truth[place]] = 1000.0
        return scores, hidden


@pytest.fixture(scope="module")
def parts():
    return next_tiny.models()


def written(loaded, drafts, count=COUNT, prompt=PROMPT, borders=(), **sampling):
    """(tokens, decoder) of an answer that is let go on past `count`, then looked at up to there."""
    decoder, found = Decoder(loaded, prompt, Sampling(**sampling), borders=borders, drafts=drafts), []
    list(decoder.read())
    while len(found) < count:
        found += [chosen.token for chosen in decoder.next()]
    return found[:count], decoder


@pytest.fixture(scope="module")
def truth(parts):
    """The same answers without guesses."""
    return {name: written(around(Qwen3Next(*parts)), 0, 120, **sampling)[0] for name, sampling in SAMPLINGS.items()}


def cheating(parts, truth, right, **changes):
    network = Watched(*parts)
    network.truth, network.prompt, network.right = truth, len(PROMPT), right
    return around(network, ends=False, **changes)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("right", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("drafts", [1, 2, 3])
def test_tokens_are_those_without_guesses(parts, truth, sampling, right, drafts):
    loaded = cheating(parts, truth[sampling], right)
    found, decoder = written(loaded, drafts, **SAMPLINGS[sampling])
    assert found == truth[sampling][:COUNT]
    assert decoder.drafted == drafts * decoder.forwards and decoder.first_drafted == decoder.forwards
    assert decoder.first_accepted <= decoder.accepted <= drafts * decoder.first_accepted
    assert COUNT <= decoder.forwards + decoder.accepted <= COUNT + drafts
    if right == 1.0:
        assert decoder.forwards == math.ceil(COUNT / (drafts + 1))
        assert decoder.accepted == decoder.drafted and decoder.first_accepted == decoder.first_drafted
    elif right == 0.0:
        assert decoder.accepted < 0.2 * decoder.drafted


def test_a_leap_of_eight_tokens_is_the_longest(parts, truth):
    for right in (0.0, 0.8, 1.0):
        assert written(cheating(parts, truth["greedy"], right), 7)[0] == truth["greedy"][:COUNT]


@pytest.mark.parametrize("right", [0.3, 0.8])
def test_first_guesses_come_true_as_often_as_the_head_is_right(parts, truth, right):
    _, decoder = written(cheating(parts, truth["greedy"], right), 1, 120)
    assert abs(decoder.first_accepted / decoder.first_drafted - right) < 0.15


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
@pytest.mark.parametrize("drafts", [1, 3])
def test_a_prompt_read_in_chunks_leads_to_the_same(parts, truth, chunk, drafts):
    found, decoder = written(cheating(parts, truth["hot"], 0.8, chunk_tokens=chunk), drafts, **HOT)
    assert found == truth["hot"][:COUNT]
    assert decoder.accepted > decoder.forwards / 3


@pytest.mark.parametrize("border", [4, len(PROMPT) - 1])
@pytest.mark.parametrize(("first", "then"), [(0, 3), (2, 2), (3, 0)])
def test_a_known_beginning_leads_to_the_same(parts, truth, border, first, then):
    loaded = cheating(parts, truth["hot"], 0.8)
    for drafts, reused in ((first, 0), (then, border)):
        found, decoder = written(loaded, drafts, borders=(border,), **HOT)
        assert decoder.reused == reused
        assert found == truth["hot"][:COUNT]
        assert (decoder.accepted > 0) == (drafts > 0)


def test_a_prompt_of_one_token_leads_to_the_same(parts):
    loaded = around(Watched(*parts))
    assert written(loaded, 2, prompt=PROMPT[:1])[0] == written(loaded, 0, prompt=PROMPT[:1])[0]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_part_of_a_leap_may_be_taken(parts, truth, sampling, taken):
    decoder = Decoder(cheating(parts, truth[sampling], 1.0), PROMPT, Sampling(**SAMPLINGS[sampling]), drafts=3)
    list(decoder.read())
    found = []
    while len(found) < COUNT:
        leap = [chosen.token for chosen in decoder.next()]
        decoder.cut(len(leap) - taken)
        found += leap[:taken]
    assert found == truth[sampling][: len(found)]
    assert decoder.forwards == len(found) / taken


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("forced", [[7], [7, 8, 9], [3] * 12])
def test_after_forced_tokens_it_goes_on_as_without_guesses(parts, truth, sampling, forced):
    def goes_on(drafts):
        loaded = cheating(parts, truth[sampling], 1.0)
        decoder, before = Decoder(loaded, PROMPT, Sampling(**SAMPLINGS[sampling]), drafts=drafts), []
        list(decoder.read())
        while len(before) < 6:
            leap = [chosen.token for chosen in decoder.next()]
            decoder.cut(max(0, len(before) + len(leap) - 6))
            before = [*before, *leap][:6]
        decoder.force(forced)
        found = []
        while len(found) < 20:
            found += [chosen.token for chosen in decoder.next()]
        return before, found[:20]

    assert goes_on(3) == goes_on(0)
    if sampling == "greedy":
        assert goes_on(3)[1] == written(around(Qwen3Next(*parts)), 0, 20, [*PROMPT, *truth[sampling][:6], *forced])[0]


# ---- what the head has read
def guessed_afresh(network, ids):
    """What the head guesses after `ids` when it reads them all at once."""
    state = network.new_state(200)
    network(torch.tensor(ids[:-1]), state)
    return Qwen3Next.draft(network, torch.tensor(ids[1:]), state.hidden, state, 1)[0]


@pytest.mark.parametrize("way", ["plain", "chunked", "restored", "cut", "forced", "little room"])
@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
@torch.inference_mode()
def test_each_first_guess_is_made_from_all_tokens_before(parts, truth, way, right):
    loaded = cheating(parts, truth["greedy"], right, chunk_tokens=3 if way == "chunked" else 16)
    network, borders, ids = loaded.network, (9,) if way == "restored" else (), list(PROMPT)
    if way == "restored":
        written(loaded, 0, 5, borders=borders)
    if way == "little room":
        loaded.working_state(1)
    decoder = Decoder(loaded, PROMPT, Sampling(), borders=borders, drafts=3)
    list(decoder.read())
    assert decoder.reused == (9 if way == "restored" else 0)
    for leap in range(14):
        network.guesses.clear()
        found = [chosen.token for chosen in decoder.next()]
        place, scores = network.guesses[0]
        assert place == len(ids)
        afresh = guessed_afresh(network, ids)
        assert (scores - afresh).abs().max() < 1e-3 * afresh.abs().max(), leap
        if way == "cut" and len(found) > 1:
            decoder.cut(1)
            found.pop()
        ids += found
        if way == "forced" and leap == 5:
            decoder.force([7, 8, 9])
            ids += [7, 8, 9]


# ---- whether it pays
@pytest.mark.parametrize(
    ("step_s", "draft_s", "acceptance", "expected"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.0, 0.9, 3),  # a memory-bound machine: more tokens cost nothing
        ((1.0, 2.0, 3.0, 4.0), 0.0, 0.9, 0),  # each token costs as much as a step
        ((1.0, 1.1, 1.2, 1.3), 0.1, 0.7, 3),
        ((1.0, 1.1, 1.2, 1.3), 0.1, 0.3, 1),
        ((1.0, 1.1, 1.2, 1.3), 0.1, 0.1, 0),
        ((1.0, 1.1, 3.0, 3.0), 0.1, 0.7, 1),
        ((1.0, 1.3, 1.4, 2.5), 0.1, 0.8, 2),
        ((1.0, 1.1, 1.2, 1.3), 2.0, 0.9, 0),
        ((1.0, 1.0, 1.0, 1.0), 0.0, 0.0, 0),
        ((1.0, 1.5, 2.5, 3.5), 0.0, 1.0, 1),
    ],
)
def test_as_many_guesses_as_make_a_token_cheapest(step_s, draft_s, acceptance, expected):
    assert Drafting(step_s, draft_s, seen=100.0, right=100.0 * acceptance).best() == expected


def test_a_measurement_begins_with_a_guess_of_our_own():
    assert Drafting((1.0,), 0.0).acceptance == 0.7


def test_guessing_is_tried_while_too_little_is_known_of_it():
    drafting = Drafting((1.0, 1.5, 2.0, 2.5), 0.3)  # pays from 80 % right
    assert drafting.acceptance == 0.7 and drafting.best() == 1
    drafting.learn(30, 15)
    assert drafting.best() == 0
    for _ in range(30):  # answers without a guess
        drafting.learn(0, 0)
    assert drafting.best() == 1
    drafting.learn(500, 500)
    assert drafting.best() == 3


def test_guessing_is_not_tried_where_it_could_not_pay():
    assert Drafting((1.0, 2.0, 3.0, 4.0), 0.0).best() == 0
    assert Drafting((1.0,), 0.0).best() == 0


def test_nothing_is_measured_without_a_head(parts):
    torch.manual_seed(7)
    assert measure(Dense(LlamaForCausalLM(config()).eval()), Processor()) is None
    assert measure(Qwen3Next(parts[0]), Processor()) is None


def test_steps_and_drafts_are_measured(parts):
    found = measure(Qwen3Next(*parts), Processor())
    assert len(found.step_s) == MOST_DRAFTS + 1
    assert all(0 < seconds < 10 for seconds in (*found.step_s, found.draft_s))
    assert found.best() in range(MOST_DRAFTS + 1)


# ---- a request
PAYS = Drafting((1.0, 1.0, 1.0, 1.0), 0.0, seen=100.0, right=90.0)
PAYS_NOT = Drafting((1.0, 2.0, 3.0, 4.0), 0.0, seen=100.0, right=90.0)


def answered(loaded, stopped=lambda: False, detail=None, **parameters):
    request = replace(ask(**{"max_tokens": 30, **parameters}), detail=detail)
    events = list(generate(loaded, request, 100, stopped))
    return events, events[-1].usage if isinstance(events[-1], Finished) else None


def free(parts, drafting=None):
    return around(Watched(*parts), ends=False, drafting=None if drafting is None else replace(drafting))


@pytest.mark.parametrize(
    ("drafting", "asked", "drafts"),
    [(None, None, 0), (PAYS, None, 3), (PAYS_NOT, None, 0), (PAYS, 0, 0), (PAYS, 1, 1), (PAYS_NOT, 2, 2), (None, 3, 3)],
)
@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 4}], ids=str)
def test_what_is_asked_for_goes_before_what_was_measured(parts, drafting, asked, drafts, sampling):
    loaded = free(parts, drafting)
    events, usage = answered(loaded, draft_tokens=asked, **sampling)
    if drafts:
        assert usage.drafted_tokens == drafts * usage.forward_passes
        assert 30 <= usage.forward_passes + usage.accepted_tokens <= 30 + drafts
        assert usage.acceptance == usage.accepted_tokens / usage.drafted_tokens
    else:
        assert usage.drafted_tokens is usage.accepted_tokens is usage.forward_passes is None
    assert usage.output_tokens == 30
    assert said(events) == said(answered(free(parts), draft_tokens=0, **sampling)[0])


def test_a_network_without_a_head_takes_no_notice(parts):
    _, usage = answered(around(Qwen3Next(parts[0]), ends=False), draft_tokens=3)
    assert usage.drafted_tokens is None and usage.output_tokens == 30


def test_details_are_told_without_guesses(parts):
    _, usage = answered(free(parts, PAYS), detail=Detail(2), draft_tokens=3)
    assert usage.drafted_tokens is None


@pytest.mark.parametrize("drafts", [8, 20])
def test_more_guesses_than_the_head_is_good_for_are_no_error(parts, drafts):
    events, _ = answered(free(parts), draft_tokens=drafts)
    assert said(events) == said(answered(free(parts), draft_tokens=0)[0])


def test_an_answer_tells_how_often_its_first_guesses_came_true(parts):
    loaded = free(parts, PAYS)
    faded = replace(PAYS)
    faded.learn(0, 0)
    _, usage = answered(loaded)
    assert loaded.drafting.seen == faded.seen + usage.forward_passes
    assert faded.right <= loaded.drafting.right <= faded.right + usage.accepted_tokens


def test_without_guesses_the_first_guess_comes_back_and_guessing_is_tried_again():
    drafting = Drafting((1.0, 1.1), 0.2, seen=1000.0, right=50.0)
    assert drafting.best() == 0
    for _ in range(200):
        drafting.learn(0, 0)
    assert drafting.best() == 1 and abs(drafting.acceptance - 0.7) < 0.01


@pytest.mark.parametrize("drafts", [0, 3])
def test_a_stop_ends_an_answer_within_one_forward_pass(parts, drafts):
    loaded = free(parts)
    events, _ = answered(loaded, stopped=lambda: loaded.network.forwards >= 8, draft_tokens=drafts)
    assert loaded.network.forwards == 8
    assert not any(isinstance(event, Finished) for event in events)


def test_an_answer_after_a_stopped_one_is_as_if_there_had_been_none(parts):
    loaded = free(parts)
    answered(loaded, stopped=lambda: loaded.network.forwards >= 8, draft_tokens=3)
    again, _ = answered(replace(loaded, prefixes=Prefixes(1 << 30)), draft_tokens=3)
    assert said(again) == said(answered(free(parts), draft_tokens=0)[0])
