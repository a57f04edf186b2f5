"""The events of judging: votes, blind mode, and the views beside the answers: diff, table, results, and the votes as files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from backend import (
    BAD,
    TIE,
    BackendError,
    BadInput,
    Node,
    Vote,
    last_answers,
    last_question,
    other_questions,
    subject_of,
    to_csv,
    to_json_lines,
    turn_count,
)
from ui import drawing
from ui.compare.bench import columns_of, name_of
from ui.compare.difference import diff_view
from ui.compare.results import results_view
from ui.compare.tab import CompareTab, judged, told
from ui.compare.table import table_view
from ui.markup import esc
from ui.text import WORDS as W
from ui.updates import Updates, download
from ui.visitor import Session

LONGEST_TAG = 40


class Judging:
    """Handlers of the vote row and of the views."""

    def __init__(self, tab: CompareTab) -> None:
        self.tab = tab
        self.parts = tab.parts

    @told
    async def vote(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """Takes a verdict on the last answers, at any time; the same one again takes it back. The names of a blind one then show."""
        data = dict(event._data or {})
        owner, verdict = self.tab.owner(request), str(data.get("verdict"))
        comparing, comparison, conversations, capabilities = await self.tab.loaded(session, request)
        answers = judged(comparison, conversations, capabilities)
        if len(answers) < 2:
            raise BadInput(W.vote_nothing, hint="")
        if other_questions(comparison, conversations, turn_count(comparison, conversations) - 1):
            raise BadInput(W.vote_differs, hint=W.vote_differs_hint)
        subject, contestants = subject_of(list(answers.values())), tuple(answers.values())
        before = await comparing.votes.find(owner, subject)
        if verdict not in (TIE, BAD):  # the number of a pane; a pane without an answer is no contestant
            nodes = {str(place + 1): node for place, node in enumerate(last_answers(comparison, conversations)) if node is not None}
            chosen = nodes.get(verdict)
            if chosen is not None and chosen.status != "streaming" and not chosen.content.strip():
                raise BadInput(W.vote_no_answer, hint=W.vote_no_answer_hint)
            numbers = {str(place + 1): str(number) for number, place in enumerate(answers, 1)}
            verdict = numbers.get(verdict, "-")
        tag = " ".join(str(data.get("tag") or "").split())[:LONGEST_TAG]
        blind = comparison.hidden or (before is not None and before.blind)
        vote = Vote(subject, last_question(comparison, conversations), verdict, contestants, tag=tag, blind=blind)
        if before is not None and not comparison.hidden and _same(before, vote):
            await comparing.votes.take_back(owner, subject)
        else:
            await comparing.votes.put(owner, vote)
        if comparison.hidden:
            session.side_by_side.comparison = replace(comparison, hidden=False)
            await comparing.save(owner, session.side_by_side.comparison)
        return await self.tab.bench(session, request)

    @told
    async def blind(self, session: Session, request: gr.Request) -> Updates:
        """Blind mode on or off; it begins with the next question. Switched off it shows the names."""
        comparison = self.tab.open(session)
        session.side_by_side.comparison = replace(
            comparison, blind=not comparison.blind, hidden=False if comparison.blind else comparison.hidden
        )
        if any(pane.asked for pane in comparison.panes):
            comparing = await self.tab.backend.side_by_side()
            await comparing.save(self.tab.owner(request), session.side_by_side.comparison)
        return {self.parts.saved: self.tab.saved(session), **await self.tab.bench(session, request)}

    async def look(self, event: gr.EventData, session: Session, request: gr.Request) -> str:
        """One of the views, as HTML."""
        data = dict(event._data or {})
        try:
            match str(data.get("view")):
                case "diff":
                    return await self._diff(data, session, request)
                case "table":
                    return await self._table(session, request)
                case "results":
                    votes = await (await self.tab.backend.side_by_side()).votes.all(self.tab.owner(request))
                    return await drawing.in_thread(results_view, votes, tag=str(data.get("tag") or ""), settings=bool(data.get("settings")))
        except BackendError as error:
            return f"<p class='hint'>{esc(error.message)} {esc(error.hint)}</p>"
        return ""

    @told
    async def export(self, event: gr.EventData, request: gr.Request) -> Updates:
        """All votes as a file."""
        form = str((event._data or {}).get("form"))
        votes = await (await self.tab.backend.side_by_side()).votes.all(self.tab.owner(request))
        if not votes:
            raise BadInput(W.results_nothing_to_save, hint=W.results_nothing_hint)
        if form == "csv":
            return {self.parts.files: download("votes.csv", "\ufeff" + to_csv(votes), "text/csv")}  # the mark tells Excel that it is UTF-8
        return {self.parts.files: download("votes.jsonl", to_json_lines(votes), "application/jsonl")}

    async def _table(self, session: Session, request: gr.Request) -> str:
        _, comparison, conversations, capabilities = await self.tab.loaded(session, request)
        if comparison.hidden:
            return f"<p class='hint'>{esc(W.table_hidden)}</p>"
        return await drawing.in_thread(table_view, columns_of(comparison, conversations, capabilities))

    async def _diff(self, data: dict[str, Any], session: Session, request: gr.Request) -> str:
        _, comparison, conversations, capabilities = await self.tab.loaded(session, request)
        answers = last_answers(comparison, conversations)
        names = [name_of(comparison, place, capabilities) for place in range(len(answers))]
        if sum(node is not None for node in answers) < 2:
            return f"<p class='hint'>{esc(W.diff_empty)}</p>"
        left, right = _place(data.get("a"), 0, len(answers)), _place(data.get("b"), 1, len(answers))
        what = "thinking" if data.get("what") == "thinking" else "answers"
        sides = [(names[place], _text(answers[place], what)) for place in (left, right)]
        return _diff_bar(names, left, right, what) + await drawing.in_thread(diff_view, *sides, drawing.difference)


def _same(before: Vote, vote: Vote) -> bool:
    def best(given: Vote) -> str:
        return given.verdict if given.winner is None else given.contestants[given.winner].answer_id

    return best(before) == best(vote) and before.tag == vote.tag


def _place(given: Any, otherwise: int, count: int) -> int:
    try:
        place = int(given)
    except (TypeError, ValueError):
        return min(otherwise, count - 1)
    return place if 0 <= place < count else min(otherwise, count - 1)


def _text(node: Node | None, what: str) -> str:
    if node is None:
        return ""
    return (node.thinking or "") if what == "thinking" else node.content


def _diff_bar(names: list[str], left: int, right: int, what: str) -> str:
    def options(chosen: int) -> str:
        return "".join(f"<option value='{i}'{' selected' if i == chosen else ''}>{esc(name)}</option>" for i, name in enumerate(names))

    whats = "".join(
        f"<option value='{value}'{' selected' if value == what else ''}>{esc(label)}</option>"
        for value, label in (("answers", W.diff_answers), ("thinking", W.diff_thinking))
    )
    return (
        f"<div class='view-bar'><label>{esc(W.diff_of)} <select data-look='a'>{options(left)}</select></label>"
        f"<label>{esc(W.diff_with)} <select data-look='b'>{options(right)}</select></label>"
        f"<select data-look='what' aria-label='{esc(W.view_diff)}'>{whats}</select></div>"
    )
