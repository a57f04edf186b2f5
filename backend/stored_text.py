"""How much text a visitor of a public host, or an address, may have stored in a day: what is asked, answered and imported fills a disk that
is everybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime

from backend.errors import BadInput

MAX_CHARS_PER_VISITOR = 50_000_000  # a hundred novels
MAX_CHARS_PER_ADDRESS = 4 * MAX_CHARS_PER_VISITOR  # cookies can be had in any number


def _today() -> date:
    return datetime.now(UTC).date()


class StoredText:
    """Characters by visitor and by address, from midnight to midnight UTC."""

    def __init__(self, *, today: Callable[[], date] = _today) -> None:
        self._today, self._day = today, today()
        self._chars: Counter[str] = Counter()

    def check(self, owner: str, address: str, chars: int = 0) -> None:
        """Raises `BadInput` where `chars` more would be too many."""
        if self._day != self._today():
            self._day = self._today()
            self._chars.clear()
        full = self._chars[f"visitor {owner}"] + chars > MAX_CHARS_PER_VISITOR
        if full or (address and self._chars[f"address {address}"] + chars > MAX_CHARS_PER_ADDRESS):
            hint = "Save what you need and go on tomorrow (UTC), or run the app on your own machine."
            raise BadInput("You have stored as much text as this host takes in a day.", hint=hint)

    def add(self, owner: str, address: str, chars: int) -> None:
        self._chars[f"visitor {owner}"] += chars
        if address:
            self._chars[f"address {address}"] += chars
