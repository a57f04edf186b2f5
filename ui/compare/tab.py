"""The open comparison of a browser session: which it is, and how its panes are shown. The other modules of this tab stand on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import wraps
from typing import Any

import gradio as gr

from backend import (
    MOST_PANES,
    Access,
    Backend,
    BackendError,
    Capabilities,
    Choices,
    Comparing,
    Comparison,
    Contestant,
    Conversation,
    Pane,
    Run,
    Vote,
    contestant,
    last_answers,
    pane_from,
    subject_of,
)
from ui import drawing, render
from ui.chat import ChatTab
from ui.compare.bench import bench_value, in_turn
from ui.compare.frame import CompareParts
from ui.compare.live import NOTHING
from ui.text import WORDS as W
from ui.updates import Updates
from ui.visitor import Session, Views

CHECKPOINTS = ("dashscope:qwen3-next-80b-a3b-thinking", "dashscope:qwen3-next-80b-a3b-instruct")
HERE = ("local:demo", "local:qwen3-next-tiny")


Loaded = tuple[Comparing, Comparison, dict[str, Conversation], dict[str, Capabilities]]


def refused(error: BackendError) -> dict[str, Any]:
    """The live part's value for an error that belongs to no pane; the prompt stays in its box."""
    return {**NOTHING, "state": "error", "status": W.states["error"], "error": render.page_error(error)}


def told(handler: Any) -> Any:
    """A handler (of an object with `parts`) whose error of the backend is shown under the panes, and changes nothing else."""

    @wraps(handler)
    async def telling(self: Any, *args: Any, **kwargs: Any) -> Updates:
        try:
            updates: Updates = await handler(self, *args, **kwargs)
            return updates
        except BackendError as error:
            return {self.parts.live: refused(error)}

    return telling


class CompareTab:
    """What the tab's handlers share."""

    def __init__(self, backend: Backend, parts: CompareParts, chat: ChatTab) -> None:
        self.backend = backend
        self.parts = parts
        self.chat = chat
        self.views = Views()

    def owner(self, request: gr.Request) -> str:
        return self.chat.owner(request)

    def access(self, session: Session, request: gr.Request) -> Access:
        return self.chat.access(session, request)

    # ---- the open comparison
    def open(self, session: Session) -> Comparison:
        """The session's comparison; `Shelf.load` makes the first one."""
        if session.side_by_side.comparison is None:
            session.side_by_side.comparison = Comparison(tuple(pane_from({"model": model}) for model in HERE))
        return session.side_by_side.comparison

    async def set_up(self, saved: dict[str, Any] | None, session: Session) -> Comparison:
        """An empty comparison with the set-up that this browser had last, else with both checkpoints where a key is there, else with
        the two models of this machine."""
        stored = [each for each in (saved or {}).get("panes") or [] if isinstance(each, dict)]
        panes = tuple(pane_from(each) for each in stored)[:MOST_PANES]
        if not panes:
            panes = await self.panes(CHECKPOINTS if self.backend.engines.has_dashscope_key(session.access) else HERE, session)
        return Comparison(panes, blind=bool((saved or {}).get("blind")))

    async def panes(self, models: Sequence[str], session: Session) -> tuple[Pane, ...]:
        return tuple([Pane(await self.recommended(model, session)) for model in models])

    async def recommended(self, model: str, session: Session, **values: Any) -> Choices:
        """A model with its recommended parameters, which are then sent as in the chat, and `values` over them."""
        try:
            capabilities = await self.chat.capabilities(model, session)
        except BackendError:
            return Choices.from_stored(model, values)  # its pane says what is wrong when it is asked
        return Choices.from_stored(model, {**capabilities.recommended(), **values})

    @staticmethod
    def saved(session: Session) -> dict[str, Any]:
        """What the browser keeps of the set-up."""
        comparison = session.side_by_side.comparison
        return {} if comparison is None else {"panes": [pane.stored() for pane in comparison.panes], "blind": comparison.blind}

    # ---- showing
    async def capabilities(self, comparison: Comparison, session: Session) -> dict[str, Capabilities]:
        """Of every pane's model that is known."""
        return await self.known({pane.choices.model for pane in comparison.panes}, session)

    async def known(self, models: Iterable[str], session: Session) -> dict[str, Capabilities]:
        found: dict[str, Capabilities] = {}
        for model in models:
            try:
                found[model] = await self.chat.capabilities(model, session)
            except BackendError:
                continue  # its pane says so when it is asked
        return found

    async def loaded(self, session: Session, request: gr.Request) -> Loaded:
        """All that showing the open comparison needs."""
        comparing, comparison = await self.backend.side_by_side(), self.open(session)
        conversations = await comparing.conversations(self.owner(request), comparison)
        current = await comparing.current(self.owner(request), comparison)
        if current != comparison:
            session.side_by_side.comparison = comparison = current
            conversations = await comparing.conversations(self.owner(request), comparison)
        return comparing, comparison, conversations, await self.capabilities(comparison, session)

    async def bench(self, session: Session, request: gr.Request) -> Updates:
        """An update of the panes but for the answers that the live part shows."""
        return await self.bench_of(await self.loaded(session, request), session, request)

    async def bench_of(self, loaded: Loaded, session: Session, request: gr.Request) -> Updates:
        """Likewise of what is loaded already."""
        comparing, comparison, conversations, capabilities = loaded
        answers, vote = judged(comparison, conversations, capabilities), None
        if answers:
            vote = await comparing.votes.find(self.owner(request), subject_of(list(answers.values())))
        return {
            self.parts.bench: await drawing.in_thread(
                bench_value, comparison, conversations, capabilities,
                live_nodes=session.side_by_side.live_nodes, verdict=verdict_now(vote, answers),
                focus=session.side_by_side.focus, note=session.side_by_side.notes.get(comparison.id, ""),
            )
        }  # fmt: skip

    def running(self, comparing: Comparing, session: Session, request: gr.Request) -> dict[int, Run]:
        """The runs that write now, by place."""
        comparison, owner = self.open(session), self.owner(request)
        found = {place: comparing.run_of(owner, pane) for place, pane in enumerate(comparison.panes)}
        return {place: run for place, run in found.items() if run is not None}

    async def leave_to_live(self, comparing: Comparing, session: Session, request: gr.Request) -> None:
        """Before panes are drawn that are then followed anew: the live part will show what is being written, and nothing that has ended."""
        await comparing.settled(self.open(session))
        session.side_by_side.live_nodes = frozenset(run.node_id for run in self.running(comparing, session, request).values())

    def waits(self, session: Session) -> frozenset[int]:
        return in_turn(self.open(session))

    def gone(self, request: gr.Request) -> None:
        """The browser tab was closed or reloaded."""
        for what in ("", "set:", "sweep:"):
            self.views.forget(f"{what}{request.session_hash}")


def judged(comparison: Comparison, conversations: dict[str, Conversation], capabilities: dict[str, Capabilities]) -> dict[int, Contestant]:
    """The answers to the last question by their places, from 0."""
    answers = last_answers(comparison, conversations)
    return {place: contestant(node, capabilities.get(node.model or "")) for place, node in enumerate(answers) if node is not None}


def verdict_now(vote: Vote | None, answers: dict[int, Contestant]) -> str:
    """A stored verdict in the words of the panes as they stand now: a place from "1", "tie", "bad", or nothing."""
    if vote is None or vote.winner is None:
        return vote.verdict if vote is not None else ""
    best = vote.contestants[vote.winner].answer_id
    return next((str(place + 1) for place, each in answers.items() if each.answer_id == best), "")
