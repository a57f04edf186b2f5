"""One suite over every provider: order of events, one end, closing before and during tokens, errors through the real wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from backend.catalogue import ASSETS
from backend.errors import (
    AuthError,
    BackendError,
    ContentFiltered,
    ContextTooLong,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    StreamBroken,
    TimedOut,
    Unavailable,
    UnknownModel,
)  # fmt: skip
from backend.provider import Provider
from backend.providers.dashscope_native import DashScopeNativeProvider
from backend.providers.local import LocalProvider
from backend.providers.openai_compatible import dashscope, openai_server
from backend.providers.replay import ReplayProvider
from backend.types import (
    AnswerWasThinking,
    ChatRequest,
    Event,
    Finished,
    GenerationParameters,
    Message,
    Started,
    TextDelta,
    ThinkingDelta,
)
from tests.backend.local.tiny import END, OPENS, scripted
from tests.emulator import http, running_emulator

KEY = SecretStr("sk-test")
NEXT = "qwen3-next-80b-a3b-thinking"
CHECKPOINT = "Qwen/Qwen3-Next-80B-A3B-Thinking"


@dataclass
class Case:
    """A provider under test: how to build it, which model, what to add to a prompt, and whether it speaks to the emulator."""

    name: str
    build: Callable[[str, Path], Provider]
    model: str
    marker: str = ""
    wire: bool = True


def _server(base_url: str, _: Path) -> Provider:
    return openai_server(f"{base_url}/v1", None, name="s")


def _local(_: str, tmp_path: Path) -> Provider:
    """A scripted model behind the real engine, prompt and decoding."""
    return LocalProvider(tmp_path, load=lambda name, report: scripted(f"Let me see: 好.\n</think>\n\nIt is 4.{END}", OPENS))


CASES = [
    Case("dashscope compatible", lambda url, _: dashscope(url, KEY, region="singapore"), NEXT),
    Case("dashscope native", lambda url, _: DashScopeNativeProvider(url, KEY, region="singapore"), NEXT),
    Case("server, reasoning_content", _server, CHECKPOINT, "[[style:reasoning_content]]"),
    Case("server, reasoning", _server, CHECKPOINT, "[[style:reasoning]]"),
    Case("server, only </think> in the text", _server, CHECKPOINT, "[[style:inline]]"),
    Case("replay", lambda _url, _: ReplayProvider(ASSETS / "recordings", None), "maths-thinking", wire=False),
    Case("local", _local, "demo", wire=False),
]
WIRE = [case for case in CASES if case.wire]


def named(cases: list[Case]) -> dict:
    return {"argvalues": cases, "ids": [c.name for c in cases]}


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator() as base_url:
        yield base_url


@pytest.fixture
async def open_provider(emulator, tmp_path) -> AsyncIterator[Callable[[Case], Provider]]:
    opened: list[Provider] = []

    def open_case(case: Case) -> Provider:
        opened.append(case.build(emulator, tmp_path))
        return opened[-1]

    yield open_case
    for provider in opened:
        await provider.aclose()


def asking(case: Case, text: str = "Hello", **parameters) -> ChatRequest:
    return ChatRequest(case.model, (Message("user", f"{text} {case.marker}".strip()),), GenerationParameters(**parameters))


async def events_of(provider: Provider, request: ChatRequest) -> list[Event]:
    async with aclosing(provider.stream(request)) as stream:
        return [event async for event in stream]


def text_of(events: list[Event], kind: type) -> str:
    return "".join(e.text for e in events if isinstance(e, kind))


async def mock_state(base_url: str) -> dict:
    return (await asyncio.to_thread(http.get, f"{base_url}/mock/state")).json()


async def until_idle(base_url: str) -> dict:
    async with asyncio.timeout(30):
        while (state := await mock_state(base_url))["active"]:
            await asyncio.sleep(0.02)
    return state["runs"][-1]


@pytest.mark.parametrize("case", **named(CASES))
async def test_order_of_events(open_provider, case):
    events = await events_of(open_provider(case), asking(case))
    kinds = [type(e) for e in events]
    assert kinds[0] is Started and kinds[-1] is Finished
    assert kinds.count(Started) == 1 and kinds.count(Finished) == 1
    assert all(e.text for e in events if isinstance(e, ThinkingDelta | TextDelta))
    first_answer = kinds.index(TextDelta)
    assert ThinkingDelta in kinds[:first_answer] and ThinkingDelta not in kinds[first_answer:]


@pytest.mark.parametrize("case", **named(CASES))
async def test_no_tag_reaches_thinking_or_answer(open_provider, case):
    events = await events_of(open_provider(case), asking(case))
    for kind in (ThinkingDelta, TextDelta):
        text = text_of(events, kind)
        assert text and "<think>" not in text and "</think>" not in text and not text[0].isspace()


@pytest.mark.parametrize("case", **named(CASES))
async def test_every_provider_says_what_its_model_can_do(open_provider, case):
    provider = open_provider(case)
    if case.name == "local":  # what a scripted model does is known once it is in memory
        await events_of(provider, asking(case))
    capabilities = await provider.capabilities(case.model)
    assert capabilities.thinking == "always" and capabilities.title


@pytest.mark.parametrize("case", **named(WIRE))
async def test_the_same_text_comes_through_every_wire(open_provider, case):
    events = await events_of(open_provider(case), asking(case, "[[scenario:unicode]]"))
    reference = await events_of(open_provider(CASES[0]), asking(CASES[0], "[[scenario:unicode]]"))
    for kind in (ThinkingDelta, TextDelta):
        assert text_of(events, kind) == text_of(reference, kind)


@pytest.mark.parametrize("case", **named(WIRE))
async def test_usage_is_the_services_own(open_provider, case):
    usage = (await events_of(open_provider(case), asking(case, "[[think:40]] [[words:30]]")))[-1].usage
    assert usage.output_tokens == 70 and usage.input_tokens is not None
    assert usage.reasoning_tokens == (40 if "dashscope" in case.name else None)


async def test_the_native_protocol_counts_thinking_as_it_goes(open_provider):
    case = CASES[1]
    events = await events_of(open_provider(case), asking(case, "[[think:40]] [[words:3]]"))
    counts = [e.tokens for e in events if isinstance(e, ThinkingDelta)]
    assert counts == sorted(counts) and counts[-1] == 40


@pytest.mark.parametrize("case", **named(WIRE))
async def test_length_is_told(open_provider, case):
    events = await events_of(open_provider(case), asking(case, "[[think:5]] [[words:500]]", max_tokens=20))
    assert events[-1].reason == "length"


@pytest.mark.parametrize("case", **named(WIRE))
async def test_parameters_reach_the_wire_and_min_p_only_where_it_is_taken(open_provider, emulator, case):
    values = {"temperature": 0.3, "top_p": 0.7, "top_k": 11, "min_p": 0.05, "presence_penalty": 0.5, "seed": 42, "stop": ("XYZ",)}
    await events_of(open_provider(case), asking(case, repetition_penalty=1.2, max_tokens=4000, **values))
    sent = (await mock_state(emulator))["requests"][-1]["body"]
    sent = {**sent, **sent.get("parameters", {})}
    expected = {**values, "stop": ["XYZ"], "repetition_penalty": 1.2, "max_tokens": 4000}
    if "dashscope" in case.name:
        del expected["min_p"]
        assert "min_p" not in sent and "enable_thinking" not in sent
    assert expected.items() <= sent.items()


@pytest.mark.parametrize("case", **named(WIRE))
async def test_closing_before_the_first_token_frees_the_service(open_provider, emulator, case):
    stream = open_provider(case).stream(asking(case, "[[first:60]]"))
    assert isinstance(await anext(stream), Started)
    waiting = asyncio.create_task(anext(stream))
    async with asyncio.timeout(30):
        while not (await mock_state(emulator))["active"]:
            await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stream.aclose()
    run = await until_idle(emulator)
    assert (run["state"], run["tokens_sent"]) == ("disconnected", 0)


@pytest.mark.parametrize("case", **named(WIRE))
async def test_closing_during_tokens_frees_the_service(open_provider, emulator, case):
    stream = open_provider(case).stream(asking(case, "[[think:100000]] [[rate:200]]"))
    async for event in stream:
        if isinstance(event, ThinkingDelta):
            break
    await stream.aclose()
    run = await until_idle(emulator)
    assert run["state"] == "disconnected" and 0 < run["tokens_sent"] < 2000


@pytest.mark.parametrize("case", **named(WIRE))
async def test_cancelling_whoever_waits_for_the_next_token_frees_the_service(open_provider, emulator, case):
    got_text = asyncio.Event()

    async def read() -> None:
        async with aclosing(open_provider(case).stream(asking(case, "[[fault:hang-mid@3]]"))) as stream:
            async for event in stream:
                if isinstance(event, ThinkingDelta):
                    got_text.set()

    reading = asyncio.create_task(read())
    async with asyncio.timeout(30):
        await got_text.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert (await until_idle(emulator))["state"] == "disconnected"


@pytest.mark.parametrize("case", **named(CASES))
async def test_a_provider_goes_on_after_a_stream_was_left(open_provider, case):
    provider = open_provider(case)
    for _ in range(3):
        stream = provider.stream(asking(case))
        async for event in stream:
            if isinstance(event, ThinkingDelta):
                break
        await stream.aclose()
    assert isinstance((await events_of(provider, asking(case)))[-1], Finished)


@pytest.mark.parametrize("case", **named(CASES))
async def test_several_streams_of_one_provider_stay_apart(open_provider, case):
    provider = open_provider(case)
    alone = await events_of(provider, asking(case))
    together = await asyncio.gather(*(events_of(provider, asking(case)) for _ in range(4)))
    for events in together:
        assert [text_of(events, kind) for kind in (ThinkingDelta, TextDelta)] == [
            text_of(alone, kind) for kind in (ThinkingDelta, TextDelta)
        ]


@pytest.mark.parametrize("case", **named(WIRE))
@pytest.mark.parametrize("switch", [True, False])
async def test_a_hybrid_model_thinks_when_it_is_told_to(open_provider, emulator, case, switch):
    model = "qwen3-32b" if "dashscope" in case.name else "Qwen/Qwen3-0.6B"
    text = f"Hello {case.marker}"
    request = ChatRequest(model, (Message("user", text),), GenerationParameters(enable_thinking=switch))
    events = await events_of(open_provider(case), request)
    assert bool(text_of(events, ThinkingDelta)) is switch and text_of(events, TextDelta)
    assert "think>" not in text_of(events, ThinkingDelta) + text_of(events, TextDelta)


@pytest.mark.parametrize("case", **named(WIRE[2:]))
async def test_a_model_that_nobody_knows_is_split_as_soon_as_it_shows_its_trace(open_provider, case):
    request = ChatRequest("mock/unlisted-thinker", (Message("user", f"Hello {case.marker}"),))
    events = await events_of(open_provider(case), request)
    known = await events_of(open_provider(case), asking(case))
    relabelled = next((place for place, event in enumerate(events) if isinstance(event, AnswerWasThinking)), 0)
    thinking = text_of(events[:relabelled], TextDelta) or text_of(events, ThinkingDelta)
    assert bool(relabelled) is ("inline" in case.marker)
    assert thinking == text_of(known, ThinkingDelta)
    assert text_of(events[relabelled:], TextDelta).replace(request.model, "M") == text_of(known, TextDelta).replace(CHECKPOINT, "M")


async def test_closing_a_replay_ends_it():
    stream = ReplayProvider(ASSETS / "recordings", 1.0).stream(ChatRequest("maths-thinking", (Message("user", "x"),)))
    assert isinstance(await anext(stream), Started)
    async with asyncio.timeout(30):
        await stream.aclose()


FAULTS = [
    ("429", RateLimited), ("429-rate", RateLimited), ("429-burst", RateLimited), ("429-quota", RateLimited), ("429-free", QuotaExhausted),
    ("429-unpurchased", QuotaExhausted), ("429-prepaid", QuotaExhausted), ("429-postpaid", QuotaExhausted), ("401", AuthError),
    ("403", AuthError), ("403-unpurchased", AuthError), ("403-model", AuthError), ("403-workspace", AuthError), ("404", UnknownModel),
    ("404-workspace", AuthError), ("free-tier", QuotaExhausted), ("arrearage", QuotaExhausted), ("inspection", ContentFiltered),
    ("500", Unavailable), ("500-algo", Unavailable), ("500-timeout", TimedOut), ("503", Unavailable), ("503-busy", Unavailable),
    ("html", Unavailable), ("cut", StreamBroken), ("cut-first", Unavailable), ("bad-json", StreamBroken), ("no-finish", StreamBroken),
    ("inspection-stream", ContentFiltered), ("error", RateLimited),
]  # fmt: skip


@pytest.mark.parametrize("case", **named(WIRE[:2]))
@pytest.mark.parametrize(("fault", "kind"), FAULTS)
async def test_each_fault_of_dashscope_has_its_class(open_provider, case, fault, kind):
    with pytest.raises(BackendError) as caught:
        await events_of(open_provider(case), asking(case, f"[[fault:{fault}]]"))
    assert type(caught.value) is kind
    assert caught.value.message and caught.value.hint
    assert KEY.get_secret_value() not in f"{caught.value!r} {caught.value.hint}"


SERVER_FAULTS = [
    ("401", AuthError), ("403", AuthError), ("404", UnknownModel), ("429", RateLimited), ("429-after", RateLimited), ("arrearage", RequestRejected),
    ("500", Unavailable), ("503", Unavailable), ("html", Unavailable), ("cut", StreamBroken), ("cut-first", Unavailable),
    ("bad-json", StreamBroken), ("no-finish", StreamBroken), ("error", RateLimited), ("inspection-stream", RequestRejected),
]  # fmt: skip


@pytest.mark.parametrize("case", **named(WIRE[2:]))
@pytest.mark.parametrize(("fault", "kind"), SERVER_FAULTS)
async def test_each_fault_of_a_server_has_its_class(open_provider, case, fault, kind):
    with pytest.raises(BackendError) as caught:
        await events_of(open_provider(case), asking(case, f"[[fault:{fault}]]"))
    assert type(caught.value) is kind
    assert caught.value.message and caught.value.hint


@pytest.mark.parametrize("case", **named([WIRE[0], WIRE[2]]))
async def test_a_told_wait_is_passed_on(open_provider, case):
    with pytest.raises(RateLimited) as caught:
        await events_of(open_provider(case), asking(case, "[[fault:429-after]]"))
    assert caught.value.retry_after_s == 1.0


@pytest.mark.parametrize("case", **named(WIRE[:2]))
async def test_a_prompt_that_is_too_long_has_its_class(case, tmp_path):
    with running_emulator(max_input_tokens=20) as base_url:
        provider = case.build(base_url, tmp_path)
        with pytest.raises(ContextTooLong):
            await events_of(provider, asking(case, "word " * 100))
        await provider.aclose()


async def test_a_leak_frame_in_the_compatible_stream_is_an_error(open_provider):
    with pytest.raises(QuotaExhausted):
        await events_of(open_provider(CASES[0]), asking(CASES[0], "[[fault:leak]]"))


@pytest.mark.parametrize("build", [dashscope, DashScopeNativeProvider])
async def test_a_wrong_key_is_told_with_its_region(emulator, build):
    provider = build(emulator, SecretStr("sk-wrong"), region="beijing")
    with pytest.raises(AuthError) as caught:
        await events_of(provider, asking(CASES[0]))
    assert "region" in caught.value.hint and "beijing" in caught.value.hint
    await provider.aclose()


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (lambda: dashscope("http://127.0.0.1:9", KEY, region="singapore"), NEXT),
        (lambda: DashScopeNativeProvider("http://127.0.0.1:9", KEY, region="singapore"), NEXT),
        (lambda: openai_server("http://127.0.0.1:9/v1", KEY, name="s"), CHECKPOINT),
    ],
)
async def test_an_address_that_nobody_answers(provider, model):
    opened = provider()
    with pytest.raises(Unavailable):
        await events_of(opened, ChatRequest(model, (Message("user", "x"),)))
    await opened.aclose()


async def test_an_unknown_model(open_provider):
    for case in WIRE[:2]:
        with pytest.raises(UnknownModel):
            await events_of(open_provider(case), ChatRequest("no-such-model", (Message("user", "x"),)))


@pytest.mark.parametrize("answer", [httpx2.Response(200, html="<h1>hi</h1>"), httpx2.Response(200, text="plain"), httpx2.Response(200)])
async def test_a_server_that_is_none(answer):
    transport = httpx2.MockTransport(lambda request: answer)
    import openai

    provider = openai_server("http://x.test/v1", None, name="s", http_client=openai.DefaultAsyncHttpx2Client(transport=transport))
    with pytest.raises(ProtocolError) as caught:
        await events_of(provider, ChatRequest("m", (Message("user", "x"),)))
    assert "address" in caught.value.hint
    with pytest.raises(ProtocolError):
        await provider.list_models()
    await provider.aclose()
