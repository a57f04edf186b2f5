"""The processes that compare strangers' texts (`ui.worker`): at most two, started when first needed, killed at their limit.

Called from threads, which wait for the answer on a pipe: the event loop and the interpreter are free meanwhile.
"""

from __future__ import annotations

import heapq
import logging
import os
import subprocess  # nosec B404: to run our own module
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ui.worker import read_frame, write_frame

MAX_WORKERS = 2
START_S = 30.0  # of a new process, until it is ready
AFTER_LIMIT_S = 2.0  # the process ends itself that much later, should nobody be left to kill it
_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "WINDIR", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")  # no keys, no settings

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What came of a question: the parts that were finished, and whether that is all of them. `asked`: a worker was free in time."""

    parts: list[list[str]] = field(default_factory=list)
    whole: bool = False
    asked: bool = True
    worked_s: float = 0.0


class _Worker:
    """One process. Raises `OSError` where it cannot be started."""

    def __init__(self) -> None:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        self.process = subprocess.Popen(  # nosec B603: this Python, no shell, nothing that a stranger wrote
            [sys.executable, "-X", "utf8", "-m", "ui.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**kept, "PYTHONPATH": path}, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
        if self._within(START_S, self._read) != ["ready"]:
            self.end()
            raise OSError("the process that compares texts did not start")

    def ask(self, task: str, texts: Sequence[str], limit_s: float) -> Outcome:
        """Kills the process where the answer takes longer than `limit_s`."""
        outcome = Outcome()

        def answer() -> None:
            write_frame(self.process.stdin, [task, str(limit_s + AFTER_LIMIT_S), *texts])
            while (frame := self._read())[0] == "part":
                outcome.parts.append(frame[1:])
            outcome.whole = frame == ["end"]
            if frame[0] == "failed":
                log.info("no %s was made: %s", task, frame[1])

        self._within(limit_s, answer)
        return outcome

    def _read(self) -> list[str]:
        return read_frame(self.process.stdout)

    def _within(self, limit_s: float, talk: Callable[[], Any]) -> Any:
        over, lock = False, threading.Lock()

        def kill() -> None:
            with lock:
                if not over:  # the timer may fire while it is cancelled
                    self.process.kill()

        timer = threading.Timer(limit_s, kill)
        timer.daemon = True
        timer.start()
        try:
            told = talk()
        except (EOFError, OSError):  # killed, or ended by itself
            told = None
            self.process.kill()
            self.process.wait()
        finally:
            timer.cancel()
            with lock:
                over = True
        return told

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


class Workers:
    """Those of one app. `start` is what starts one."""

    def __init__(self, most: int = MAX_WORKERS, start: Callable[[], _Worker] = _Worker) -> None:
        self._most, self._start = most, start
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._at_work = 0
        self._waiting: list[tuple[float, int]] = []
        self._numbers = count()
        self._changed = threading.Condition()

    def ask(self, task: str, texts: Sequence[str], *, limit_s: float, wait_s: float, spent_s: float = 0.0) -> Outcome:
        """Waits at most `wait_s` for a worker, then at most `limit_s` for its answer. Whoever has spent less is served first.

        Raises `OSError` where no process can be started.
        """
        if not self._take_turn(spent_s, wait_s):
            return Outcome(asked=False)
        worker: _Worker | None = None
        try:
            worker = self._free_one() or self._start()
            with self._changed:
                self._busy.add(worker)
            begun_s = time.monotonic()
            outcome = worker.ask(task, texts, limit_s)
            outcome.worked_s = time.monotonic() - begun_s
            return outcome
        finally:
            self._give_back(worker)

    def close(self) -> None:
        """Ends all processes; whoever waits for one gets what was finished. They start again when they are needed."""
        with self._changed:
            idle, self._idle = self._idle, []
            for worker in self._busy:  # whoever asked it ends it
                worker.process.kill()
        for worker in idle:
            worker.end()

    def _take_turn(self, spent_s: float, wait_s: float) -> bool:
        turn = (spent_s, next(self._numbers))
        with self._changed:
            heapq.heappush(self._waiting, turn)
            free = self._changed.wait_for(lambda: self._at_work < self._most and self._waiting[0] == turn, wait_s)
            self._waiting.remove(turn)
            heapq.heapify(self._waiting)
            self._at_work += free
            self._changed.notify_all()
            return free

    def _free_one(self) -> _Worker | None:
        with self._changed:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.end()
        return None

    def _give_back(self, worker: _Worker | None) -> None:
        with self._changed:
            if worker is not None:
                self._busy.discard(worker)
                if worker.alive:
                    self._idle.append(worker)
                else:
                    worker.end()
            self._at_work -= 1
            self._changed.notify_all()
