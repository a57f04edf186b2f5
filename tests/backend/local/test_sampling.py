"""Probabilities are those of transformers' processors, draws are distributed as they say, and guessing ahead changes no token."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from backend.local.sampling import COLDEST, Sampler, Sampling

VOCABULARY = 300
PROMPT = [5, 9, 9, 200]
DRAWS = 12_000


def sampler(*, prompt=PROMPT, vocabulary=VOCABULARY, **settings):
    return Sampler(Sampling(**settings), prompt, vocabulary, torch.device("cpu"))


def random_scores(seed=1, size=VOCABULARY):
    return 3.0 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def theirs(scores, ids, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0):
    """In the order of `generate`."""
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(repetition_penalty), TemperatureLogitsWarper(temperature)])
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    if min_p:
        processors.append(MinPLogitsWarper(min_p))
    return processors(torch.tensor([ids]), scores[None].clone())[0].softmax(-1)


ALONE = [
    {"temperature": 0.3},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 20},
    {"top_k": VOCABULARY + 10},
    {"top_p": 0.05},
    {"top_p": 0.8},
    {"top_p": 0.999},
    {"min_p": 0.02},
    {"min_p": 0.5},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
]
COMBINED = [
    {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.05},
    {"temperature": 0.7, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.2},
    {"temperature": 2.0, "top_k": 5, "min_p": 0.3},
    {"temperature": 0.9, "min_p": 0.1, "repetition_penalty": 1.1},
]


@pytest.mark.parametrize("settings", ALONE + COMBINED, ids=str)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_probabilities_are_those_of_transformers(settings, seed):
    scores = random_scores(seed)
    ours = sampler(**{"temperature": 1.0, **settings}).probabilities(scores)
    assert torch.allclose(ours, theirs(scores, PROMPT, **settings), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"temperature": COLDEST / 2, "top_k": 9}, {"temperature": 0.0, "repetition_penalty": 9.0}]
)
def test_a_greedy_choice_is_the_most_likely_after_penalties(settings):
    scores = random_scores()
    scores[5] = scores.max() + 1.0  # of the prompt
    ours = sampler(**settings)
    expected = int(theirs(scores, PROMPT, repetition_penalty=settings.get("repetition_penalty", 1.0)).argmax())
    assert ours.choose(scores) == expected
    assert (expected == 5) == ("repetition_penalty" not in settings)


def test_a_warm_choice_is_not_greedy():
    assert not Sampling(COLDEST).greedy and Sampling(COLDEST / 2).greedy and Sampling().greedy


def test_the_repetition_penalty_counts_the_prompt_and_what_was_told():
    scores, ours = random_scores(), sampler(temperature=1.0, repetition_penalty=1.4)
    for token in (77, 78):
        ours.told(token)
    assert torch.allclose(ours.probabilities(scores), theirs(scores, [*PROMPT, 77, 78], repetition_penalty=1.4), rtol=0, atol=1e-6)


def test_the_presence_penalty_counts_generated_tokens_and_not_the_prompt():
    scores, ours = random_scores(), sampler(temperature=1.0, presence_penalty=1.5)
    assert torch.equal(ours.probabilities(scores), scores.softmax(-1))
    for token in (9, 77, 77):  # twice is as once
        ours.told(token)
    lower = scores.clone()
    lower[[9, 77]] -= 1.5
    assert torch.allclose(ours.probabilities(scores), lower.softmax(-1), rtol=0, atol=1e-6)


SEEING = [{}, {"repetition_penalty": 1.4}, {"presence_penalty": -2.0}, {"repetition_penalty": 1.4, "presence_penalty": 1.0}]


@pytest.mark.parametrize("settings", SEEING, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_after_counts_as_told_and_only_once(settings, temperature):
    told, asked = (sampler(temperature=temperature, seed=1, **settings) for _ in range(2))
    rows = [random_scores(n) for n in range(20)]
    likely = [int(row.argmax()) for row in rows]
    told.told(*likely)
    before = [asked.choose(row) for row in rows]
    after = [told.choose(row) for row in rows]
    assert [asked.choose(row, after=likely) for row in rows] == after
    assert [asked.choose(row) for row in rows] == before
    assert (after == before) == (temperature == 0.0 and settings in ({}, {"presence_penalty": -2.0}))


@pytest.mark.parametrize("settings", SEEING, ids=str)
def test_what_is_taken_back_was_never_told(settings):
    never, back = (sampler(temperature=2.0, seed=1, **settings) for _ in range(2))
    for ours in (never, back):
        ours.told(9, 77, 78)
    back.told(79, 77, 5)
    back.taken_back(3)
    back.taken_back(0)
    for n in range(20):
        assert torch.equal(back.probabilities(random_scores(n)), never.probabilities(random_scores(n)))
        assert back.choose(random_scores(n)) == never.choose(random_scores(n))


def test_scores_are_left_as_they_are():
    scores = random_scores()
    kept = scores.clone()
    ours = sampler(temperature=0.5, top_k=5, top_p=0.9, min_p=0.1, presence_penalty=1.0, repetition_penalty=1.2, seed=1)
    ours.told(1)
    ours.verify(scores.expand(2, -1), [ours.choose(scores)])
    assert torch.equal(scores, kept)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1, 2**64 - 1, -1])
def test_one_seed_draws_the_same_and_another_seed_others(seed):
    def drawn(seed):
        ours = sampler(temperature=2.0, seed=seed)
        return [ours.choose(random_scores(n)) for n in range(30)]

    assert drawn(seed) == drawn(seed) != drawn(seed - 1)


def test_without_a_seed_each_sampler_draws_others():
    one, other = sampler(temperature=2.0), sampler(temperature=2.0)
    assert [one.choose(random_scores(n)) for n in range(30)] != [other.choose(random_scores(n)) for n in range(30)]


def test_a_draw_depends_on_the_seed_and_the_place_and_not_on_draws_before():
    often, once = (sampler(temperature=2.0, seed=1) for _ in range(2))
    first = often.choose(random_scores())
    assert [often.choose(random_scores()) for _ in range(20)] == [first] * 20
    for ours in (often, once):
        ours.told(first)
    assert often.choose(random_scores(2)) == once.choose(random_scores(2))
    drawn = set()
    for _ in range(20):
        drawn.add(often.choose(random_scores()))
        often.told(first)
    assert len(drawn) > 10


# ---- draws
# 99.9 % of the chi-square distribution by degrees of freedom
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 5: 20.52, 7: 24.32, 63: 103.44}


def far_from(expected, counts):
    """Whether `counts` are drawn from something else than `expected`, which holds probabilities."""
    possible = expected > 0
    assert counts[~possible].sum() == 0
    wanted = expected[possible] * counts.sum()
    return float(((counts[possible] - wanted) ** 2 / wanted).sum()) > CRITICAL[int(possible.sum()) - 1]


P = torch.tensor([0.30, 0.20, 0.15, 0.11, 0.09, 0.06, 0.05, 0.04])
NEXT = torch.stack([P.roll(n) for n in range(8)])  # what follows depends on the token before
NEAR = torch.tensor([0.28, 0.21, 0.16, 0.10, 0.09, 0.06, 0.06, 0.04])
GUESSES = {"the same": P, "near": NEAR, "far": P.flip(0) ** 3 / (P**3).sum(), "one-hot": torch.eye(8)[6]}


@lru_cache
@torch.inference_mode()
def verified(guess):
    """(counts of a guessed first token and the true one, counts of the true first and second), where the model says P, then NEXT[first]."""
    ours, first, follows = sampler(prompt=[0], vocabulary=8, temperature=1.0, seed=11), P.log(), NEXT.log()
    guesses, pairs, guessed = torch.zeros(8, 8), torch.zeros(8, 8), GUESSES[guess].log()
    for _ in range(DRAWS):
        draft = ours.choose(guessed)
        found = ours.verify(torch.stack((first, follows[draft])), [draft])
        ours.told(*found)
        if len(found) == 1:
            found.append(ours.choose(follows[found[0]]))
            ours.told(found[1])
        guesses[draft, found[0]] += 1
        pairs[found[0], found[1]] += 1
    return guesses, pairs


@pytest.mark.parametrize("guess", GUESSES)
def test_two_tokens_are_distributed_as_the_model_says_whatever_is_guessed(guess):
    _, pairs = verified(guess)
    assert not far_from(P, pairs.sum(1))
    assert not far_from((P[:, None] * NEXT).flatten(), pairs.flatten())
    assert far_from(NEAR, pairs.sum(1)) and far_from((P[:, None] * P).flatten(), pairs.flatten())


@pytest.mark.parametrize("guess", GUESSES)
def test_a_guess_is_distributed_as_the_head_says(guess):
    assert not far_from(GUESSES[guess], verified(guess)[0].sum(1)) if guess != "one-hot" else verified(guess)[0][6].sum() == DRAWS


@pytest.mark.parametrize("guess", GUESSES)
def test_guesses_come_true_as_often_as_near_distributions_allow(guess):
    """At least (1 - d) / (1 + d) of them, d the total variation (Daliri et al. 2024), and at most 1 - d."""
    right = float(verified(guess)[0].diagonal().sum()) / DRAWS
    apart = float((P - GUESSES[guess]).abs().sum()) / 2
    spread = 4 * (0.25 / DRAWS) ** 0.5
    assert (1 - apart) / (1 + apart) - spread <= right <= 1 - apart + spread
    assert (right == 1.0) == (guess == "the same")


def test_seeds_beside_each_other_draw_independently():
    pairs = torch.zeros(8, 8)
    for seed in range(DRAWS // 4):
        one, other = (sampler(prompt=[0], vocabulary=8, temperature=1.0, seed=seed + n) for n in range(2))
        pairs[one.choose(P.log()), other.choose(P.log())] += 1
    assert not far_from((P[:, None] * P).flatten(), pairs.flatten())


@pytest.mark.parametrize(
    "settings",
    [
        {"min_p": 0.4},
        {"top_k": 3},
        {"top_p": 0.7},
        {"temperature": 0.5},
        {"temperature": 2.0, "min_p": 0.3, "top_k": 6},
        {"repetition_penalty": 1.5},
    ],
    ids=str,
)
def test_draws_are_within_the_limits(settings):
    ours, counts = sampler(prompt=[0], vocabulary=8, **{"temperature": 1.0, "seed": 11, **settings}), torch.zeros(8)
    for _ in range(DRAWS // 4):
        counts[ours.choose(P.log())] += 1
        ours.told(0)
    assert not far_from(theirs(P.log(), [0], **settings), counts)


def test_a_token_without_probability_is_never_drawn():
    ours = sampler(temperature=1.0, seed=2, top_k=2)
    likely = set(random_scores().topk(2).indices.tolist())
    drawn = set()
    for _ in range(500):
        drawn.add(ours.choose(random_scores()))
        ours.told(0)
    assert drawn == likely


# ---- guessing ahead
@pytest.mark.parametrize(
    ("drafts", "expected"),
    [([], [0]), ([0], [0, 1]), ([1], [0]), ([0, 1], [0, 1, 2]), ([0, 2], [0, 1]), ([0, 1, 2], [0, 1, 2, 3]), ([7, 1, 2], [0])],
)
def test_greedy_drafts_stay_while_they_are_the_most_likely(drafts, expected):
    assert sampler(prompt=[0], vocabulary=8).verify(torch.eye(8)[: len(drafts) + 1], drafts) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.0},
        {"repetition_penalty": 5.0},
        {"temperature": 1.5, "repetition_penalty": 2.0, "presence_penalty": 1.0, "min_p": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(5))
def test_verified_tokens_are_those_chosen_one_by_one(settings, seed):
    one_by_one, at_once = (sampler(seed=seed, **settings) for _ in range(2))
    scores = torch.stack([random_scores(seed + n) for n in (0, 0, 1, 1)])
    chosen = []
    for row in scores:
        chosen.append(one_by_one.choose(row))
        one_by_one.told(chosen[-1])
    assert at_once.verify(scores, chosen[:3]) == chosen
    for right in range(3):
        wrong = [*chosen[:right], (chosen[right] + 1) % VOCABULARY, *chosen[right + 1 : 3]]
        assert at_once.verify(scores, wrong) == chosen[: right + 1]
    at_once.told(*chosen)
    assert at_once.choose(scores[0]) == one_by_one.choose(scores[0])
