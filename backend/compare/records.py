"""What a comparison is: up to four panes, each with its own settings and its own conversation. Knows no database and no page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.choices import Choices
from backend.errors import BadInput
from backend.history import Conversation, Node, new_id
from backend.tools.kit import ToolKit

MOST_PANES = 4


@dataclass(frozen=True, slots=True)
class Pane:
    """One side. Its conversation's id is given out beforehand; it exists once the pane was `asked`. A pane that was added later
    joins at `first_turn`, from 0."""

    choices: Choices
    conversation_id: str = field(default_factory=new_id)
    first_turn: int = 0
    asked: bool = False

    def stored(self) -> dict[str, Any]:
        """Its settings as plain JSON."""
        return {"model": self.choices.model, **self.choices.stored()}


def pane_from(stored: Mapping[str, Any]) -> Pane:
    """What `Pane.stored` gave, as a pane that was not asked yet."""
    return Pane(_of_a_pane(Choices.from_stored(str(stored.get("model") or ""), stored)))


def _of_a_pane(choices: Choices) -> Choices:
    """Without tools, which a chat's presets bring along: panes have no cards to answer calls in."""
    return replace(choices, tools=ToolKit())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Panes in the order in which they stand. `hidden`: blind, and not voted on yet, so that no name may be shown."""

    panes: tuple[Pane, ...]
    id: str = field(default_factory=new_id)
    blind: bool = False
    hidden: bool = False
    preview: str = ""

    def with_pane(self, pane: Pane) -> Comparison:
        if len(self.panes) >= MOST_PANES:
            raise BadInput(f"There are {MOST_PANES} panes already.", hint="Take one out first.")
        return replace(self, panes=(*self.panes, pane))

    def without(self, place: int) -> Comparison:
        if len(self.panes) <= 1:
            raise BadInput("The last pane stays.", hint="Choose another model in it instead.")
        self.pane(place)
        return replace(self, panes=self.panes[:place] + self.panes[place + 1 :])

    def pane(self, place: int) -> Pane:
        """The pane at `place`, from 0; raises `BadInput` where there is none."""
        if not 0 <= place < len(self.panes):
            raise BadInput(f"There is no pane {place + 1}.", hint="Reload the page and try again.")
        return self.panes[place]

    def put(self, place: int, pane: Pane) -> Comparison:
        """With another pane at `place`."""
        self.pane(place)
        return replace(self, panes=(*self.panes[:place], pane, *self.panes[place + 1 :]))

    def changed(self, place: int, choices: Choices) -> Comparison:
        """With other settings in one pane; its conversation goes on."""
        return self.put(place, replace(self.pane(place), choices=_of_a_pane(choices)))

    def swapped(self, place: int, other: int) -> Comparison:
        panes = list(self.panes)
        panes[place], panes[other] = self.pane(other), self.pane(place)
        return replace(self, panes=tuple(panes))

    def began_anew(self) -> Comparison:
        """The same settings with empty conversations."""
        return Comparison(tuple(Pane(pane.choices) for pane in self.panes), blind=self.blind)


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """A line in the list of comparisons."""

    id: str
    preview: str
    updated_at_s: float
    models: tuple[str, ...]


def turn_count(comparison: Comparison, conversations: Mapping[str, Conversation]) -> int:
    """How many questions were asked, over all panes."""
    return max((_turns_of(pane, conversations) for pane in comparison.panes if pane.asked), default=0)


def missing_questions(comparison: Comparison, conversations: Mapping[str, Conversation], place: int) -> list[str]:
    """What other panes were asked after the last turn of the pane at `place`, of one that was asked before; "" for what is not known."""
    pane = comparison.pane(place)
    missing = range(_turns_of(pane, conversations), turn_count(comparison, conversations)) if pane.asked else ()
    return [question_at(comparison, conversations, turn) for turn in missing]


def last_question(comparison: Comparison, conversations: Mapping[str, Conversation]) -> str:
    """What was asked in the last turn."""
    return question_at(comparison, conversations, turn_count(comparison, conversations) - 1)


def last_answers(comparison: Comparison, conversations: Mapping[str, Conversation]) -> list[Node | None]:
    """Each pane's answer to the last question; `None` where it has none, or was not asked it."""
    return answers_at(comparison, conversations, turn_count(comparison, conversations) - 1)


def answers_at(comparison: Comparison, conversations: Mapping[str, Conversation], turn: int) -> list[Node | None]:
    """Likewise to the question of a turn, from 0."""
    return [_node_at(pane, conversations, turn, 1) for pane in comparison.panes]


def question_at(comparison: Comparison, conversations: Mapping[str, Conversation], turn: int) -> str:
    """What was asked in a turn, from 0: on the branches that are open, else on others; empty where no pane knows."""
    asked = [node for pane in comparison.panes if (node := _node_at(pane, conversations, turn, 0)) is not None]
    if not asked:
        elsewhere = (conversations[pane.conversation_id] for pane in comparison.panes if pane.asked and pane.first_turn <= turn)
        first = {pane.conversation_id: pane.first_turn for pane in comparison.panes}
        asked = [node for chat in elsewhere if (node := _newest_question(chat, turn - first[chat.id])) is not None]
    return asked[0].content if asked else ""


def other_questions(comparison: Comparison, conversations: Mapping[str, Conversation], turn: int) -> dict[int, str]:
    """What panes, by place, were asked that was another question than the turn's: where a version with later turns of its own is open."""
    asked = question_at(comparison, conversations, turn)
    nodes = {place: _node_at(pane, conversations, turn, 0) for place, pane in enumerate(comparison.panes)}
    return {place: node.content for place, node in nodes.items() if node is not None and node.content != asked}


def _newest_question(conversation: Conversation, turn: int) -> Node | None:
    """Of all versions of a conversation's turn, from 0."""
    depths: dict[str, int] = {}
    found = None
    for node in conversation.nodes.values():  # in the order of making, so that a parent comes first
        depths[node.id] = depths.get(node.parent_id or "", -1) + 1
        if node.role == "user" and depths[node.id] == 2 * turn:
            found = node
    return found


def _turns_of(pane: Pane, conversations: Mapping[str, Conversation]) -> int:
    """The turn after a pane's last one."""
    return pane.first_turn + (len(conversations[pane.conversation_id].path) + 1) // 2


def _node_at(pane: Pane, conversations: Mapping[str, Conversation], turn: int, side: int) -> Node | None:
    """A pane's question (0) or answer (1) of a turn."""
    path = conversations[pane.conversation_id].path if pane.asked else ()
    place = 2 * (turn - pane.first_turn) + side
    return path[place] if 0 <= place < len(path) else None
