"""Reads the text of one PDF in a process of its own, which can be killed: a page of a few kilobytes may unpack into millions of steps.

`python pdf_reader.py MAX_CHARS SECONDS < FILE` writes JSON lines: the number of pages, the text of each, or why there is none. Run by its
path, so that nothing of the app is imported; needs pypdf alone.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from io import BytesIO

MAX_MEMORY_BYTES = 2 << 30  # of addresses


def read(data: bytes, max_chars: int, limit_s: float) -> None:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    until_s = time.monotonic() + limit_s
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):  # many are "encrypted" with an empty password
            return _tell({"error": "locked"})
        _tell({"pages": len(reader.pages)})
        chars, first = 0, True
        for page in reader.pages:
            if not first and (chars > max_chars or time.monotonic() > until_s):
                break
            text, first = page.extract_text().strip(), False
            chars += len(text) + 2
            _tell({"text": text})
        _tell({"end": True})
    except (DependencyError, FileNotDecryptedError):
        _tell({"error": "locked"})
    except Exception as error:  # pypdf lets out what a broken file trips over: KeyError, RecursionError, ValueError ...
        _tell({"error": type(error).__name__})


def _tell(found: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    read(sys.stdin.buffer.read(), int(sys.argv[1]), float(sys.argv[2]))
