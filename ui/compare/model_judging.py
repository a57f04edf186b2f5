"""The events of the judge model: starting it on what there is to judge, its progress, stopping it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import combinations
from typing import Any

import gradio as gr

from backend import BackendError, BadInput, Judged, contestant, last_answers, last_question, other_questions, turn_count
from ui.compare.background import Background
from ui.compare.pair_view import pairs_of
from ui.markup import esc
from ui.render import error_card
from ui.text import WORDS as W
from ui.visitor import Session

FOLLOW_EVERY_S = 0.4


class ModelJudging:
    """The handlers."""

    def __init__(self, background: Background) -> None:
        self.background = background
        self.tab, self.parts = background.tab, background.parts

    async def start(self, model: str | None, rubric: str | None, session: Session, request: gr.Request) -> AsyncGenerator[str, None]:
        """Judges the last answers of the open comparison and every pair of the set that is shown, and follows it."""
        owner = self.tab.owner(request)
        try:
            if not model:
                raise BadInput("Choose a model as judge first.", hint="One that is not among the panes is fairer.")
            pairs = [*await self._of_comparison(session, request), *await self._of_set(session, request)]
            if not pairs:
                raise BadInput(W.judge_model_nothing, hint=W.judge_model_nothing_hint)
            choices = await self.tab.recommended(model, session, temperature=0.0)
            judge = await self.tab.backend.model_judge()
            await judge.start(owner, self.tab.access(session, request), choices, rubric or "", pairs)
        except BackendError as error:
            yield error_card(error.message, error.hint, (), elem_id=None)
            return
        async for view in self.follow(session, request):
            yield view

    async def follow(self, session: Session, request: gr.Request) -> AsyncGenerator[str, None]:
        """How far the judge is."""
        judge = await self.tab.backend.model_judge()
        state = judge.state(self.tab.owner(request))
        while state is not None:
            told = f"<p>{esc(W.judge_model_progress.format(done=state.done, total=state.total, model=state.model))}</p>"
            if state.failed:
                told += error_card(
                    (W.judge_model_refused if state.refused else W.judge_model_failed).format(
                        n=len(state.failed), message=state.failed[-1].message
                    ),
                    state.failed[-1].hint,
                    (),
                )
            yield told
            if state.over:
                return
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def models(self, session: Session) -> Any:
        """Who can judge now: servers and keys come and go."""
        listed = await self.tab.backend.engines.choices(session.access)
        return gr.update(choices=[(f"{choice.title} · {choice.place}", choice.name) for choice in listed])

    async def stop(self, request: gr.Request) -> None:
        await (await self.tab.backend.model_judge()).stop(self.tab.owner(request))

    async def _of_comparison(self, session: Session, request: gr.Request) -> list[Judged]:
        _, comparison, conversations, capabilities = await self.tab.loaded(session, request)
        question = last_question(comparison, conversations)
        others = other_questions(comparison, conversations, turn_count(comparison, conversations) - 1)
        found = enumerate(last_answers(comparison, conversations))
        answers = [node for place, node in found if node is not None and node.content.strip() and place not in others]
        return [
            Judged(
                question,
                (contestant(first, capabilities.get(first.model or "")), contestant(second, capabilities.get(second.model or ""))),
                (first.content, second.content),
            )
            for first, second in combinations(answers, 2)
        ]

    async def _of_set(self, session: Session, request: gr.Request) -> list[Judged]:
        batch = await self.background.current("set", session, request)
        if batch is None:
            return []
        runner, owner = await self.background.runner(), self.tab.owner(request)
        cells, prompts = await runner.store.cells(owner, batch.id), await runner.store.prompts(owner, batch.id)
        found = {(cell.row, cell.lane): cell for cell in cells}
        capabilities = await self.tab.known({lane.choices.model for lane in batch.lanes}, session)
        judged = []
        for pair in pairs_of(batch, {(cell.row, cell.lane): cell.status for cell in cells}):
            left, right = (found[pair.row, lane].node(batch) for lane in (pair.left, pair.right))
            sides = (contestant(left, capabilities.get(left.model or "")), contestant(right, capabilities.get(right.model or "")))
            judged.append(Judged(prompts[pair.row].text, sides, (left.content, right.content), prompts[pair.row].tag))
        return judged
