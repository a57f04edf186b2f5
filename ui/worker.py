"""A process that compares strangers' texts, so that it can be killed when one of them takes too long. `python -m ui.worker` is its
whole life: it answers on its output what it is asked on its input, one thing after another, and ends with its input.

A frame is a list of texts: their number, then each one's length in bytes and its UTF-8. A question is a task, the seconds after
which the system is to end the process by itself, and the task's texts; the answer is any number of "part" frames and an "end".
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

MAX_MEMORY_BYTES = 2 << 30  # of addresses; most of it is never touched
NICENESS = 5  # whoever waits for the event loop comes first
_NUMBER = struct.Struct(">I")


def write_frame(to: BinaryIO, texts: list[str]) -> None:
    """Raises `OSError` where nobody reads."""
    to.write(_NUMBER.pack(len(texts)))
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        to.write(_NUMBER.pack(len(data)))
        to.write(data)
    to.flush()


def read_frame(source: BinaryIO) -> list[str]:
    """Raises `EOFError` at the end."""
    (count,) = _NUMBER.unpack(_exactly(source, _NUMBER.size))
    return [_exactly(source, _NUMBER.unpack(_exactly(source, _NUMBER.size))[0]).decode("utf-8", "surrogatepass") for _ in range(count)]


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _difference(left: str, right: str) -> Iterator[list[str]]:
    from ui.compare.difference import difference

    found = difference(left, right)
    yield [found.left, found.right, repr(found.same_share), "cut" if found.cut else ""]


TASKS: dict[str, Callable[..., Iterator[list[str]]]] = {"difference": _difference}


def main() -> None:
    """Answers until the input ends."""
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the app, whose end ends the input
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    import ui.compare.difference  # noqa: F401  before the first question, whose time is limited

    write_frame(answers, ["ready"])
    with suppress(EOFError, BrokenPipeError):
        while True:
            task, limit_s, *texts = read_frame(source)
            _end_after(float(limit_s))
            try:
                for part in TASKS[task](*texts):
                    write_frame(answers, ["part", *part])
            except (MemoryError, RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
                write_frame(answers, ["failed", type(error).__name__])
            else:
                write_frame(answers, ["end"])
            _end_after(0)


def _end_after(limit_s: float) -> None:
    """The system ends this process then, even inside one endless step while nobody is left to kill it; 0: no more. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_s)


if __name__ == "__main__":
    sys.exit(main())
