"""The events of sweeps: how many runs and what they cost before the start, the start, cards and plots as answers come in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr
import pandas as pd

from backend import BackendError, BadInput, Batch, BatchLane, Prompt, axis_from, count_tokens, estimate, lanes_of
from ui import drawing
from ui.compare.background import Background
from ui.compare.batch_view import cost_line
from ui.compare.sweep_view import sweep_points, sweep_view
from ui.compare.tab import refused
from ui.markup import esc
from ui.render import error_card
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session


class Sweeps:
    """The handlers."""

    def __init__(self, background: Background) -> None:
        self.background = background
        self.tab, self.parts = background.tab, background.parts

    async def plan(
        self, prompt: str | None, first: str, values: str, second: str, more: str, seeds: float, session: Session, request: gr.Request
    ) -> str:
        """How many runs it is and what they cost, or what is wrong with it."""
        try:
            lanes = await self._lanes(first, values, second, more, seeds, session)
            pane = self.tab.open(session).panes[0].choices
            capabilities = await self.tab.chat.capabilities(pane.model, session)
            tokens = await count_tokens(f"{pane.system}\n\n{prompt or ''}")
            region = self.background.region(pane, session)
            cost = cost_line(estimate([(lane.choices, capabilities, region) for lane in lanes], 1, tokens, None), None)
        except BackendError as error:
            return error_card(error.message, error.hint, (), elem_id=None)
        count = int(seeds or 1)
        return f"<p>{esc(W.sweep_plan.format(runs=len(lanes), points=len(lanes) // count, seeds=count))} {esc(cost)}</p>"

    async def _lanes(self, first: str, values: str, second: str, more: str, seeds: float, session: Session) -> tuple[BatchLane, ...]:
        if self.tab.open(session).hidden:
            raise BadInput(W.blind_no_run, hint="")
        choices = self.tab.open(session).panes[0].choices
        capabilities = await self.tab.chat.capabilities(choices.model, session)
        axes = [axis_from(first, values, capabilities)]
        if second:
            axes.append(axis_from(second, more, capabilities))
        return lanes_of(choices, axes, int(seeds or 1))

    async def start(
        self, prompt: str | None, first: str, values: str, second: str, more: str, seeds: float, session: Session, request: gr.Request
    ) -> Updates:
        """Stores the sweep and starts it."""
        try:
            if not (prompt or "").strip():
                raise BadInput(W.sweep_too_short, hint="")
            lanes = await self._lanes(first, values, second, more, seeds, session)
            title = f"{' '.join((prompt or '').split())[:60]} · {lanes[0].choices.model.partition(':')[2]}"
            batch = Batch("sweep", title, lanes, 1)
            runner = await self.background.runner()
            await runner.begin(self.tab.owner(request), self.tab.access(session, request), batch, [Prompt(prompt or "")])
        except BackendError as error:
            return {self.parts.plan: error_card(error.message, error.hint, (), elem_id=None)}
        session.side_by_side.batches["sweep"] = batch.id
        return {self.parts.sweeps: await self.background.view("sweep", session, request)}

    async def follow(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """The list and the cards while the sweep runs."""
        seen = -1
        async with aclosing(self.background.follow("sweep", session, request)) as views:
            async for view in views:
                updates: Updates = {self.parts.sweeps: view}
                batch = await self.background.current("sweep", session, request)
                if batch is not None:
                    runner = await self.background.runner()
                    cells = await runner.store.cells(self.tab.owner(request), batch.id)
                    if len(cells) != seen:
                        seen = len(cells)
                        updates |= await self._shown(batch, cells)
                yield updates

    async def look(self, session: Session, request: gr.Request) -> Updates:
        """Cards and plots of the run that is shown."""
        batch = await self.background.current("sweep", session, request)
        if batch is None:
            return {self.parts.cards: "", **{plot: gr.update(visible=False) for plot in (self.parts.length_plot, self.parts.time_plot)}}
        cells = await (await self.background.runner()).store.cells(self.tab.owner(request), batch.id)
        return await self._shown(batch, cells)

    async def _shown(self, batch: Batch, cells: list[Any]) -> Updates:
        first, *second = batch.lanes[0].point
        titles = {"x_title": W.parameters.get(first, first), "color_title": W.parameters.get(second[0], second[0]) if second else None}
        updates: Updates = {self.parts.cards: await drawing.in_thread(sweep_view, batch, cells)}
        for plot, what in ((self.parts.length_plot, "tokens"), (self.parts.time_plot, "time")):
            points = sweep_points(batch, cells, what)
            table = pd.DataFrame(points, columns=["x", "y", "line"])
            several = len({point["x"] for point in points}) > 1  # one value makes no line
            limits = [0, 1.1 * max((point["y"] for point in points), default=0) or 1]  # from zero: else noise looks like a trend
            updates[plot] = gr.LinePlot(table, x="x", y="y", y_lim=limits, color="line" if second else None, visible=several, **titles)
        return updates

    async def act(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A button of one run; `follow` then shows it."""
        data = dict(event._data or {})
        op, batch_id = str(data.get("op")), str(data.get("id") or "")
        try:
            if op == "answers":
                return {self.tab.parts.files: await self.background.answers_file(batch_id, request)}
            if op == "show":
                session.side_by_side.batches["sweep"] = batch_id
            else:
                await self.background.act(op, batch_id, session, request)
        except BackendError as error:
            return {self.tab.parts.live: refused(error)}
        return {self.tab.parts.live: gr.skip()}
