"""What goes wrong on purpose: by server switch, by `[[fault:NAME]]` in the prompt, or by the header `X-Mock-Fault`.

    NAME[@AT][xN]     AT: after that many tokens (or, for `slow`, seconds); xN: only the first N attempts of this prompt

Refusals before anything is sent: every key of `refusals.BY_FAULT` (`429`, `429-rate`, `429-quota`, `free-tier`, `503`, ...).

    html                  a proxy's HTML page with status 502
    cut, cut-first        the connection closes after some tokens, or after the headers
    slow                  the first token comes late (10 s)
    hang, hang-mid        nothing comes any more, before the first token or after some; the connection stays open
    error                 an error frame on a stream that already answered 200 (throttling)
    inspection-stream     the same, from the content inspection of the output
    leak                  compatible mode: a native error frame without an `error` key ends the stream
    bad-json              one frame that is not JSON
    no-finish             the stream ends without a finish reason

Knows no wire format.
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from dataclasses import dataclass

from backend.mock.call import Call, last_user_text
from backend.mock.config import MockConfig
from backend.mock.refusals import BY_FAULT, OUTPUT_INSPECTION, Refusal

IN_STREAM = frozenset("cut cut-first slow hang hang-mid error inspection-stream leak bad-json no-finish".split())
NAMES = (*BY_FAULT, "html", *sorted(IN_STREAM))
SLOW_S, AFTER_TOKENS = 10.0, 8
_WRITTEN = re.compile(r"(?P<name>[a-z0-9-]+?)(?:@(?P<at>\d+(?:\.\d+)?))?(?:x(?P<times>\d+))?", re.IGNORECASE)
_KEPT_COUNTS = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: tokens before it happens (`slow`: seconds). `times`: attempts that meet it, `None`: all."""

    name: str
    at: float | None = None
    times: int | None = None

    @property
    def refusal(self) -> Refusal | None:
        """What is said: instead of an answer, or in the frame that breaks a stream."""
        if self.name == "inspection-stream":
            return OUTPUT_INSPECTION
        return BY_FAULT.get({"error": "429", "leak": "arrearage"}.get(self.name, self.name))

    @property
    def in_stream(self) -> bool:
        """It happens to an answer on its way, not instead of one."""
        return self.name in IN_STREAM

    @property
    def after_tokens(self) -> int:
        return AFTER_TOKENS if self.at is None else int(self.at)

    @property
    def slow_s(self) -> float:
        return SLOW_S if self.at is None else self.at


def parse(text: str) -> Fault:
    """Raises `ValueError` that lists the known names."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found["name"].lower() not in NAMES:
        raise ValueError(f"unknown fault {text!r}; known: {', '.join(NAMES)}")
    at, times = found["at"], found["times"]
    return Fault(found["name"].lower(), float(at) if at else None, int(times) if times else None)


class Faults:
    """Decides which fault a call meets, and counts the attempts of a prompt where a fault has a count."""

    def __init__(self, config: MockConfig, rng: random.Random) -> None:
        self._switched = parse(config.fault) if config.fault else None
        self._probability, self._rng = config.fault_probability, rng
        self._attempts: OrderedDict[tuple[str, str, str], int] = OrderedDict()

    def for_call(self, call: Call, header: str | None) -> Fault | None:
        """Raises `ValueError` for a name that is not known."""
        written = header or call.markers.get("fault")
        if written:
            fault = parse(written)
        elif self._switched is not None and self._rng.random() < self._probability:
            fault = self._switched
        else:
            return None
        if fault.times is None:
            return fault
        return fault if self._count(call, fault) else None

    def _count(self, call: Call, fault: Fault) -> bool:
        """Whether this attempt still fails. The attempt that gets through starts the count again."""
        key = (call.model, fault.name, last_user_text(call.messages))
        attempts = self._attempts.pop(key, 0) + 1
        if attempts > (fault.times or 0):
            return False
        self._attempts[key] = attempts
        if len(self._attempts) > _KEPT_COUNTS:
            self._attempts.popitem(last=False)
        return True
