"""Where visitors' uploads lie until they are read: a private folder of each running app in its data folder."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
from pathlib import Path

from backend import private_files
from backend.app_lock import AppLock

log = logging.getLogger(__name__)

_LOCK = ".lock"


class Uploads:
    """One for the process, for its life."""

    def __init__(self, data_dir: Path) -> None:
        self._all = data_dir / "uploads"
        self._lock: AppLock | None = None

    def prepare(self) -> Path:
        """Makes this app's folder and deletes those of apps that were killed. Where the data folder cannot be written, it is a private
        one elsewhere. Raises `OSError` where there is no such place, either."""
        try:
            private_files.make_folder(self._all)
            private_files.protect_file(self._all)
            self._clean()
            folder = self._all / secrets.token_hex(8)
            private_files.make_folder(folder)
        except OSError as error:
            log.warning("uploads cannot be kept in the data folder: %s", error.strerror)
            return Path(tempfile.mkdtemp(prefix="qwen3-next-playground-"))
        self._lock = AppLock(folder / _LOCK)
        self._lock.take()
        return folder

    def _clean(self) -> None:
        for folder in self._all.iterdir():
            lock = AppLock(folder / _LOCK)
            if folder.is_dir() and not folder.is_symlink() and lock.take():
                lock.release()
                shutil.rmtree(folder, ignore_errors=True)
