"""The list of chats and what is opened from it: loading the page, opening, beginning, renaming, pinning, deleting, saving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from backend import Backend, BackendError, BadInput, Chat
from ui import render
from ui.chat import ChatTab, is_recording
from ui.layout import Page, picker
from ui.live import IDLE
from ui.parameters import for_model
from ui.text import WORDS as W
from ui.updates import Updates, download, page_error
from ui.visitor import Session, from_here


class ChatList:
    """Handlers of the left panel and of the page's load."""

    def __init__(self, backend: Backend, page: Page, tab: ChatTab) -> None:
        self.backend = backend
        self.page = page
        self.tab = tab

    async def search(self, words: str | None, session: Session, request: gr.Request) -> dict[str, Any]:
        return await self.tab.history(await self.backend.open(), session, request, words)

    async def load(self, session: Session, request: gr.Request) -> Updates:
        """A page that was opened or reloaded: its chat again. `Answers.resume` then follows an answer that is being written."""
        session.access = replace(session.access, owner=self.tab.owner(request))
        try:
            chat = await self.backend.open()
            wanted = session.conversation_id or request.query_params.get("chat")  # one in which something was asked already stays
            updates = await self.open_chat(chat, wanted, session, request)
        except BackendError as error:
            return {self.page.live: page_error(error)}
        notes = await self._notes(request)
        if notes:
            updates[self.page.live] = {**updates[self.page.live], "error": "".join(map(render.page_error, notes))}
        return updates

    async def _notes(self, request: gr.Request) -> list[BackendError]:
        """What is to be known of the history. Where it lies on this machine is for whoever sits at it; the log tells it, too."""
        public = self.backend.settings.public
        notes: list[BackendError] = []
        if (aside := self.backend.set_aside) is not None:
            hint = str(aside.parent) if from_here(request) and not public else ""
            notes.append(BadInput(W.damaged_database.format(name=aside.name), hint=hint))
        if not public and await self.backend.shared_history():
            notes.append(BadInput(W.shared_history, hint=W.shared_history_hint))
        return notes

    async def open_chat(self, chat: Chat, conversation_id: str | None, session: Session, request: gr.Request) -> Updates:
        """Shows a chat (none: the empty page); its script then asks `restore` for the chat's own model and settings."""
        session.conversation_id = conversation_id
        self.tab.views.move(str(request.session_hash))
        newest = self.tab.newest(session, request)
        if newest is not None:
            await newest.storage_failure()  # a question that was just asked may be on its way to the database
        live_node = newest.node_id if newest is not None and not newest.ended else None
        try:
            shown = await self.tab.shown(chat, session, request, live_node=live_node, restore=True)
        except BackendError:  # no such chat (any more), or not yet: what is in memory only is shown by `resume`
            unsaved = self.tab.unsaved(session, request)
            session.conversation_id = None
            shown = await self.tab.shown(chat, session, request)
            session.conversation_id = unsaved.conversation_id if unsaved is not None else None
        return {self.page.live: {**IDLE, "left": True}, self.page.session: session, **shown}

    async def restore(self, model: str, session: Session, request: gr.Request) -> Updates:
        """The open chat's own model and settings in the panel. Where its engine is gone (a server taken away) the panel stays, and
        in a new chat, too, unless it was a recording's."""
        try:
            conversation = await self.tab.open_conversation(await self.backend.open(), session, request)
            if conversation is None and is_recording(model):
                choices = await self.backend.engines.choices(session.access)
                wanted = self.backend.engines.default_model(choices)
                shown = gr.update(choices=picker(choices, wanted), value=wanted)
                return {self.page.model: shown, **for_model(self.page.panel, await self.tab.capabilities(wanted, session), {})}
            if conversation is not None and (wanted := conversation.model):
                capabilities = await self.tab.capabilities(wanted, session)
                shown = wanted
                if is_recording(wanted):  # the only ones that the picker does not list
                    choices = await self.backend.engines.choices(session.access)
                    shown = gr.update(choices=picker(choices, wanted, f"{capabilities.title} · {capabilities.engine_title}"), value=wanted)
                return {self.page.model: shown, **for_model(self.page.panel, capabilities, conversation.parameters)}
        except BackendError:
            pass
        return {self.page.model: gr.skip()}

    async def new_chat(self, session: Session, request: gr.Request) -> Updates:
        return {**await self.open_chat(await self.backend.open(), None, session, request), self.page.search: ""}

    async def pick(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A click in the list of chats."""
        data = dict(event._data or {})
        op, which = str(data.get("op")), str(data.get("id") or "")
        chat, owner = await self.backend.open(), self.tab.owner(request)
        try:
            match op:
                case "open":
                    return await self.open_chat(chat, which, session, request)
                case "replay":
                    return await self.tab.play(which, session, request)
                case "markdown" | "json":
                    return {self.page.files: await self._file(chat, owner, which, op)}
                case "rename":
                    await chat.history.rename(owner, which, str(data.get("title") or ""))
                case "pin" | "unpin":
                    await chat.history.pin(owner, which, op == "pin")
                case "delete":
                    await self._delete_chat(chat, owner, which)
                    if which == session.conversation_id:
                        return await self.open_chat(chat, None, session, request)
            return {self.page.history: await self.tab.history(chat, session, request)}
        except BackendError as error:
            return {self.page.live: page_error(error), self.page.history: await self.tab.history(chat, session, request)}

    async def adopt(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A pane's conversation as a chat of its own, opened; the pane keeps its own."""
        comparison, owner = session.side_by_side.comparison, self.tab.owner(request)
        try:
            if comparison is None:
                raise BadInput(W.no_such_chat, hint=W.reload)
            if comparison.hidden:
                raise BadInput(W.blind_no_chat, hint="")
            pane, chat = comparison.pane(int((event._data or {}).get("place", 0))), await self.backend.open()
            text = await chat.history.export(owner, pane.conversation_id, "json", stays=True)
            chat.keep(owner, self.tab.access(session, request), text)
            copied = await chat.history.import_text(owner, text, "chat.json")
            return await self.open_chat(chat, copied[0], session, request)
        except BackendError as error:
            return {self.page.live: page_error(error)}

    async def _delete_chat(self, chat: Chat, owner: str, conversation_id: str) -> None:
        run = self.backend.runs.of_conversation(conversation_id, owner)
        if run is not None:
            await self.backend.runs.stop(run)
        await chat.history.delete(owner, conversation_id)

    async def _file(self, chat: Chat, owner: str, conversation_id: str, form: str) -> dict[str, str]:
        text = await chat.history.export(owner, conversation_id, "json" if form == "json" else "markdown")
        name, kind = ("chat.json", "application/json") if form == "json" else ("chat.md", "text/markdown")
        return download(name, text, kind)
