"""The comparisons that were made: opening one (again after a reload), beginning anew, deleting, taking a pane into the chat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from backend import BackendError
from ui.compare.live import NOTHING
from ui.compare.tab import CompareTab, told
from ui.history import comparisons_view
from ui.updates import Updates
from ui.visitor import Session


class Shelf:
    """Handlers of the tab's load and of its list."""

    def __init__(self, tab: CompareTab) -> None:
        self.tab = tab
        self.parts = tab.parts

    @told
    async def load(self, saved: dict[str, Any] | None, session: Session, request: gr.Request) -> Updates:
        """A page that was opened or reloaded: its comparison again, else the set-up that this browser had last."""
        session.access = replace(session.access, owner=self.tab.owner(request))
        side = session.side_by_side
        wanted = request.query_params.get("compare")
        if wanted:
            try:
                return await self._open(wanted, session, request)
            except BackendError:
                pass  # it was deleted
        if not wanted or side.comparison is None:
            side.comparison = await self.tab.set_up(saved, session)
        return await self._shown(session, request)

    @told
    async def pick(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A click in the list of comparisons."""
        data = dict(event._data or {})
        which = str(data.get("id") or "")
        if data.get("op") == "delete":
            comparing = await self.tab.backend.side_by_side()
            await comparing.delete(self.tab.owner(request), which)
            if self.tab.open(session).id == which:
                session.side_by_side.comparison = self.tab.open(session).began_anew()
            return await self._shown(session, request)
        return await self._open(which, session, request)

    @told
    async def new(self, session: Session, request: gr.Request) -> Updates:
        """The same panes with empty conversations."""
        session.side_by_side.comparison = self.tab.open(session).began_anew()
        return {**await self._shown(session, request), self.parts.prompt: ""}

    async def earlier(self, session: Session, request: gr.Request) -> dict[str, Any]:
        comparing = await self.tab.backend.side_by_side()
        found = await comparing.summaries(self.tab.owner(request))
        return comparisons_view(found, self.tab.open(session).id)

    async def _open(self, comparison_id: str, session: Session, request: gr.Request) -> Updates:
        comparing = await self.tab.backend.side_by_side()
        session.side_by_side.comparison = await comparing.store.load(self.tab.owner(request), comparison_id)
        return await self._shown(session, request)

    async def _shown(self, session: Session, request: gr.Request) -> Updates:
        side = session.side_by_side
        side.focus = None
        self.tab.views.move(str(request.session_hash))
        comparing = await self.tab.backend.side_by_side()
        await self.tab.leave_to_live(comparing, session, request)
        return {self.parts.live: {**NOTHING, "left": True}, **await self.tab.bench(session, request)}
