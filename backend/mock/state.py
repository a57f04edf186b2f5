"""What happened: runs and the last requests, for tests and curious people (`GET /mock/state`). Holds no key."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.mock.call import Surface

RunState = Literal["streaming", "done", "disconnected", "failed"]
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"})


@dataclass(slots=True)
class MockRun:
    """One request that was answered or refused; `id` is the request id that the client was told, `last_token_at_s` Unix time."""

    surface: Surface
    model: str = ""
    stream: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    tokens_sent: int = 0
    state: RunState = "streaming"
    status: int = 200
    code: str | None = None
    fault: str | None = None
    started_s: float = field(default_factory=time.monotonic)
    closed_after_s: float | None = None
    last_token_at_s: float | None = None

    def close(self, state: RunState) -> None:
        """The first end counts."""
        if self.closed_after_s is None:
            self.state, self.closed_after_s = state, round(time.monotonic() - self.started_s, 4)


class State:
    def __init__(self, kept_runs: int, kept_requests: int) -> None:
        self._runs: deque[MockRun] = deque(maxlen=kept_runs)
        self._requests: deque[dict[str, Any]] = deque(maxlen=kept_requests)

    def open(self, surface: Surface, path: str, headers: Mapping[str, str], body: object) -> MockRun:
        run = MockRun(surface)
        self._runs.append(run)
        shown = {k.lower(): v for k, v in headers.items() if k.lower() not in _SECRET_HEADERS}
        self._requests.append({"id": run.id, "surface": surface, "path": path, "headers": shown, "body": body})
        return run

    def shown(self) -> dict[str, object]:
        runs = [
            {
                "id": r.id,
                "surface": r.surface,
                "model": r.model,
                "stream": r.stream,
                "tokens_sent": r.tokens_sent,
                "state": r.state,
                "status": r.status,
                "code": r.code,
                "fault": r.fault,
                "closed_after_s": r.closed_after_s,
                "last_token_at_s": r.last_token_at_s,
            }
            for r in self._runs
        ]
        return {"active": sum(r.closed_after_s is None for r in self._runs), "runs": runs, "requests": list(self._requests)}

    def clear(self) -> None:
        """Forgets what has ended."""
        self._runs = deque((r for r in self._runs if r.closed_after_s is None), maxlen=self._runs.maxlen)
        self._requests.clear()
