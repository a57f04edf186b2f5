"""The events of asking side by side: sending, following the panes live, their beginning and end, stopping, asking one again.

What streams has the live component as its only output, as in the chat (ui/answers.py says why); the panes' turns follow by events of
their own, which the live component's script fires as it sees a value begin (`begun`) and end (`over`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from backend import BackendError, Run, subject_of
from ui import render
from ui.compare.live import NOTHING, follow
from ui.compare.tab import CompareTab, judged, refused, told
from ui.live import are_saved
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session


class Asking:
    """The handlers. Those that stream change `session` in place: it is the object that gradio keeps for the tab."""

    def __init__(self, tab: CompareTab) -> None:
        self.tab = tab
        self.parts = tab.parts

    async def send(self, prompt: str | None, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """One question to all panes, each answered in its own time."""
        try:
            comparing = await self.tab.backend.side_by_side()
            asked, runs = await comparing.send(
                self.tab.owner(request), self.tab.access(session, request), self.tab.open(session), prompt or ""
            )
        except BackendError as error:
            yield {self.parts.live: refused(error)}
            return
        session.side_by_side.comparison = asked
        async with aclosing(self._follow(dict(enumerate(runs)), session, request, begins=True)) as updates:
            async for update in updates:
                yield update

    async def resume(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Follows what is being written in the open comparison: after a reload, a pane asked again, a pane moved."""
        if self.tab.views.begins(str(request.session_hash)):
            yield {self.parts.live: gr.skip()}  # asked since: who asked tells the page that it begins
            return
        comparing = await self.tab.backend.side_by_side()
        await comparing.settled(self.tab.open(session))
        runs = self.tab.running(comparing, session, request)
        ended = session.side_by_side.live_nodes - {run.node_id for run in runs.values()}
        if ended or not runs:  # what the panes leave to the live part has ended meanwhile: they are drawn anew before the rest is followed
            session.side_by_side.live_nodes = frozenset()
            view = self.tab.views.move(str(request.session_hash))
            yield {self.parts.live: {**NOTHING, "view": view, "over": True} if ended else gr.skip()}
            return
        async with aclosing(self._follow(runs, session, request, begins=False)) as updates:
            async for update in updates:
                yield update

    async def _follow(self, runs: dict[int, Run], session: Session, request: gr.Request, *, begins: bool) -> AsyncGenerator[Updates, None]:
        session_hash, comparison = str(request.session_hash), self.tab.open(session)
        view = self.tab.views.move(session_hash, begins=begins)
        session.side_by_side.live_nodes = frozenset(run.node_id for run in runs.values())
        for run in runs.values():
            self.tab.backend.runs.watch(run, session_hash)
        marks = {"view": view, "begins": begins, "comparison": comparison.id}
        value: dict[str, Any] = NOTHING
        comparing, owner = await self.tab.backend.side_by_side(), self.tab.owner(request)
        several = {place: pane for place in runs if comparing.later.wait((pane := comparison.pane(place)).conversation_id)}
        capabilities = await self.tab.capabilities(comparison, session)
        hidden = lambda: self.tab.open(session).hidden  # noqa: E731
        shown = lambda: self.tab.views.shows(session_hash, view)  # noqa: E731
        moved = lambda: any(comparing.newest(owner, pane) is not runs[place] for place, pane in several.items())  # noqa: E731
        async with aclosing(follow(runs, capabilities, self.tab.waits(session), hidden, lambda: shown() and not moved())) as values:
            async for told in values:
                value = {**told, **marks}
                self.tab.views.told(view)
                yield {self.parts.live: value}
        if shown():
            failures = [await run.storage_failure() for run in runs.values()] if all(run.ended for run in runs.values()) else []
            failure = next((f for f in failures if f is not None), None)
            if failure is not None:  # what is not stored stays on the page as it was last shown, until `saved`
                yield {self.parts.live: {**value, "error": render.page_error(failure), "unsaved": True}}
            else:
                yield {self.parts.live: {**value, "over": True}}

    async def begun(self, session: Session, request: gr.Request) -> Updates:
        """The panes with the question, once it is stored."""
        try:
            return await self.tab.bench(session, request)
        except BackendError:
            return {self.parts.bench: gr.skip()}  # the end of the answers says that they are not stored

    async def over(self, session: Session, request: gr.Request) -> Updates:
        """Everything as stored, in place of the live answers; a vote that was given before gets the figures. Answers that have begun
        meanwhile (the next of several turns) are left to `resume`."""
        comparing = await self.tab.backend.side_by_side()
        followed = session.side_by_side.live_nodes
        await self.tab.leave_to_live(comparing, session, request)
        live = {**NOTHING, "left": True, "state": "done", "status": W.compare_over}
        if followed & session.side_by_side.live_nodes:
            live = gr.skip()  # one pane went on to its next turn: the others stay as they are until `resume`
        try:
            loaded = await self.tab.loaded(session, request)
            answers = list(judged(*loaded[1:]).values())
            await comparing.votes.complete(self.tab.owner(request), subject_of(answers), answers)
            return {self.parts.live: live, **await self.tab.bench_of(loaded, session, request)}
        except BackendError as error:
            return {self.parts.live: refused(error)}

    async def saved(self, session: Session, request: gr.Request) -> Updates:
        """As `over`, once answers are stored that could not be at their end."""
        comparing, session_hash = await self.tab.backend.side_by_side(), str(request.session_hash)
        view, owner = self.tab.views.of(session_hash), self.tab.owner(request)
        newest = [run for pane in self.tab.open(session).panes if (run := comparing.newest(owner, pane)) is not None]
        if not await are_saved(newest, lambda: self.tab.views.of(session_hash) == view):
            return {self.parts.live: gr.skip()}
        return await self.over(session, request)

    async def stop(self, session: Session, request: gr.Request) -> None:
        """Ends all answers in the making."""
        comparing = await self.tab.backend.side_by_side()
        await comparing.stop(self.tab.owner(request), self.tab.open(session))

    async def halt(self, event: gr.EventData, session: Session, request: gr.Request) -> None:
        """Ends the answer of one pane; the others do not notice."""
        comparing, place = await self.tab.backend.side_by_side(), int((event._data or {}).get("place", -1))
        await comparing.stop(self.tab.owner(request), self.tab.open(session), place)

    @told
    async def act(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A button of one pane that has to do with its answers; `resume` then follows what is being written."""
        data = dict(event._data or {})
        op, owner = str(data.get("op")), self.tab.owner(request)
        place, comparing, comparison = int(data.get("place", 0)), await self.tab.backend.side_by_side(), self.tab.open(session)
        run: Run | None = None
        match op:
            case "again":
                run = await comparing.again(owner, self.tab.access(session, request), comparison, place, data.get("id") and str(data["id"]))
            case "catch-up":
                session.side_by_side.comparison, run = await comparing.catch_up(owner, self.tab.access(session, request), comparison, place)
            case "select":
                await comparing.select(owner, comparison, place, str(data.get("id")))
        if run is not None:
            self.tab.backend.runs.watch(run, str(request.session_hash))  # before anything is awaited: `resume` may be seconds away
            if (failure := await run.storage_failure()) is not None:
                raise failure
        await self.tab.leave_to_live(comparing, session, request)
        if run is not None:  # also one that has ended already: `resume` then shows it and what followed on it
            session.side_by_side.live_nodes |= {run.node_id}
        return await self.tab.bench(session, request)
