"""One browser tab without a browser: holds what the page shows, calls the page's handlers as gradio would, takes their updates."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from backend import Backend, load_settings
from backend.catalogue import catalogue
from ui import layout
from ui.answers import Answers
from ui.chat import ChatTab
from ui.chats import ChatList
from ui.layout import Page
from ui.settings import Settings
from ui.visitor import COOKIE, Session

THINKING = "dashscope:qwen3-next-80b-a3b-thinking"
KEY = "sk-secret-key"
INSTRUCT = "dashscope:qwen3-next-80b-a3b-instruct"
_numbers = itertools.count(1)


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@lru_cache(maxsize=1)
def the_page() -> Page:
    """The components, drawn once: they are only keys here, and hold the panel's first values."""
    with gr.Blocks():
        return layout.build(
            [],
            THINKING,
            catalogue().capabilities("dashscope", THINKING.partition(":")[2]),
            lambda node: [],
            load_settings(),
            describe_files=lambda files: [],
        )


class House:
    """A backend with its page's components; `tab()` opens a tab on it, on a public host of a visitor with that token in their cookie."""

    def __init__(self, *, shared: bool = False, **settings: Any) -> None:
        self.backend = Backend(load_settings(**{"demo": False, **settings}), shared=shared)

        self.page = the_page()
        self.chat = ChatTab(self.backend, self.page)
        self.answers = Answers(self.backend, self.page, self.chat)
        self.chats = ChatList(self.backend, self.page, self.chat)
        self.settings = Settings(self.backend, self.page, self.chat)

    def tab(self, **given: Any) -> Tab:
        return Tab(self, **given)


