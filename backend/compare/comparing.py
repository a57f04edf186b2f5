"""What a person does side by side, as calls that need no page: ask all panes, ask one again, stop, look.

Each pane is a conversation of its own with its own run; nothing here waits for one pane on behalf of another. A pane whose
question cannot even be sent (no key, unknown model, a value out of range) gets that as its answer's error, and the others answer.

Panes stay on the same turn: one whose earlier turn is asked again is asked what came after it on its new answer, too, one after the
other. One that stands behind the others all the same (it was stopped or failed meanwhile, an older version was opened) is first asked
what it misses.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from backend.catalogue import Capabilities
from backend.chat import Chat, Start
from backend.choices import Choices
from backend.compare.later_turns import LaterTurns, Step
from backend.compare.records import Comparison, ComparisonSummary, Pane, last_question, missing_questions, turn_count
from backend.compare.store import ComparisonStore, LatestStates
from backend.compare.votes import VoteStore
from backend.engines import Access
from backend.errors import BackendError, BadInput
from backend.history import Conversation, new_id, preview_of
from backend.model_names import REPLAY
from backend.provider import Provider
from backend.recorder import Recorder
from backend.run import Run
from backend.shelf import Shelf
from backend.turns import messages_of
from backend.types import ChatRequest, Event, Message, Started

SOURCE = "Recorded side by side in the Qwen3-Next Playground."


@dataclass
class Comparing:
    """One for the process. Every answer is recorded as it streams, in its owner's part of the shelf."""

    chat: Chat
    store: ComparisonStore
    votes: VoteStore
    shelf: Shelf
    later: LaterTurns = field(init=False)
    _claimed: set[str] = field(default_factory=set)
    _states: LatestStates = field(init=False)

    def __post_init__(self) -> None:
        self.later = LaterTurns(self.chat.runs)
        self._states = LatestStates(self.store)

    async def send(self, owner: str, access: Access, comparison: Comparison, text: str) -> tuple[Comparison, list[Run]]:
        """Asks all panes at once; the comparison as it stands then (a blind one shuffled), and its runs in that order."""
        if not text.strip():
            raise BadInput("The prompt is empty.", hint="Type one question for all panes.")
        with self._claim(owner, *comparison.panes, hint="Stop it first, or wait. Your text stays in the box."):
            known = await self.conversations(owner, comparison)
            turn = turn_count(comparison, known)
            panes = [pane if pane.asked else replace(pane, first_turn=turn) for pane in comparison.panes]
            shuffled = comparison.blind and not comparison.hidden
            if shuffled:
                secrets.SystemRandom().shuffle(panes)
            preview = comparison.preview or preview_of(text, ())
            asked = replace(comparison, panes=tuple(panes), hidden=comparison.hidden or shuffled, preview=preview)
            questions = [[*self._known(missing_questions(asked, known, place)), text] for place in range(len(panes))]
            paths = [known[pane.conversation_id].path if pane.asked else () for pane in panes]
            ready = await asyncio.gather(
                *(
                    self._ready(owner, access, [*messages_of(path), Message("user", wanted[0])], pane)
                    for path, wanted, pane in zip(paths, questions, panes, strict=True)
                )
            )
            self.chat.admit(owner, access, answers=len(panes))
            self._states.put(owner, asked)
            runs = []
            for pane, path, wanted, (request, provider) in zip(panes, paths, questions, ready, strict=True):
                at = Start(
                    pane.conversation_id, path[-1].id if path else None, wanted[0],
                    new_chat=not pane.asked, answer_id=new_id(), after=partial(self._states.saved, asked.id), address=access.address,
                )  # fmt: skip
                runs.append(self._start(owner, asked.id, at, request, provider, pane.choices))
                self._then(owner, access, asked.id, pane, runs[-1], wanted[1:])
            return replace(asked, panes=tuple(replace(pane, asked=True) for pane in panes)), runs

    async def again(self, owner: str, access: Access, comparison: Comparison, place: int, answer_id: str | None = None) -> Run:
        """An answer of one pane (the last one, unless told) once more, with the pane's present settings; the one before stays as a
        version beside it. What came after it is then asked again, too."""
        pane = comparison.pane(place)
        if not pane.asked:
            raise BadInput("This pane was not asked yet.", hint="Send a prompt first.")
        with self._claim(owner, pane):
            path = (await self.chat.conversation(owner, pane.conversation_id)).path
            answers = [at for at, node in enumerate(path) if node.role == "assistant" and answer_id in (None, node.id)]
            if not answers:
                raise BadInput("This turn is not shown any more.", hint="Reload the page and try again.")
            above, later = path[: answers[-1]], path[answers[-1] + 1 :]
            request, provider = await self._ready(owner, access, messages_of(above), pane)
            await self.save(owner, comparison)
            self.chat.admit(owner, access)
            at = Start(pane.conversation_id, above[-1].id, answer_id=new_id(), address=access.address)
            run = self._start(owner, comparison.id, at, request, provider, pane.choices)
            self._then(owner, access, comparison.id, pane, run, [node.content for node in later if node.role == "user"])
            return run

    async def catch_up(self, owner: str, access: Access, comparison: Comparison, place: int) -> tuple[Comparison, Run]:
        """Asks a pane that was added later what the others were asked last, and one that stands behind all that it misses."""
        pane = comparison.pane(place)
        with self._claim(owner, pane):
            known = await self.conversations(owner, comparison)
            questions, turn = self._known(missing_questions(comparison, known, place)), turn_count(comparison, known)
            if not pane.asked and turn:
                pane, questions = replace(pane, first_turn=turn - 1), [last_question(comparison, known)]
            if not questions:
                raise BadInput("There is nothing to catch up with.", hint="Send a prompt to all panes.")
            path = known[pane.conversation_id].path if pane.asked else ()
            request, provider = await self._ready(owner, access, [*messages_of(path), Message("user", questions[0])], pane)
            await self.save(owner, comparison.put(place, pane))
            self.chat.admit(owner, access)
            at = Start(
                pane.conversation_id, path[-1].id if path else None, questions[0],
                new_chat=not pane.asked, answer_id=new_id(), address=access.address,
            )  # fmt: skip
            run = self._start(owner, comparison.id, at, request, provider, pane.choices)
            self._then(owner, access, comparison.id, pane, run, questions[1:])
            return comparison.put(place, replace(pane, asked=True)), run

    async def save(self, owner: str, comparison: Comparison) -> None:
        """The present state, new or not. Raises `StorageError`; what is asked next then brings the database up to date."""
        self._states.put(owner, comparison)
        await self._states.saved(comparison.id)

    async def select(self, owner: str, comparison: Comparison, place: int, answer_id: str) -> None:
        """Opens another version of an answer in one pane, with what came after it."""
        pane = comparison.pane(place)
        with self._claim(owner, pane):
            await self.chat.history.select(owner, answer_id)

    async def stop(self, owner: str, comparison: Comparison, place: int | None = None) -> None:
        """Ends the answer of one pane, or of all; what arrived stays."""
        panes = comparison.panes if place is None else (comparison.pane(place),)
        await self.later.end([pane.conversation_id for pane in panes])
        running = [run for pane in panes if (run := self.run_of(owner, pane)) is not None]
        await asyncio.gather(*(self.chat.runs.stop(run) for run in running))

    async def conversations(self, owner: str, comparison: Comparison) -> dict[str, Conversation]:
        """The conversations of the panes that were asked, by id, with the answers in the making."""
        asked = [pane.conversation_id for pane in comparison.panes if pane.asked]
        return {each: await self.chat.conversation(owner, each) for each in asked}

    async def current(self, owner: str, comparison: Comparison) -> Comparison:
        """With the panes as asked that joined meanwhile: a file is played by the server, not by a page."""
        if len({pane.asked for pane in comparison.panes}) < 2:
            return comparison
        stored = {pane.conversation_id for pane in (await self.store.load(owner, comparison.id)).panes if pane.asked}
        panes = (pane if pane.asked else replace(pane, asked=pane.conversation_id in stored) for pane in comparison.panes)
        return replace(comparison, panes=tuple(panes))

    def newest(self, owner: str, pane: Pane) -> Run | None:
        """The pane's newest run that is still in memory, ended or not."""
        return self.chat.runs.of_conversation(pane.conversation_id, owner)

    def run_of(self, owner: str, pane: Pane) -> Run | None:
        """The run that writes in a pane now."""
        run = self.newest(owner, pane)
        return run if run is not None and not run.ended else None

    def busy(self, owner: str, *panes: Pane) -> bool:
        """Whether one of the panes writes, or is about to write its next turn."""
        return any(
            self.run_of(owner, pane) is not None or self.later.wait(pane.conversation_id) or pane.conversation_id in self._claimed
            for pane in panes
        )

    async def settled(self, comparison: Comparison) -> None:
        """Returns once no pane is between two turns that it is asked one after the other."""
        await self.later.settled(pane.conversation_id for pane in comparison.panes)

    async def delete(self, owner: str, comparison_id: str) -> None:
        """With its conversations and recordings, for good."""
        comparison = await self.store.load(owner, comparison_id)
        await self.stop(owner, comparison)
        self._states.drop(comparison_id)
        for pane in comparison.panes:
            self.chat.runs.give_up(pane.conversation_id)
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
        choices = replace(pane.choices, model=f"{REPLAY}{self.shelf.name_of(owner, recording)}")
        path = (await self.chat.conversation(owner, pane.conversation_id)).path if pane.asked else ()
        played = replace(pane, choices=replace(choices, format=None))  # it says what it said; the answer is still judged by its schema
        request, provider = await self._ready(owner, Access(), [Message("user", question)], played, replayed=True)
        at = Start(pane.conversation_id, path[-1].id if path else None, question, new_chat=not pane.asked, answer_id=new_id())
        run = self._start(owner, comparison.id, at, request, provider, choices)
        return comparison.put(place, replace(pane, asked=True)), run

    # ---- inside
    @contextmanager
    def _claim(self, owner: str, *panes: Pane, hint: str = "Stop it first, or wait.") -> Iterator[None]:
        """Takes free panes until their runs have begun, so that two orders at once are not both carried out."""
        if self.busy(owner, *panes):
            raise BadInput("A pane is still answering.", hint=hint)
        ids = {pane.conversation_id for pane in panes}
        self._claimed |= ids
        try:
            yield
        finally:
            self._claimed -= ids

    @staticmethod
    def _known(questions: list[str]) -> list[str]:
        if "" in questions:
            raise BadInput(
                "A pane was not asked a question that no other pane knows any more.", hint="Open its newer version, or take it out."
            )
        return questions

    def _then(self, owner: str, access: Access, comparison_id: str, pane: Pane, run: Run, questions: Sequence[str]) -> None:
        """Has a pane asked `questions` one after the other once the answer of `run` is there."""

        def step(question: str) -> Step:
            async def ask(runs: Sequence[Run]) -> list[Run]:
                nodes = (await self.chat.conversation(owner, pane.conversation_id)).nodes
                path = [nodes[runs[0].node_id]]
                while (parent_id := path[0].parent_id) is not None:
                    path.insert(0, nodes[parent_id])
                request, provider = await self._ready(owner, access, [*messages_of(path), Message("user", question)], pane, counted=False)
                at = Start(pane.conversation_id, path[-1].id, question, answer_id=new_id(), address=access.address)
                return [self._start(owner, comparison_id, at, request, provider, pane.choices)]

            return ask

        self.later.begin([pane.conversation_id], [run], [step(question) for question in questions])

    async def _ready(
        self, owner: str, access: Access, messages: Sequence[Message], pane: Pane, *, replayed: bool = False, counted: bool = True
    ) -> tuple[ChatRequest, Provider]:
        try:
            if pane.choices.model.startswith(REPLAY) and not replayed:
                raise BadInput("A recording answers only the question it was made of.", hint="Choose a model in this pane.")
            return await self.chat.prepare(access, owner, messages, pane.choices, counted=counted)
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
