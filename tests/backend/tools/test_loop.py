"""The loop of function calling: who answers a call, what goes back to the model, and every way in which a tool can fail."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from backend.steps import Called, Step
from backend.tools.desk import Decision, Desk
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.loop import MOST_RESULT_CHARS, ToolLoop
from backend.tools.running import ToolContext, ToolFailed
from backend.types import (
    ChatRequest,
    Finished,
    Message,
    Started,
    StepFinished,
    TextDelta,
    ThinkingDelta,
    Timing,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    Tools,
    Usage,
)

ADD = Tool("add", "", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]})
CALL = ToolCallDelta(0, "c1", "add", '{"a": 1, "b": 2}')
CALLS = Finished("tool_calls", Usage(10, 5, 2, 0), Timing(0.1, 0.2, 0.3, 0.5, 1.0))
ANSWERS = [TextDelta("Three."), Finished("stop", Usage(20, 3, 0, 10), Timing(0.4, None, 0.1, 0.2, 2.0))]


OFFERED = Tools((ADD,))


def kit_of(by="built_in", policy="always", **changes):
    return ToolKit((ToolSpec(ADD, by, policy),), **changes)


async def add(arguments, context):
    return str(arguments["a"] + arguments["b"])


class Loop:
    """A loop over scripted turns, driven to its end; `decide` is asked about every call that waits for a person."""

    def __init__(self, scripted, *turns, kit=None, run=None, decide=None, **options):
        self.provider = scripted(*[[Started("m"), *turn] for turn in turns])
        self.provider.region = None
        self.desk = Desk()
        self.decide = decide or (lambda event: pytest.fail(f"nobody was to be asked: {event}"))
        self.loop = ToolLoop(self.provider, kit or kit_of(), self.desk, {"add": add} if run is None else run, ToolContext(), **options)

    async def events(self, tools=OFFERED):
        request = ChatRequest("m", (Message("user", "1 + 2?"),), tools=tools)
        found = []
        async with aclosing(self.loop.stream(request)) as stream:
            async for event in stream:
                found.append(event)
                if isinstance(event, ToolProgress) and event.state in ("asking", "waiting"):
                    asyncio.get_running_loop().call_soon(self._decide, event)
        return found

    def _decide(self, event):
        assert self.desk.decide(event.id, self.decide(event))
        assert not self.desk.decide(event.id, Decision()), "a second click finds nobody"

    def results(self):
        """What went back to the model with the last request."""
        return [m.content for m in self.provider.requests[-1].messages if m.role == "tool"]


def progress(events):
    return [(e.id, e.state) for e in events if isinstance(e, ToolProgress)]


async def test_a_call_is_run_and_its_result_goes_back(scripted):
    loop = Loop(scripted, [ThinkingDelta("I add."), CALL, CALLS], ANSWERS)
    events = await loop.events()
    assert [type(e) for e in events] == [
        Started,
        ThinkingDelta,
        ToolCallDelta,
        StepFinished,
        ToolProgress,
        ToolProgress,
        TextDelta,
        Finished,
    ]
    assert progress(events) == [("c1", "running"), ("c1", "done")]
    assert loop.provider.requests[1].messages[1:] == (
        Message("assistant", "", "I add.", (ToolCall("c1", "add", '{"a": 1, "b": 2}'),)),
        Message("tool", "3", answers="c1"),
    )
    assert events[-2] == TextDelta("Three.") and events[4].elapsed_s is None and events[5].elapsed_s >= 0


async def test_figures_are_those_of_all_turns_and_each_step_has_its_own(scripted):
    events = await Loop(scripted, [CALL, CALLS], ANSWERS).events()
    assert events[-1].usage == Usage(30, 8, 2, 10)
    assert events[-1].timing == Timing(ttft_s=0.1, thinking_s=0.2, answer_s=0.4, decode_s=0.7, total_s=3.0)
    assert next(e for e in events if isinstance(e, StepFinished)).usage == CALLS.usage


async def test_without_calls_nothing_is_added(scripted):
    assert await Loop(scripted, ANSWERS).events() == [Started("m"), *ANSWERS]


async def test_two_calls_run_at_once_and_their_results_keep_their_order(scripted):
    second_done = asyncio.Event()

    async def slow_first(arguments, context):
        if arguments["a"] == 1:
            await second_done.wait()
        else:
            second_done.set()
        return str(arguments["a"])

    two = [CALL, ToolCallDelta(1, "c2", "add", '{"a": 5, "b": 2}'), CALLS]
    loop = Loop(scripted, two, ANSWERS, run={"add": slow_first})
    events = await loop.events()
    assert [state for state in progress(events) if state[1] == "done"] == [("c2", "done"), ("c1", "done")]
    assert loop.results() == ["1", "5"]


@pytest.mark.parametrize(
    ("decision", "state", "result"),
    [
        (Decision(allow=True), "done", "3"),
        (Decision(allow=False), "refused", "The user does not allow this call."),
    ],
)
async def test_a_tool_that_asks_first(scripted, decision, state, result):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS, kit=kit_of(policy="ask"), decide=lambda event: decision)
    events = await loop.events()
    assert progress(events)[0] == ("c1", "asking") and progress(events)[-1] == ("c1", state) and loop.results() == [result]


@pytest.mark.parametrize(("policy", "state"), [("always", "done"), ("never", "refused")])
async def test_what_is_decided_once_for_all_is_not_asked_again(scripted, policy, state):
    asked = []

    def decide(event):
        asked.append(event.id)
        return Decision(allow=policy == "always", policy=policy)

    again = [ToolCallDelta(0, "c2", "add", '{"a": 2, "b": 2}'), CALLS]
    events = await Loop(scripted, [CALL, CALLS], again, ANSWERS, kit=kit_of(policy="ask"), decide=decide).events()
    assert asked == ["c1"] and progress(events)[-1] == ("c2", state)


async def test_a_tool_that_never_runs_is_refused_unasked(scripted):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS, kit=kit_of(policy="never"))
    assert progress(await loop.events()) == [("c1", "refused")] and "does not allow" in loop.results()[0]


async def test_a_result_typed_by_hand(scripted):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS, kit=kit_of("hand"), decide=lambda event: Decision(result="three, 三"))
    assert progress(await loop.events()) == [("c1", "waiting"), ("c1", "done")] and loop.results() == ["three, 三"]


async def test_a_person_may_answer_a_call_whose_arguments_are_wrong(scripted):
    wrong = [ToolCallDelta(0, "c1", "add", '{"a": "x"'), CALLS]
    seen = []

    def decide(event):
        seen.append(event.problem)
        return Decision(result="3")

    events = await Loop(scripted, wrong, ANSWERS, kit=kit_of("hand"), decide=decide).events()
    assert "not JSON" in seen[0] and [e.problem for e in events if isinstance(e, ToolProgress)] == seen * 2


async def test_no_result_by_hand_is_a_refusal(scripted):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS, kit=kit_of("hand"), decide=lambda event: Decision(allow=False))
    assert progress(await loop.events())[-1] == ("c1", "refused") and "gave no result" in loop.results()[0]


async def fails(arguments, context):
    raise ToolFailed("No such city.")


async def breaks(arguments, context):
    raise ZeroDivisionError


async def hangs(arguments, context):
    await asyncio.Event().wait()


async def says_much(arguments, context):
    return "x" * 5_000_000


BAD_TOOLS = [
    (fails, "failed", "No such city."),
    (breaks, "failed", "The tool failed (ZeroDivisionError)."),
    (hangs, "failed", "no result within 0 s"),
    (says_much, "done", "The result was cut here: it is 5,000,000 characters long."),
    (None, "failed", "cannot be run here"),
]


@pytest.mark.parametrize(("run", "state", "sentence"), BAD_TOOLS, ids=[str(t[2]) for t in BAD_TOOLS])
async def test_a_bad_tool_ends_no_answer(scripted, run, state, sentence):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS, run={} if run is None else {"add": run}, tool_time_s=0.05 if run is hangs else 20)
    events = await loop.events()
    assert progress(events)[-1] == ("c1", state) and sentence in loop.results()[0] and isinstance(events[-1], Finished)
    assert len(loop.results()[0]) < MOST_RESULT_CHARS + 200


BAD_CALLS = [
    (ToolCallDelta(0, "c1", "subtract", "{}"), "There is no tool named subtract. There are: add."),
    (ToolCallDelta(0, "c1", "add", '{"a": 1'), "not JSON"),
    (ToolCallDelta(0, "c1", "add", "[1]"), "no object"),
    (ToolCallDelta(0, "c1", "add", '{"a": 1}'), "'b' is a required property"),
    (ToolCallDelta(0, "c1", "add", '{"a": 1, "b": "two"}'), "b: 'two' is not of type 'integer'"),
    (ToolCallDelta(0, "c1", "add", '{"a": 1, "b": NaN}'), "NaN is no JSON number"),
]


@pytest.mark.parametrize(("call", "sentence"), BAD_CALLS, ids=[c[1] for c in BAD_CALLS])
async def test_a_bad_call_is_told_to_the_model_and_not_run(scripted, call, sentence):
    async def never(arguments, context):
        pytest.fail("was run")

    loop = Loop(scripted, [call, CALLS], ANSWERS, run={"add": never})
    events = await loop.events()
    assert progress(events) == [("c1", "failed")] and sentence in loop.results()[0]


async def test_an_endless_loop_ends_and_the_model_has_to_answer(scripted):
    turns = [[ToolCallDelta(0, f"c{n}", "add", '{"a": 1, "b": 2}'), CALLS] for n in range(3)]
    loop = Loop(scripted, *turns, ANSWERS, kit=kit_of(rounds=2))
    events = await loop.events()
    assert [s for s in progress(events) if s[1] != "running"] == [("c0", "done"), ("c1", "done"), ("c2", "refused")]
    assert "limit of 2 rounds" in loop.results()[-1] and events[-2] == TextDelta("Three.")
    assert [r.tools.choice for r in loop.provider.requests] == ["auto", "auto", "auto", "none"]


async def test_a_model_that_calls_although_it_may_not_is_not_asked_for_ever(scripted):
    turns = [[ToolCallDelta(0, f"c{n}", "add", '{"a": 1, "b": 2}'), CALLS] for n in range(3)]
    events = await Loop(scripted, *turns, kit=kit_of(rounds=1)).events()
    assert isinstance(events[-1], Finished) and events[-1].reason == "tool_calls"


async def test_a_call_that_was_demanded_is_demanded_once(scripted):
    loop = Loop(scripted, [CALL, CALLS], ANSWERS)
    await loop.events(Tools((ADD,), "named", "add"))
    assert [(r.tools.choice, r.tools.name) for r in loop.provider.requests] == [("named", "add"), ("auto", None)]


async def test_stopping_ends_a_running_tool(scripted):
    ended = asyncio.Event()

    async def long(arguments, context):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    loop = Loop(scripted, [CALL, CALLS], ANSWERS, run={"add": long})
    async with aclosing(loop.loop.stream(ChatRequest("m", (Message("user", "x"),), tools=Tools((ADD,))))) as stream:
        async for event in stream:
            if isinstance(event, ToolProgress):
                break
    async with asyncio.timeout(30):
        await ended.wait()


async def test_an_error_of_the_engine_is_raised_and_the_results_are_not_lost(scripted):
    from backend.errors import Unavailable

    loop = Loop(scripted, [CALL, CALLS], [Unavailable("Gone.")])
    with pytest.raises(Unavailable):
        await loop.events()
    assert loop.results() == ["3"]


async def test_it_begins_with_the_calls_that_were_left_open(scripted):
    done = Called("c0", "add", '{"a": 0, "b": 0}', "done", "0")
    left = Step((done, Called("c1", "add", '{"a": 1, "b": 2}', "waiting")), "I add.")
    loop = Loop(scripted, ANSWERS, pending=left)
    events = await loop.events()
    assert progress(events) == [("c0", "done"), ("c1", "running"), ("c1", "done")] or set(progress(events)) == {
        ("c0", "done"),
        ("c1", "running"),
        ("c1", "done"),
    }
    assert loop.results() == ["0", "3"] and loop.provider.requests[0].messages[1].thinking == "I add."
    assert events[-1] == ANSWERS[-1]
