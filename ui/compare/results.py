"""From votes to the results view: standings with win rates and ratings, every pair, people and judge models apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backend import PERSON, Ballot, Contestant, Standing, Vote, agreement, duels, standings
from ui.markup import esc
from ui.text import WORDS as W

NO_TAG = " none"  # no tag can be that: white space at its ends is taken off


def contestant_name(contestant: Contestant, *, settings: bool) -> str:
    """Who a contestant is in the tables: its model, or its model with what was set (the seed, which differs each time, is left out)."""
    if not settings:
        return contestant.model
    told = {k: v for k, v in contestant.parameters.items() if k not in ("seed", "resend_thinking") and v not in ("", None)}
    words = [f"{k.replace('_', ' ')} {v:g}" if isinstance(v, float) else f"{k.replace('_', ' ')} {v}" for k, v in sorted(told.items())]
    return f"{contestant.model} ({', '.join(words)})" if words else contestant.model


def ballot(vote: Vote, *, settings: bool) -> Ballot:
    names = tuple(contestant_name(each, settings=settings) for each in vote.contestants)
    return Ballot(names, vote.winner, bad=vote.verdict == "bad")


def results_view(votes: Sequence[Vote], *, tag: str = "", settings: bool = False) -> str:
    """The whole view as HTML. `tag` is one of the votes' tags, `NO_TAG` for those without, or empty for all."""
    if not votes:
        return f"<p class='hint'>{esc(W.results_empty)}</p>"
    chosen = [vote for vote in votes if not tag or vote.tag == ("" if tag == NO_TAG else tag)]
    judges = sorted({vote.judge for vote in chosen} - {PERSON})
    people = [vote for vote in chosen if vote.judge == PERSON]
    parts = [_bar(votes, tag, settings=settings)]
    if people or not judges:
        parts.append(_section(W.results_people, people, settings=settings))
    for judge in judges:
        judged = [vote for vote in chosen if vote.judge == judge]
        parts.append(_section(W.results_judge.format(judge=judge), judged, settings=settings, note=_agreement(people, judged)))
    parts.append(f"<p class='hint'>{esc(W.results_note)}</p>")
    return "".join(parts)


def _bar(votes: Sequence[Vote], tag: str, *, settings: bool) -> str:
    tags = sorted({vote.tag or NO_TAG for vote in votes})
    words = {"": W.results_all_tags, NO_TAG: W.results_no_tag}
    options = "".join(
        f"<option value='{esc(name)}'{' selected' if name == tag else ''}>{esc(words.get(name, name))}</option>" for name in ("", *tags)
    )
    by = "".join(
        f"<option value='{value}'{' selected' if chosen else ''}>{esc(label)}</option>"
        for value, label, chosen in (("", W.results_by_model, not settings), ("yes", W.results_by_setting, settings))
    )
    return (
        f"<div class='view-bar'><select data-look='tag' aria-label='{esc(W.vote_tag)}'>{options}</select>"
        f"<select data-look='settings' aria-label='{esc(W.results_name)}'>{by}</select><span class='grow'></span>"
        f"<button type='button' class='btn' data-compare='export' data-form='csv'>{esc(W.results_csv)}</button>"
        f"<button type='button' class='btn' data-compare='export' data-form='jsonl'>{esc(W.results_jsonl)}</button></div>"
    )


def _section(title: str, votes: Sequence[Vote], *, settings: bool, note: str = "") -> str:
    ballots = [ballot(vote, settings=settings) for vote in votes]
    words = (W.results_name, W.results_rating, W.results_rate, W.results_won, W.results_lost, W.results_tied, W.results_bad)
    pair_words = (W.results_pair, W.results_rate, W.results_won, W.results_lost, W.results_tied, W.results_bad)
    pairs = []
    for (first, second), duel in sorted(duels(ballots).items()):
        cells = (_rate(duel.win_rate, duel.interval), str(duel.wins), str(duel.losses), str(duel.ties), str(duel.bad))
        pairs.append(f"<tr><th scope='row'>{esc(first)} : {esc(second)}</th>{''.join(f'<td>{esc(cell)}</td>' for cell in cells)}</tr>")
    number = W.results_vote if len(votes) == 1 else W.results_votes.format(n=len(votes))
    return (
        f"<section class='results'><h5>{esc(title)} <span class='hint'>{esc(number)}</span></h5>{note}"
        f"{_table('standings', words, map(_standing, standings(ballots)))}{_table('pairs', pair_words, pairs)}</section>"
    )


def _table(name: str, words: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th scope='col'>{esc(word)}</th>" for word in words)
    return (
        f"<div class='table-scroll'><table class='figures num {name}'><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _standing(standing: Standing) -> str:
    rating = standing.rating
    if rating is None:
        told = "-"
    elif rating.low is None or rating.high is None:
        told = f"{rating.value:.0f}"
    else:
        told = f"{rating.value:.0f} ({rating.low:.0f}–{rating.high:.0f})"
    cells = (
        ("rating", told), ("win-rate", _rate(standing.win_rate, standing.interval)), ("won", str(standing.wins)),
        ("lost", str(standing.losses)), ("tied", str(standing.ties)), ("all-bad", str(standing.bad)),
    )  # fmt: skip
    return f"<tr><th scope='row'>{esc(standing.name)}</th>{''.join(f'<td class={name!r}>{esc(cell)}</td>' for name, cell in cells)}</tr>"


def _rate(rate: float | None, interval: tuple[float, float] | None) -> str:
    if rate is None or interval is None:
        return "-"
    return f"{100 * rate:.0f} % ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def _agreement(people: Sequence[Vote], judged: Sequence[Vote]) -> str:
    """How often a judge model said what a person said about the same answers."""
    said = {vote.subject: vote for vote in people}
    pairs = []
    for vote in judged:
        person = said.get(vote.subject)
        if person is not None:
            pairs.append((_winner(person), _winner(vote)))
    found = agreement(pairs)
    if found.share is None or found.interval is None:
        return ""
    kappa = "-" if found.kappa is None else f"{found.kappa:.2f}"
    low, high = found.interval
    sentence = W.results_agreement.format(
        share=f"{100 * found.share:.0f}", n=found.trials, low=f"{100 * low:.0f}", high=f"{100 * high:.0f}", kappa=kappa
    )
    return f"<p class='agreement'>{esc(sentence)}</p>"


def _winner(vote: Vote) -> str:
    """A verdict as who won, not where: the two may have seen the answers in different orders, and by places chance would look like a
    coin's even where one model nearly always wins. Two of the same name are told apart."""
    if vote.winner is None:
        return vote.verdict
    names = [contestant_name(each, settings=True) for each in vote.contestants]
    name = names[vote.winner]
    return name if names.count(name) == 1 else f"{name} {vote.contestants[vote.winner].answer_id}"
