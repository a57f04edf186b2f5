"""From votes on answers shown side by side to win rates, Bradley-Terry ratings and the agreement of two judges.

Knows names and verdicts only: not who voted, not what was asked, nothing of storage or pages. Intervals are of 95 %.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
Z95 = 1.959963984540054  # of the standard normal, 2.5 % lie above
ANCHOR = 1000.0  # rating of strength 1
_POINTS = 400 / math.log(10)  # for 1 of log-strength: on Elo's scale 400 points are odds of 10 to 1


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote: the contestants as shown and the place (from 0) of the best, `None` for a tie or where all are bad."""

    contestants: tuple[str, ...]
    winner: int | None
    bad: bool = False

    def __post_init__(self) -> None:
        if self.winner is not None and not 0 <= self.winner < len(self.contestants):
            raise ValueError(f"place {self.winner} of {len(self.contestants)} cannot win")
        if self.bad and self.winner is not None:
            raise ValueError("a ballot with a winner cannot call all answers bad")


@dataclass(frozen=True, slots=True)
class Duel:
    """Tally of a pair of names; wins are those of the first."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def total(self) -> int:
        return self.decided + self.ties + self.bad

    @property
    def win_rate(self) -> float | None:
        """Of the decided ones: ties and bad pairs say nothing about who is better."""
        return self.wins / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.wins, self.decided)


@dataclass(frozen=True, slots=True)
class Rating:
    """On Elo's scale. `low` and `high` tell how well the votes place a name among the others, not against the anchor."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A name over all its duels; `rating` is `None` where it never met another name."""

    name: str
    wins: int
    losses: int
    ties: int
    bad: int
    win_rate: float | None
    interval: tuple[float, float] | None
    rating: Rating | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two judges said the same (`share`, with its interval), and how far beyond chance that is (`kappa`)."""

    trials: int
    agreed: int
    share: float | None
    interval: tuple[float, float] | None
    kappa: float | None


def duels(ballots: Iterable[Ballot]) -> dict[tuple[str, str], Duel]:
    """Tallies by pair of names, the smaller first. Answers of one model beside each other are no duel.

    A winner beats each of the others; these were not compared, so no duel among them. A tie, or all bad, holds for every pair.
    Counted by place: a model shown twice has two chances to win and meets the third twice, which cancels out.
    """
    tallies: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for ballot in ballots:
        for i, j in combinations(range(len(ballot.contestants)), 2):
            first, second = sorted((ballot.contestants[i], ballot.contestants[j]))
            if first == second or ballot.winner not in (None, i, j):
                continue
            if ballot.winner is None:
                outcome = "bad" if ballot.bad else "ties"
            else:
                outcome = "wins" if ballot.contestants[ballot.winner] == first else "losses"
            tallies[first, second][outcome] += 1
    return {pair: Duel(**tallies[pair]) for pair in sorted(tallies)}


def shares(ballots: Iterable[Ballot]) -> dict[tuple[str, str], float]:
    """How much of each pair's tally counts as independent, 0..1, for intervals only.

    A ballot on k contestants has one choice in it, and gives k - 1 wins. Of a choice among k equals (Luce 1959) the log-strengths have
    the information 1/k, and of the wins taken as independent 1/2: so each counts 2/k. Exact for equals; a tie or "all bad" likewise.
    """
    by_size: defaultdict[int, list[Ballot]] = defaultdict(list)
    for ballot in ballots:
        by_size[len(ballot.contestants)].append(ballot)
    counted, independent = Counter[tuple[str, str]](), defaultdict[tuple[str, str], float](float)
    for size, group in by_size.items():
        for pair, duel in duels(group).items():
            counted[pair] += duel.total
            independent[pair] += duel.total * 2 / size
    return {pair: independent[pair] / number for pair, number in counted.items()}


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float] | None:
    """Score interval of a share (Wilson 1927, JASA 22:209); `None` without trials.

    Stays near its level on few votes and close to 0 or 100 %, where the textbook's plus or minus z standard errors does not
    (Brown, Cai, DasGupta 2001, Statistical Science 16:101).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if not trials:
        return None
    centre = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * math.sqrt(successes * (trials - successes) / trials + z * z / 4)
    # the ends that are 0 and 1 by algebra, without the rounding
    return centre - half if successes else 0.0, centre + half if successes < trials else 1.0


