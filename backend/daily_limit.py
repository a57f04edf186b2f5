"""How many answers a day may be asked for at the owner's cost, on a public host. The count outlives a restart."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from backend.errors import QuotaExhausted
from backend.private_files import make_folder, write_text

log = logging.getLogger(__name__)

_HINT = "Paste a key of your own under Connect, choose a model on this machine, or come back tomorrow (UTC)."
FILE_NAME = "answers-today.json"


def _today() -> date:
    return datetime.now(UTC).date()


class DailyLimit:
    """`limit` answers from midnight to midnight UTC; `None` sets none. One address has a tenth of them, and ten at least."""

    def __init__(self, limit: int | None, folder: Path, *, today: Callable[[], date] = _today) -> None:
        self._limit, self._path, self._today = limit, folder / FILE_NAME, today
        self._day: date | None = None
        self._taken = 0
        self._by_address: Counter[str] = Counter()
        self._writing = asyncio.Lock()

    async def take(self, address: str = "") -> None:
        """Counts one for who asks from `address`, where that is known. Raises `QuotaExhausted` where that would be one too many."""
        if self._limit is None:
            return
        day = self._today()
        if self._day is None:
            kept = await asyncio.to_thread(self._read)
            if self._day is None:  # nobody else was faster
                self._day, self._taken = kept
        if self._day != day:
            self._day, self._taken = day, 0
            self._by_address.clear()
        if address and self._by_address[address] >= max(10, self._limit // 10):
            raise QuotaExhausted("Your network's share of this host's answers for today is used up.", hint=_HINT)
        if self._taken >= self._limit:
            raise QuotaExhausted("This host's answers for today are used up.", hint=_HINT)
        self._taken += 1
        if address:
            self._by_address[address] += 1
        async with self._writing:
            await asyncio.to_thread(self._write, json.dumps({"day": self._day.isoformat(), "answers": self._taken}))

    def _read(self) -> tuple[date, int]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return date.fromisoformat(kept["day"]), int(kept["answers"])
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or one that is not ours: the day begins
            return self._today(), 0

    def _write(self, text: str) -> None:
        try:
            make_folder(self._path.parent)
            write_text(self._path, text)
        except OSError as error:
            log.warning("the count of today's answers is not kept: %s", error.strerror)
