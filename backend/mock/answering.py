"""Sends one answer at its pace, with whatever is to go wrong, and notices at once when the client has gone.

An ASGI response of its own: one `send` a frame, nothing in between. Knows no surface: frames come from a `Framer`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.mock.faults import Fault
from backend.mock.scenarios import Script
from backend.mock.state import MockRun
from backend.mock.wire import Counts, Framer


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that one answered request needs."""

    run: MockRun
    frames: Framer
    script: Script
    input_tokens: int
    stream: bool
    fault: Fault | None


class _Cut(Exception):
    """The connection is to be closed without a proper end."""


class PacedResponse(Response):
    """Answers as `Answer` says. Leaving `__call__` without the last body message makes uvicorn close the connection."""

    def __init__(self, answer: Answer, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._answer = answer
        self._headers_sent = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        self._fault = answer.fault.name if answer.fault else None
        self._start_s = asyncio.get_running_loop().time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        run = self._answer.run
        work = asyncio.create_task(self._stream(send) if self._answer.stream else self._whole(send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                run.close("done" if work.result() else "failed")
            else:
                run.close("disconnected")
        except _Cut:
            run.close("failed")
        finally:
            run.close("failed")  # the first end counts: this one is for the unforeseen
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _stream(self, send: Send) -> bool:
        """Whether the answer came to a proper end."""
        answer, frames, script = self._answer, self._answer.frames, self._answer.script
        counts, loop, run = Counts(answer.input_tokens), asyncio.get_running_loop(), answer.run
        await send(self._start(frames.media_type))
        start_s = self._start_s + await self._first_fault()
        opening = frames.opening()
        for chunk in script.chunks:
            if await self._breaks(send, counts.output):
                return False
            await asyncio.sleep(max(0.0, start_s + chunk.at_s - loop.time()))  # late: no sleep, but the others get their turn
            if opening:
                await send(_part(opening))
                opening = b""
            counts.add(chunk)
            await send(_part(frames.chunk(chunk, counts)))
            run.tokens_sent, run.last_token_at_s = counts.output, time.time()
        if await self._breaks(send, None):
            return False
        last = frames.cut_short() if self._fault == "no-finish" else frames.ending(script.reason, counts)
        await self._send_all(send, [opening, *last])
        return True

    async def _first_fault(self) -> float:
        """What goes wrong before the first token; seconds by which everything comes later."""
        if self._fault == "cut-first":
            raise _Cut
        if self._fault == "hang":
            await asyncio.Event().wait()
        return self._answer.fault.slow_s if self._answer.fault and self._fault == "slow" else 0.0

    async def _breaks(self, send: Send, sent: int | None) -> bool:
        """Does what is to go wrong after `sent` tokens (`None`: at the end); whether the stream is over with that."""
        fault = self._answer.fault
        if fault is None or self._fault is None or (sent is not None and sent < fault.after_tokens):
            return False
        frames, refusal = self._answer.frames, fault.refusal
        if self._fault == "cut":
            raise _Cut
        if self._fault == "hang-mid":
            await asyncio.Event().wait()
        if self._fault == "bad-json":
            self._fault = None
            await send(_part(frames.garbled()))
        elif refusal is not None:
            await self._send_all(send, [frames.leaked(refusal) if self._fault == "leak" else frames.broken(refusal)])
            self._answer.run.code = refusal.native
            return True
        return False

    async def _whole(self, send: Send) -> bool:
        """One JSON body, once the last token is due."""
        answer, script, loop = self._answer, self._answer.script, asyncio.get_running_loop()
        late_s = await self._first_fault()
        if self._fault == "hang-mid":
            await asyncio.Event().wait()
        due_s = self._start_s + late_s + (script.chunks[-1].at_s if script.chunks else 0.0)
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        counts = Counts(answer.input_tokens, script.tokens("thinking"), script.tokens("answer") + script.tokens("call"))
        body = answer.frames.whole(script, counts, finished=self._fault != "no-finish")
        told = body if self._fault != "bad-json" else body[: len(body) // 2]
        await send(self._start("application/json", len(told)))
        answer.run.tokens_sent = counts.output
        if self._fault == "cut":
            await send(_part(body[: len(body) // 2]))
            raise _Cut
        await send({"type": "http.response.body", "body": told, "more_body": False})
        return True

    async def _send_all(self, send: Send, frames: Iterable[bytes]) -> None:
        for frame in frames:
            if frame:
                await send(_part(frame))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self, media_type: str, length: int | None = None) -> dict[str, object]:
        headers = [(b"content-type", media_type.encode()), *self._headers_sent]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": 200, "headers": headers}


def _part(frame: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": frame, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
