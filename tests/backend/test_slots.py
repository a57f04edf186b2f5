"""How much of one thing everybody may have at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from backend.errors import BadInput
from backend.slots import Slots


def slots() -> Slots:
    return Slots("Too many.", "Wait.")


def test_as_many_as_the_limit_and_not_one_more():
    each = slots()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(each.held({"a": 3}))
        with pytest.raises(BadInput) as refused, each.held({"a": 3}):
            pass
        assert (refused.value.message, refused.value.hint) == ("Too many.", "Wait.")
        assert each.taken("a") == 3  # what was refused holds nothing
        with each.held({"b": 3}):  # another's
            pass
    with each.held({"a": 1}):  # all were given back
        pass
    assert each.taken("a") == 0


def test_of_two_limits_the_first_that_is_reached_refuses_and_neither_is_held():
    each = slots()
    with each.held({"visitor": 9, "address": 1}):
        with pytest.raises(BadInput), each.held({"other visitor": 9, "address": 1}):
            pass
        assert each.taken("other visitor") == 0 and each.taken("address") == 1


def test_what_fails_gives_back_too():
    each = slots()
    with pytest.raises(ValueError), each.held({"a": 1}):
        raise ValueError
    with each.held({"a": 1}):
        pass


def test_what_goes_on_is_not_refused_and_counts():
    each = slots()
    with each.held({"a": 1}), each.held({"a": 1}, refuse=False):
        assert each.taken("a") == 2
    assert each.taken("a") == 0


def test_nothing_is_kept_of_keys_that_hold_nothing():
    each = slots()
    for n in range(100):
        with each.held({n: 1}):
            pass
    assert not each._taken
