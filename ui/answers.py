"""The events of an answer: sending, editing, regenerating, continuing, following it live, its beginning and end, stopping.

What streams has the live component as its only output and skips gradio's pre- and postprocessing: with the turns among the outputs
gradio builds every component anew for each update, 6 ms in place of 0.1. The turns follow by two events of their own, which the
live component's script fires as it sees a value begin (`begun`) and end (`over`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr

from backend import Backend, BackendError, BadInput, Chat, Choices, Run
from ui import render
from ui.attached import path_and_name
from ui.chat import ChatTab, is_recording
from ui.layout import Page
from ui.live import IDLE, are_saved
from ui.live import follow as live_values
from ui.text import WORDS as W
from ui.updates import Updates, page_error
from ui.visitor import Session

Start = Callable[[Chat], Awaitable[Run]]


class Answers:
    """The handlers. Those that stream change `session` in place: it is the object that gradio keeps for the tab."""

    def __init__(self, backend: Backend, page: Page, tab: ChatTab) -> None:
        self.backend = backend
        self.page = page
        self.tab = tab

    # ---- starting
    async def send(
        self, composer: dict[str, Any], model: str, session: Session, request: gr.Request, *panel: Any
    ) -> AsyncGenerator[Updates, None]:
        """The composer's text and files as a new turn."""

        async def start(chat: Chat) -> Run:
            _not_of_a_recording(model)
            choices = await self.tab.choices(model, session, panel)
            files = [path_and_name(file) for file in (composer or {}).get("files") or []]
            attachments = await self.backend.read_files.read_all(self.tab.owner(request), files)
            text = (composer or {}).get("text") or ""
            self.tab.not_busy(session, request)
            access = self.tab.access(session, request)
            return await chat.send(self.tab.owner(request), access, session.conversation_id, text, choices, attachments)

        async with aclosing(self._answer(start, session, request, sent=True)) as updates:
            async for update in updates:
                yield update

    async def restart(
        self, event: gr.EventData, model: str, session: Session, request: gr.Request, *panel: Any
    ) -> AsyncGenerator[Updates, None]:
        """A button in the turns that begins another answer: edit, regenerate, continue."""
        data = dict(event._data or {})
        op, node, text = str(data.get("op")), str(data.get("id") or ""), str(data.get("text") or "")

        async def start(chat: Chat) -> Run:
            if op != "regenerate":
                _not_of_a_recording(model)
            choices = await self.tab.choices(model, session, panel)
            self.tab.not_busy(session, request)
            return await self._restart(chat, op, node, text, choices, session, request)

        async with aclosing(self._answer(start, session, request)) as updates:
            async for update in updates:
                yield update

    async def _restart(self, chat: Chat, op: str, node: str, text: str, choices: Choices, session: Session, request: gr.Request) -> Run:
        owner, access, conversation_id = self.tab.owner(request), self.tab.access(session, request), session.conversation_id
        if conversation_id is None:
            raise BadInput(W.no_such_chat, hint="Ask again in a new chat.")
        if op == "edit":
            return await chat.send(owner, access, conversation_id, text, choices, replaces=node)
        if op == "regenerate":
            return await chat.regenerate(owner, access, conversation_id, node, choices)
        return await chat.go_on(owner, access, conversation_id, node, choices)

    async def _answer(self, start: Start, session: Session, request: gr.Request, *, sent: bool = False) -> AsyncGenerator[Updates, None]:
        """Starts a run and follows it; an error before the start is shown and leaves everything as it was."""
        try:
            run = await start(await self.backend.open())
        except BackendError as error:
            yield {self.page.live: page_error(error)}
            return
        session.conversation_id = run.conversation_id
        async with aclosing(self._follow(run, session, request, {"begins": True, "sent": sent, "chat": run.conversation_id})) as updates:
            async for update in updates:
                yield update

    # ---- following
    async def resume(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Follows the open chat's answer where one is being written; the turns are there already."""
        if self.tab.views.begins(str(request.session_hash)):
            yield {self.page.live: gr.skip()}  # asked since the chat was opened: who asked tells the page that it begins
            return
        run = self.tab.running(session, request) or self.tab.unsaved(session, request)
        if run is None:
            ended = session.live_node is not None  # since the chat was opened
            over = {**IDLE, "view": self.tab.views.move(str(request.session_hash)), "over": True}
            yield {self.page.live: over if ended else gr.skip()}
            return
        async with aclosing(self._follow(run, session, request, {})) as updates:
            async for update in updates:
                yield update

    async def _follow(self, run: Run, session: Session, request: gr.Request, marks: dict[str, Any]) -> AsyncGenerator[Updates, None]:
        """The answer live, to its end or until the page shows something else. `marks` tell the page's script what has begun."""
        session_hash, value = str(request.session_hash), IDLE
        view = self.tab.views.move(session_hash, begins="begins" in marks)
        self.backend.runs.watch(run, session_hash)
        async with aclosing(live_values(run, lambda: self.tab.views.shows(session_hash, view))) as values:
            async for told in values:
                value = {**told, **marks, "view": view}
                self.tab.views.told(view)
                yield {self.page.live: value}
        if not self.tab.views.shows(session_hash, view):
            return
        failure = await run.storage_failure()
        if failure is not None:  # what is not stored stays on the page as it was last shown, until `saved`
            yield {self.page.live: {**value, "running": False, "unsaved": True, "error": render.page_error(failure), "jump": True}}
        else:
            yield {self.page.live: {**value, "running": False, "over": True, "turn": await self.tab.finished_turn(run, session)}}

    async def begun(self, search: str | None, session: Session, request: gr.Request) -> Updates:
        """The branch without the answer in the making, once the question is stored."""
        run = self.tab.running(session, request)
        if run is None or await run.storage_failure() is not None or self.tab.running(session, request) is not run:
            return {self.page.log: gr.skip()}  # `over` shows it, the end of the answer says that it is not stored, or another chat is open
        shown = await self.tab.shown(await self.backend.open(), session, request, live_node=run.node_id, follow=True, search=search)
        return shown if self.tab.running(session, request) is run else {self.page.log: gr.skip()}

    async def over(self, search: str | None, session: Session, request: gr.Request) -> Updates:
        """Everything as stored, in place of the live answer."""
        if self.tab.running(session, request) is not None:
            return {self.page.live: gr.skip()}  # another one has begun meanwhile, and is shown by its own events
        run = self.tab.newest(session, request)
        state = run.state if run is not None else "idle"
        says = W.says_ready if state == "done" else ""
        done = {**IDLE, "left": True, "after": True, "state": state, "status": W.states[state], "says": says}
        try:
            return {self.page.live: done, **await self.tab.shown(await self.backend.open(), session, request, search=search)}
        except BackendError as error:
            return {self.page.live: page_error(error)}

    async def saved(self, search: str | None, session: Session, request: gr.Request) -> Updates:
        """As `over`, once an answer is stored that could not be at its end."""
        newest, session_hash = self.tab.newest(session, request), str(request.session_hash)
        view = self.tab.views.of(session_hash)
        if newest is None or not await are_saved([newest], lambda: self.tab.views.of(session_hash) == view):
            return {self.page.live: gr.skip()}
        return await self.over(search, session, request)

    async def stop(self, session: Session, request: gr.Request) -> None:
        """Ends the answer in the making; whoever follows it shows what arrived."""
        run = self.tab.running(session, request)
        if run is not None:
            await self.backend.runs.stop(run)


def _not_of_a_recording(model: str) -> None:
    """A recording has one answer, to its own question: under another one it would pass for a model's."""
    if is_recording(model):
        raise BadInput(W.only_its_own, hint=W.only_its_own_hint)
