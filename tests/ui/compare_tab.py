"""The Compare tab of one browser tab without a browser: calls its handlers as gradio would and takes their updates."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import gradio as gr

from tests.ui.tab import House, Tab
from ui.compare.asking import Asking
from ui.compare.background import Background
from ui.compare.judging import Judging
from ui.compare.model_judging import ModelJudging
from ui.compare.sets import Sets
from ui.compare.setup import Setup
from ui.compare.shelf import Shelf
from ui.compare.sweeps import Sweeps
from ui.compare.tab import CompareTab


class Compare:
    """`bench` and `live` are what the panes show; what the page's script would ask for (begun, over) is asked for."""

    def __init__(self, house: House, *, compare: str | None = None, saved: dict[str, Any] | None = None, **given: Any) -> None:
        self.tab = Tab(house, **given)
        self.session, self.request, self.saved = self.tab.session, self.tab.request, saved
        if compare:
            self.request.query_params["compare"] = compare
        self.parts = house.page.compare
        self.core = CompareTab(house.backend, self.parts, house.chat)
        self.asking, self.judging, self.setup, self.shelf = (kind(self.core) for kind in (Asking, Judging, Setup, Shelf))
        self.background = Background(self.core, self.parts.background)
        self.sets, self.sweeps, self.model_judging = (kind(self.background) for kind in (Sets, Sweeps, ModelJudging))
        self.shown: dict[Any, Any] = {}
        self.lives: list[dict[str, Any]] = []
        self._seen = self._over = None

    # ---- what a person sees
    @property
    def bench(self) -> dict[str, Any]:
        return self.shown[self.parts.bench]

    @property
    def panes(self) -> list[dict[str, Any]]:
        return self.bench["panes"]

    @property
    def live(self) -> dict[str, Any]:
        return self.shown.get(self.parts.live, {})

    @property
    def id(self) -> str:
        return self.session.side_by_side.comparison.id

    def turns(self, pane: int) -> list[str]:
        return [turn["role"] for turn in self.panes[pane]["turns"]]

    def last(self, pane: int) -> str:
        return self.panes[pane]["turns"][-1]["html"]

    # ---- what a person does
    async def load(self) -> Compare:
        self.take_one(await self.shelf.load(self.saved, self.session, self.request))
        return await self.take(self.asking.resume(self.session, self.request))

    async def load_only(self) -> Compare:
        """The page as it loads, without following what is being written."""
        self.take_one(await self.shelf.load(self.saved, self.session, self.request))
        return self

    async def send(self, text: str, on_update: Any = None) -> Compare:
        return await self.take(self.asking.send(text, self.session, self.request), on_update)

    async def ask(self, op: str, pane: int, **data: Any) -> Compare:
        self.take_one(await self.asking.act(event(op=op, place=pane, **data), self.session, self.request))
        return await self.take(self.asking.resume(self.session, self.request))

    async def arrange(self, op: str, pane: int) -> Compare:
        self.take_one(await self.setup.arrange(event(op=op, place=pane), self.session, self.request))
        return self

    async def add(self, model: str = "", **values: Any) -> Compare:
        """One pane more, with a model and parameters."""
        self.take_one(await self.setup.add(self.session, self.request))
        return await self.choose(len(self.panes) - 1, model, **values) if model or values else self

    async def choose(self, pane: int, model: str = "", **values: Any) -> Compare:
        self.take_one(await self.setup.focus(event(place=pane), self.session, self.request))
        if model:
            self.take_one(await self.setup.choose_model(model, self.session, self.request))
        if values:
            panel = self.parts.panel
            told = [values.get(name, self._value(getattr(panel, name))) for name in panel.__dataclass_fields__]
            self.take_one(await self.setup.change(self.session, self.request, *told))
        self.take_one(await self.setup.focus(event(place=-1), self.session, self.request))
        return self

    async def vote(self, verdict: str, tag: str = "") -> Compare:
        self.take_one(await self.judging.vote(event(verdict=verdict, tag=tag), self.session, self.request))
        return self

    async def blind(self) -> Compare:
        self.take_one(await self.judging.blind(self.session, self.request))
        return self

    async def look(self, view: str, **data: Any) -> str:
        return await self.judging.look(event(view=view, **data), self.session, self.request)

    async def stop(self) -> None:
        await self.asking.stop(self.session, self.request)

    async def quick(self) -> None:
        """Has every pane answer in a few words, whatever it is asked."""
        for pane in range(len(self.panes)):
            await self.choose(pane, system="[[think:2]][[words:3]]")

    async def follow_to_the_end(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Asks to follow, as the page does at each end, until nothing is written and all is shown."""
        comparing, busy = await self.core.backend.side_by_side(), True
        while busy and not enough():
            busy = comparing.busy("local", *self.session.side_by_side.comparison.panes)
            await self.take(self.asking.resume(self.session, self.request))

    async def act(self, op: str, pane: int, **data: Any) -> None:
        """A button of a pane, without following what it began."""
        self.take_one(await self.asking.act(event(op=op, place=pane, **data), self.session, self.request))

    # ---- inside
    def _value(self, component: Any) -> Any:
        shown = self.shown.get(component)
        return shown["value"] if isinstance(shown, dict) and "value" in shown else component.value

    async def take(self, source: AsyncGenerator[dict[Any, Any], None], on_update: Any = None) -> Compare:
        async with aclosing(source) as updates:
            async for update in updates:
                self.take_one(update)
                await self._fired()
                if on_update is not None and await on_update(self):
                    break
        return self

    async def _fired(self) -> None:
        """What panes_live.js asks for as it sees a value."""
        live = self.live
        if live.get("view") and live["view"] != self._seen:
            self._seen = live["view"]
            if live.get("begins") and not live.get("over"):
                self.take_one(await self.asking.begun(self.session, self.request))
        if live.get("over") and live["view"] != self._over:
            self._over = live["view"]
            self.take_one(await self.asking.over(self.session, self.request))

    def take_one(self, update: dict[Any, Any]) -> None:
        for component, value in update.items():
            if value == gr.skip():
                continue
            if component is self.parts.live:
                self.lives.append(value)
            before = self.shown.get(component)
            if isinstance(value, dict) and value.get("__type__") == "update":
                value = {**(before if isinstance(before, dict) else {}), **value}
            self.shown[component] = value


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)