class Tab:
    """`shown` is the present value of every component that something was sent to, `sent` all updates in their order."""

    def __init__(self, house: House, *, visitor: str | None = None, chat: str | None = None, model: str = THINKING) -> None:
        self.house, self.page, self.session, self.model = house, house.page, Session(), model
        query = {"chat": chat} if chat else {}
        cookies = {COOKIE: house.chat.visitors.signed(visitor)} if visitor else {}
        self.request = SimpleNamespace(session_hash=f"tab{next(_numbers)}", cookies=cookies, query_params=query)
        self.request.request = SimpleNamespace(scope={"client": ("127.0.0.1", 5), "headers": [(b"host", b"127.0.0.1:7860")]})
        house.backend.runs.arrive(self.request.session_hash)  # as its connection does
        self.values = {component: component.value for component in self.page.panel.components()}
        self.shown: dict[Any, Any] = {}
        self.sent: list[dict[Any, Any]] = []
        self.words: str | None = ""
        self._seen = self._over = None

    # ---- what a person sees
    @property
    def live(self) -> dict[str, Any]:
        return self.shown[self.page.live]

    @property
    def turns(self) -> list[dict[str, Any]]:
        return self.shown[self.page.log]["turns"]

    @property
    def last(self) -> dict[str, Any]:
        return self.turns[-1]

    @property
    def roles(self) -> list[str]:
        return [turn["role"] for turn in self.turns]

    @property
    def titles(self) -> list[str]:
        return [
            entry["title"] for group in self.shown[self.page.history]["groups"] for entry in group["entries"] if entry["kind"] == "open"
        ]

    @property
    def note(self) -> str:
        return self.shown[self.page.connect_note]

    def panel(self) -> list[Any]:
        return [self.values[component] for component in self.page.panel.components()]

    def set(self, name: str, value: Any) -> None:
        self.values[getattr(self.page.panel, name)] = value

    @property
    def lives(self) -> list[dict[str, Any]]:
        """All values of the live part in their order."""
        return [update[self.page.live] for update in self.sent if self.page.live in update]

    # ---- what a person does
    async def send(self, text: str, *, files: list[str] | None = None, on_update: Any = None) -> Tab:
        return await self.take(self.sending(text, files=files), on_update)

    def sending(self, text: str, *, files: list[str] | None = None) -> AsyncGenerator[dict[Any, Any], None]:
        uploaded = [{"path": file, "orig_name": Path(file).name} for file in files or []]
        return self.house.answers.send({"text": text, "files": uploaded}, self.model, self.session, self.request, *self.panel())

    async def act(self, op: str, node: str = "", *, on_update: Any = None, **data: Any) -> Tab:
        event = SimpleNamespace(_data={"op": op, "id": node, **data})
        if op in ("edit", "regenerate", "continue"):
            return await self.take(self.house.answers.restart(event, self.model, self.session, self.request, *self.panel()), on_update)
        if op == "replay":
            self.take_one(await self.house.chat.replay(event, self.session, self.request))
            return await self._resume(on_update)
        self.take_one(await self.house.chat.act(event, self.session, self.request))
        return self

    async def pick(self, op: str, chat: str | None = None, **data: Any) -> Tab:
        event = SimpleNamespace(_data={"op": op, "id": chat, **data})
        self.take_one(await self.house.chats.pick(event, self.session, self.request))
        return await self._resume(None)

    async def load(self, *, on_update: Any = None) -> Tab:
        self.take_one(await self.house.chats.load(self.session, self.request))
        return await self._resume(on_update)

    async def new_chat(self) -> Tab:
        self.take_one(await self.house.chats.new_chat(self.session, self.request))
        return await self._resume(None)

    async def _resume(self, on_update: Any) -> Tab:
        log = self.shown.get(self.page.log, {})
        if log.get("restore"):
            self.take_one(await self.house.chats.restore(self.model, self.session, self.request))
        return await self.take(self.house.answers.resume(self.session, self.request), on_update)

    async def search(self, words: str | None) -> Tab:
        self.words = words
        self.take_one({self.page.history: await self.house.chats.search(words, self.session, self.request)})
        return self

    async def stop(self) -> None:
        await self.house.answers.stop(self.session, self.request)

    def close(self) -> None:
        self.house.chat.gone(self.request)
        self.house.backend.runs.leave(self.request.session_hash)

    async def take(self, source: AsyncGenerator[dict[Any, Any], None], on_update: Any = None) -> Tab:
        """Takes updates to their end; `on_update(tab)` is awaited after each from when the turns show, and ends it early by True."""
        events: list[asyncio.Task[None]] = []
        async with aclosing(source) as updates:
            async for update in updates:
                self.take_one(update)
                events += self._fired(list(events))
                if on_update is not None and self.page.log in self.shown and await on_update(self):
                    break
        for event in events:
            await event
        return self

    def _fired(self, before: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
        """What the live component's script asks for as it sees a value: see `tell` in live.js."""
        live, asked = self.shown.get(self.page.live, {}), []
        if live.get("view") and live["view"] != self._seen:
            self._seen = live["view"]
            if live.get("sent"):
                self.take_one({self.page.composer: {"text": "", "files": []}})
            if live.get("begins") and not live.get("over"):
                asked.append(self._event(self.house.answers.begun, before))
        if live.get("over") and live["view"] != self._over:
            self._over = live["view"]
            asked.append(self._event(self.house.answers.over, [*before, *asked]))
        return asked

    def _event(self, handler: Any, after: list[asyncio.Task[None]]) -> asyncio.Task[None]:
        async def ask() -> None:
            for earlier in after:
                await earlier
            self.take_one(await handler(self.words, self.session, self.request))

        return asyncio.create_task(ask())

    def take_one(self, update: dict[Any, Any]) -> None:
        self.sent.append(update)
        for component, value in update.items():
            if value == gr.skip():
                continue
            if isinstance(value, dict) and value.get("__type__") == "update":
                self.shown[component] = {**self._before(component), **value}
                if component in self.values and "value" in value:
                    self.values[component] = value["value"]
            else:
                self.shown[component] = value
                if component in self.values:
                    self.values[component] = value

    def _before(self, component: Any) -> dict[str, Any]:
        before = self.shown.get(component)
        return before if isinstance(before, dict) else {}
