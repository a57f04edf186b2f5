"""How much text a visitor, and an address, may have stored in a day."""

from __future__ import annotations

from datetime import date

import pytest

from backend.errors import BadInput
from backend.stored_text import MAX_CHARS_PER_ADDRESS, MAX_CHARS_PER_VISITOR, StoredText


class Days:
    def __init__(self) -> None:
        self.now = date(2026, 11, 30)

    def __call__(self) -> date:
        return self.now


def test_as_much_as_may_be_and_not_one_character_more_until_the_next_day():
    days = Days()
    stored = StoredText(today=days)
    stored.add("me", "203.0.113.5", MAX_CHARS_PER_VISITOR - 1)
    stored.check("me", "203.0.113.5", 1)
    with pytest.raises(BadInput, match="as this host takes in a day"):
        stored.check("me", "203.0.113.5", 2)
    stored.check("you", "203.0.113.5", 2)
    days.now = date(2026, 12, 1)
    stored.check("me", "203.0.113.5", MAX_CHARS_PER_VISITOR)


def test_an_address_has_a_limit_however_many_cookies_it_takes():
    stored = StoredText(today=Days())
    for n in range(MAX_CHARS_PER_ADDRESS // MAX_CHARS_PER_VISITOR):
        stored.add(f"visitor {n}", "203.0.113.5", MAX_CHARS_PER_VISITOR)
    with pytest.raises(BadInput):
        stored.check("another cookie", "203.0.113.5", 1)
    stored.check("elsewhere", "203.0.113.6", 1)
