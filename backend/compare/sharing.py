"""A comparison as a run file, and a run file as a comparison again, whose answers are then played with their own timing.

The recordings of an opened file go into its owner's part of the shelf, where `replay:` finds them. Turns are played one after the
other, all panes of a turn beside each other; the server plays them, so that a reload loses none.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backend.choices import Choices
from backend.compare.comparing import Comparing
from backend.compare.later_turns import Step, watchers
from backend.compare.records import Comparison, Pane, answers_at, question_at, turn_count
from backend.compare.runfile import PaneSettings, Part, RunFile, SavedVote, dumps, loads, recording_of_node
from backend.compare.votes import Contestant, Vote, subject_of
from backend.display import display_name
from backend.errors import BadInput
from backend.history import Conversation, Node
from backend.model_names import REPLAY, portable_name
from backend.private_files import file_errors, make_folder, write_text
from backend.recording import Recording, load
from backend.recording import dumps as dump_recording
from backend.run import Run
from backend.types import Message

log = logging.getLogger(__name__)


@dataclass
class Sharing:
    """One for the process."""

    comparing: Comparing

    async def votes_by_turn(
        self, owner: str, comparison: Comparison, conversations: Mapping[str, Conversation]
    ) -> dict[int, tuple[Vote, str]]:
        """The person's vote on each turn, from 0, with its verdict as a pane's number, "tie" or "bad"."""
        found: dict[int, tuple[Vote, str]] = {}
        for turn in range(turn_count(comparison, conversations)):
            answers = {place: node for place, node in enumerate(answers_at(comparison, conversations, turn)) if node is not None}
            vote = await self.comparing.votes.find(owner, subject_of([Contestant("", answer_id=node.id) for node in answers.values()]))
            if vote is None:
                continue
            best = vote.contestants[vote.winner].answer_id if vote.winner is not None else None
            verdict = vote.verdict if best is None else next((str(p + 1) for p, node in answers.items() if node.id == best), "")
            if verdict:
                found[turn] = (vote, verdict)
        return found

    async def run_file(self, owner: str, comparison: Comparison) -> str:
        """All turns of all panes with their timing. Raises `BadInput` where nothing was asked yet, or names are hidden."""
        if comparison.hidden:
            raise BadInput("Vote first: the file would tell the names.", hint="Then save it.")
        conversations = await self.comparing.conversations(owner, comparison)
        turns = turn_count(comparison, conversations)
        if turns == 0:
            raise BadInput("There is nothing to save yet.", hint="Send a prompt first.")
        if self.comparing.busy(owner, *comparison.panes):
            raise BadInput("A pane is still answering.", hint="Stop it first, or wait.")
        parts = []
        for turn in range(turns):
            question = question_at(comparison, conversations, turn)
            for place, node in enumerate(answers_at(comparison, conversations, turn)):
                if node is not None:
                    parts.append(Part(turn, place, await asyncio.to_thread(self._recording, owner, comparison.id, node, question)))
        votes = await self.votes_by_turn(owner, comparison, conversations)
        settings = [PaneSettings(portable_name(pane.choices.model), pane.choices.stored()) for pane in comparison.panes]
        file = RunFile(
            title=comparison.preview, made_at=datetime.now(UTC).isoformat(timespec="seconds"), panes=tuple(settings), parts=tuple(parts),
            votes=tuple(SavedVote(turn, verdict, vote.judge, vote.tag, vote.blind) for turn, (vote, verdict) in votes.items()),
        )  # fmt: skip
        return await asyncio.to_thread(dumps, file)

    def _recording(self, owner: str, comparison_id: str, node: Node, question: str) -> Recording:
        """What was recorded as it streamed, where that is still there, else what is stored of the answer."""
        path: Path | None = self.comparing.folder_of(owner, comparison_id) / f"{node.id}.jsonl"
        model = node.model or ""
        if model.startswith(REPLAY):
            path = self.comparing.shelf.find(owner, model.removeprefix(REPLAY))
        if path is not None and path.is_file():
            try:
                return load(path)
            except BadInput as error:
                log.warning("recording left out: %s", error.message)
        return recording_of_node(node, (Message("user", question),), model)

    async def open(self, owner: str, text: str, name: str, session: str) -> tuple[Comparison, RunFile]:
        """A new comparison that plays the file for the page session that asks; its first turn is on its way. Raises `BadInput` that
        names the wrong line, `StorageError` where the disk does not take it."""
        file = await asyncio.to_thread(loads, text, name)
        comparison = Comparison(tuple(Pane(Choices.from_stored(pane.model, pane.settings)) for pane in file.panes), preview=file.title)
        folder = self.comparing.folder_of(owner, comparison.id)
        with file_errors("this run file"):
            paths = await asyncio.to_thread(_keep, folder, file.parts)
        first = {part.pane: part.turn for part in reversed(file.parts)}
        panes = tuple(replace(pane, first_turn=first.get(place, 0)) for place, pane in enumerate(comparison.panes))
        comparison = replace(comparison, panes=panes)
        await self.comparing.save(owner, comparison)
        comparison, runs = await self._turn(owner, comparison, 0, file, paths, lambda: [session])
        latest = comparison

        def step(turn: int) -> Step:
            async def play(before: Sequence[Run]) -> list[Run]:
                nonlocal latest
                latest, runs = await self._turn(owner, latest, turn, file, paths, lambda: watchers(before))
                return runs

            return play

        ids = [pane.conversation_id for pane in comparison.panes]
        self.comparing.later.begin(ids, runs, [step(turn) for turn in range(1, file.turns)], after_errors=True)
        return comparison, file

    async def _turn(
        self,
        owner: str,
        comparison: Comparison,
        turn: int,
        file: RunFile,
        paths: Mapping[tuple[int, int], Path],
        sessions: Callable[[], Iterable[str]],
    ) -> tuple[Comparison, list[Run]]:
        runs = []
        for part in file.parts:
            if part.turn == turn:
                question = next((m.content for m in reversed(part.recording.header.messages) if m.role == "user"), "-")
                comparison, run = await self.comparing.play(owner, comparison, part.pane, question, paths[part.turn, part.pane])
                for session in sessions():  # at once: what follows takes its time, and a run without a page is ended
                    self.comparing.chat.runs.watch(run, session)
                runs.append(run)
        for run in runs:
            await run.storage_failure()
        return comparison, runs


def _keep(folder: Path, parts: Sequence[Part]) -> dict[tuple[int, int], Path]:
    """Writes the recordings, named as their models, which is how their panes are then called."""
    paths = {}
    try:
        make_folder(folder)
        for part in parts:
            path = paths[part.turn, part.pane] = folder / f"turn-{part.turn + 1}-pane-{part.pane + 1}.jsonl"
            header = part.recording.header
            header = replace(header, title=display_name(header.model.partition(":")[2]) or header.title)
            write_text(path, dump_recording(replace(part.recording, header=header)))
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return paths
