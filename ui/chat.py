"""The open chat: what of it is shown, its versions, deleting, recorded runs. Decides nothing about engines or storage: it asks
`Backend` and shows what comes back through `ui.render`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend import Access, Backend, BackendError, BadInput, Capabilities, Chat, Choices, Conversation, Run, node_of, recording_of
from ui import drawing, render
from ui.history import history_view
from ui.layout import Page
from ui.parameters import choices_from, for_model
from ui.text import WORDS as W
from ui.updates import Updates, context_meter, download, page_error
from ui.visitor import Session, Views, Visitors

HERE = {"use-demo": "local:demo", "use-tiny": "local:qwen3-next-tiny"}  # what the empty page offers without a key
REPLAY = "replay:"


def is_recording(model: str | None) -> bool:
    return str(model or "").startswith(REPLAY)


class ChatTab:
    """The handlers. Each takes plain values and yields updates, so that tests drive them without a server."""

    def __init__(self, backend: Backend, page: Page) -> None:
        self.backend = backend
        self.page = page
        self.views = Views()
        self.visitors = Visitors.of(backend)

    # ---- who and what
    def owner(self, request: gr.Request) -> str:
        return self.visitors.owner(request)

    def access(self, session: Session, request: gr.Request) -> Access:
        return self.visitors.access(session, request)

    async def capabilities(self, model: str, session: Session) -> Capabilities:
        return await self.backend.engines.capabilities(str(model or ""), session.access)

    async def choices(self, model: str, session: Session, panel: Sequence[Any]) -> Choices:
        return choices_from(model, await self.capabilities(model, session), list(panel))

    # ---- answers in the making
    def newest(self, session: Session, request: gr.Request) -> Run | None:
        """The open chat's newest run that is still in memory."""
        if session.conversation_id is None:
            return None
        return self.backend.runs.of_conversation(session.conversation_id, self.owner(request))

    def running(self, session: Session, request: gr.Request) -> Run | None:
        run = self.newest(session, request)
        return run if run is not None and not run.ended else None

    def unsaved(self, session: Session, request: gr.Request) -> Run | None:
        """The open chat's newest run where that is in memory only, and is going to be saved when it can be."""
        run = self.newest(session, request)
        return run if run is not None and run.storage_error is not None and not run.unstorable else None

    def not_busy(self, session: Session, request: gr.Request) -> None:
        """Raises `BadInput` while an answer is being written in the open chat."""
        if self.running(session, request) is not None:
            raise BadInput(W.busy, hint="Your text stays in the box.")

    # ---- showing
    async def shown(
        self,
        chat: Chat,
        session: Session,
        request: gr.Request,
        *,
        live_node: str | None = None,
        follow: bool = False,
        restore: bool = False,
        search: str | None = "",
    ) -> Updates:
        """Updates for the turns, the list of chats and the context meter."""
        conversation = await self.open_conversation(chat, session, request)
        capabilities = await self._all_capabilities(conversation, session)
        shelf = await self.backend.shelf.entries(self.owner(request))
        log = await drawing.in_thread(
            render.conversation_view, conversation, capabilities, live_node=live_node, follow=follow,
            empty_html=render.empty_page(demo=self.backend.settings.demo, recordings=shelf),
            notes={REPLAY + r.name: W.scripted if r.scripted else W.recorded_run for r in shelf},
        )  # fmt: skip
        session.live_node = live_node
        return {
            self.page.log: {**log, "restore": restore},
            self.page.history: await self.history(chat, session, request, search),
            self.page.context: await self._context(chat, conversation, capabilities),
        }

    async def finished_turn(self, run: Run, session: Session) -> dict[str, str] | None:
        """An ended answer as `shown` is going to show it, but for other versions of it; `None` for a recording's, which has a note."""
        if is_recording(run.model):
            return None
        try:
            known = await self.capabilities(run.model, session)
        except BackendError:
            known = None
        node = node_of(run)
        return render.turn(node.id, node.role, render.assistant_turn(node, known, last=True), node.content)

    async def _context(self, chat: Chat, conversation: Conversation | None, known: dict[str, Capabilities]) -> str:
        """The context meter of a chat as it was last asked, without a draft."""
        if conversation is None or conversation.model not in known:
            return ""
        choices = Choices.from_stored(conversation.model, conversation.parameters)
        return await context_meter(chat.request_for(conversation.path, "", (), choices), known[conversation.model])

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

    async def history(self, chat: Chat, session: Session, request: gr.Request, search: str | None = "") -> dict[str, Any]:
        """The list of chats; an empty box may be told as `None`."""
        found = await chat.history.conversations(self.owner(request), search=search or "")
        shelf = await self.backend.shelf.entries(self.owner(request))
        return history_view(found, session.conversation_id, searching=bool(search), recordings=shelf)

    async def replay(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """Starts a recorded run as a chat of its own; `Answers.resume` follows it."""
        return await self.play(str((event._data or {}).get("name")), session, request)

    async def play(self, name: str, session: Session, request: gr.Request) -> Updates:
        chat, owner = await self.backend.open(), self.owner(request)
        recording = next((r for r in await self.backend.shelf.entries(owner) if r.name == name), None)
        if recording is None:
            return {self.page.live: page_error(BadInput(W.no_such_chat, hint=W.reload))}
        try:
            access = self.access(session, request)
            run = await chat.send(owner, access, None, recording.prompt, Choices.from_stored(REPLAY + recording.name, {}))
            session.conversation_id = run.conversation_id
            self.backend.runs.watch(run, str(request.session_hash))
            failure = await run.storage_failure()
            if failure is not None:
                return {self.page.session: session}  # `resume` follows it, and says so at its end
            return {
                self.page.session: session,
                **await self.shown(chat, session, request, live_node=run.node_id, follow=True, restore=True),
            }
        except BackendError as error:
            return {self.page.live: page_error(error)}

    async def act(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A button in the turns that begins no answer of its own: versions, deleting, saving a recording, a model on this machine."""
        data = dict(event._data or {})
        which, owner = str(data.get("id") or ""), self.owner(request)
        try:
            chat = await self.backend.open()
            match str(data.get("op")):
                case "use-demo" | "use-tiny" as op:
                    return {self.page.model: HERE[op], **for_model(self.page.panel, await self.capabilities(HERE[op], session), {})}
                case "record":
                    return {self.page.files: self._recording(which, request)}
                case "select":
                    self.not_busy(session, request)
                    await chat.history.select(owner, which)
                case "delete":
                    self.not_busy(session, request)
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

    async def trace(self, node: str, request: gr.Request) -> str:
        """The server function behind a folded trace."""
        chat = await self.backend.open()
        return await chat.history.thinking_of(self.owner(request), node)

    def gone(self, request: gr.Request) -> None:
        """The tab was closed or reloaded."""
        self.views.forget(str(request.session_hash))
