"""Ratings from votes: against published values, closed forms and a second way to the same maximum written here."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from backend.compare.ratings import Agreement, Ballot, Duel, Rating, agreement, bradley_terry, duels, shares, standings, wilson

Z = 1.959963984540054
# "Bradley-Terry model", Wikipedia: wins of the first over the second
WORKED_EXAMPLE = {"AB": 2, "AD": 1, "BA": 3, "BC": 5, "CB": 3, "CD": 1, "DA": 4, "DC": 3}
PUBLISHED = {"A": 0.640, "B": 1.043, "C": 0.660, "D": 2.270}


def strength(rating: Rating) -> float:
    return 10 ** ((rating.value - 1000) / 400)


def strengths(ratings: dict[str, Rating]) -> dict[str, float]:
    return {name: strength(rating) for name, rating in ratings.items()}


def won(first: str, second: str, times: int = 1) -> list[Ballot]:
    return [Ballot((first, second), 0)] * times


def random_ballots(seed: int, count: int = 400, names: str = "abcdef") -> list[Ballot]:
    """Of 2 to 4 contestants, later letters stronger, with ties and all bad ones."""
    rng = random.Random(seed)
    ballots = []
    for _ in range(count):
        shown = tuple(rng.sample(names, rng.choice((2, 3, 4))))
        outcome = rng.random()
        if outcome < 0.3:
            ballots.append(Ballot(shown, None, bad=outcome < 0.1))
        else:
            best = rng.choices(range(len(shown)), [1.4 ** names.index(name) for name in shown])[0]
            ballots.append(Ballot(shown, best))
    return ballots


def half_wins(ballots: list[Ballot]) -> Counter[tuple[str, str]]:
    """Wins by ordered pair, told from the ballots anew."""
    wins: Counter[tuple[str, str]] = Counter()
    for ballot in ballots:
        for i, one in enumerate(ballot.contestants):
            for j, other in enumerate(ballot.contestants):
                if one == other:
                    continue
                if ballot.winner is None:
                    wins[one, other] += 0.5
                elif ballot.winner == i != j:
                    wins[one, other] += 1
    return wins


def by_minorisation(wins: Counter[tuple[str, str]], prior: float) -> dict[str, float]:
    """Hunter 2004, Annals of Statistics 32:384, with games of each against an anchor of strength 1."""
    names = sorted({name for pair in wins for name in pair})
    found = dict.fromkeys(names, 1.0)
    for _ in range(5000):
        new = {}
        for one in names:
            rivals = [other for other in names if other != one]
            total = sum(wins[one, other] for other in rivals) + prior / 2
            games = sum((wins[one, other] + wins[other, one]) / (found[one] + found[other]) for other in rivals)
            new[one] = total / (games + prior / (found[one] + 1))
        if prior == 0:
            scale = math.prod(new.values()) ** (-1 / len(names))
        else:  # the best for all at once: with a weak prior the iteration only crawls towards it
            scale = root(lambda c, new=new: sum(0.5 - c * p / (c * p + 1) for p in new.values()), 0, 1e6)
        new = {name: value * scale for name, value in new.items()}
        done = all(abs(new[name] / found[name] - 1) < 1e-13 for name in names)
        found = new
        if done:
            break
    return found


def unexplained_wins(met: dict[tuple[str, str], Duel], found: dict[str, Rating], prior: float) -> dict[str, float]:
    """Wins beyond those the ratings let expect: none at the maximum, for they are the slope of the likelihood."""
    left = {name: prior * (0.5 - 1 / (1 + 10 ** ((1000 - rating.value) / 400))) for name, rating in found.items()}
    for (a, b), duel in met.items():
        odds = 10 ** ((found[a].value - found[b].value) / 400)
        surplus = (duel.wins - duel.losses * odds) / (1 + odds)
        left[a] += surplus
        left[b] -= surplus
    return left


def root(falling, low: float, high: float) -> float:
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


# Ballots and duels


def test_wins_are_those_of_the_smaller_name_wherever_it_was_shown():
    ballots = [Ballot(("b", "a"), 1), Ballot(("a", "b"), 0), Ballot(("a", "b"), 1), Ballot(("b", "a"), None)]
    assert duels(ballots) == {("a", "b"): Duel(wins=2, losses=1, ties=1)}


def test_pairs_come_in_order_whatever_the_votes_order():
    assert list(duels(won("c", "b") + won("a", "c") + won("b", "a"))) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_winner_of_four_beats_each_other_and_the_losers_have_no_duel():
    assert duels([Ballot(("d", "b", "a", "c"), 1)]) == {
        ("a", "b"): Duel(losses=1),
        ("b", "c"): Duel(wins=1),
        ("b", "d"): Duel(wins=1),
    }


@pytest.mark.parametrize(("bad", "duel"), [(False, Duel(ties=1)), (True, Duel(bad=1))])
def test_a_ballot_without_a_winner_holds_for_every_pair(bad, duel):
    assert duels([Ballot(("c", "a", "b"), None, bad)]) == dict.fromkeys([("a", "b"), ("a", "c"), ("b", "c")], duel)


@pytest.mark.parametrize("winner", [0, 1, None])
def test_one_model_in_two_panes_is_no_duel(winner):
    assert duels([Ballot(("a", "a"), winner)]) == {}


def test_a_model_shown_twice_meets_the_third_twice():
    assert duels([Ballot(("a", "b", "a"), 1)]) == {("a", "b"): Duel(losses=2)}
    assert duels([Ballot(("a", "b", "a"), 2)]) == {("a", "b"): Duel(wins=1)}
    assert duels([Ballot(("a", "b", "a"), None)]) == {("a", "b"): Duel(ties=2)}


def test_votes_at_random_give_a_model_shown_twice_no_advantage():
    ballots = [Ballot(("a", "b", "a"), place) for place in range(3)]
    assert duels(ballots)["a", "b"].win_rate == 0.5


def test_no_ballots_give_no_duels_ratings_or_standings():
    assert (duels([]), bradley_terry({}), bradley_terry({}, prior=0), standings([])) == ({}, {}, {}, [])


@pytest.mark.parametrize("winner", [-1, 2])
def test_a_place_that_was_not_shown_cannot_win(winner):
    with pytest.raises(ValueError, match="cannot win"):
        Ballot(("a", "b"), winner)


def test_a_ballot_with_a_winner_cannot_call_all_bad():
    with pytest.raises(ValueError, match="bad"):
        Ballot(("a", "b"), 0, bad=True)


def test_the_win_rate_is_of_decided_duels_only():
    duel = Duel(wins=8, losses=2, ties=5, bad=3)
    assert (duel.decided, duel.total, duel.win_rate) == (10, 18, 0.8)
    assert duel.interval == wilson(8, 10)


def test_undecided_duels_have_no_win_rate():
    duel = Duel(ties=5, bad=3)
    assert (duel.decided, duel.total, duel.win_rate, duel.interval) == (0, 8, None, None)


# Wilson intervals


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],  # the last: Newcombe 1998
)
def test_wilson_gives_the_published_intervals(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("successes", "trials"), [(1, 2), (3, 7), (8, 10), (1, 500), (499, 500), (7000, 10_000)])
@pytest.mark.parametrize("z", [1.0, Z, 3.0])
def test_wilson_ends_where_the_score_test_would_just_reject(successes, trials, z):
    share = successes / trials

    def score(p: float) -> float:
        return abs(share - p) / math.sqrt(p * (1 - p) / trials)

    low, high = root(lambda p: score(p) - z, 1e-12, share), root(lambda p: z - score(p), share, 1 - 1e-12)
    assert wilson(successes, trials, z) == pytest.approx((low, high), abs=1e-9)


def test_no_trials_give_no_interval():
    assert wilson(0, 0) is None


def test_intervals_stay_within_0_and_1_and_hold_the_share():
    for trials in range(1, 300):
        for successes in (0, trials // 3, trials):
            low, high = wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


# Bradley-Terry ratings


def test_the_plain_maximum_is_that_of_the_worked_example():
    ballots = [ballot for pair, times in WORKED_EXAMPLE.items() for ballot in won(*pair, times)]
    found = strengths(bradley_terry(duels(ballots), prior=0))
    assert found == pytest.approx(PUBLISHED, abs=6e-4)
    assert math.prod(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(("wins", "losses"), [(3, 1), (1, 1), (1, 10_000), (37, 41)])
def test_two_contestants_have_the_odds_of_their_wins(wins, losses):
    found = bradley_terry({("a", "b"): Duel(wins, losses)}, prior=0)
    assert found["a"].value == pytest.approx(1000 + 200 * math.log10(wins / losses), abs=1e-6)
    assert found["b"].value == pytest.approx(1000 - 200 * math.log10(wins / losses), abs=1e-6)


# at strength s against 1/s: wins = n s²/(1+s²) + prior (s-1)/(2(s+1)), from the derivative of the likelihood
@pytest.mark.parametrize(
    ("duel", "prior", "expected"),
    [
        (Duel(10, 0), 4, 3),
        (Duel(9, 1), 6, 2),
        (Duel(9, 0, ties=1), 2, 3),
        (Duel(9, 0, bad=1), 2, 3),
        (Duel(0, 10), 4, 1 / 3),
        (Duel(5, 5), 7, 1),
    ],
)
def test_two_contestants_and_the_prior_meet_the_closed_form(duel, prior, expected):
    found = strengths(bradley_terry({("a", "b"): duel}, prior=prior))
    assert found == pytest.approx({"a": expected, "b": 1 / expected})


@pytest.mark.parametrize("wins", [1, 10, 10_000, 10**6])
@pytest.mark.parametrize("prior", [1e-6, 0.01, 1.0, 50.0])
def test_who_won_every_time_is_finite_and_exact(wins, prior):
    def slope(x: float) -> float:  # of the likelihood, log-strengths x and -x
        return wins / (1 + math.exp(2 * x)) - prior * (1 / (1 + math.exp(-x)) - 0.5)

    found = bradley_terry({("a", "b"): Duel(wins)}, prior=prior)
    expected = 400 / math.log(10) * root(slope, 0, 100)
    assert found["a"].value - 1000 == pytest.approx(expected, rel=1e-7)
    assert found["b"].value - 1000 == pytest.approx(-expected, rel=1e-7)


@pytest.mark.parametrize("prior", [0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_ratings_are_those_of_an_independent_maximisation(seed, prior):
    ballots = random_ballots(seed)
    expected = by_minorisation(half_wins(ballots), prior)
    assert strengths(bradley_terry(duels(ballots), prior=prior)) == pytest.approx(expected, rel=1e-8)


def test_a_long_one_sided_order_of_fifty_is_found():
    names = [f"{i:02}" for i in range(50)]
    met = {(a, b): Duel(10_000) for i, a in enumerate(names) for b in names[i + 1 :]}
    found = bradley_terry(met)
    values = [found[name].value for name in names]
    assert all(math.isfinite(value) for value in values)
    assert all(higher - lower > 100 for higher, lower in pairwise(values))
    for left in unexplained_wins(met, found, prior=1.0).values():
        assert left == pytest.approx(0, abs=1e-6)


def test_votes_on_which_full_newton_steps_diverge_are_settled():
    met = {"ab": Duel(100_000), "ac": Duel(1, 10), "ad": Duel(1000), "bd": Duel(100_000, 10), "cd": Duel(100_000)}
    met = {(pair[0], pair[1]): duel for pair, duel in met.items()}
    found = bradley_terry(met, prior=0.1)
    for left in unexplained_wins(met, found, prior=0.1).values():
        assert left == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_ratings_beyond_the_range_of_exp_are_found_without_a_warning():
    links = {(f"{i:02}", f"{i + 1:02}"): Duel(10_000) for i in range(49)}
    found = bradley_terry(links, prior=1e-6)
    assert found["00"].value - found["49"].value > 400 / math.log(10) * 710  # e^710 is no float
    assert found["00"].value - 1000 == pytest.approx(1000 - found["49"].value, rel=1e-6)


def test_a_chain_of_fifty_has_the_odds_of_each_link():
    links = {(f"{i:02}", f"{i + 1:02}"): Duel(10_000, 1) for i in range(49)}
    found = bradley_terry(links, prior=0)
    assert [found[f"{i:02}"].value for i in range(50)] == pytest.approx([1000 + 1600 * (24.5 - i) for i in range(50)], abs=1e-3)


def test_ten_thousand_votes_on_fifty_are_recovered():
    rng = random.Random(7)
    names = [f"{i:02}" for i in range(50)]
    true = {name: rng.gauss(0, 1) for name in names}
    ballots = []
    for _ in range(10_000):
        shown = tuple(rng.sample(names, 2))
        ballots.append(Ballot(shown, rng.choices((0, 1), [math.exp(true[name]) for name in shown])[0]))
    found = bradley_terry(duels(ballots))
    shift = sum(true.values()) / 50 - sum(rating.value - 1000 for rating in found.values()) / 50 * math.log(10) / 400
    within = sum(r.low < 1000 + 400 / math.log(10) * (true[name] - shift) < r.high for name, r in found.items())
    assert 44 <= within <= 50  # 47.5 of 50 expected


def test_ties_and_all_bad_pull_together_alike():
    apart = bradley_terry({("a", "b"): Duel(6, 2)})
    tied = bradley_terry({("a", "b"): Duel(6, 2, ties=4)})
    bad = bradley_terry({("a", "b"): Duel(6, 2, bad=4)})
    assert tied == bad
    assert 1000 < tied["a"].value < apart["a"].value


def test_nobody_ever_winning_leaves_all_at_the_anchor():
    found = bradley_terry(duels([Ballot(("a", "b", "c"), None, bad=True), Ballot(("a", "c"), None)]))
    assert [rating.value for rating in found.values()] == pytest.approx([1000] * 3)


def test_groups_that_never_met_are_rated_about_the_anchor():
    found = bradley_terry(duels(won("a", "b", 3) + won("c", "d", 3)))
    assert found["a"].value == pytest.approx(found["c"].value)
    assert found["b"].value == pytest.approx(found["d"].value)
    assert found["a"].value > 1000 > found["b"].value


@pytest.mark.parametrize(
    "met",
    [
        {("a", "b"): Duel(3)},
        {("a", "b"): Duel(0, 3)},
        {("a", "b"): Duel(1, 1), ("c", "d"): Duel(1, 1)},
        {("a", "b"): Duel(1, 1), ("b", "c"): Duel(2), ("c", "d"): Duel(1, 1)},
        {("a", "b"): Duel(1, 1), ("b", "c"): Duel(0, 2), ("c", "d"): Duel(1, 1)},
        {("a", "b"): Duel()},
    ],
    ids=["always won", "always lost", "never met", "one way down", "one way up", "no votes"],
)
def test_without_a_prior_ratings_that_do_not_exist_are_refused(met):
    with pytest.raises(ValueError, match="without a prior"):
        bradley_terry(met, prior=0)
    assert all(math.isfinite(rating.value) for rating in bradley_terry(met).values())


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        ({("a", "b"): Duel(3, ties=1)}, {"a": 7**0.5, "b": 7**-0.5}),
        ({("a", "b"): Duel(2), ("b", "c"): Duel(2), ("a", "c"): Duel(0, 2)}, {"a": 1, "b": 1, "c": 1}),
    ],
    ids=["a tie leads back", "a circle"],
)
def test_without_a_prior_a_way_back_is_enough(met, expected):
    assert strengths(bradley_terry(met, prior=0)) == pytest.approx(expected)


def test_a_negative_prior_is_refused():
    with pytest.raises(ValueError, match="negative"):
        bradley_terry({("a", "b"): Duel(1, 1)}, prior=-1)


def test_the_plain_maximum_has_no_intervals():
    assert {(r.low, r.high) for r in bradley_terry({("a", "b"): Duel(2, 1)}, prior=0).values()} == {(None, None)}


def test_intervals_of_two_meet_the_closed_form():
    found = bradley_terry({("a", "b"): Duel(10, 0)}, prior=4)  # strengths 3 and 1/3
    information = 2 * (2 * 10 * 0.9 * 0.1 + 4 * 0.75 * 0.25)  # about log-strengths x and -x
    reach = Z * 400 / math.log(10) / math.sqrt(information)
    for rating in found.values():
        assert (rating.low, rating.high) == pytest.approx((rating.value - reach, rating.value + reach))


def test_intervals_come_from_the_curvature_of_the_likelihood():
    ballots = random_ballots(5, count=60, names="abcd")
    wins, prior, step = half_wins(ballots), 2.0, 1e-4
    found = bradley_terry(duels(ballots), prior=prior)
    top = np.log([strength(found[name]) for name in "abcd"])

    def likelihood(x: np.ndarray) -> float:
        games = sum(count * -math.log1p(math.exp(x["abcd".index(b)] - x["abcd".index(a)])) for (a, b), count in wins.items())
        return games + prior / 2 * sum(-math.log1p(math.exp(v)) - math.log1p(math.exp(-v)) for v in x)

    moves = np.eye(4) * step
    curvature = [
        [sum(s * t * likelihood(top + s * u + t * v) for s in (1, -1) for t in (1, -1)) / (4 * step**2) for v in moves] for u in moves
    ]
    covariance = np.linalg.inv(-np.array(curvature))
    for i, name in enumerate("abcd"):
        against_mean = np.eye(4)[i] - 0.25
        reach = Z * 400 / math.log(10) * math.sqrt(against_mean @ covariance @ against_mean)
        assert found[name].high - found[name].value == pytest.approx(reach, rel=1e-4)
        assert found[name].value - found[name].low == pytest.approx(reach, rel=1e-4)


def test_intervals_shrink_with_the_root_of_the_votes():
    few, many = (bradley_terry({("a", "b"): Duel(n, n)})["a"] for n in (100, 10_000))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.01)


def test_groups_that_never_met_stay_uncertain_however_many_votes():
    apart = {("a", "b"): Duel(5000, 5000), ("c", "d"): Duel(5000, 5000)}
    joined = apart | {("a", "c"): Duel(5000, 5000)}
    assert bradley_terry(apart)["a"].high > 1100
    assert bradley_terry(joined)["a"].high < 1010


# Standings


def test_standings_add_up_the_duels_of_each_name():
    ballots = [
        *won("b", "a", 3),
        *won("a", "b", 1),
        Ballot(("a", "b", "c"), 1),
        Ballot(("c", "a"), None),
        Ballot(("c", "b"), None, bad=True),
        Ballot(("b", "b"), 0),
    ]
    found = standings(iter(ballots))
    assert [(s.name, s.wins, s.losses, s.ties, s.bad, s.win_rate) for s in found] == [
        ("b", 5, 1, 0, 1, 5 / 6),
        ("c", 0, 1, 1, 1, 0.0),
        ("a", 1, 4, 1, 0, 0.2),
    ]
    # of b's six, five with a (four of ballots on two, one of a ballot on three) and one with c (half of what they share on three)
    counts = {("a", "b"): (4 + 2 / 3) / 5, ("a", "c"): (1 + 0) / 1, ("b", "c"): (1 + 2 / 3) / 2}
    assert shares(ballots) == pytest.approx(counts)
    trials = {"b": 5 * counts["a", "b"] + counts["b", "c"], "c": counts["b", "c"], "a": 5 * counts["a", "b"]}
    expected = [wilson(5 / 6 * trials["b"], trials["b"]), wilson(0, trials["c"]), wilson(trials["a"] / 5, trials["a"])]
    for standing, interval in zip(found, expected, strict=True):
        assert standing.interval == pytest.approx(interval)
    assert {s.name: s.rating.value for s in found} == {name: r.value for name, r in bradley_terry(duels(ballots)).items()}
    assert {s.name: s.rating for s in found} == bradley_terry(duels(ballots), shares=shares(ballots))


@pytest.mark.parametrize(("shown", "naive"), [(2, 0.95), (3, 0.89), (4, 0.83)])
def test_intervals_hold_the_truth_as_often_as_they_say_however_many_are_shown(shown, naive):
    """400 worlds of four equals, 200 ballots each on `shown` of them. Taken as independent, the wins of a ballot on three or four give
    intervals of 2 x 1.96 standard errors divided by the root of k/2: `naive` of them hold the truth."""
    rng = random.Random(shown)
    held: Counter[str] = Counter()
    for _ in range(400):
        ballots = [Ballot(tuple(rng.sample("abcd", shown)), rng.randrange(shown)) for _ in range(200)]
        found = {standing.name: standing for standing in standings(ballots)}
        mean = sum(standing.rating.value for standing in found.values()) / 4
        for standing in found.values():
            low, high = standing.interval
            held["rate"] += low <= 1 / 2 <= high
            held["rating"] += standing.rating.low <= mean <= standing.rating.high
        as_independent = bradley_terry(duels(ballots))
        held["naive"] += sum(rating.low <= mean <= rating.high for rating in as_independent.values())
    told = {name: number / 1600 for name, number in held.items()}
    assert told["rating"] == pytest.approx(0.95, abs=0.025) and told["rate"] == pytest.approx(0.95, abs=0.025)
    assert told["naive"] == pytest.approx(naive, abs=0.025)


def test_equals_stand_by_name():
    names = "edcba"  # in a circle: of these counts the floats differ in the last digits
    ballots = [ballot for i, name in enumerate(names) for ballot in won(name, names[i - 1], 4) + won("z", name)]
    assert [s.name for s in standings(ballots)] == ["z", *sorted(names)]


def test_who_met_nobody_else_stands_last_without_a_rating():
    found = standings([Ballot(("a", "a"), 1), *won("b", "c")])
    assert [s.name for s in found] == ["b", "c", "a"]
    last = found[-1]
    assert (last.wins, last.losses, last.win_rate, last.interval, last.rating) == (0, 0, None, None, None)


# Agreement of two judges


def told(**counts: int) -> list[tuple[str, str]]:
    """Pairs of verdicts from counts by two letters: `ab=5` is five times a by the first judge, b by the second."""
    return [(pair[0], pair[1]) for pair, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("table", "agreed", "kappa"),
    [
        (told(aa=20, ab=5, ba=10, bb=15), 35, 0.4),  # 0.7 observed; 0.5*0.6 + 0.5*0.4 = 0.5 by chance
        (told(aa=45, ab=15, ba=25, bb=15), 60, 6 / 46),  # 0.6; 0.6*0.7 + 0.4*0.3 = 0.54
        (told(aa=10, bb=10, cc=10), 30, 1.0),
        (told(ab=10, ba=10), 0, -1.0),
        (told(aa=25, ab=25, ba=25, bb=25), 50, 0.0),
        (told(aa=6, bb=3, ab=1, bc=2), 9, 46 / 82),  # 9/12 = 108/144; (7*6 + 5*4 + 0*2)/144 = 62/144
    ],
)
def test_kappa_is_the_one_worked_out_by_hand(table, agreed, kappa):
    found = agreement(iter(table))
    assert (found.trials, found.agreed, found.share) == (len(table), agreed, agreed / len(table))
    assert found.interval == wilson(agreed, len(table))
    assert found.kappa == pytest.approx(kappa, abs=1e-12)


def test_without_verdicts_nothing_is_known_of_agreement():
    assert agreement([]) == Agreement(0, 0, None, None, None)


@pytest.mark.parametrize(("pair", "share"), [("aa", 1.0), ("ab", 0.0)])
def test_judges_who_never_change_their_verdict_have_no_kappa(pair, share):
    found = agreement(told(**{pair: 7}))
    assert (found.share, found.kappa) == (share, None)


def test_one_judge_who_never_changes_agrees_by_chance_only():
    assert agreement(told(aa=6, ab=4)).kappa == 0
