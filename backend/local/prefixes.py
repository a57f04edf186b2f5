"""Conversations that were read before: the next turn begins where the last one was, and so does an edited or regenerated one.

A tree: a node holds the keys and values of the tokens between its parent's border and its own, and the recurrent layers as they were
at its border, since a recurrent state cannot be cut back. Borders are the ends of people's messages: what follows them, the trace and
the answer, is written differently into the next prompt (earlier traces are dropped). Nothing is kept twice; the leaf that was not
wanted for the longest time goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from backend.local.network.state import Mark, State

Segment = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(eq=False)
class _Node:
    parent: _Node | None
    ids: tuple[int, ...]  # from the parent's border to this one
    segment: Segment
    mark: Mark
    used: int = 0
    children: dict[tuple[int, ...], _Node] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return self.mark.size_bytes + sum(keys.nbytes + values.nbytes for keys, values in self.segment)


def _before(start: int) -> int:
    """A segment begins one place early: the MTP head writes its part of a place only when it reads the token after it."""
    return max(0, start - 1)


class Prefixes:
    """Of one loaded model; at most `most_bytes` of them. Used by one thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._root = _Node(None, (), [], Mark(0, (), None))
        self._clock = 0
        self.size_bytes = 0

    def restore(self, ids: Sequence[int], state: State) -> int:
        """Brings `state` to the longest known beginning of `ids`, short of its last token; returns how many tokens that is."""
        chain = self._chain(tuple(ids[:-1]))
        state.clear()
        if not chain:
            return 0
        state.make_room(chain[-1].mark.length)
        start = 0
        self._clock += 1
        for node in chain:
            state.put(_before(start), node.segment)
            start, node.used = node.mark.length, self._clock
        state.back_to(chain[-1].mark)
        return start

    def keep(self, ids: Sequence[int], state: State) -> None:
        """Remembers `state`, which has just read `ids`."""
        known = self._chain(tuple(ids))
        parent = known[-1] if known else self._root
        start = parent.mark.length
        if start == len(ids):
            return
        self._clock += 1
        try:
            made = _Node(parent, tuple(ids[start:]), state.segment(_before(start), len(ids)), state.mark(), self._clock)
        except torch.OutOfMemoryError:  # what could be read again is given up before an answer is
            self.clear()
            return
        for node in known:
            node.used = self._clock
        parent.children[made.ids] = made
        self.size_bytes += made.size_bytes
        while self.size_bytes > self._most_bytes and (leaf := self._oldest_leaf()) is not None:
            self._drop(leaf)

    def clear(self) -> None:
        self._root.children.clear()
        self.size_bytes = 0

    def _chain(self, ids: tuple[int, ...]) -> list[_Node]:
        """The nodes along the longest known beginning of `ids`."""

        def best(node: _Node, start: int) -> list[_Node]:
            chains = [[c, *best(c, start + len(c.ids))] for c in node.children.values() if ids[start : start + len(c.ids)] == c.ids]
            return max(chains, key=lambda chain: chain[-1].mark.length, default=[])

        return best(self._root, 0)

    def _oldest_leaf(self) -> _Node | None:
        leaves, unseen = [], list(self._root.children.values())
        while unseen:
            node = unseen.pop()
            unseen += node.children.values()
            if not node.children:
                leaves.append(node)
        return min(leaves, key=lambda leaf: leaf.used, default=None)

    def _drop(self, leaf: _Node) -> None:
        assert leaf.parent is not None  # nosec B101: for the type checker
        del leaf.parent.children[leaf.ids]
        self.size_bytes -= leaf.size_bytes
