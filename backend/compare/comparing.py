"""What a person does side by side, as calls that need no page: ask all panes, ask one again, stop, look.

Each pane is a conversation of its own with its own run; nothing here waits for one pane on behalf of another. A pane whose
question cannot even be sent (no key, unknown model, a value out of range) gets that as its answer's error, and the others answer.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backend.catalogue import Capabilities
from backend.chat import Chat, Choices, Start, messages_of
from backend.compare.records import Comparison, ComparisonSummary, Pane, turn_count
from backend.compare.store import ComparisonStore
from backend.compare.votes import VoteStore
from backend.engines import Access
from backend.errors import BackendError, BadInput
from backend.history import Conversation, Node, new_id, preview_of
from backend.provider import Provider
from backend.recorder import Recorder
from backend.run import Run
from backend.shelf import Shelf
from backend.types import ChatRequest, Event, Message, Started

REPLAY = "replay:"
SOURCE = "Recorded side by side in the Qwen3-Next Playground."


@dataclass
class Comparing:
    """One for the process. Every answer is recorded as it streams, in its owner's part of the shelf."""

    chat: Chat
    store: ComparisonStore
    votes: VoteStore
    shelf: Shelf

    async def send(self, owner: str, access: Access, comparison: Comparison, text: str) -> tuple[Comparison, list[Run]]:
        """Asks all panes at once; the comparison as it stands then (a blind one shuffled), and its runs in that order."""
        if not text.strip():
            raise BadInput("The prompt is empty.", hint="Type one question for all panes.")
        if self.running(owner, comparison):
            raise BadInput("A pane is still answering.", hint="Stop it first, or wait. Your text stays in the box.")
        known = await self.conversations(owner, comparison)
        turn = turn_count(comparison, known)
        panes = [pane if pane.asked else replace(pane, first_turn=turn) for pane in comparison.panes]
        shuffled = comparison.blind and not comparison.hidden
        if shuffled:
            secrets.SystemRandom().shuffle(panes)
        preview = comparison.preview or preview_of(text, ())
        asked = replace(comparison, panes=tuple(panes), hidden=comparison.hidden or shuffled, preview=preview)
        paths = [known[pane.conversation_id].path if pane.asked else () for pane in panes]
        ready = await asyncio.gather(
            *(
                self._ready(owner, access, [*messages_of(path), Message("user", text)], pane)
                for path, pane in zip(paths, panes, strict=True)
            )
        )
        stored = asyncio.ensure_future(self.store.save(owner, asked))
        runs = []
        for pane, path, (request, provider) in zip(panes, paths, ready, strict=True):
            at = Start(
                pane.conversation_id, path[-1].id if path else None, text,
                new_chat=not pane.asked, answer_id=new_id(), after=asyncio.shield(stored),
            )  # fmt: skip
            runs.append(self._start(owner, asked.id, at, request, provider, pane.choices))
        return replace(asked, panes=tuple(replace(pane, asked=True) for pane in panes)), runs

    async def again(self, owner: str, access: Access, comparison: Comparison, place: int) -> Run:
        """The last question once more in one pane, with its present settings; the answer before stays as a version beside it."""
        pane = comparison.pane(place)
        if not pane.asked:
            raise BadInput("This pane was not asked yet.", hint="Send a prompt first.")
        if self.run_of(owner, pane) is not None:
            raise BadInput("This pane is still answering.", hint="Stop it first, or wait.")
        path = (await self.chat.conversation(owner, pane.conversation_id)).path
        above = list(path[:-1] if path and path[-1].role == "assistant" else path)
        if not above:
            raise BadInput("This pane was not asked yet.", hint="Send a prompt first.")
        request, provider = await self._ready(owner, access, messages_of(above), pane)
        await self.store.save(owner, comparison)
        at = Start(pane.conversation_id, above[-1].id, answer_id=new_id())
        return self._start(owner, comparison.id, at, request, provider, pane.choices)

    async def catch_up(self, owner: str, access: Access, comparison: Comparison, place: int) -> tuple[Comparison, Run]:
        """Asks a pane that was added later what the others were asked last."""
        pane = comparison.pane(place)
        known = await self.conversations(owner, comparison)
        question, turn = last_question(known), turn_count(comparison, known)
        if question is None or pane.asked:
            raise BadInput("There is nothing to catch up with.", hint="Send a prompt to all panes.")
        pane = replace(pane, first_turn=turn - 1)
        panes = (*comparison.panes[:place], pane, *comparison.panes[place + 1 :])
        request, provider = await self._ready(owner, access, [Message("user", question)], pane)
        await self.store.save(owner, replace(comparison, panes=panes))
        at = Start(pane.conversation_id, None, question, new_chat=True, answer_id=new_id())
        run = self._start(owner, comparison.id, at, request, provider, pane.choices)
        panes = (*panes[:place], replace(pane, asked=True), *panes[place + 1 :])
        return replace(comparison, panes=panes), run

    async def stop(self, owner: str, comparison: Comparison, place: int | None = None) -> None:
        """Ends the answer of one pane, or of all; what arrived stays."""
        panes = comparison.panes if place is None else (comparison.pane(place),)
        running = [run for pane in panes if (run := self.run_of(owner, pane)) is not None]
        await asyncio.gather(*(self.chat.runs.stop(run) for run in running))

    async def conversations(self, owner: str, comparison: Comparison) -> dict[str, Conversation]:
        """The conversations of the panes that were asked, by id, with the answers in the making."""
        found: dict[str, Conversation] = {}
        for pane in comparison.panes:
            if pane.asked:
                newest = self.newest(owner, pane)
                if newest is not None:
                    await newest.storage_failure()  # a question that was just asked may be on its way to the database
                found[pane.conversation_id] = await self.chat.conversation(owner, pane.conversation_id)
        return found

    def newest(self, owner: str, pane: Pane) -> Run | None:
        """The pane's newest run that is still in memory, ended or not."""
        return self.chat.runs.of_conversation(pane.conversation_id, owner)

    def run_of(self, owner: str, pane: Pane) -> Run | None:
        """The run that writes in a pane now."""
        run = self.newest(owner, pane)
        return run if run is not None and not run.ended else None

    def running(self, owner: str, comparison: Comparison) -> list[Run]:
        return [run for pane in comparison.panes if (run := self.run_of(owner, pane)) is not None]

    async def delete(self, owner: str, comparison_id: str) -> None:
        """With its conversations and recordings, for good."""
        comparison = await self.store.load(owner, comparison_id)
        await self.stop(owner, comparison)
        await self.store.delete(owner, comparison_id)
        await asyncio.to_thread(shutil.rmtree, self.folder_of(owner, comparison_id), True)

    async def summaries(self, owner: str) -> list[ComparisonSummary]:
        return await self.store.summaries(owner)

    def folder_of(self, owner: str, comparison_id: str) -> Path:
        """Where the recordings of a comparison lie: where `replay:` may play them from, too."""
        return self.shelf.own(owner) / "comparisons" / comparison_id

    async def play(self, owner: str, comparison: Comparison, place: int, question: str, recording: Path) -> tuple[Comparison, Run]:
        """A recorded answer as the next turn of one pane, whose own model answers again what comes after it."""
        pane = comparison.pane(place)
        choices = replace(pane.choices, model=f"{REPLAY}{recording}")
        path = (await self.chat.conversation(owner, pane.conversation_id)).path if pane.asked else ()
        request, provider = await self._ready(owner, Access(), [Message("user", question)], replace(pane, choices=choices), replayed=True)
        at = Start(pane.conversation_id, path[-1].id if path else None, question, new_chat=not pane.asked, answer_id=new_id())
        run = self._start(owner, comparison.id, at, request, provider, choices)
        changed = replace(pane, asked=True)
        return replace(comparison, panes=(*comparison.panes[:place], changed, *comparison.panes[place + 1 :])), run

    # ---- inside
    async def _ready(
        self, owner: str, access: Access, messages: Sequence[Message], pane: Pane, *, replayed: bool = False
    ) -> tuple[ChatRequest, Provider]:
        try:
            if pane.choices.model.startswith(REPLAY) and not replayed:
                raise BadInput("A recording answers only the question it was made of.", hint="Choose a model in this pane.")
            return await self.chat.prepare(access, owner, messages, pane.choices)
        except BackendError as error:
            return ChatRequest(pane.choices.model, tuple(messages), pane.choices.parameters), Refused(error)

    def _start(self, owner: str, comparison_id: str, at: Start, request: ChatRequest, provider: Provider, choices: Choices) -> Run:
        node_id = at.answer_id or new_id()
        if not choices.model.startswith(REPLAY):
            path = self.folder_of(owner, comparison_id) / f"{node_id}.jsonl"
            provider = Recorder(provider, lambda _: path, model=choices.model, source=SOURCE)
        return self.chat.start(owner, replace(at, answer_id=node_id), request, provider, choices)


class Refused:
    """A provider that answers with the error that a question met before it could be sent."""

    def __init__(self, error: BackendError) -> None:
        self._error = error

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield Started(request.model)
        raise self._error

    async def capabilities(self, model: str) -> Capabilities:
        raise self._error

    async def aclose(self) -> None:
        """Nothing is held."""


def last_question(conversations: Mapping[str, Conversation]) -> str | None:
    """What was asked last in any of the conversations."""
    asked: list[Node] = [node for chat in conversations.values() for node in chat.path if node.role == "user"]
    return max(asked, key=lambda node: node.created_at).content if asked else None
