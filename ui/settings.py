"""The right panel's events: choosing a model, presets, the exact request, and connecting a key or a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import SecretStr

from backend import Backend, BackendError, BadInput, Capabilities, ChatRequest, Choices, Server, snippets, warm_up
from ui import render
from ui.chat import ChatTab
from ui.layout import Page, picker
from ui.markup import esc
from ui.parameters import BUILT_IN_PRESETS, checkpoint_of, choices_from, for_model
from ui.text import WORDS as W
from ui.updates import Updates, context_meter, download, page_error
from ui.visitor import Session


class Settings:
    """Handlers of the settings panel."""

    def __init__(self, backend: Backend, page: Page, chat: ChatTab) -> None:
        self.backend = backend
        self.page = page
        self.chat = chat

    # ---- model and presets
    async def choose_model(self, model: str, session: Session) -> Updates:
        """Fits the panel to another model; the values become its recommended ones."""
        try:
            capabilities = await self.chat.capabilities(model, session)
        except BackendError as error:
            return {self.page.connect_note: render.error_card(error.message, error.hint, (), elem_id=None)}
        return {**for_model(self.page.panel, capabilities, {}), self.page.panel.preset: W.preset_recommended}

    async def switch_checkpoint(self, wanted: str, model: str, session: Session) -> Updates:
        """Instruct and Thinking are two models: the switch between them chooses the other one."""
        try:
            capabilities = await self.chat.capabilities(model, session)
        except BackendError as error:
            return self._note(error)
        if capabilities.sibling is None or wanted == checkpoint_of(capabilities):
            return {self.page.model: gr.skip()}
        return {self.page.model: capabilities.sibling, **await self.choose_model(capabilities.sibling, session)}

    async def apply_preset(self, name: str, saved: dict[str, Any], model: str, session: Session) -> Updates:
        values = BUILT_IN_PRESETS.get(name)
        if values is None:
            values = (saved or {}).get(name)
        if values is None:
            return {self.page.panel.preset: gr.skip()}
        try:
            return for_model(self.page.panel, await self.chat.capabilities(model, session), dict(values))
        except BackendError as error:
            return self._note(error)

    async def save_preset(self, name: str, saved: dict[str, Any], model: str, session: Session, *panel: Any) -> Updates:
        """Keeps the panel's values under the name typed into the preset box, in this browser."""
        if not (name or "").strip() or name in BUILT_IN_PRESETS:
            raise gr.Error(W.preset_needs_name, duration=4)
        try:
            stored = choices_from(model, await self.chat.capabilities(model, session), list(panel)).stored()
        except BackendError as error:
            raise gr.Error(f"{error.message} {error.hint}", duration=6) from None
        kept = {**(saved or {}), name.strip(): stored}
        return {
            self.page.presets: kept,
            self.page.panel.preset: gr.update(choices=[*BUILT_IN_PRESETS, *kept], value=name.strip()),
        }

    def delete_preset(self, name: str, saved: dict[str, Any]) -> Updates:
        kept = {k: v for k, v in (saved or {}).items() if k != name}
        return {
            self.page.presets: kept,
            self.page.panel.preset: gr.update(choices=[*BUILT_IN_PRESETS, *kept], value=W.preset_recommended),
        }

    # ---- the request
    async def request(self, composer: dict[str, Any], model: str, session: Session, request: gr.Request, *panel: Any) -> Any:
        """What would be sent now, or was sent last, with its snippets."""
        try:
            capabilities = await self.chat.capabilities(model, session)
            choices = choices_from(model, capabilities, list(panel))
            chat = await self.backend.open()
            conversation = await self.chat.open_conversation(chat, session, request)
            path = list(conversation.path) if conversation else []
            draft = (composer or {}).get("text") or ""
            if not draft.strip() and path and path[-1].role == "assistant":
                path = path[:-1]
            if not path and not draft.strip():
                return {"note": W.request_empty, "parts": []}
            wanted = chat.request_for(path, draft, (), choices)
            return await self._shown(wanted, capabilities, model, session)
        except BackendError as error:
            return {"note": f"{error.message} {error.hint}", "parts": []}

    async def request_of(self, event: gr.EventData, session: Session, request: gr.Request) -> Any:
        """What was sent for an answer: the turns above it, with the settings it was asked with."""
        try:
            chat = await self.backend.open()
            conversation = await self.chat.open_conversation(chat, session, request)
            nodes = conversation.nodes if conversation else {}
            node = nodes.get(str((event._data or {}).get("id")))
            if conversation is None or node is None or node not in conversation.path or not node.model:
                raise BadInput(W.no_such_chat, hint=W.reload)
            above = conversation.path[: conversation.path.index(node)]
            wanted = chat.request_for(above, "", (), Choices.from_stored(node.model, node.parameters or {}))
            return await self._shown(wanted, await self.chat.capabilities(node.model, session), node.model, session)
        except BackendError as error:
            return {"note": f"{error.message} {error.hint}", "parts": []}

    async def _shown(self, wanted: ChatRequest, capabilities: Capabilities, model: str, session: Session) -> dict[str, Any]:
        parts = await asyncio.to_thread(snippets, wanted, capabilities, self.backend.engines.place(model, session.access))
        return {"note": W.request_note if parts else W.request_none, "parts": [{"title": p.title, "text": p.text} for p in parts]}

    async def context(self, composer: dict[str, Any], model: str, session: Session, request: gr.Request, *panel: Any) -> Any:
        """The context meter while a draft is typed: the open branch with it. Who types is soon going to ask."""
        draft = (composer or {}).get("text") or ""
        if draft:
            warm_up(str(model or ""))
        elif self.chat.running(session, request) is not None:
            return gr.skip()  # it was just sent: the turns bring the meter along
        try:
            capabilities = await self.chat.capabilities(model, session)
            choices = choices_from(model, capabilities, list(panel))
            chat = await self.backend.open()
            conversation = await self.chat.open_conversation(chat, session, request)
            wanted = chat.request_for(conversation.path if conversation else (), draft, (), choices)
        except BackendError:
            return ""
        return await context_meter(wanted, capabilities)

    # ---- connecting
    async def use_key(self, key: str, region: str, session: Session, current: str) -> Updates:
        """Takes a DashScope key into this session's memory once the region has accepted it."""
        if not (key or "").strip():
            return self._note(BadInput(W.connect_key_empty, hint=W.connect_intro))
        access = replace(session.access, dashscope_key=SecretStr(key.strip()), dashscope_region=region)
        try:
            await self.backend.engines.check_dashscope_key(access)
        except BackendError as error:
            return self._note(error)
        session.access = access
        wanted = current if current.startswith("dashscope:") else "dashscope:qwen3-next-80b-a3b-thinking"
        return {
            **await self._connected(session, wanted, W.connect_ok_key.format(region=region.title())),
            self.page.dashscope_key: "",
        }

    async def add_server(self, url: str, key: str, session: Session) -> Updates:
        """Asks a server for its models and puts them into the picker."""
        try:
            server = Server.at(url or "", key or "")
            access = session.access.with_server(server)
            models = await self.backend.engines.list_models(server)
        except BackendError as error:
            return self._note(error)
        session.access = access
        wanted = f"server:{server.name}/{models[0].id}" if models else None
        note = W.connect_ok.format(where=server.name, n=len(models)) + (W.connect_cut if models.cut else "")
        updates = await self._connected(session, wanted, note)
        return {**updates, self.page.server_key: ""}

    async def _connected(self, session: Session, model: str | None, note: str) -> Updates:
        choices = await self.backend.engines.choices(session.access)
        updates: Updates = {self.page.session: session, self.page.connect_note: f"<p class='hint'>{esc(note)}</p>"}
        if model is None:
            return {**updates, self.page.model: gr.update(choices=picker(choices, choices[0].name))}
        capabilities = await self.chat.capabilities(model, session)
        return {
            **updates,
            **for_model(self.page.panel, capabilities, {}),
            self.page.model: gr.update(choices=picker(choices, model), value=model),
        }

    def _note(self, error: BackendError) -> Updates:
        return {self.page.connect_note: render.error_card(error.message, error.hint, (), elem_id="connect-error")}

    # ---- files of chats
    async def import_chats(self, path: str, session: Session, request: gr.Request) -> Updates:
        chat, owner = await self.backend.open(), self.chat.owner(request)
        try:
            file = Path(path)
            text = (await asyncio.to_thread(file.read_bytes)).decode("utf-8")
            chat.keep(owner, self.chat.access(session, request), text)
            if file.suffix.lower() == ".jsonl":  # a recorded run, saved from here
                await self.backend.shelf.add(owner, text, file.name)
            else:
                await chat.history.import_text(owner, text, file.name)
        except UnicodeDecodeError:
            error: BackendError = BadInput("This file is not UTF-8 text.", hint="Choose a JSON or Markdown file saved from this page.")
            return {self.page.live: page_error(error)}
        except BackendError as raised:
            return {self.page.live: page_error(raised)}
        return {self.page.history: await self.chat.history(chat, session, request)}

    async def export_all(self, request: gr.Request) -> dict[str, str]:
        chat = await self.backend.open()
        return download("chats.json", await chat.history.export_all(self.chat.owner(request)), "application/json")
