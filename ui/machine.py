"""The part of the right panel that is about models on this machine: a plan before a load, what is in memory, and giving it back."""

from __future__ import annotations

import gradio as gr

from backend import Backend, BackendError, BadInput
from ui import render
from ui.chat import ChatTab
from ui.layout import Page, picker
from ui.markup import esc
from ui.parameters import for_model
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session


class Machine:
    """Handlers of that part. It is not drawn on a public host."""

    def __init__(self, backend: Backend, page: Page, chat: ChatTab) -> None:
        self.backend = backend
        self.page = page
        self.chat = chat

    def look(self) -> str:
        """What is in memory now."""
        engine = self.backend.engines.machine()
        held = engine.held() if engine is not None else None
        if held is None:
            return _hint(W.machine_none)
        guesses = f" {W.machine_guesses.format(guesses=held.guesses)}" if held.guesses else ""
        return _hint(W.machine_held.format(name=held.name, memory=held.memory, steps=held.steps) + guesses)

    async def plan(self, name: str) -> str:
        """What loading a model would take."""
        try:
            engine = self.backend.engines.machine()
            assert engine is not None  # nosec B101: for the type checker
            return _hint(await engine.plan(_model(name)))
        except BackendError as error:
            return render.error_card(error.message, error.hint, (), elem_id="machine-error")

    async def use(self, name: str, session: Session) -> Updates:
        """Puts a model into the picker and selects it, if it can be loaded; the first question loads it."""
        try:
            model = f"local:{_model(name)}"
            engine = self.backend.engines.machine()
            assert engine is not None  # nosec B101: for the type checker
            planned = await engine.plan(_model(name))
            capabilities = await self.chat.capabilities(model, session)
        except BackendError as error:
            return {self.page.machine_note: render.error_card(error.message, error.hint, (), elem_id="machine-error")}
        choices = await self.backend.engines.choices(session.access)
        return {
            **for_model(self.page.panel, capabilities, {}),
            self.page.model: gr.update(choices=picker(choices, model), value=model),
            self.page.machine_note: _hint(planned),
        }

    async def unload(self) -> str:
        engine = self.backend.engines.machine()
        if engine is None or engine.held() is None:
            return _hint(W.machine_loading if engine is not None and engine.busy() else W.machine_none)
        await engine.unload()
        return _hint(W.machine_freed)


def _model(name: str) -> str:
    model = (name or "").strip().removeprefix("local:")
    if not model:
        raise BadInput(W.machine_empty, hint=W.machine_examples)
    return model


def _hint(text: str) -> str:
    return f"<p class='hint'>{esc(text)}</p>"
