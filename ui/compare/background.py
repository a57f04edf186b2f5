"""What prompt sets and sweeps share on the page: the list of runs with its buttons, following one, its answers as a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict
from typing import Any, Literal

import gradio as gr

from backend import Batch, BatchRunner, Choices, portable_name
from ui.compare.background_frame import BackgroundParts
from ui.compare.batch_view import Shown, batches_view, titles_of
from ui.compare.tab import CompareTab
from ui.updates import download
from ui.visitor import Session

Kind = Literal["set", "sweep"]
FOLLOW_EVERY_S = 0.4


class Background:
    """Handlers and pieces for both kinds. Which run is shown is kept in the session, by kind."""

    def __init__(self, tab: CompareTab, parts: BackgroundParts) -> None:
        self.tab = tab
        self.parts = parts

    async def runner(self) -> BatchRunner:
        return await self.tab.backend.background()

    async def view(self, kind: Kind, session: Session, request: gr.Request) -> str:
        """The list of runs as HTML."""
        return await self._view(await (await self.runner()).store.all(self.tab.owner(request), kind), kind, session, request)

    async def _view(self, found: list[Batch], kind: Kind, session: Session, request: gr.Request) -> str:
        runner, owner = await self.runner(), self.tab.owner(request)
        current = session.side_by_side.batches.get(kind) or (found[0].id if found else None)
        shown = [Shown(batch, await runner.progress(owner, batch), runner.runs(batch.id)) for batch in found]
        return batches_view(shown, current, titles_of(await self._capabilities(found, session)))

    async def current(self, kind: Kind, session: Session, request: gr.Request) -> Batch | None:
        """The run that is shown: the chosen one, else the latest."""
        runner, owner = await self.runner(), self.tab.owner(request)
        chosen = session.side_by_side.batches.get(kind)
        found = await runner.store.all(owner, kind)
        return next((batch for batch in found if batch.id == chosen), found[0] if found else None)

    async def follow(self, kind: Kind, session: Session, request: gr.Request) -> AsyncGenerator[str, None]:
        """The list while something in it runs; it ends when the page follows anew."""
        runner, owner, session_hash = await self.runner(), self.tab.owner(request), f"{kind}:{request.session_hash}"
        view = self.tab.views.move(session_hash)
        while True:
            found = await runner.store.all(owner, kind)
            running = any(runner.runs(batch.id) for batch in found)
            yield await self._view(found, kind, session, request)
            if not running or not self.tab.views.shows(session_hash, view):
                return
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def act(self, op: str, batch_id: str, session: Session, request: gr.Request) -> None:
        """A button of one run that changes it. Raises what is wrong."""
        runner, owner = await self.runner(), self.tab.owner(request)
        match op:
            case "pause":
                await runner.pause(owner, batch_id)
            case "resume":
                await runner.resume(owner, self.tab.access(session, request), batch_id)
            case "again":
                await runner.again(owner, self.tab.access(session, request), batch_id)
            case "delete":
                await runner.delete(owner, batch_id)

    async def answers_file(self, batch_id: str, request: gr.Request) -> dict[str, str]:
        """All answers as JSON Lines, each with its prompt and its settings."""
        runner, owner = await self.runner(), self.tab.owner(request)
        batch, prompts = await runner.store.load(owner, batch_id), await runner.store.prompts(owner, batch_id)
        cells = await runner.store.cells(owner, batch_id)

        def lines() -> Iterator[str]:
            for cell in cells:
                prompt, model = prompts[cell.row], portable_name(batch.lanes[cell.lane].choices.model)
                told = {"prompt": prompt.text, "tag": prompt.tag, "model": model, **asdict(cell)}
                yield json.dumps(told, ensure_ascii=False) + "\n"

        return download("answers.jsonl", await asyncio.to_thread(lambda: "".join(lines())), "application/jsonl")

    def region(self, choices: Choices, session: Session) -> str | None:
        return self.tab.backend.engines.region_of(choices.model, session.access)

    async def _capabilities(self, found: list[Batch], session: Session) -> dict[str, Any]:
        models = {lane.choices.model for batch in found for lane in batch.lanes}
        return await self.tab.known(models, session)
