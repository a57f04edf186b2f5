"""The key that visitors' cookies are signed with: made once, kept in the data folder, readable by its owner alone."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

KEY_BYTES = 32


def visitor_key(data_dir: Path) -> bytes:
    """Where the folder cannot be written the key lives as long as the process; cookies are then signed anew at the next visit."""
    path, key = data_dir / "visitor.key", secrets.token_bytes(KEY_BYTES)
    with suppress(OSError):
        kept = path.read_bytes()
        if len(kept) == KEY_BYTES:
            return kept
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
        temporary.replace(path)
    except OSError as error:
        log.warning("the key of visitors' cookies is not kept: %s", error.strerror)
    return key
