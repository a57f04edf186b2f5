"""Records a run while it streams: a provider that wraps any other. The format is recording.py's.

A run that is stopped, fails or dies with its process leaves a file that can still be replayed. Knows no engine and no page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from backend.catalogue import Capabilities
from backend.errors import BackendError
from backend.private_files import make_folder, open_file
from backend.provider import HasRegion, Provider
from backend.recording import End, end_line, event_line, header_line, header_of
from backend.types import ChatRequest, Event, Finished

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.25


class Recorder:
    """A provider that writes what passes through to `path_for(request)` as it streams, at least four times a second.

    A disk that fails is logged and ends the recording, never the run.
    """

    def __init__(
        self,
        provider: Provider,
        path_for: Callable[[ChatRequest], Path],
        *,
        model: str,
        source: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider, self._path_for, self._clock = provider, path_for, clock
        self._model, self._source = model, source

    @property
    def region(self) -> str | None:
        return self._provider.region if isinstance(self._provider, HasRegion) else None

    async def capabilities(self, model: str) -> Capabilities:
        return await self._provider.capabilities(model)

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        started_s = self._clock()
        header = replace(header_of(request, model=self._model, source=self._source), live=True)
        tape = _Tape(self._path_for(request), header_line(header))
        end: End = "stopped"
        problem: str | None = None
        try:
            async with aclosing(self._provider.stream(request)) as events:
                async for event in events:
                    tape.add(event_line(self._clock() - started_s, event))
                    if isinstance(event, Finished):
                        end = "finished"
                    yield event
        except Exception as error:
            end, problem = "failed", error.message if isinstance(error, BackendError) else type(error).__name__
            raise
        finally:
            if end != "finished":
                tape.add(end_line(self._clock() - started_s, end, problem))
            await tape.aclose()


class _Tape:
    """Lines on their way to a file; a task writes them in a thread, so that the disk never holds up the stream."""

    def __init__(self, path: Path, first_line: str) -> None:
        self._path, self._lines, self._closing = path, [first_line], asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"recording {path.name}")

    def add(self, line: str) -> None:
        self._lines.append(line)

    async def aclose(self) -> None:
        self._closing.set()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        mode = "x"
        try:
            while self._lines or not self._closing.is_set():
                lines, self._lines = self._lines, []
                if lines:
                    await asyncio.to_thread(_write, self._path, mode, "".join(lines))
                    mode = "a"
                if not self._closing.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(FLUSH_EVERY_S):
                            await self._closing.wait()
        except OSError as error:
            log.warning("recording %s given up: %s", self._path.name, error.strerror)


def _write(path: Path, mode: str, text: str) -> None:
    make_folder(path.parent)
    with open_file(path, mode) as file:
        file.write(text)
