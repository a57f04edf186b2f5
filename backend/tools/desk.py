"""Where calls wait for a person: for permission to run, or for the result itself. Knows no page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from backend.tools.kit import Policy


@dataclass(frozen=True, slots=True)
class Decision:
    """What the person said: a `result` typed by hand, or whether the tool may run. `policy` holds for the rest of this answer."""

    allow: bool = True
    result: str | None = None
    policy: Policy | None = None


@dataclass
class Desk:
    """The open questions of one answer, by the id of the call. `policies` are what was decided once for all, by the tool's name."""

    policies: dict[str, Policy] = field(default_factory=dict)
    _open: dict[str, asyncio.Future[Decision]] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        return bool(self._open)

    async def ask(self, call_id: str) -> Decision:
        """Returns once somebody has decided."""
        answer = self._open[call_id] = asyncio.get_running_loop().create_future()
        try:
            decision: Decision = await answer
            return decision
        finally:
            self._open.pop(call_id, None)

    def decide(self, call_id: str, decision: Decision) -> bool:
        """Whether anybody was waiting for it: a second click finds nobody."""
        answer = self._open.get(call_id)
        if answer is None or answer.done():
            return False
        answer.set_result(decision)
        return True
