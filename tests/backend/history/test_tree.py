"""The shape of a conversation: which branch is open, what is above and below a turn."""

from __future__ import annotations

import pytest

from backend.history.tree import Link, above, below, children_of, neighbour, open_path

#  q1 - a1 - q2 - a2      b1 (a second first question)
#    \- a1b - q2b
TREE = [
    Link("q1", None, "a1b"),
    Link("a1", "q1", "q2"),
    Link("a1b", "q1", "q2b"),
    Link("q2", "a1"),
    Link("a2", "q2"),
    Link("q2b", "a1b"),
    Link("b1", None),
]


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("q1", ["q1", "a1b", "q2b"]),
        ("b1", ["b1"]),
        (None, ["b1"]),  # the newest where nothing says which
        ("deleted", ["b1"]),
    ],
)
def test_the_open_branch_follows_what_was_open_last(root, path):
    assert open_path(TREE, root) == path


def test_a_pointer_to_a_child_that_is_gone_means_the_newest():
    assert open_path([Link("q", None, "gone"), Link("a", "q"), Link("b", "q")], "q") == ["q", "b"]


def test_an_empty_chat_has_no_branch():
    assert open_path([], None) == []
    assert children_of([]) == {}


def test_above_is_the_way_from_the_root():
    assert above(TREE, "a2") == ["q1", "a1", "q2", "a2"]
    assert above(TREE, "b1") == ["b1"]


def test_below_is_a_turn_and_all_that_hangs_under_it():
    assert set(below(TREE, "a1")) == {"a1", "q2", "a2"}
    assert set(below(TREE, "q1")) == {"q1", "a1", "q2", "a2", "a1b", "q2b"}


@pytest.mark.parametrize(("node", "beside"), [("a1", "a1b"), ("a1b", "a1"), ("b1", "q1"), ("a2", None)])
def test_the_neighbour_is_the_version_before_else_the_one_after(node, beside):
    assert neighbour(TREE, node) == beside


def test_a_deep_chat_needs_no_deep_stack():
    links = [Link(str(i), str(i - 1) if i else None) for i in range(5000)]
    assert len(open_path(links, "0")) == len(above(links, "4999")) == len(below(links, "0")) == 5000
