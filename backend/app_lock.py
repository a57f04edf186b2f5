"""Which of several apps on one machine was here first: a lock on a file, held for the life of the process and given back by the
system when that is killed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


class AppLock:
    """`held`: this app has it; `by_another`: another app has it. Neither, where files cannot be locked, as on some network drives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: FileLock | None = None
        self._told = False
        self._taking = threading.Lock()  # asked by several threads at once
        self.by_another = False

    @property
    def held(self) -> bool:
        return self._lock is not None

    def take(self) -> bool:
        """Whether this app has it now. May be called again: the other app may have ended."""
        with self._taking:
            return self._take()

    def _take(self) -> bool:
        if self.held:
            return True
        self.by_another = False
        # no soft lock: a file that a killed process leaves behind would keep all later ones out
        lock = FileLock(self._path, timeout=0, mode=0o600, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            self.by_another = True
        except (OSError, NotImplementedError) as error:
            if not self._told:
                log.warning("%s cannot be locked (%s); another app here would not be noticed", self._path.name, error)
                self._told = True
        else:
            self._lock = lock
        return self.held

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