def bradley_terry(
    duels: Mapping[tuple[str, str], Duel], *, prior: float = 1.0, shares: Mapping[tuple[str, str], float] | None = None
) -> dict[str, Rating]:
    """Ratings by maximum likelihood; a beats b with odds of strength a to strength b (Bradley, Terry 1952, Biometrika 39:324).

    Ties and pairs of bad answers count as half a win for each, as in the published notebook of Chatbot Arena.
    `prior` is a number of virtual ties of every contestant with an anchor of strength 1. The plain maximum is infinite for
    a contestant that won every time, and leaves open how groups that never met compare: with few votes both are common.
    The ties make it unique and finite, and fade as votes come in.
    With `prior=0` the plain maximum, the geometric mean of the strengths 1, without intervals. Raises `ValueError` where it does
    not exist: wins must lead from every contestant to every other (Ford 1957, American Mathematical Monthly 64(8):28).
    `shares` is how much of each pair's tally counts as independent in the intervals, 1 unless told: else those of ballots on three or
    four contestants would be about 1.2 or 1.4 times too narrow.
    """
    if prior < 0:
        raise ValueError("prior must not be negative")
    if not duels:
        return {}
    names = sorted({name for pair in duels for name in pair})
    place = {name: index for index, name in enumerate(names)}
    wins, counts = np.zeros((len(names), len(names))), np.ones((len(names), len(names)))
    for (first, second), duel in duels.items():
        halves = (duel.ties + duel.bad) / 2
        wins[place[first], place[second]] += duel.wins + halves
        wins[place[second], place[first]] += duel.losses + halves
        counts[place[first], place[second]] = counts[place[second], place[first]] = (shares or {}).get((first, second), 1.0)
    if prior == 0 and not (_reaches_all(wins > 0) and _reaches_all(wins.T > 0)):
        raise ValueError("no finite ratings without a prior: somebody won or lost every time, or groups never met")

    strengths = _log_strengths(wins, prior)
    values = (ANCHOR + _POINTS * strengths).tolist()
    if prior == 0:
        return {name: Rating(value, None, None) for name, value in zip(names, values, strict=True)}
    # of each log-strength against the mean of all: how all together lie to the anchor is known from no vote
    centred = np.eye(len(names)) - 1 / len(names)
    variances = (centred @ np.linalg.inv(_information(strengths, wins * counts, prior)) @ centred).diagonal()
    reaches = (Z95 * _POINTS * np.sqrt(variances)).tolist()
    return {name: Rating(value, value - reach, value + reach) for name, value, reach in zip(names, values, reaches, strict=True)}


def standings(ballots: Iterable[Ballot]) -> list[Standing]:
    """Everybody who was shown: best rating first, then by name; those without a duel last."""
    ballots = list(ballots)
    met = duels(ballots)
    independent = shares(ballots)
    ratings = bradley_terry(met, shares=independent)
    trials: defaultdict[str, float] = defaultdict(float)  # decided, as far as they are independent
    tallies: dict[str, Counter[str]] = {name: Counter() for ballot in ballots for name in ballot.contestants}
    for (first, second), duel in met.items():
        tallies[first].update(wins=duel.wins, losses=duel.losses, ties=duel.ties, bad=duel.bad)
        tallies[second].update(wins=duel.losses, losses=duel.wins, ties=duel.ties, bad=duel.bad)
        for name in (first, second):
            trials[name] += duel.decided * independent[first, second]
    found = []
    for name, tally in tallies.items():
        own = Duel(**tally)
        share = trials[name] / own.decided if own.decided else 0.0
        interval = wilson(own.wins * share, own.decided * share) if share else None
        found.append(Standing(name, own.wins, own.losses, own.ties, own.bad, own.win_rate, interval, ratings.get(name)))
    # rounded, for equals differ by the last digits of a float
    return sorted(found, key=lambda s: (-round(s.rating.value, 6) if s.rating else math.inf, s.name))


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement:
    """Of the verdicts of two judges on the same things.

    Kappa (Cohen 1960, Educ. Psychol. Meas. 20:37) is 1 for full agreement and 0 for as much as chance gives; `None` without
    trials or where neither judge ever changed the verdict.
    """
    verdicts = list(pairs)
    trials, agreed = len(verdicts), sum(first == second for first, second in verdicts)
    if not trials:
        return Agreement(0, 0, None, None, None)
    ours, theirs = Counter(first for first, _ in verdicts), Counter(second for _, second in verdicts)
    chance = sum(count * theirs[word] for word, count in ours.items()) / trials  # agreements expected of independent judges
    kappa = (agreed - chance) / (trials - chance) if len(ours) > 1 or len(theirs) > 1 else None
    return Agreement(trials, agreed, agreed / trials, wilson(agreed, trials), kappa)


def _log_strengths(wins: _Floats, prior: float) -> _Floats:
    """The maximum of the likelihood, which is concave, by Newton steps from equal strengths."""
    strengths = np.zeros(len(wins))
    before = math.inf
    for _ in range(1000):  # 10,000:0 takes 20, a chain of 50 such pairs 110, and 300 with a millionth of the prior
        expected = _logistic(np.subtract.outer(strengths, strengths))
        flow = wins * expected.T
        slope = (flow - flow.T).sum(axis=1) + prior * (0.5 - _logistic(strengths))
        step = np.linalg.solve(_information(strengths, wins, prior), slope)
        size = float(np.ptp(np.append(step, 0.0)))
        if size < 1e-10 or (size < 1e-3 and size >= before):  # steps shrink quadratically here, until only rounding is left
            return strengths + step
        # along a step of this size the curvature changes by at most e^size: so shortened, none goes beyond the top of its line
        # (Sun, Tran-Dinh 2019, Mathematical Programming 178:145); full ones may, and then diverge
        strengths, before = strengths + step * (math.log1p(size) / size), size
    raise ArithmeticError("the ratings did not settle")


def _information(strengths: _Floats, wins: _Floats, prior: float) -> _Floats:
    """Minus the second derivative of the log-likelihood by the log-strengths."""
    expected = _logistic(np.subtract.outer(strengths, strengths))
    pairs = (wins + wins.T) * expected * expected.T
    own = pairs.sum(axis=1) + prior * _logistic(strengths) * _logistic(-strengths)
    # without a prior only differences of strengths count: the term keeps their mean at 0 and changes nothing else
    return np.diag(own) - pairs + (0.0 if prior else 1.0)


def _logistic(x: _Floats) -> _Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))  # exact in both tails


def _reaches_all(beats: NDArray[np.bool_]) -> bool:
    seen = np.zeros(len(beats), dtype=bool)
    seen[0] = True
    for _ in range(len(beats)):
        seen |= beats[seen].any(axis=0)
    return bool(seen.all())
