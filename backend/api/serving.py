"""Sends an answer while it is made, and ends the engine's work the moment that the caller is gone. Knows no route and no body.

ASGI responses of their own: one `send` a frame and nothing between, which is what keeps the time added to a token small.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.api.answers import Choice
from backend.api.errors import INTERNAL, ApiError, from_backend
from backend.ending import Ending
from backend.errors import BackendError
from backend.provider import Provider
from backend.types import ChatRequest, Event

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0  # proxies cut connections that are silent for a minute; a model may load for longer


class Frames(Protocol):
    """Writes the frames of one stream."""

    def take(self, place: int, event: Event) -> bytes: ...

    def end(self) -> bytes: ...

    def broken(self, error: ApiError) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of the engine, `choices` times. `done` is called once, when nothing more is sent."""

    provider: Provider
    request: ChatRequest
    choices: int
    done: Callable[[], None]
    ending: Ending
    headers: dict[str, str] = field(default_factory=dict)


async def events_of(job: Job) -> AsyncGenerator[tuple[int, Event], None]:
    """Events with the choice that they belong to. Several choices run at once; given a seed, each has one of its own."""
    if job.choices == 1:
        async with aclosing(job.provider.stream(job.request)) as events:
            async for event in events:
                yield 0, event
        return
    queue: asyncio.Queue[tuple[int, Event] | BaseException | None] = asyncio.Queue(maxsize=64)
    tasks = [asyncio.create_task(_one_of(job, place, queue)) for place in range(job.choices)]
    try:
        left = job.choices
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one_of(job: Job, place: int, queue: asyncio.Queue[tuple[int, Event] | BaseException | None]) -> None:
    parameters = job.request.parameters
    if parameters.seed is not None:
        parameters = replace(parameters, seed=(parameters.seed + place) % 2**31)
    try:
        async with aclosing(job.provider.stream(replace(job.request, parameters=parameters))) as events:
            async for event in events:
                await queue.put((place, event))
        await queue.put(None)
    except Exception as error:  # raised again where the choices come together
        await queue.put(error)


def told(error: Exception) -> ApiError:
    """What the caller is told of it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BackendError):
        return from_backend(error)
    log.error("an answer failed in an unforeseen way", exc_info=error)
    return INTERNAL


class _Answering(Response):
    """Works until it is done, the caller is gone or the app is ended, whichever comes first."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._job.ending.unless_ended(self._work(send)))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            gone.cancel()
            done = await asyncio.gather(work, gone, return_exceptions=True)
            self._job.done()
        if isinstance(done[0], BackendError):
            return await self._fail(send, told(done[0]))
        if isinstance(done[0], Exception) and not isinstance(done[0], OSError):  # OSError: sent to somebody who has gone
            raise done[0]

    async def _work(self, send: Send) -> None:
        raise NotImplementedError

    async def _fail(self, send: Send, failure: ApiError) -> None:
        """An answer that was cut short by this app."""
        await _send_error(send, failure, self._job.headers)

    def _start(self, status: int, media_type: str, length: int | None = None, extra: dict[str, str] | None = None) -> dict[str, object]:
        named = {"content-type": media_type, **self._job.headers, **(extra or {})}
        if length is not None:
            named["content-length"] = str(length)
        return {"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode("latin-1")) for k, v in named.items()]}


class Streamed(_Answering):
    """Server-sent events. Nothing is sent before the first word, so that an error till then has its own status; but a caller that has
    to wait is told so every ten seconds."""

    def __init__(self, job: Job, frames: Frames) -> None:
        super().__init__(job)
        self._frames, self._begun = frames, False

    async def _work(self, send: Send) -> None:
        beat = asyncio.create_task(self._beat(send))
        try:
            async with aclosing(events_of(self._job)) as events:
                async for place, event in events:
                    if frame := self._frames.take(place, event):
                        if not self._begun:
                            await self._begin(send)
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
            last = self._frames.end()
        except Exception as error:
            failure = told(error)
            if not self._begun:
                beat.cancel()
                return await self._fail(send, failure)
            last = self._frames.broken(failure)
        finally:
            beat.cancel()
        if not self._begun:
            await self._begin(send)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _fail(self, send: Send, failure: ApiError) -> None:
        if not self._begun:
            return await super()._fail(send, failure)
        await send({"type": "http.response.body", "body": self._frames.broken(failure), "more_body": False})

    async def _begin(self, send: Send) -> None:
        self._begun = True
        await send(self._start(200, "text/event-stream; charset=utf-8", extra={"cache-control": "no-cache", "x-accel-buffering": "no"}))

    async def _beat(self, send: Send) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._begun:
                await self._begin(send)
            await send({"type": "http.response.body", "body": b": waiting\n\n", "more_body": True})


class Whole(_Answering):
    """One JSON body at the end."""

    def __init__(self, job: Job, write: Callable[[Sequence[Choice]], bytes]) -> None:
        super().__init__(job)
        self._write = write

    async def _work(self, send: Send) -> None:
        choices = [Choice() for _ in range(self._job.choices)]
        try:
            async with aclosing(events_of(self._job)) as events:
                async for place, event in events:
                    choices[place].take(event)
        except Exception as error:
            return await _send_error(send, told(error), self._job.headers)
        body = self._write(choices)
        await send(self._start(200, "application/json", len(body)))
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_error(send: Send, error: ApiError, headers: dict[str, str]) -> None:
    body = error.body()
    named = {"content-type": "application/json", "content-length": str(len(body)), **headers, **error.headers}
    encoded = [(k.encode(), v.encode("latin-1")) for k, v in named.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _gone(receive: Receive) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
