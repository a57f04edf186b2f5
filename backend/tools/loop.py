"""The loop of function calling as a provider: the model's calls are answered, the results go back, until it answers without calling.

One stream from the first turn to the last, so that everything that holds for an answer holds for a loop: it belongs to the
server, survives a reload, is saved as it goes and stops at any point. Knows no page; who answers a call is told by the kit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from backend.audit import Audited
from backend.catalogue import Capabilities
from backend.steps import Step
from backend.tool_calls import CallJoiner
from backend.tools.definitions import arguments_of, wrong_with_arguments
from backend.tools.desk import Desk
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.running import RunTool, ToolContext, ToolFailed
from backend.types import (
    ChatRequest,
    Event,
    Finished,
    Message,
    Started,
    StepFinished,
    TextDelta,
    ThinkingDelta,
    Timing,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    Usage,
)

log = logging.getLogger(__name__)

TOOL_TIME_S = 60.0
MOST_RESULT_CHARS = 20_000  # about 5,000 tokens: a longer result crowds out the conversation
ENDED = ("done", "failed", "refused")

_lookers = ThreadPoolExecutor(1, "looking at arguments")  # strangers' schemas keep a processor busy: one after the other


class ToolLoop:
    """Wraps the way to an engine. `run` are the tools that answer by themselves, by name; `pending` are calls of an earlier turn that
    were left without a result, which is where the loop begins then."""

    def __init__(
        self,
        provider: Audited,
        kit: ToolKit,
        desk: Desk,
        run: Mapping[str, RunTool],
        context: ToolContext,
        *,
        pending: Step | None = None,
        tool_time_s: float = TOOL_TIME_S,
    ) -> None:
        self._provider, self._kit, self.desk, self._run, self._context = provider, kit, desk, run, context
        self._specs = {spec.tool.name: spec for spec in kit.active}
        self._pending = pending
        self._answered = {call.id: call for call in (pending.calls if pending else ()) if not call.open}
        self._tool_time_s = tool_time_s

    @property
    def region(self) -> str | None:
        return self._provider.region

    async def capabilities(self, model: str) -> Capabilities:
        return await self._provider.capabilities(model)

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Provider.stream`; between two turns of the model `StepFinished` and the `ToolProgress` of its calls."""
        yield Started(request.model)
        turn = None if self._pending is None else _message(self._pending)
        round_, total = 0, _Total()
        while True:
            if turn is None:
                spoken = _Turn()
                async with aclosing(self._provider.stream(request)) as events:
                    async for event in events:
                        spoken.see(event)
                        if not isinstance(event, Started | Finished):
                            yield event
                finished = spoken.finished
                if finished is None:  # the provider's contract says otherwise
                    return
                total.add(finished)
                turn = spoken.message
                if not turn.calls or finished.reason != "tool_calls" or (request.tools and request.tools.choice == "none"):
                    yield total.finished(finished)
                    return
                yield StepFinished(finished.usage, finished.timing)
                round_ += 1
            results: dict[str, str] = {}
            async with aclosing(self._answers(turn.calls, last=round_ > self._kit.rounds)) as progress:
                async for each in progress:
                    if each.state in ENDED:
                        results[each.id] = each.result or ""
                    yield each
            brought = tuple(Message("tool", results[call.id], answers=call.id) for call in turn.calls)
            request = _after(request, (turn, *brought), may_call=round_ < self._kit.rounds + 1)
            turn = None

    async def _answers(self, calls: Sequence[ToolCall], *, last: bool) -> AsyncGenerator[ToolProgress, None]:
        """All calls of one turn at once, as they come along."""
        queue: asyncio.Queue[ToolProgress | None] = asyncio.Queue()

        async def one(call: ToolCall) -> None:
            try:
                await self._answer(call, queue, last=last)
            finally:
                queue.put_nowait(None)

        tasks = [asyncio.create_task(one(call)) for call in calls]
        try:
            left = len(tasks)
            while left:
                item = await queue.get()
                if item is None:
                    left -= 1
                else:
                    yield item
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, call: ToolCall, queue: asyncio.Queue[ToolProgress | None], *, last: bool) -> None:
        before = self._answered.pop(call.id, None)
        if before is not None:
            queue.put_nowait(ToolProgress(call.id, before.state, before.result, before.elapsed_s, before.problem))
            return
        spec = self._specs.get(call.name)
        if spec is None:
            there = ", ".join(self._specs) or "none"
            queue.put_nowait(ToolProgress(call.id, "failed", f"There is no tool named {call.name}. There are: {there}."))
            return
        problem = await asyncio.get_running_loop().run_in_executor(_lookers, wrong_with_arguments, call.arguments, spec.tool)
        if last:
            text = f"Not run: the limit of {self._kit.rounds} rounds is reached. Answer with what is known."
            queue.put_nowait(ToolProgress(call.id, "refused", text, problem=problem))
        elif spec.by == "hand":
            await self._by_hand(call, queue, problem)
        else:
            await self._by_itself(spec, call, queue, problem)

    async def _by_hand(self, call: ToolCall, queue: asyncio.Queue[ToolProgress | None], problem: str | None) -> None:
        """Whatever the arguments are, a person may answer them."""
        queue.put_nowait(ToolProgress(call.id, "waiting", problem=problem))
        decision = await self.desk.ask(call.id)
        if decision.result is not None:
            queue.put_nowait(ToolProgress(call.id, "done", _cut(decision.result), problem=problem))
        else:
            queue.put_nowait(ToolProgress(call.id, "refused", "The user gave no result for this call.", problem=problem))

    async def _by_itself(self, spec: ToolSpec, call: ToolCall, queue: asyncio.Queue[ToolProgress | None], problem: str | None) -> None:
        if problem is not None:  # the model is told, and may mend it
            queue.put_nowait(ToolProgress(call.id, "failed", f"The arguments do not fit the tool's schema: {problem}", problem=problem))
            return
        policy = self.desk.policies.get(spec.tool.name, spec.policy)
        if policy == "ask":
            queue.put_nowait(ToolProgress(call.id, "asking"))
            decision = await self.desk.ask(call.id)
            policy = "always" if decision.allow else "never"
            if decision.policy is not None:
                self.desk.policies[spec.tool.name] = decision.policy
        if policy == "never":
            queue.put_nowait(ToolProgress(call.id, "refused", "The user does not allow this call."))
            return
        queue.put_nowait(ToolProgress(call.id, "running"))
        start_s = time.monotonic()
        try:
            result = await self._result(spec, arguments_of(call.arguments))
        except ToolFailed as failure:
            queue.put_nowait(ToolProgress(call.id, "failed", _cut(str(failure)), time.monotonic() - start_s))
        else:
            queue.put_nowait(ToolProgress(call.id, "done", _cut(result), time.monotonic() - start_s))

    async def _result(self, spec: ToolSpec, arguments: Mapping[str, Any]) -> str:
        """Raises `ToolFailed` for whatever goes wrong in the tool: a broken tool must not end the answer."""
        run = self._run.get(spec.tool.name)
        if run is None:
            raise ToolFailed(f"The tool {spec.tool.name} cannot be run here.")
        try:
            async with asyncio.timeout(self._tool_time_s):
                return await run(arguments, self._context)
        except TimeoutError as error:
            raise ToolFailed(f"The tool gave no result within {self._tool_time_s:.0f} s.") from error
        except ToolFailed:
            raise
        except Exception as error:
            log.exception("the tool %s failed in an unforeseen way", spec.tool.name)
            raise ToolFailed(f"The tool failed ({type(error).__name__}).") from error


