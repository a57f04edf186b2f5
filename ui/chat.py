"""The chat tab's events: sending, editing, versions, stopping, following an answer, opening chats. Decides nothing about
engines or storage: it asks `Backend` and shows what comes back through `ui.render`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from backend import (
    Attachment,
    Backend,
    BackendError,
    BadInput,
    Capabilities,
    Chat,
    Choices,
    Conversation,
    Run,
    parameters_from,
    read_attachment,
    recording_of,
)
from ui import render
from ui.history import history_view
from ui.layout import Page
from ui.live import IDLE
from ui.live import follow as live_values
from ui.parameters import choices_from, for_model
from ui.text import WORDS as W
from ui.updates import Updates, download, page_error
from ui.visitor import Session, Views, owner_of

DEMO = "local:demo"


class ChatTab:
    """The handlers. Each takes plain values and yields updates, so that tests drive them without a server."""

    def __init__(self, backend: Backend, page: Page) -> None:
        self.backend = backend
        self.page = page
        self.views = Views()

    # ---- who and what
    def owner(self, request: gr.Request) -> str:
        return owner_of(request, public=self.backend.settings.public)

    async def capabilities(self, model: str, session: Session) -> Capabilities:
        return await self.backend.engines.capabilities(model, session.access)

    async def choices(self, model: str, session: Session, panel: Sequence[Any]) -> Choices:
        return choices_from(model, await self.capabilities(model, session), list(panel))

    # ---- sending
    async def send(
        self, composer: dict[str, Any], model: str, session: Session, request: gr.Request, *panel: Any
    ) -> AsyncGenerator[Updates, None]:
        """The composer's text and files as a new turn."""

        async def start(chat: Chat) -> Run:
            choices = await self.choices(model, session, panel)
            attachments = await self._read(composer.get("files") or [])
            self._not_busy(session, request)
            text = composer.get("text") or ""
            return await chat.send(self.owner(request), session.access, session.conversation_id, text, choices, attachments)

        async with aclosing(self._answer(start, session, request, clear=True)) as updates:
            async for update in updates:
                yield update

    async def act(
        self, event: gr.EventData, model: str, session: Session, request: gr.Request, *panel: Any
    ) -> AsyncGenerator[Updates, None]:
        """A button in the turns."""
        data = dict(event._data or {})
        op, node = str(data.get("op")), str(data.get("id") or "")
        if op in ("edit", "regenerate", "continue"):

            async def start(chat: Chat) -> Run:
                choices = await self.choices(model, session, panel)
                self._not_busy(session, request)
                return await self._restart(chat, op, node, str(data.get("text") or ""), choices, session, request)

            source = self._answer(start, session, request)
        else:
            yield await self._small_act(op, str(data.get("name") or node), session, request)
            return
        async with aclosing(source) as updates:
            async for update in updates:
                yield update

    async def _restart(self, chat: Chat, op: str, node: str, text: str, choices: Choices, session: Session, request: gr.Request) -> Run:
        owner, conversation_id = self.owner(request), session.conversation_id
        if conversation_id is None:
            raise BadInput(W.no_such_chat, hint="Ask again in a new chat.")
        if op == "edit":
            return await chat.send(owner, session.access, conversation_id, text, choices, replaces=node)
        if op == "regenerate":
            return await chat.regenerate(owner, session.access, conversation_id, node, choices)
        return await chat.go_on(owner, session.access, conversation_id, node, choices)

    def _not_busy(self, session: Session, request: gr.Request) -> None:
        run = self._running(session, request)
        if run is not None:
            raise BadInput(W.busy, hint="Your text stays in the box.")

    def _running(self, session: Session, request: gr.Request) -> Run | None:
        if session.conversation_id is None:
            return None
        run = self.backend.runs.of_conversation(session.conversation_id, self.owner(request))
        return run if run is not None and not run.ended else None

    async def _read(self, files: Sequence[Any]) -> list[Attachment]:
        return [await read_attachment(Path(str(f)), name=Path(str(f)).name) for f in files]

    async def _answer(self, start: Any, session: Session, request: gr.Request, *, clear: bool = False) -> AsyncGenerator[Updates, None]:
        """Starts a run and follows it; an error before the start is shown and leaves everything as it was."""
        try:
            chat = await self.backend.open()
            run = await start(chat)
        except BackendError as error:
            yield {
                self.page.live: {
                    **IDLE,
                    "state": "error",
                    "status": W.states["error"],
                    "error": render.page_error(error),
                    "jump": True,
                }
            }
            return
        session.conversation_id = run.conversation_id
        async with aclosing(self.follow(chat, run, session, request, clear=clear)) as updates:
            async for update in updates:
                yield update

    async def follow(
        self, chat: Chat, run: Run, session: Session, request: gr.Request, *, clear: bool = False
    ) -> AsyncGenerator[Updates, None]:
        """Shows the branch without the answer in the making, then that answer live, then everything as stored."""
        page, session_hash = self.page, str(request.session_hash)
        view = self.views.move(session_hash)
        self.backend.runs.watch(run, session_hash)
        # the first token does not wait for the database: the turns are shown as soon as they are stored
        turns = asyncio.ensure_future(self._turns(chat, run, session, request))
        first, value = True, IDLE
        try:
            async with aclosing(live_values(run, lambda: self.views.shows(session_hash, view))) as values:
                async for value in values:
                    updates: Updates = {page.live: value}
                    if first:
                        updates = {page.live: {**value, "jump": True}, page.session: session}
                        if clear:
                            updates[page.composer] = {"text": "", "files": []}
                        first = False
                    if turns is not None and turns.done():
                        updates |= turns.result()
                        turns = None
                    yield updates
        finally:
            if turns is not None:
                turns.cancel()
        if not self.views.shows(session_hash, view):
            return
        failure = await run.storage_failure()
        if failure is not None:  # what is not stored stays on the page as it was last shown
            yield {page.live: {**value, "running": False, "error": render.page_error(failure), "jump": True}}
            return
        done = {**IDLE, "state": run.state, "status": W.states[run.state], "says": W.says_ready if run.state == "done" else ""}
        yield {page.live: done, **await self.shown(chat, session, request)}

    async def _turns(self, chat: Chat, run: Run, session: Session, request: gr.Request) -> Updates:
        """The branch without the answer in the making, once the question is stored."""
        if await run.storage_failure() is not None:
            return {}  # said at the end of the answer
        return await self.shown(chat, session, request, live_node=run.node_id, follow=True)

    async def stop(self, session: Session, request: gr.Request) -> None:
        """Ends the answer in the making; whoever follows it shows what arrived."""
        run = self._running(session, request)
        if run is not None:
            await self.backend.runs.stop(run)

    # ---- showing
    async def shown(
        self, chat: Chat, session: Session, request: gr.Request, *, live_node: str | None = None, follow: bool = False
    ) -> Updates:
        """Updates for the turns, the list of chats and the context meter."""
        conversation = await self.open_conversation(chat, session, request)
        capabilities = await self._all_capabilities(conversation, session)
        shelf = await self.backend.shelf.entries(self.owner(request))
        log = render.conversation_view(
            conversation, capabilities, live_node=live_node, follow=follow,
            empty_html=render.empty_page(demo=self.backend.settings.demo, recordings=shelf),
            notes={f"replay:{r.name}": W.scripted if r.scripted else W.recorded_run for r in shelf},
        )  # fmt: skip
        return {self.page.log: log, self.page.history: await self.history(chat, session, request)}

    async def open_conversation(self, chat: Chat, session: Session, request: gr.Request) -> Conversation | None:
        if session.conversation_id is None:
            return None
        return await chat.conversation(self.owner(request), session.conversation_id)

    async def _all_capabilities(self, conversation: Conversation | None, session: Session) -> dict[str, Capabilities]:
        found: dict[str, Capabilities] = {}
        for node in conversation.path if conversation else ():
            if node.model and node.model not in found:
                try:
                    found[node.model] = await self.capabilities(node.model, session)
                except BackendError:
                    continue  # its server is gone; the card then shows dashes
        return found

    async def history(self, chat: Chat, session: Session, request: gr.Request, search: str = "") -> dict[str, Any]:
        found = await chat.history.conversations(self.owner(request), search=search)
        shelf = await self.backend.shelf.entries(self.owner(request))
        return history_view(found, session.conversation_id, searching=bool(search), recordings=shelf)

    async def replay(self, name: str, session: Session, request: gr.Request) -> Updates:
        """Starts a recorded run as a chat of its own; `resume` follows it."""
        chat, owner = await self.backend.open(), self.owner(request)
        recording = next((r for r in await self.backend.shelf.entries(owner) if r.name == name), None)
        if recording is None:
            return {self.page.live: page_error(BadInput(W.no_such_chat, hint=W.reload))}
        model = f"replay:{recording.name}"
        capabilities = await self.capabilities(model, session)
        run = await chat.send(owner, session.access, None, recording.prompt, Choices(model, parameters_from({})))
        session.conversation_id = run.conversation_id
        self.backend.runs.watch(run, str(request.session_hash))
        shown = await self._turns(chat, run, session, request)
        return {self.page.model: model, **for_model(self.page.panel, capabilities, {}), self.page.session: session, **shown}

    async def resume(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Follows the open chat's answer where one is being written."""
        run = self._running(session, request)
        if run is None:
            try:  # it may have ended since the chat was opened
                yield await self.shown(await self.backend.open(), session, request)
            except BackendError:
                yield {self.page.live: gr.skip()}
            return
        async with aclosing(self.follow(await self.backend.open(), run, session, request)) as updates:
            async for update in updates:
                yield update

    def running_node(self, session: Session, request: gr.Request) -> str | None:
        run = self._running(session, request)
        return run.node_id if run else None

    async def _small_act(self, op: str, which: str, session: Session, request: gr.Request) -> Updates:
        """What starts no answer of its own: versions, deleting, a recorded run, saving a recording, the demo model."""
        chat, owner = await self.backend.open(), self.owner(request)
        try:
            match op:
                case "replay":
                    return await self.replay(which, session, request)
                case "use-demo":
                    return {self.page.model: DEMO, **for_model(self.page.panel, await self.capabilities(DEMO, session), {})}
                case "record":
                    return {self.page.files: self._recording(which, request)}
                case "select":
                    self._not_busy(session, request)
                    await chat.history.select(owner, which)
                case "delete":
                    self._not_busy(session, request)
                    await chat.history.delete_turn(owner, which)
            return await self.shown(chat, session, request)
        except BackendError as error:
            return {self.page.live: page_error(error)}

    def _recording(self, node: str, request: gr.Request) -> dict[str, str]:
        run = self.backend.runs.of_node(node, self.owner(request))
        if run is None:
            raise BadInput(
                "This answer's timing is no longer in memory.",
                hint="Save a recording within the hour, before the app is restarted.",
            )
        return download("run.qnrun.jsonl", recording_of(run), "application/jsonl")

    async def trace(self, node: str, request: gr.Request) -> list[str]:
        """The server function behind a folded trace."""
        chat = await self.backend.open()
        return render.trace_html(await chat.history.thinking_of(self.owner(request), node))

    def gone(self, request: gr.Request) -> None:
        """The tab was closed or reloaded."""
        self.views.forget(str(request.session_hash))
        self.backend.runs.leave(str(request.session_hash))
