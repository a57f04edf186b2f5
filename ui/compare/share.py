"""The events of sharing: a comparison saved as one page or as a run file, and a run file opened, which plays it."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr

from backend import BadInput, Capabilities, Comparison, Conversation, RunFile, answers_at, other_questions, question_at, turn_count
from ui import drawing
from ui.compare.bench import in_turn, name_of
from ui.compare.live import NOTHING
from ui.compare.page_file import Side, page_file
from ui.compare.tab import CompareTab, told
from ui.markup import esc
from ui.text import WORDS as W
from ui.updates import Updates, download
from ui.visitor import Session


class Share:
    """The handlers."""

    def __init__(self, tab: CompareTab) -> None:
        self.tab = tab
        self.parts = tab.parts

    @told
    async def page(self, session: Session, request: gr.Request) -> Updates:
        """The whole comparison as one HTML file."""
        _, comparison, conversations, capabilities = await self.tab.loaded(session, request)
        if comparison.hidden:
            raise BadInput(W.share_hidden, hint="")
        turns = turn_count(comparison, conversations)
        if turns == 0:
            raise BadInput(W.share_empty, hint=W.share_empty_hint)
        sharing = await self.tab.backend.sharing()
        told_votes = await sharing.votes_by_turn(self.tab.owner(request), comparison, conversations)
        votes = {turn: _vote(verdict, vote.tag, blind=vote.blind) for turn, (vote, verdict) in told_votes.items()}
        prompts = [question_at(comparison, conversations, turn) for turn in range(turns)]
        versions = f"{W.product}, Python {platform.python_version()}, gradio {gr.__version__}"
        sides = _sides(comparison, conversations, capabilities, turns)
        text = await drawing.in_thread(page_file, prompts, sides, votes, made_at=datetime.now(UTC), versions=versions)
        return {self.parts.files: download("comparison.html", text, "text/html")}

    @told
    async def run_file(self, session: Session, request: gr.Request) -> Updates:
        """The whole comparison with its timing, which this app opens again."""
        text = await (await self.tab.backend.sharing()).run_file(self.tab.owner(request), self.tab.open(session))
        return {self.parts.files: download("comparison.qncompare.jsonl", text, "application/jsonl")}

    @told
    async def open(self, path: str | None, session: Session, request: gr.Request) -> Updates:
        """A run file as the open comparison; `Asking.resume` then follows it."""
        file = Path(path or "")
        try:
            text = (await asyncio.to_thread(file.read_bytes)).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{file.name} is not UTF-8 text.", hint="Choose a run file that was saved here.") from None
        sharing, session_hash = await self.tab.backend.sharing(), str(request.session_hash)
        (await self.tab.backend.open()).keep(self.tab.owner(request), self.tab.access(session, request), text)
        comparison, opened = await sharing.open(self.tab.owner(request), text, file.name, session_hash)
        side = session.side_by_side
        side.comparison, side.focus, side.notes[comparison.id] = comparison, None, _opened(opened)
        self.tab.views.move(session_hash)
        comparing = await self.tab.backend.side_by_side()
        await self.tab.leave_to_live(comparing, session, request)
        return {self.parts.live: {**NOTHING, "left": True}, **await self.tab.bench(session, request)}


def _sides(comparison: Comparison, conversations: dict[str, Conversation], capabilities: dict[str, Capabilities], turns: int) -> list[Side]:
    answers = [answers_at(comparison, conversations, turn) for turn in range(turns)]
    others = [other_questions(comparison, conversations, turn) for turn in range(turns)]
    waits, sides = in_turn(comparison), []
    for place, pane in enumerate(comparison.panes):
        known = capabilities.get(pane.choices.model)
        column: tuple[Any, ...] = tuple(answers[turn][place] for turn in range(turns))
        sides.append(
            Side(
                name_of(comparison, place, capabilities),
                pane.choices.model,
                pane.choices.stored(),
                column,
                known,
                place in waits,
                {turn: asked[place] for turn, asked in enumerate(others) if place in asked},
            )
        )
    return sides


def _vote(verdict: str, tag: str, *, blind: bool) -> str:
    told = [W.share_vote.format(verdict=_verdict(verdict))]
    told += [W.share_tagged.format(tag=tag)] if tag else []
    told += [W.share_blind] if blind else []
    return " ".join(told)


def _verdict(verdict: str) -> str:
    return {"tie": W.verdict_tie, "bad": W.verdict_bad}.get(verdict) or W.share_vote_pane.format(n=verdict)


def _opened(file: RunFile) -> str:
    told = [W.share_opened.format(made_at=file.made_at)]
    told += [W.share_voted.format(turn=vote.turn + 1, verdict=_verdict(vote.verdict)) for vote in file.votes if not vote.judge]
    return f"<p class='hint'>{esc(' '.join(told))}</p>"
