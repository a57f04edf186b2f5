"""Votes on answers that stood side by side: what was asked, who answered with which settings and figures, who judged, and how.

A vote holds copies of what it judged, so that it stays true when a comparison is deleted. Knows no page and no statistics.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Any

from sqlalchemy import and_, delete, insert, select, update

from backend.errors import BadInput
from backend.history import Store, to_the_end
from backend.history.schema import votes
from backend.model_names import current_name, portable_name

PERSON = ""
TIE, BAD = "tie", "bad"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One answer that was judged: `parameters` as a chat stores them, `figures` by their names with units, only what is known."""

    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    answer_id: str = ""


@dataclass(frozen=True, slots=True)
class Vote:
    """`subject` names what was judged: the same judge's later vote on it takes this one's place. `verdict` is a place from "1" in the
    order of `contestants`, "tie" or "bad"."""

    subject: str
    prompt: str
    verdict: str
    contestants: tuple[Contestant, ...]
    judge: str = PERSON
    tag: str = ""
    blind: bool = False
    reason: str = ""
    created_at_s: float = field(default_factory=time.time)

    @property
    def winner(self) -> int | None:
        """The place of the best, from 0."""
        places = [str(place) for place in range(1, len(self.contestants) + 1)]
        return places.index(self.verdict) if self.verdict in places else None


def subject_of(answers: Sequence[Contestant]) -> str:
    """What a vote on these answers is about, in whatever order they stand; an answer that is made anew makes it another subject."""
    return "answers:" + blake2s("\0".join(sorted(each.answer_id for each in answers)).encode(), digest_size=16).hexdigest()


def checked(verdict: str, contestants: int) -> str:
    """Raises `BadInput` for a verdict that this many contestants cannot get."""
    if verdict in (TIE, BAD, *map(str, range(1, contestants + 1))):
        return verdict
    raise BadInput(f"{verdict!r} is no verdict on {contestants} answers.", hint="Vote for one of the panes, a tie, or all bad.")


class VoteStore(Store):
    """Every method takes the owner and finds only what is theirs. All raise `StorageError` where the database cannot be used."""

    @to_the_end
    async def put(self, owner: str, vote: Vote) -> None:
        checked(vote.verdict, len(vote.contestants))
        if len(vote.contestants) < 2:
            raise BadInput("There is nothing to compare with.", hint="Add a pane and ask again.")
        row = {k: v for k, v in asdict(vote).items() if k not in ("created_at_s", "contestants")}
        row["contestants"] = [asdict(contestant) for contestant in vote.contestants]
        async with self._database.writing() as connection:
            await connection.execute(delete(votes).where(_same(owner, vote.subject, vote.judge)))
            await connection.execute(insert(votes).values(owner=owner, created_at=vote.created_at_s, **row))

    @to_the_end
    async def find(self, owner: str, subject: str, judge: str = PERSON) -> Vote | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(votes).where(_same(owner, subject, judge)))).first()
        return _vote(row._asdict()) if row is not None else None

    @to_the_end
    async def take_back(self, owner: str, subject: str, judge: str = PERSON) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(votes).where(_same(owner, subject, judge)))

    @to_the_end
    async def complete(self, owner: str, subject: str, judged: Sequence[Contestant]) -> None:
        """Puts in the figures that were not known when the vote was given, since an answer was still being written."""
        known = {contestant.answer_id: asdict(contestant) for contestant in judged}
        mine = and_(votes.c.owner == owner, votes.c.subject == subject)
        async with self._database.writing() as connection:
            for row in (await connection.execute(select(votes.c.seq, votes.c.contestants).where(mine))).all():
                told = [known.get(each["answer_id"], each) for each in row.contestants]
                await connection.execute(update(votes).where(votes.c.seq == row.seq).values(contestants=told))

    @to_the_end
    async def subjects(self, owner: str, judge: str = PERSON) -> set[str]:
        """What this judge has voted on."""
        async with self._database.reading() as connection:
            query = select(votes.c.subject).where(votes.c.owner == owner, votes.c.judge == judge)
            return set((await connection.execute(query)).scalars())

    @to_the_end
    async def all(self, owner: str) -> list[Vote]:
        """In the order of voting."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(votes).where(votes.c.owner == owner).order_by(votes.c.seq))).all()
        return [_vote(row._asdict()) for row in rows]


def _same(owner: str, subject: str, judge: str) -> Any:
    return and_(votes.c.owner == owner, votes.c.subject == subject, votes.c.judge == judge)


def _vote(row: dict[str, Any]) -> Vote:
    return Vote(
        subject=row["subject"],
        prompt=row["prompt"],
        verdict=row["verdict"],
        contestants=tuple(Contestant(**{**each, "model": current_name(each["model"])}) for each in row["contestants"]),
        judge=current_name(row["judge"]),
        tag=row["tag"],
        blind=row["blind"],
        reason=row["reason"],
        created_at_s=row["created_at"],
    )


def _portable(vote: Vote) -> Vote:
    contestants = tuple(replace(each, model=portable_name(each.model)) for each in vote.contestants)
    return replace(vote, judge=portable_name(vote.judge), contestants=contestants)


def to_json_lines(given: Sequence[Vote]) -> str:
    """One vote a line."""
    return "".join(json.dumps(asdict(vote), ensure_ascii=False) + "\n" for vote in map(_portable, given))


def to_csv(given: Sequence[Vote]) -> str:
    """One vote a row; the contestants' models, parameters and figures in columns of their own, by place."""
    most = max((len(vote.contestants) for vote in given), default=0)
    figures = sorted({name for vote in given for contestant in vote.contestants for name in contestant.figures})
    columns = [
        name for place in range(1, most + 1) for name in (f"model_{place}", f"parameters_{place}", *(f"{f}_{place}" for f in figures))
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(["created_at", "judge", "blind", "tag", "prompt", "verdict", "reason", *columns])
    for vote in map(_portable, given):
        row: list[object] = [
            datetime.fromtimestamp(vote.created_at_s, UTC).isoformat(timespec="seconds"),
            _cell(vote.judge) or "person",
            vote.blind,
        ]
        row += [_cell(vote.tag), _cell(vote.prompt), vote.verdict, _cell(vote.reason)]
        for each in vote.contestants:
            row += [_cell(each.model), json.dumps(each.parameters, ensure_ascii=False), *(each.figures.get(name, "") for name in figures)]
        writer.writerow(row + [""] * (7 + len(columns) - len(row)))
    return text.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet takes a cell that begins so for a formula, and runs it."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
