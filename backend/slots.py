"""How much of one thing each visitor, or each address, has at once, and how much more they may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

from backend.errors import BadInput


class Slots:
    """`with slots.held({("owner", o): 4, ("address", a): 16}):` holds one of each key's, and gives all back at its end."""

    def __init__(self, message: str, hint: str) -> None:
        self._message, self._hint = message, hint
        self._taken: Counter[Hashable] = Counter()

    def taken(self, key: Hashable) -> int:
        return self._taken[key]

    @contextmanager
    def held(self, limits: Mapping[Hashable, int], *, refuse: bool = True) -> Iterator[None]:
        """Raises `BadInput` where a key has as many as its limit, and then holds none. Not to `refuse` is for what goes on."""
        if refuse and any(self._taken[key] >= limit for key, limit in limits.items()):
            raise BadInput(self._message, hint=self._hint)
        self._taken.update(limits.keys())
        try:
            yield
        finally:
            self._taken.subtract(limits.keys())
            for key in limits:
                if self._taken[key] <= 0:
                    del self._taken[key]
