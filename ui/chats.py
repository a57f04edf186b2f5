"""The list of chats and what is opened from it: loading the page, opening, beginning, renaming, pinning, deleting, saving."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from backend import Backend, BackendError, BadInput, Chat
from ui import render
from ui.chat import ChatTab, Updates, download, page_error
from ui.layout import Page
from ui.live import IDLE
from ui.parameters import for_model
from ui.text import WORDS as W
from ui.visitor import Session


class ChatList:
    """Handlers of the left panel and of the page's load."""

    def __init__(self, backend: Backend, page: Page, tab: ChatTab) -> None:
        self.backend = backend
        self.page = page
        self.tab = tab

    async def search(self, words: str, session: Session, request: gr.Request) -> dict[str, Any]:
        return await self.tab.history(await self.backend.open(), session, request, words)

    async def load(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """A page that was opened or reloaded: its chat again, and the answer in the making where there is one."""
        try:
            chat = await self.backend.open()
        except BackendError as error:
            yield {self.page.live: page_error(error)}
            return
        wanted = request.query_params.get("chat")
        async with aclosing(self.open_chat(chat, wanted, session, request)) as updates:
            async for update in updates:
                if self.backend.set_aside is not None and self.page.live in update:
                    note = BadInput(W.damaged_database.format(name=self.backend.set_aside.name), hint=str(self.backend.set_aside.parent))
                    update[self.page.live] = {**update[self.page.live], "error": render.page_error(note)}
                yield update

    async def open_chat(
        self, chat: Chat, conversation_id: str | None, session: Session, request: gr.Request
    ) -> AsyncGenerator[Updates, None]:
        """Shows a chat (none: the empty page) with its own model and settings, and follows its run if one goes on."""
        session.conversation_id = conversation_id
        updates: Updates = {self.page.live: IDLE, self.page.session: session}
        try:
            conversation = await self.tab.open_conversation(chat, session, request)
            if conversation is not None and conversation.model:
                updates[self.page.model] = conversation.model
                updates |= for_model(self.page.panel, await self.tab.capabilities(conversation.model, session), conversation.parameters)
        except BackendError:
            session.conversation_id = None
        run = self.backend.runs.of_conversation(session.conversation_id, self.tab.owner(request)) if session.conversation_id else None
        if run is not None and not run.ended:
            yield updates
            async with aclosing(self.tab.follow(chat, run, session, request)) as following:
                async for update in following:
                    yield update
            return
        self.tab.views.move(str(request.session_hash))
        yield {**updates, **await self.tab.shown(chat, session, request)}

    async def new_chat(self, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        async with aclosing(self.open_chat(await self.backend.open(), None, session, request)) as updates:
            async for update in updates:
                yield {**update, self.page.search: ""}

    async def pick(self, event: gr.EventData, session: Session, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """A click in the list of chats."""
        data = dict(event._data or {})
        op, which = str(data.get("op")), str(data.get("id") or "")
        chat, owner = await self.backend.open(), self.tab.owner(request)
        try:
            if op in ("open", "replay"):
                source = self.open_chat(chat, which, session, request) if op == "open" else self.tab.replay(which, session, request)
                async with aclosing(source) as updates:
                    async for update in updates:
                        yield update
                return
            if op in ("markdown", "json"):
                yield {self.page.files: await self._file(chat, owner, which, op)}
                return
            if op == "rename":
                await chat.history.rename(owner, which, str(data.get("title") or ""))
            elif op in ("pin", "unpin"):
                await chat.history.pin(owner, which, op == "pin")
            elif op == "delete":
                await self._delete_chat(chat, owner, which)
                if which == session.conversation_id:
                    async with aclosing(self.open_chat(chat, None, session, request)) as updates:
                        async for update in updates:
                            yield update
                    return
            yield {self.page.history: await self.tab.history(chat, session, request)}
        except BackendError as error:
            yield {
                self.page.live: {**IDLE, "error": render.page_error(error)},
                self.page.history: await self.tab.history(chat, session, request),
            }

    async def _delete_chat(self, chat: Chat, owner: str, conversation_id: str) -> None:
        run = self.backend.runs.of_conversation(conversation_id, owner)
        if run is not None:
            await self.backend.runs.stop(run)
        await chat.history.delete(owner, conversation_id)

    async def _file(self, chat: Chat, owner: str, conversation_id: str, form: str) -> dict[str, str]:
        text = await chat.history.export(owner, conversation_id, "json" if form == "json" else "markdown")
        name, kind = ("chat.json", "application/json") if form == "json" else ("chat.md", "text/markdown")
        return download(name, text, kind)
