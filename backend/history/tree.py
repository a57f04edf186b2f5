"""The shape of a conversation: pure functions over (id, parent, open child) links in the order of making."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A node's place in the tree. `active_child_id` is the child that was open last, `None` for none or unknown."""

    id: str
    parent_id: str | None
    active_child_id: str | None = None


def children_of(links: Iterable[Link]) -> dict[str | None, list[str]]:
    """Ids of the children of each node, and under `None` the roots; oldest first."""
    children: dict[str | None, list[str]] = {}
    for link in links:
        children.setdefault(link.parent_id, []).append(link.id)
    return children


def open_path(links: Sequence[Link], root_id: str | None) -> list[str]:
    """The open branch from root to leaf: at each fork the child that was open last, else the newest."""
    children = children_of(links)
    active = {link.id: link.active_child_id for link in links}
    path: list[str] = []
    here, wanted = children.get(None, []), root_id
    while here:
        step = wanted if wanted in here else here[-1]
        path.append(step)
        here, wanted = children.get(step, []), active[step]
    return path


def above(links: Sequence[Link], node_id: str) -> list[str]:
    """The ids from the root down to `node_id`, itself included."""
    parents = {link.id: link.parent_id for link in links}
    path = [node_id]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path[::-1]


def below(links: Sequence[Link], node_id: str) -> list[str]:
    """`node_id` and all that hangs under it."""
    children = children_of(links)
    found = [node_id]
    for each in found:  # grows while it is walked
        found += children.get(each, [])
    return found


def neighbour(links: Sequence[Link], node_id: str) -> str | None:
    """The sibling to show once `node_id` is gone: the one before it, else the one after."""
    parents = {link.id: link.parent_id for link in links}
    siblings = children_of(links)[parents[node_id]]
    place = siblings.index(node_id)
    rest = siblings[:place] + siblings[place + 1 :]
    return rest[max(0, place - 1)] if rest else None