class _Turn:
    """One turn of the model, put together for the next request."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls = CallJoiner()
        self.finished: Finished | None = None

    def see(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text.append(event.text)
            case ThinkingDelta():
                self._thinking.append(event.text)
            case ToolCallDelta():
                self._calls.add(event)
            case Finished():
                self.finished = event
            case _:
                pass

    @property
    def message(self) -> Message:
        return Message("assistant", "".join(self._text), "".join(self._thinking) or None, self._calls.calls)


class _Total:
    """Figures of all turns together."""

    def __init__(self) -> None:
        self._turns: list[Finished] = []

    def add(self, finished: Finished) -> None:
        self._turns.append(finished)

    def finished(self, last: Finished) -> Finished:
        """The last turn's end with the figures of all: tokens and times are sums, but for the time to the first token of all."""
        if len(self._turns) == 1:
            return last
        usages, timings = [t.usage for t in self._turns], [t.timing or Timing() for t in self._turns]
        names = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
        usage = Usage(**{name: _sum([getattr(u, name) for u in usages]) for name in names})
        times = {name: _sum([getattr(t, name) for t in timings]) for name in ("answer_s", "decode_s", "total_s")}
        thought = [t.thinking_s for t in timings if t.thinking_s is not None]
        timing = Timing(ttft_s=timings[0].ttft_s, thinking_s=sum(thought) if thought else None, **times)
        return replace(last, usage=usage, timing=timing)


def _message(step: Step) -> Message:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in step.calls)
    return Message("assistant", step.content, step.thinking or None, calls)


def _sum(values: Sequence[Any]) -> Any:
    """`None` where one is not known."""
    return None if any(value is None for value in values) else sum(values)


def _after(request: ChatRequest, turns: Sequence[Message], *, may_call: bool) -> ChatRequest:
    """The next request. A call was demanded once; from then on the model decides, or has to answer."""
    tools = request.tools
    if tools is not None:
        tools = replace(tools, choice="auto" if may_call and tools.choice != "none" else "none", name=None)
    return replace(request, messages=(*request.messages, *turns), tools=tools)


def _cut(text: str) -> str:
    if len(text) <= MOST_RESULT_CHARS:
        return text
    return f"{text[:MOST_RESULT_CHARS]}\n[The result was cut here: it is {len(text):,} characters long.]"
