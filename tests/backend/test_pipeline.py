"""Retry, regions and measuring, over scripted providers and a clock of our own."""

from __future__ import annotations

import pytest

from backend.errors import AuthError, BadInput, ContentFiltered, QuotaExhausted, RateLimited, StreamBroken, TimedOut, Unavailable
from backend.pipeline import Pipeline, Route, backoff_s
from backend.types import (
    ChatRequest,
    Finished,
    GenerationParameters,
    Message,
    Retrying,
    Started,
    TextDelta,
    ThinkingDelta,
    Usage,
    Waiting,
)  # fmt: skip

REQUEST = ChatRequest("qwen3-next-80b-a3b-thinking", (Message("user", "hi"),))
ANSWER = [Started("m"), ThinkingDelta("a"), TextDelta("b"), Finished("stop", Usage(3, 5, 2))]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def passing(self, seconds: float):
        async def step() -> None:
            self.now += seconds

        return step


async def run(pipeline: Pipeline, request: ChatRequest = REQUEST) -> list:
    return [event async for event in pipeline.stream(request)]


async def test_one_started_first_and_one_finished_last(scripted):
    events = await run(Pipeline([Route(scripted(ANSWER), "m")]))
    assert [type(e) for e in events] == [Started, ThinkingDelta, TextDelta, Finished]


async def test_timing_leaves_out_the_wait_for_a_model_to_load(scripted):
    clock = Clock()
    script = [
        Started("m"), clock.passing(5), Waiting("loading", share=0.5), clock.passing(1), ThinkingDelta("a"), clock.passing(2),
        TextDelta("b"), clock.passing(3), TextDelta("c"), clock.passing(4), Finished("stop", Usage(1, 11, 4)),
    ]  # fmt: skip
    timing = (await run(Pipeline([Route(scripted(script), "m")], clock=clock)))[-1].timing
    assert (timing.ttft_s, timing.thinking_s, timing.answer_s, timing.decode_s, timing.total_s) == (1, 2, 3, 5, 10)
    assert timing.decode_tokens_per_s(Usage(1, 11, 4)) == pytest.approx(2.0)


async def test_without_output_nothing_is_timed_but_the_whole(scripted):
    timing = (await run(Pipeline([Route(scripted([Started("m"), Finished("stop")]), "m")])))[-1].timing
    assert timing.ttft_s is None and timing.thinking_s is None and timing.decode_s is None and timing.total_s is not None


async def test_an_answer_without_a_trace_has_no_thinking_time(scripted):
    timing = (await run(Pipeline([Route(scripted([Started("m"), TextDelta("b"), Finished("stop")]), "m")])))[-1].timing
    assert timing.thinking_s is None and timing.answer_s is not None


async def test_a_retryable_failure_before_the_first_token_is_tried_again_and_said(scripted):
    clock = Clock()
    provider = scripted([Started("m"), RateLimited("slow down", retry_after_s=7)], [Unavailable("down")], ANSWER)
    events = await run(Pipeline([Route(provider, "m")], sleep=clock.sleep, clock=clock))
    retries = [e for e in events if isinstance(e, Retrying)]
    assert [(r.attempt, r.reason) for r in retries] == [(2, "slow down"), (3, "down")]
    assert retries[0].wait_s == 7 and 0.5 <= retries[1].wait_s <= 1.0
    assert sum(isinstance(e, Started) for e in events) == 1
    assert provider.closed == 3


async def test_time_to_first_token_is_that_of_the_attempt_that_answered(scripted):
    clock = Clock()
    provider = scripted([Unavailable("down", retry_after_s=30)], [Started("m"), clock.passing(2), TextDelta("x"), Finished("stop")])
    assert (await run(Pipeline([Route(provider, "m")], sleep=clock.sleep, clock=clock)))[-1].timing.ttft_s == 2


async def test_nothing_is_retried_after_the_first_token(scripted):
    provider = scripted([Started("m"), ThinkingDelta("a"), Unavailable("gone")], ANSWER)
    with pytest.raises(Unavailable):
        await run(Pipeline([Route(provider, "m")]))
    assert len(provider.requests) == 1


@pytest.mark.parametrize("error", [ContentFiltered("no"), AuthError("no"), QuotaExhausted("no")])
async def test_what_waiting_does_not_help_is_raised_at_once(scripted, error):
    provider = scripted([error], ANSWER)
    with pytest.raises(type(error)):
        await run(Pipeline([Route(provider, "m")]))
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("error", "attempts"), [(Unavailable("down"), 4), (TimedOut("five minutes"), 2)])
async def test_attempts_end(scripted, error, attempts):
    clock = Clock()
    provider = scripted(*[[error]] * (attempts + 3))
    with pytest.raises(type(error)):
        await run(Pipeline([Route(provider, "m")], sleep=clock.sleep, clock=clock))
    assert len(provider.requests) == attempts


def test_a_wait_longer_than_a_minute_is_not_waited_for():
    assert backoff_s(1, RateLimited("x", retry_after_s=90)) is None
    assert [backoff_s(n, Unavailable("x"), jitter=lambda: 1.0) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("error", [AuthError("wrong region"), RateLimited("busy", retry_after_s=9), QuotaExhausted("empty")])
async def test_the_next_region_takes_over_without_a_wait(scripted, error):
    first, second = scripted([error]), scripted(ANSWER)
    pipeline = Pipeline([Route(first, "m", "singapore"), Route(second, "m", "beijing")])
    events = await run(pipeline)
    assert [e.wait_s for e in events if isinstance(e, Retrying)] == [0.0]
    assert pipeline.region == "beijing" and isinstance(events[-1], Finished)


async def test_a_stream_that_ends_without_finished_is_broken(scripted):
    with pytest.raises(StreamBroken):
        await run(Pipeline([Route(scripted([Started("m"), TextDelta("a")]), "m")]))


async def test_closing_closes_the_provider(scripted):
    provider = scripted(ANSWER)
    stream = Pipeline([Route(provider, "m")]).stream(REQUEST)
    await anext(stream), await anext(stream)
    await stream.aclose()
    assert provider.closed == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (GenerationParameters(temperature=2.5), "temperature is 2.5"),
        (GenerationParameters(top_p=0.0), "top p is 0"),
        (GenerationParameters(temperature=float("nan")), "temperature is nan"),
        (GenerationParameters(max_tokens=10**9), "max tokens"),
        (GenerationParameters(thinking_budget=-1), "thinking budget is -1"),
        (GenerationParameters(top_k=1.5), "whole number"),
        (GenerationParameters(seed="7"), "must be a number"),
        (GenerationParameters(stop=("a", "b", "c", "d", "e")), "at most 4"),
    ],
)
async def test_values_outside_the_card_are_refused_before_anything_is_sent(scripted, parameters, words):
    provider = scripted(ANSWER)
    with pytest.raises(BadInput) as caught:
        await run(Pipeline([Route(provider, "m")]), ChatRequest("m", (Message("user", "hi"),), parameters))
    assert words in caught.value.message and caught.value.hint
    assert provider.requests == []


@pytest.mark.parametrize("text", ["", "  \n\t "])
async def test_an_empty_prompt_is_refused(scripted, text):
    with pytest.raises(BadInput, match="empty"):
        await run(Pipeline([Route(scripted(ANSWER), "m")]), ChatRequest("m", (Message("user", text),)))
