"""The events of prompt sets: reading one, what it will cost, running it through all panes, judging its pairs blind by keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

import gradio as gr

from backend import (
    MOST_BYTES,
    BackendError,
    BadInput,
    Batch,
    BatchLane,
    Capabilities,
    Cell,
    Contestant,
    PromptSet,
    Vote,
    answer_id,
    contestant,
    count_tokens,
    estimate,
    last_answers,
    read_prompts,
    shipped_prompts,
    subject_of,
)
from ui import drawing
from ui.compare.background import Background
from ui.compare.batch_view import cost_line, set_note
from ui.compare.pair_view import Pair, pair_view, pairs_of
from ui.compare.tab import refused
from ui.markup import esc
from ui.render import error_card
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session

VERDICTS = {"left": "1", "right": "2", "tie": "tie", "bad": "bad"}


class Sets:
    """The handlers. A set that was read waits in the session until it is started."""

    def __init__(self, background: Background) -> None:
        self.background = background
        self.tab, self.parts = background.tab, background.parts

    async def upload(self, path: str | None, session: Session, request: gr.Request) -> Updates:
        """A file of prompts: what it holds, what is wrong with it, what it takes."""
        try:
            file = Path(path or "")
            size = await asyncio.to_thread(lambda: file.stat().st_size)
            if size > MOST_BYTES:
                raise BadInput(f"{file.name} is larger than {MOST_BYTES >> 20} MB.", hint="Split it into several sets.")
            found = await asyncio.to_thread(lambda: read_prompts(file.read_bytes(), file.name))
        except OSError:
            return {self.parts.note: error_card(W.set_none, W.set_none_hint, (), elem_id=None)}
        except BackendError as error:
            session.side_by_side.prompts = None
            return {self.parts.note: error_card(error.message, error.hint, (), elem_id=None)}
        return await self._took(found, session, request)

    async def ship(self, session: Session, request: gr.Request) -> Updates:
        """The set that comes with the app."""
        return await self._took(await asyncio.to_thread(shipped_prompts), session, request)

    async def _took(self, found: PromptSet, session: Session, request: gr.Request) -> Updates:
        session.side_by_side.prompts = found
        comparison = self.tab.open(session)
        capabilities = await self.tab.capabilities(comparison, session)
        tokens = await count_tokens("\n\n".join(f"{prompt.system}\n\n{prompt.text}" for prompt in found.prompts))
        lanes = [
            (pane.choices, capabilities.get(pane.choices.model), self.background.region(pane.choices, session)) for pane in comparison.panes
        ]
        likely = await self._likely(session, request)
        return {
            self.parts.note: set_note(found, len(comparison.panes), cost_line(estimate(lanes, len(found.prompts), tokens, likely), likely))
        }

    async def _likely(self, session: Session, request: gr.Request) -> int | None:
        """How long an answer is here: the mean of the last ones in the panes."""
        _, comparison, conversations, _ = await self.tab.loaded(session, request)
        known = [
            node.usage.output_tokens for node in last_answers(comparison, conversations) if node and node.usage and node.usage.output_tokens
        ]
        return round(sum(known) / len(known)) if known else None

    async def start(self, session: Session, request: gr.Request) -> Updates:
        """Runs the set that was read through the panes as they are set up now."""
        found = session.side_by_side.prompts
        try:
            if found is None:
                raise BadInput(W.set_none, hint=W.set_none_hint)
            if self.tab.open(session).hidden:
                raise BadInput(W.blind_no_run, hint="")
            lanes = tuple(BatchLane(pane.choices) for pane in self.tab.open(session).panes)
            batch = Batch("set", found.title, lanes, len(found.prompts), spec={"problems": list(found.problems)})
            await (await self.background.runner()).begin(self.tab.owner(request), self.tab.access(session, request), batch, found.prompts)
        except BackendError as error:
            return {self.parts.note: error_card(error.message, error.hint, (), elem_id=None)}
        session.side_by_side.prompts = None
        session.side_by_side.batches["set"] = batch.id
        return {self.parts.note: "", self.parts.sets: await self.background.view("set", session, request)}

    async def follow(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        async with aclosing(self.background.follow("set", session, request)) as views:
            async for view in views:
                yield {self.parts.sets: view}

    async def act(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A button of one run; `follow` then shows it."""
        data = dict(event._data or {})
        op, batch_id = str(data.get("op")), str(data.get("id") or "")
        try:
            if op == "answers":
                return {self.tab.parts.files: await self.background.answers_file(batch_id, request)}
            if op in ("show", "judge"):
                session.side_by_side.batches["set"] = batch_id
                session.side_by_side.judged.clear()
                session.side_by_side.skipped.clear()
            if op == "judge":
                return {self.parts.judge: await self._next(session, request)}
            await self.background.act(op, batch_id, session, request)
        except BackendError as error:
            return {self.tab.parts.live: refused(error)}
        return {self.parts.judge: gr.skip()}

    # ---- judging
    async def judge(self, event: gr.EventData, session: Session, request: gr.Request) -> str:
        """A key or button of the pair that is shown: keeps the vote and gives the next one."""
        data, side = dict(event._data or {}), session.side_by_side
        verdict = str(data.get("verdict"))
        try:
            if verdict == "close":
                return ""
            batch = await self.background.current("set", session, request)
            if batch is None:
                return ""
            if verdict == "back":
                await self._back(batch, session, request)
            else:
                pair = Pair(*(int(data.get(name, -1)) for name in ("row", "left", "right")))
                if verdict == "skip":
                    side.skipped.add((pair.row, pair.left, pair.right))
                else:
                    await self._vote(batch, pair, VERDICTS.get(verdict, verdict), session, request)
                    side.judged.append((pair.row, pair.left, pair.right))
            return await self._next(session, request)
        except (BackendError, ValueError) as error:
            return f"<p class='hint'>{esc(error)}</p>"

    async def _vote(self, batch: Batch, pair: Pair, verdict: str, session: Session, request: gr.Request) -> None:
        runner, owner = await self.background.runner(), self.tab.owner(request)
        cells = {cell.lane: cell for cell in await runner.store.cells(owner, batch.id, pair.row)}
        if pair.left not in cells or pair.right not in cells:
            raise BadInput(W.judge_none, hint="")
        (prompt,) = await runner.store.prompts(owner, batch.id, pair.row)
        capabilities = await self.tab.known({lane.choices.model for lane in batch.lanes}, session)
        contestants = tuple(_contestant(batch, cells[lane], capabilities) for lane in (pair.left, pair.right))
        vote = Vote(subject_of(contestants), prompt.text, verdict, contestants, tag=prompt.tag, blind=True)
        await (await self.tab.backend.side_by_side()).votes.put(owner, vote)

    async def _back(self, batch: Batch, session: Session, request: gr.Request) -> None:
        """Takes the last vote back, or shows what was skipped again."""
        side = session.side_by_side
        if not side.judged:
            side.skipped.clear()
            return
        votes = (await self.tab.backend.side_by_side()).votes
        await votes.take_back(self.tab.owner(request), subject_of(_ids(batch, Pair(*side.judged.pop()))))

    async def _next(self, session: Session, request: gr.Request) -> str:
        runner, owner = await self.background.runner(), self.tab.owner(request)
        batch = await self.background.current("set", session, request)
        if batch is None:
            return ""
        told = await (await self.tab.backend.side_by_side()).votes.subjects(owner)
        states = await runner.store.states(owner, batch.id)
        pairs, left = await asyncio.to_thread(_open_pairs, batch, states, told)  # 0.2 s for 10,000 prompts in four panes
        if not pairs:
            return f"<p class='hint'>{esc(W.judge_none)}</p>"
        skipped = session.side_by_side.skipped
        pair = next((each for each in left if (each.row, each.left, each.right) not in skipped), left[0] if left else None)
        if pair is None:
            return f"<p class='hint judge-over'>{esc(W.judge_over)}</p>"
        found = {cell.lane: cell for cell in await runner.store.cells(owner, batch.id, pair.row)}
        (prompt,) = await runner.store.prompts(owner, batch.id, pair.row)
        sides, done = (found[pair.left], found[pair.right]), len(pairs) - len(left)
        return await drawing.in_thread(pair_view, batch, pair, prompt.text, *sides, done=done, total=len(pairs))


def _open_pairs(batch: Batch, states: Mapping[tuple[int, int], str], told: set[str]) -> tuple[list[Pair], list[Pair]]:
    """All pairs that can be judged, and those that are left to judge."""
    pairs = pairs_of(batch, states)
    return pairs, [pair for pair in pairs if subject_of(_ids(batch, pair)) not in told]


def _contestant(batch: Batch, cell: Cell, capabilities: dict[str, Capabilities]) -> Contestant:
    return contestant(cell.node(batch), capabilities.get(batch.lanes[cell.lane].choices.model))


def _ids(batch: Batch, pair: Pair) -> list[Contestant]:
    """As `subject_of` takes them: an answer's id is all it looks at."""
    return [Contestant("", answer_id=answer_id(batch.id, pair.row, lane)) for lane in (pair.left, pair.right)]
