"""The events of setting up: which panes there are, each pane's model and parameters in the drawer, set-ups kept by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from backend import MOST_PANES, BackendError, BadInput, Choices, Comparison, Pane, pane_from
from ui import render
from ui.compare.frame import PRESETS, drawer_title
from ui.compare.tab import CHECKPOINTS, HERE, CompareTab, told
from ui.layout import picker
from ui.parameters import BUILT_IN_PRESETS, checkpoint_of, choices_from, for_model
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session


class Setup:
    """Handlers of the drawer and of the panes' order."""

    def __init__(self, tab: CompareTab) -> None:
        self.tab = tab
        self.parts = tab.parts

    # ---- panes
    @told
    async def arrange(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """A pane is taken out or moved."""
        data = dict(event._data or {})
        side = session.side_by_side
        comparison, place = self.tab.open(session), int(data.get("place", 0))
        match str(data.get("op")):
            case "remove":
                changed = comparison.without(place)
                comparing = await self.tab.backend.side_by_side()
                await comparing.stop(self.tab.owner(request), comparison, place)
            case "left":
                changed = comparison.swapped(place, place - 1)
            case "right":
                changed = comparison.swapped(place, place + 1)
            case _:
                return {self.parts.bench: gr.skip()}
        side.focus = None
        return await self._took(changed, session, request, anew=True)

    @told
    async def add(self, session: Session, request: gr.Request) -> Updates:
        """One pane more, with the last one's settings: the same model twice is where most comparisons begin."""
        comparison = self.tab.open(session)
        return await self._took(comparison.with_pane(Pane(comparison.panes[-1].choices)), session, request, anew=True)

    async def _took(self, changed: Comparison, session: Session, request: gr.Request, *, anew: bool = False) -> Updates:
        """Makes `changed` the open comparison; one that was asked is stored, too."""
        session.side_by_side.comparison = changed
        if any(pane.asked for pane in changed.panes):
            comparing = await self.tab.backend.side_by_side()
            if anew:
                await self.tab.leave_to_live(comparing, session, request)
            await comparing.save(self.tab.owner(request), changed)
        return {self.parts.saved: self.tab.saved(session), **await self.tab.bench(session, request)}

    # ---- one pane's settings
    @told
    async def focus(self, event: gr.EventData, session: Session, request: gr.Request) -> Updates:
        """Opens the drawer on a pane, or closes it (`place` -1)."""
        side, comparison = session.side_by_side, self.tab.open(session)
        place = int((event._data or {}).get("place", -1))
        if place < 0 or place >= len(comparison.panes):
            side.focus = None
            return await self.tab.bench(session, request)
        if comparison.hidden:
            raise BadInput(W.blind_locked, hint="")
        side.focus = place
        return {**await self._drawer(session), **await self.tab.bench(session, request)}

    async def _drawer(self, session: Session) -> Updates:
        side, comparison = session.side_by_side, self.tab.open(session)
        choices = comparison.pane(side.focus or 0).choices
        listed = await self.tab.backend.engines.choices(session.access)
        title = drawer_title(side.focus or 0)
        updates: Updates = {
            self.parts.settings_title: title,
            self.parts.model: gr.update(choices=picker(listed, choices.model), value=choices.model),
            self.parts.link: side.linked,
        }
        try:
            capabilities = await self.tab.chat.capabilities(choices.model, session)
            updates |= for_model(self.parts.panel, capabilities, choices.stored())
        except BackendError as error:
            updates[self.parts.settings_title] = title + render.error_card(error.message, error.hint, (), elem_id=None)
        return updates

    @told
    async def choose_model(self, model: str, session: Session, request: gr.Request) -> Updates:
        """Another model in the pane whose settings are open, with its recommended values."""
        side = session.side_by_side
        if side.focus is None:
            return {self.parts.bench: gr.skip()}
        comparison = self.tab.open(session)
        system = comparison.pane(side.focus).choices.system
        changed = comparison.changed(side.focus, await self.tab.recommended(str(model or ""), session, system=system))
        updates = await self._took(changed, session, request)
        return {**updates, **await self._drawer(session)}

    @told
    async def switch_checkpoint(self, wanted: str, session: Session, request: gr.Request) -> Updates:
        """Instruct and Thinking are two models: the switch between them chooses the other one."""
        side = session.side_by_side
        if side.focus is None:
            return {self.parts.bench: gr.skip()}
        capabilities = await self.tab.chat.capabilities(self.tab.open(session).pane(side.focus).choices.model, session)
        if capabilities.sibling is None or wanted == checkpoint_of(capabilities):
            return {self.parts.bench: gr.skip()}
        return await self.choose_model(capabilities.sibling, session, request)

    @told
    async def apply_preset(self, name: str, presets: dict[str, Any] | None, session: Session, request: gr.Request) -> Updates:
        """One of the chat's presets of parameters."""
        side, values = session.side_by_side, BUILT_IN_PRESETS.get(name)
        values = (presets or {}).get(name) if values is None else values
        if side.focus is None or values is None:
            return {self.parts.bench: gr.skip()}
        comparison = self.tab.open(session)
        before = comparison.pane(side.focus).choices
        choices = await self.tab.recommended(before.model, session, **{"system": before.system, **values})
        return {**await self._took(self._set(comparison, side.focus, choices, session), session, request), **await self._drawer(session)}

    @told
    async def change(self, session: Session, request: gr.Request, *panel: Any) -> Updates:
        """What the drawer says now, taken into its pane; with linked parameters into every pane."""
        side = session.side_by_side
        if side.focus is None:
            return {self.parts.bench: gr.skip()}
        comparison = self.tab.open(session)
        model = comparison.pane(side.focus).choices.model
        choices = choices_from(model, await self.tab.chat.capabilities(model, session), list(panel))
        if choices == comparison.pane(side.focus).choices:
            return {self.parts.bench: gr.skip()}
        return await self._took(self._set(comparison, side.focus, choices, session), session, request)

    @staticmethod
    def _set(comparison: Comparison, place: int, choices: Choices, session: Session) -> Comparison:
        changed = comparison.changed(place, choices)
        if session.side_by_side.linked:
            for other, pane in enumerate(changed.panes):
                changed = changed.changed(other, replace(choices, model=pane.choices.model))
        return changed

    async def link(self, on: bool, session: Session, request: gr.Request, *panel: Any) -> Updates:
        """Linking takes this pane's parameters into all at once."""
        session.side_by_side.linked = bool(on)
        return await self.change(session, request, *panel) if on else {self.parts.bench: gr.skip()}

    # ---- set-ups by name
    @told
    async def use_setup(self, name: str, saved: dict[str, Any] | None, session: Session, request: gr.Request) -> Updates:
        """A comparison of its own with the panes of a set-up."""
        stored = (saved or {}).get(name)
        panes = tuple(pane_from(each) for each in stored)[:MOST_PANES] if stored else await self._built_in(name, session)
        if not panes:
            raise BadInput(W.setup_needs_name, hint="")
        session.side_by_side.focus = None
        session.side_by_side.comparison = Comparison(panes, blind=self.tab.open(session).blind)
        return {self.parts.saved: self.tab.saved(session), **await self.tab.bench(session, request)}

    async def _built_in(self, name: str, session: Session) -> tuple[Pane, ...]:
        if name == W.setup_checkpoints:
            return await self.tab.panes(CHECKPOINTS, session)
        if name == W.setup_here:
            return await self.tab.panes(HERE, session)
        if name == W.setup_temperatures:
            model = self.tab.open(session).panes[session.side_by_side.focus or 0].choices.model
            return tuple([Pane(await self.tab.recommended(model, session, temperature=value)) for value in (0.2, 1.0)])
        return ()

    def save_setup(self, name: str, saved: dict[str, Any] | None, session: Session) -> Updates:
        if not (name or "").strip() or name in PRESETS:
            raise gr.Error(W.setup_needs_name, duration=4)
        kept = {**(saved or {}), name.strip(): [pane.stored() for pane in self.tab.open(session).panes]}
        return {self.parts.setups: kept, self.parts.setup: gr.update(choices=[*PRESETS, *kept], value=name.strip())}

    def delete_setup(self, name: str, saved: dict[str, Any] | None) -> Updates:
        kept = {k: v for k, v in (saved or {}).items() if k != name}
        return {self.parts.setups: kept, self.parts.setup: gr.update(choices=[*PRESETS, *kept], value=PRESETS[0])}

    def list_setups(self, saved: dict[str, Any] | None) -> Any:
        return gr.update(choices=[*PRESETS, *(saved or {})])
