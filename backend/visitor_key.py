"""The key that visitors' cookies are signed with: made once, kept in the data folder, readable by its owner alone."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from pathlib import Path

from backend.private_files import make_folder, write_text

log = logging.getLogger(__name__)

KEY_BYTES = 32


def visitor_key(data_dir: Path) -> bytes:
    """Where the folder cannot be written the key lives as long as the process; cookies are then signed anew at the next visit."""
    path, key = data_dir / "visitor.key", secrets.token_bytes(KEY_BYTES)
    with suppress(OSError, ValueError):
        kept = bytes.fromhex(path.read_text(encoding="ascii"))
        if len(kept) == KEY_BYTES:
            return kept
    try:
        make_folder(data_dir)
        write_text(path, key.hex())
    except OSError as error:
        log.warning("the key of visitors' cookies is not kept: %s", error.strerror)
    return key
