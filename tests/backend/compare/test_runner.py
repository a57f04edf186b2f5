"""Batches in the background: whatever happens in between, every cell is there once at the end, no lane waits for another, and what
a person has to mend waits for them. Over the emulator, whose own record of requests is compared, and over a scripted engine."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from backend import Access, Backend, load_settings
from backend.catalogue import Capabilities, catalogue
from backend.chat import MAX_ACTIVE_RUNS_PUBLIC, Choices
from backend.compare import runner as runner_module
from backend.compare.batches import Batch, BatchLane, Cell
from backend.compare.prompt_sets import Prompt
from backend.compare.runner import AT_ONCE, MAX_BATCHES_PER_ADDRESS, MOST_ANSWERS_PUBLIC, BatchRunner, Progress
from backend.errors import (
    AuthError,
    BackendError,
    BadInput,
    ConfigError,
    ContentFiltered,
    ModelLoadError,
    ModelTooLarge,
    OutOfMemory,
    QuotaExhausted,
    StorageError,
    UnknownModel,
)
from backend.pipeline import Route
from backend.run import Run
from backend.types import ChatRequest, Event, Finished, GenerationParameters, Message, Started, TextDelta, Usage
from tests.emulator import http, running_emulator

INSTRUCT, THINKING = "dashscope:qwen3-next-80b-a3b-instruct", "dashscope:qwen3-next-80b-a3b-thinking"
SERVER = "server:default/Qwen/Qwen3-Next-80B-A3B-Instruct"
SHORT = "[[words:5]]"
HANGS_ONCE = "[[words:20]][[fault:hang-mid@3x1]]"  # its first attempt says three tokens, then nothing


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


class Engine:
    """Stands for every provider: says "half of " and then "MODEL: PROMPT". Lanes may be held in between, by model, and prompts made
    to fail; it keeps who asked what, and how many at once."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.active, self.most = Counter[str](), Counter[str]()
        self.failing: dict[str, Exception] = {}
        self.unready: dict[str, Exception] = {}  # models that cannot even be looked up
        self.lets_go = asyncio.Event()  # until then an answer that is ended holds its connection
        self.lets_go.set()
        self._gates: dict[str, asyncio.Event] = {}

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(request.model, request.messages[-1].content) for request in self.requests]

    def asked_of(self, model: str) -> list[str]:
        return [prompt for name, prompt in self.asked if name == model]

    def hold(self, *models: str) -> None:
        self._gates |= {model: asyncio.Event() for model in models}

    def release(self) -> None:
        for gate in self._gates.values():
            gate.set()

    async def capabilities(self, model: str) -> Capabilities:
        if model in self.unready:
            raise self.unready[model]
        return catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-instruct")

    async def aclose(self) -> None:
        """Nothing is held."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        model, prompt = request.model, request.messages[-1].content
        self.requests.append(request)
        self.active[model] += 1
        self.most[model] = max(self.most[model], self.active[model])
        try:
            yield Started(model)
            yield TextDelta("half of ")
            if model in self._gates:
                await self._gates[model].wait()
            await asyncio.sleep(0)
            if prompt in self.failing:
                raise self.failing[prompt]
            yield TextDelta(f"{model}: {prompt}")
            yield Finished("stop", Usage(3, 5))
        finally:
            await self.lets_go.wait()
            self.active[model] -= 1


class House:
    """One process: a backend with its runner, over the emulator or over an engine."""

    def __init__(self, backend: Backend, runner: BatchRunner) -> None:
        self.backend, self.runner = backend, runner

    async def begin(self, batch: Batch, prompts: Sequence[Prompt], owner: str = "me", access: Access | None = None) -> Batch:
        await self.runner.begin(owner, access or Access(), batch, prompts)
        return batch

    async def to_the_end(self, batch: Batch) -> None:
        await until(lambda: not self.runner.runs(batch.id))

    async def state(self, batch: Batch) -> str:
        return (await self.runner.store.load("me", batch.id)).state

    async def cells(self, batch: Batch) -> list[Cell]:
        return await self.runner.store.cells("me", batch.id)

    async def progress(self, batch: Batch) -> Progress:
        return await self.runner.progress("me", batch)


@pytest.fixture
async def houses(tmp_path):
    built: list[Backend] = []

    async def build(engine: Engine | None = None, **settings) -> House:
        backend = Backend(load_settings(**{"data_dir": tmp_path, "demo": False} | settings))
        if engine is not None:

            async def routes(name: str, access: Access) -> list[Route]:
                return [Route(engine, name)]

            backend.engines.routes = routes  # type: ignore[method-assign]
        built.append(backend)
        return House(backend, await backend.background())

    yield build
    for backend in built:
        await backend.aclose()


@pytest.fixture(scope="module")
def emulator():
    with running_emulator(kept_runs=5_000, kept_requests=5_000) as base_url:
        yield base_url


@pytest.fixture
def online(houses, emulator):
    """Builds houses over the emulator, which has forgotten what other tests asked."""
    http.delete(f"{emulator}/mock/state")

    async def build(**settings) -> House:
        return await houses(**{"dashscope_base_url": emulator, "dashscope_api_key": "sk"} | settings)

    return build


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def house(houses, engine) -> House:
    return await houses(engine)


def prompts_of(count: int, text: str = SHORT) -> list[Prompt]:
    return [Prompt(f"{text} prompt {n}", tag=f"t{n % 3}") for n in range(count)]


def texts_of(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.text for prompt in prompts]


def through(models: Sequence[str], rows: int, **settings) -> Batch:
    """A batch over models as they stand."""
    lanes = tuple(BatchLane(Choices.from_stored(model, settings)) for model in models)
    return Batch("set", "a set", lanes, rows)


def everything(batch: Batch) -> list[tuple[int, int]]:
    return [(row, lane) for row in range(batch.rows) for lane in range(len(batch.lanes))]


def keys(cells: Sequence[Cell]) -> list[tuple[int, int]]:
    return [(cell.row, cell.lane) for cell in cells]


async def record(emulator: str) -> dict:
    return (await asyncio.to_thread(http.get, f"{emulator}/mock/state")).json()


async def asked(emulator: str) -> Counter[tuple[str, str]]:
    """How often the emulator was asked what, by model and prompt."""
    bodies = [request["body"] for request in (await record(emulator))["requests"]]
    return Counter((body["model"], body["messages"][-1]["content"]) for body in bodies)


async def until_record(emulator: str, condition: Callable[[dict], object]) -> None:
    async with asyncio.timeout(30):
        while not condition(await record(emulator)):
            await asyncio.sleep(0.01)


def once_each(batch: Batch, prompts: Sequence[Prompt]) -> Counter[tuple[str, str]]:
    return Counter((lane.choices.model.partition(":")[2], prompt.text) for lane in batch.lanes for prompt in prompts)


# ---- over the emulator
async def test_every_cell_is_asked_for_once_and_recorded_with_all_that_is_known(online, emulator):
    house, prompts = await online(), prompts_of(8)
    batch = await house.begin(through([INSTRUCT, THINKING], 8, temperature=0.3, max_tokens=64), prompts)
    await house.to_the_end(batch)
    cells = await house.cells(batch)
    assert keys(cells) == everything(batch) and await house.state(batch) == "done"
    assert await asked(emulator) == once_each(batch, prompts)
    assert {(cell.status, cell.region, cell.finish_reason, cell.error) for cell in cells} == {("done", "singapore", "stop", None)}
    assert all(cell.content and bool(cell.thinking) == (cell.lane == 1) for cell in cells)
    for cell in cells:
        assert cell.usage.input_tokens and cell.usage.output_tokens and cell.timing.total_s is not None
    sent = [request["body"] for request in (await record(emulator))["requests"]]
    seeds = {(body["model"], body["messages"][-1]["content"]): body["seed"] for body in sent}
    for cell in cells:
        told = seeds[batch.lanes[cell.lane].choices.model.partition(":")[2], prompts[cell.row].text]
        assert (cell.parameters["seed"], cell.parameters["temperature"], cell.parameters["max_tokens"]) == (told, 0.3, 64)
    assert len(set(seeds.values())) == len(seeds), "each answer has a seed of its own"


async def stuck_in_the_middle(house: House, emulator: str) -> tuple[Batch, list[Prompt]]:
    """Six prompts of ten are answered in both lanes; the next ones have said a little and say no more."""
    prompts = [*prompts_of(6, "[[words:20]]"), *prompts_of(AT_ONCE, HANGS_ONCE), Prompt("[[words:20]] the last")]
    batch = await house.begin(through([INSTRUCT, THINKING], len(prompts), max_tokens=20, thinking_budget=1), prompts)
    progress = await house.progress(batch)
    await until(lambda: progress.done == Counter({0: 6, 1: 6}) and progress.active == Counter({0: AT_ONCE, 1: AT_ONCE}))
    await until_record(emulator, lambda told: [run["tokens_sent"] >= 3 for run in told["runs"]].count(True) == 12 + 2 * AT_ONCE)
    return batch, prompts


async def nothing_lost_or_doubled(house: House, emulator: str, batch: Batch, prompts: list[Prompt], before: list[Cell]) -> None:
    cells = await house.cells(batch)
    assert keys(cells) == everything(batch) and await house.state(batch) == "done"
    assert [cell for cell in cells if cell in before] == before, "what was there stays as it was"
    wanted = once_each(batch, prompts)
    twice = {key: times + ("hang-mid" in key[1]) for key, times in wanted.items()}
    assert await asked(emulator) == Counter(twice), "only what was in the making is asked again"
    assert {(cell.status, cell.error) for cell in cells} == {("done", None)}
    for lane in (0, 1):
        assert len({cell.content for cell in cells if cell.lane == lane}) == 1, "no partial answer is left, nor one with two beginnings"


async def test_a_pause_in_the_middle_loses_and_doubles_nothing(online, emulator):
    house = await online()
    batch, prompts = await stuck_in_the_middle(house, emulator)
    await house.runner.pause("me", batch.id)
    assert not house.runner.runs(batch.id) and await house.state(batch) == "paused"
    await until_record(emulator, lambda told: told["active"] == 0)  # nothing is written for nobody
    before = await house.cells(batch)
    assert keys(before) == everything(batch)[:12], "answers in the making leave no cell"
    progress = await house.progress(batch)
    assert (progress.ended, progress.total, progress.active.total()) == (12, 20, 0)

    await house.runner.resume("me", Access(), batch.id)
    assert await house.state(batch) == "running"
    await house.to_the_end(batch)
    await nothing_lost_or_doubled(house, emulator, batch, prompts, before)


async def test_a_killed_process_loses_and_doubles_nothing(online, emulator):
    killed = await online()
    batch, prompts = await stuck_in_the_middle(killed, emulator)
    tasks = [start.task for start in killed.runner._starts.values()]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    house = await online()
    before = await house.cells(batch)
    assert keys(before) == everything(batch)[:12]
    assert await house.state(batch) == "running" and not house.runner.runs(batch.id), "so that the page offers to go on"
    assert (await house.progress(batch)).done == Counter({0: 6, 1: 6})
    (found,) = await house.runner.store.all("me", "set")
    await house.runner.resume("me", Access(), found.id)
    await house.to_the_end(batch)
    await nothing_lost_or_doubled(house, emulator, batch, prompts, before)


async def test_failed_rows_are_recorded_and_again_asks_for_those_only(online, emulator):
    house = await online()
    prompts = [
        *prompts_of(3),
        Prompt("[[fault:inspectionx1]] refused"),
        Prompt("[[words:20]][[fault:cut@5x1]] broken"),
        *prompts_of(2, "more"),
    ]
    batch = await house.begin(through([INSTRUCT], len(prompts)), prompts)
    await house.to_the_end(batch)
    cells, progress = await house.cells(batch), await house.progress(batch)
    assert keys(cells) == everything(batch) and await house.state(batch) == "done"
    assert {cell.row: cell.error.kind for cell in cells if cell.status == "error"} == {3: "ContentFiltered", 4: "StreamBroken"}
    assert all(cells[row].error.message and cells[row].error.hint for row in (3, 4))
    assert not cells[3].content and cells[4].content, "what arrived of a broken answer is kept"
    assert cells[4].region == "singapore", "it was paid for there"
    assert (progress.done, progress.failed, progress.problems) == (Counter({0: 5}), Counter({0: 2}), {})

    await house.runner.again("me", Access(), batch.id)
    await house.to_the_end(batch)
    after, progress = await house.cells(batch), await house.progress(batch)
    assert keys(after) == everything(batch) and {cell.status for cell in after} == {"done"}
    assert (progress.done, progress.failed.total(), await house.state(batch)) == (Counter({0: 7}), 0, "done")
    assert [cell for cell in after if cell.row not in (3, 4)] == [cell for cell in cells if cell.row not in (3, 4)]
    wanted = {key: times + ("fault" in key[1]) for key, times in once_each(batch, prompts).items()}
    assert await asked(emulator) == Counter(wanted)

    await house.runner.again("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert await asked(emulator) == Counter(wanted), "where nothing failed, nothing is asked"
    assert await house.state(batch) == "done"


@pytest.mark.parametrize(
    ("access", "kind"), [(Access(), ConfigError), (Access(dashscope_key=SecretStr("sk-wrong")), AuthError)], ids=["no key", "a wrong key"]
)
async def test_a_lane_without_a_key_waits_and_resuming_with_one_asks_for_that_lane_only(online, emulator, access, kind):
    house = await online(dashscope_api_key=None, openai_base_url=f"{emulator}/v1", openai_api_key="sk")
    prompts = prompts_of(7)
    batch = await house.begin(through([INSTRUCT, SERVER], 7), prompts, access=access)
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert {lane: type(problem) for lane, problem in progress.problems.items()} == {0: kind}
    assert (progress.done, progress.failed.total()) == (Counter({1: 7}), 0), "nothing of it counts as failed"
    assert keys(await house.cells(batch)) == [(row, 1) for row in range(7)] and await house.state(batch) == "paused"
    http.delete(f"{emulator}/mock/state")

    await house.runner.resume("me", Access(dashscope_key=SecretStr("sk-right")), batch.id)
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert (progress.done, progress.problems) == (Counter({0: 7, 1: 7}), {})
    assert keys(await house.cells(batch)) == everything(batch) and await house.state(batch) == "done"
    assert await asked(emulator) == Counter((INSTRUCT.partition(":")[2], prompt.text) for prompt in prompts)


@pytest.mark.parametrize(
    ("lane", "kind"),
    [
        (BatchLane(Choices("dashscope:no-such-model", GenerationParameters())), UnknownModel),
        (BatchLane(Choices("nowhere:x", GenerationParameters())), UnknownModel),
        (BatchLane(Choices("server:none/x", GenerationParameters())), UnknownModel),
        (BatchLane(Choices(INSTRUCT, GenerationParameters(), "[[fault:free-tier]]")), QuotaExhausted),
        (BatchLane(Choices(INSTRUCT, GenerationParameters(), "[[fault:403]]")), AuthError),
        (BatchLane(Choices(INSTRUCT, GenerationParameters(), "[[words:20]][[fault:leak@5]]")), QuotaExhausted),
    ],
    ids=["unknown model", "unknown engine", "unknown server", "no quota", "no access", "no money, in the middle of an answer"],
)
async def test_a_lane_that_is_refused_for_good_waits_with_its_problem_and_the_other_one_ends(online, emulator, lane, kind):
    house, prompts = await online(), prompts_of(5)
    batch = await house.begin(Batch("set", "a set", (lane, BatchLane(Choices(THINKING, GenerationParameters()))), 5), prompts)
    await house.to_the_end(batch)
    for start in (1, 2):
        progress = await house.progress(batch)
        assert {place: type(problem) for place, problem in progress.problems.items()} == {0: kind}
        assert progress.problems[0].message and progress.problems[0].hint
        assert (progress.done, progress.failed.total(), progress.active.total()) == (Counter({1: 5}), 0, 0)
        assert keys(await house.cells(batch)) == [(row, 1) for row in range(5)] and await house.state(batch) == "paused"
        told = await asked(emulator)
        assert {key: times for key, times in told.items() if key[0] == THINKING.partition(":")[2]} == {
            (THINKING.partition(":")[2], prompt.text): 1 for prompt in prompts
        }, "the other one is asked once"
        assert told.total() - 5 <= AT_ONCE * start, "the rest of the lane is not tried"
        await house.runner.resume("me", Access(), batch.id)  # nothing was mended: it waits again
        await house.to_the_end(batch)


# ---- lanes beside each other
async def test_models_of_this_machine_take_turns_each_with_all_its_prompts_while_others_run_beside_them(house, engine):
    prompts, here, hosted = prompts_of(4), ["local:a", "local:b", "local:c"], "dashscope:x"
    engine.hold("local:a")
    batch = await house.begin(through([here[0], hosted, here[1], here[2]], 4), prompts)
    await until(lambda: engine.active["local:a"] == 1)
    progress = await house.progress(batch)
    await until(lambda: progress.done == Counter({1: 4}))
    assert [key for key in engine.asked if key[0] in here] == [("local:a", prompts[0].text)]
    engine.release()
    await house.to_the_end(batch)
    asked_here = [key for key in engine.asked if key[0] in here]
    assert asked_here == [(model, prompt.text) for model in here for prompt in prompts], "each model is loaded once"
    assert {model: engine.most[model] for model in here} == dict.fromkeys(here, 1)
    assert keys(await house.cells(batch)) == everything(batch)


async def test_a_model_of_this_machine_that_has_a_problem_leaves_its_turn_to_the_next(house, engine):
    prompts = prompts_of(4)
    engine.unready["local:a"] = UnknownModel("No such folder.", hint="Choose another.")
    batch = await house.begin(through(["local:a", "local:b"], 4), prompts)
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert (progress.done, progress.failed.total(), list(progress.problems)) == (Counter({1: 4}), 0, [0])
    assert engine.asked == [("local:b", prompt.text) for prompt in prompts] and await house.state(batch) == "paused"


@pytest.mark.parametrize("kind", [ModelLoadError, ModelTooLarge])
async def test_a_model_of_this_machine_that_cannot_be_loaded_waits_and_fails_no_row(house, engine, kind):
    prompts = prompts_of(4)
    engine.failing[prompts[0].text] = kind("A weight file is damaged.", hint="Fetch it again.")
    batch = await house.begin(through(["local:a", "local:b"], 4), prompts)
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert {lane: type(problem) for lane, problem in progress.problems.items()} == {0: kind, 1: kind}
    assert (progress.done.total(), progress.failed.total()) == (0, 0) and await house.state(batch) == "paused"
    assert engine.asked == [("local:a", prompts[0].text), ("local:b", prompts[0].text)], "the rest of a lane is not tried"
    engine.failing.clear()
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch) and await house.state(batch) == "done"


async def test_a_prompt_too_long_for_this_machines_memory_fails_its_row_and_no_other(house, engine):
    prompts = prompts_of(4)
    engine.failing[prompts[1].text] = OutOfMemory("This machine ran out of memory.", hint="Shorten it.")
    batch = await house.begin(through(["local:a"], 4), prompts)
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert (progress.done, progress.failed, progress.problems) == (Counter({0: 3}), Counter({0: 1}), {})


async def test_a_resumed_model_of_this_machine_begins_with_what_is_missing(house, engine):
    prompts = prompts_of(3)
    batch = through(["local:a", "local:b"], 3)
    await house.runner.store.create("me", batch, prompts)
    await house.runner.store.write(batch.id, [Cell(1, 0, "done", "old"), Cell(0, 1, "error"), Cell(2, 1, "done", "old")])
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert engine.asked == [("local:a", prompts[0].text), ("local:a", prompts[2].text), ("local:b", prompts[1].text)]
    assert await house.state(batch) == "done"


async def test_so_many_of_one_lane_are_asked_at_once_and_no_more(house, engine):
    prompts, models = prompts_of(3 * AT_ONCE + 1), ["dashscope:x", "server:s/y", "replay:z"]
    engine.hold(*models)
    batch = await house.begin(through(models, len(prompts)), prompts)
    await until(lambda: all(engine.active[model] == AT_ONCE for model in models))
    progress = await house.progress(batch)
    assert progress.active == Counter(dict.fromkeys(range(3), AT_ONCE))
    engine.release()
    await house.to_the_end(batch)
    assert engine.most == Counter(dict.fromkeys(models, AT_ONCE))
    assert {model: engine.asked_of(model) for model in models} == dict.fromkeys(models, texts_of(prompts))


async def test_two_lanes_of_one_model_are_two_lanes(house, engine):
    batch = through(["dashscope:x", "dashscope:x"], 5)
    engine.hold("dashscope:x")
    await house.begin(batch, prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == 2 * AT_ONCE)
    engine.release()
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch)


async def test_a_slow_lane_does_not_pace_another(house, engine):
    engine.hold("dashscope:slow")
    batch = await house.begin(through(["dashscope:slow", "dashscope:fast"], 20), prompts_of(20))
    progress = await house.progress(batch)
    await until(lambda: progress.done == Counter({1: 20}))
    assert house.runner.runs(batch.id) and engine.active == Counter({"dashscope:slow": AT_ONCE, "dashscope:fast": 0})
    engine.release()
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch)


async def test_batches_do_not_wait_for_each_other(house, engine):
    engine.hold("dashscope:slow")
    slow = await house.begin(through(["dashscope:slow"], 2), prompts_of(2))
    fast = await house.begin(through(["dashscope:fast"], 2), prompts_of(2))
    await house.to_the_end(fast)
    assert house.runner.runs(slow.id) and await house.cells(slow) == [] and len(await house.cells(fast)) == 2


# ---- what is asked
@pytest.mark.parametrize(
    ("row", "lane", "sent"),
    [
        ("", "", None),
        ("Row's.", "", "Row's."),
        ("", "Lane's.", "Lane's."),
        ("Row's.", "Lane's.", "Row's.\n\nLane's."),
        (" Hàng. \n", "\n通道。", "Hàng.\n\n通道。"),
    ],
)
async def test_a_rows_system_prompt_goes_before_the_lanes(house, engine, row, lane, sent):
    lanes = (BatchLane(Choices("dashscope:x", GenerationParameters(), lane)),)
    batch = await house.begin(Batch("set", "a set", lanes, 1), [Prompt("q", row)])
    await house.to_the_end(batch)
    (request,) = engine.requests
    assert [(message.role, message.content) for message in request.messages] == [("system", sent), ("user", "q")][sent is None :]
    (cell,) = await house.cells(batch)
    assert cell.parameters["system"] == (sent or "")


async def test_a_lanes_own_seed_is_kept_for_every_row(house, engine):
    batch = await house.begin(through(["dashscope:x"], 3, seed=7), prompts_of(3))
    await house.to_the_end(batch)
    assert [request.parameters.seed for request in engine.requests] == [7, 7, 7]
    assert [cell.parameters["seed"] for cell in await house.cells(batch)] == [7, 7, 7]


# ---- what fails
@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(ContentFiltered("Refused.", hint="Ask otherwise."), "ContentFiltered"), (ValueError("sk-secret"), "BackendError")],
)
async def test_an_answer_that_fails_keeps_what_arrived_and_the_others_go_on(house, engine, trouble, kind):
    prompts = prompts_of(6)
    engine.failing[prompts[2].text] = trouble
    batch = await house.begin(through(["dashscope:x"], 6), prompts)
    await house.to_the_end(batch)
    cells = await house.cells(batch)
    assert [cell.status for cell in cells] == ["done", "done", "error", "done", "done", "done"]
    assert (cells[2].content, cells[2].error.kind) == ("half of ", kind)
    assert "secret" not in cells[2].error.message + cells[2].error.hint and cells[2].error.hint
    assert await house.state(batch) == "done"


@pytest.mark.parametrize("trouble", [BackendError("Not now.", hint="Later."), ValueError("sk-secret")], ids=["known", "unforeseen"])
async def test_an_engine_that_fails_before_it_is_asked_fails_its_rows_and_no_others(house, engine, trouble):
    engine.unready["dashscope:broken"] = trouble
    batch = await house.begin(through(["dashscope:broken", "dashscope:x"], 5), prompts_of(5))
    await house.to_the_end(batch)
    progress = await house.progress(batch)
    assert (progress.done, progress.failed, progress.problems) == (Counter({1: 5}), Counter({0: 5}), {})
    failed = [cell for cell in await house.cells(batch) if cell.lane == 0]
    assert all("secret" not in cell.error.message and cell.error.hint for cell in failed)
    assert await house.state(batch) == "done"


async def test_a_value_that_a_model_does_not_take_is_said_of_each_row_and_nothing_is_sent(house, engine):
    batch = await house.begin(through(["dashscope:x"], 2, temperature=3.0), prompts_of(2))
    await house.to_the_end(batch)
    assert engine.requests == []
    for cell in await house.cells(batch):
        assert (cell.status, cell.error.kind, cell.parameters["temperature"]) == ("error", "BadInput", 3.0)
        assert cell.error.message.startswith("temperature is 3;")


class Held:
    """In place of a pause between two tries: ends when told."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        await self.over.wait()


async def test_answers_that_cannot_be_saved_wait_in_memory_and_no_further_ones_are_asked_for(house, engine, monkeypatch, caplog):
    prompts, write, full = prompts_of(10), house.runner.store.write, StorageError("There is no room left.", hint="Free some space.")
    written: list[Cell] = []

    async def on_a_full_disk(batch_id: str, cells: Sequence[Cell]) -> None:
        if len(written) >= 4:
            raise full
        written.extend(cells)
        await write(batch_id, cells)

    held = house.runner.sleep = Held()
    batch, workers = through(["dashscope:x", "dashscope:y", "local:z"], 10), 2 * AT_ONCE + 1
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "backend.compare.runner"):
        patch.setattr(house.runner.store, "write", on_a_full_disk)
        await house.begin(batch, prompts)
        await until(lambda: len(held.pauses_s) == workers)
        progress = await house.progress(batch)
        assert progress.storage_error is full and progress.problems == {} and (progress.done.total(), progress.failed.total()) == (4, 0)
        assert engine.active.total() == 0 and len(engine.asked) == 4 + workers, "nothing is asked for that cannot be kept"
        assert caplog.text.count("There is no room left.") == 1 and batch.id in caplog.text
    held.over.set()
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch) and await house.state(batch) == "done"
    assert set(Counter(engine.asked).values()) == {1}, "and nothing twice"
    assert (await house.progress(batch)).storage_error is None


async def fails(batch_id: str, cells: Sequence[Cell]) -> None:
    raise StorageError("The disk reported an error.")


async def test_answers_that_wait_to_be_saved_outlive_a_pause_and_are_not_asked_for_again(house, engine, monkeypatch):
    held = house.runner.sleep = Held()
    batch = through(["dashscope:x"], 2)
    with monkeypatch.context() as patch:
        patch.setattr(house.runner.store, "write", fails)
        await house.begin(batch, prompts_of(2))
        await until(lambda: len(held.pauses_s) == 2)
        for order in (house.runner.pause("me", batch.id), house.runner.resume("me", Access(), batch.id)):
            with pytest.raises(StorageError, match="reported an error"):
                await order
        assert not house.runner.runs(batch.id)
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch) and await house.state(batch) == "done"
    assert set(Counter(engine.asked).values()) == {1}


async def test_answers_that_wait_to_be_saved_are_tried_once_more_as_the_app_ends(house, engine, monkeypatch):
    held = house.runner.sleep = Held()
    batch = through(["dashscope:x"], 2)
    with monkeypatch.context() as patch:
        patch.setattr(house.runner.store, "write", fails)
        await house.begin(batch, prompts_of(2))
        await until(lambda: len(held.pauses_s) == 2)
    await house.runner.aclose()
    assert keys(await house.cells(batch)) == everything(batch)


# ---- pause, resume, delete
async def test_a_paused_answer_leaves_nothing_and_frees_its_engine(house, engine):
    engine.hold("dashscope:x", "local:y")
    batch = await house.begin(through(["dashscope:x", "local:y"], 5), prompts_of(5))
    await until(lambda: engine.active == Counter({"dashscope:x": AT_ONCE, "local:y": 1}))
    await house.runner.pause("me", batch.id)
    assert engine.active.total() == 0 and not house.runner.runs(batch.id)
    assert await house.cells(batch) == [] and (await house.progress(batch)).active.total() == 0
    engine.release()
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert [cell.content for cell in await house.cells(batch) if cell.row == 0] == [
        f"half of {model}: {prompts_of(1)[0].text}" for model in ("dashscope:x", "local:y")
    ]


async def test_a_pause_returns_when_the_answers_have_ended(house, engine):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 5), prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    engine.lets_go.clear()
    pausing = asyncio.create_task(house.runner.pause("me", batch.id))
    for _ in range(20):  # more looks into the database than a pause takes
        await house.state(batch)
    assert not pausing.done() and house.runner.runs(batch.id) and await house.state(batch) == "running"
    engine.lets_go.set()
    await pausing
    assert (engine.active.total(), await house.state(batch)) == (0, "paused")


async def test_an_answer_that_had_ended_when_it_was_paused_is_kept_and_not_asked_for_again(house, engine, monkeypatch):
    writing, write, database = asyncio.Event(), house.runner.store.write, house.runner.chat.history.database

    async def told(*given) -> None:
        writing.set()
        await write(*given)

    monkeypatch.setattr(house.runner.store, "write", told)
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 1), prompts_of(1))
    await until(lambda: engine.active["dashscope:x"] == 1)
    async with database.writing():  # another writer has the file
        engine.release()
        await writing.wait()
        pausing = asyncio.create_task(house.runner.pause("me", batch.id))
        await until(lambda: not house.runner.runs(batch.id))
    await pausing
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert (await house.state(batch), keys(await house.cells(batch)), len(engine.requests)) == ("done", [(0, 0)], 1)


async def test_pausing_what_does_not_run_says_so_and_leaves_what_is_done(house):
    batch, prompts = through(["dashscope:x"], 2), prompts_of(2)
    await house.runner.store.create("me", batch, prompts)  # as a killed process left it: running
    await house.runner.pause("me", batch.id)
    assert await house.state(batch) == "paused"
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    await house.runner.pause("me", batch.id)
    assert await house.state(batch) == "done"


async def test_resuming_what_is_done_asks_for_nothing(house, engine):
    batch = await house.begin(through(["dashscope:x"], 3), prompts_of(3))
    await house.to_the_end(batch)
    await house.runner.resume("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert len(engine.requests) == 3 and await house.state(batch) == "done"


async def test_a_batch_of_no_rows_is_done_at_once(house):
    batch = await house.begin(through(["dashscope:x"], 0), [])
    await house.to_the_end(batch)
    assert await house.state(batch) == "done"


async def test_closing_the_app_leaves_a_batch_to_be_gone_on_with(house, engine):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 5), prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    await house.runner.aclose()
    assert engine.active.total() == 0 and not house.runner.runs(batch.id)
    assert (await house.state(batch), await house.cells(batch)) == ("running", [])


async def test_deleting_a_running_batch_ends_it_for_good(house, engine):
    engine.hold("dashscope:x")
    batch, other = through(["dashscope:x", "dashscope:y"], 5), through(["dashscope:z"], 1)
    await house.begin(other, prompts_of(1))
    await house.begin(batch, prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE and len(engine.asked_of("dashscope:y")) == 5)
    await house.runner.delete("me", batch.id)
    assert engine.active.total() == 0 and not house.runner.runs(batch.id)
    with pytest.raises(BadInput):
        await house.runner.store.load("me", batch.id)
    engine.release()
    await house.to_the_end(other)
    assert [found.id for found in await house.runner.store.all("me", "set")] == [other.id]
    assert len(engine.asked_of("dashscope:x")) == AT_ONCE


@pytest.mark.parametrize("act", ["pause", "delete", "again", "resume"])
async def test_another_owner_cannot_touch_a_batch(house, engine, act):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 5), prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    if act == "resume":
        await house.runner.pause("me", batch.id)
    access = [Access()] if act in ("again", "resume") else []
    with pytest.raises(BadInput) as raised:
        await getattr(house.runner, act)("you", *access, batch.id)
    assert raised.value.code == "not_found"
    assert house.runner.runs(batch.id) == (act != "resume")
    assert len(engine.requests) == AT_ONCE


async def test_another_owner_sees_no_progress(house, engine):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 5), prompts_of(5))
    for runs in (True, False):
        with pytest.raises(BadInput) as raised:
            await house.runner.progress("you", batch)
        assert raised.value.code == "not_found" and house.runner.runs(batch.id) == runs
        if runs:
            await house.runner.pause("me", batch.id)


async def test_asking_for_the_failed_ones_waits_for_a_batch_to_be_over(house, engine):
    """Its button is not shown while it runs; an old page may have it."""
    prompts = prompts_of(AT_ONCE + 1)
    batch = through(["dashscope:x"], len(prompts))
    await house.runner.store.create("me", batch, prompts)
    await house.runner.store.write(batch.id, [Cell(0, 0, "error")])
    engine.hold("dashscope:x")
    await house.runner.resume("me", Access(), batch.id)
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    await house.runner.again("me", Access(), batch.id)
    assert (house.runner.runs(batch.id), len(engine.requests), await house.cells(batch)) == (True, AT_ONCE, [Cell(0, 0, "error")])
    engine.release()
    await house.to_the_end(batch)
    await house.runner.again("me", Access(), batch.id)
    await house.to_the_end(batch)
    assert Counter(engine.asked_of("dashscope:x")) == Counter(texts_of(prompts))
    assert {cell.status for cell in await house.cells(batch)} == {"done"}


# ---- two at once
async def test_starting_what_runs_starts_nothing(house, engine):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], 5), prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    await house.runner.resume("me", Access(), batch.id)
    engine.release()
    await house.to_the_end(batch)
    assert Counter(engine.asked) == Counter(("dashscope:x", text) for text in texts_of(prompts_of(5)))


async def test_two_starts_at_once_double_nothing(house, engine):
    batch, prompts = through(["dashscope:x", "local:y"], 6), prompts_of(6)
    await house.runner.store.create("me", batch, prompts)
    await asyncio.gather(*(house.runner.resume("me", Access(), batch.id) for _ in range(3)))
    await house.to_the_end(batch)
    await until(lambda: engine.active.total() == 0)
    assert Counter(engine.asked) == Counter((model, text) for model in ("dashscope:x", "local:y") for text in texts_of(prompts))
    progress = await house.progress(batch)
    assert (progress.done, engine.most["local:y"], await house.state(batch)) == (Counter({0: 6, 1: 6}), 1, "done")


async def test_asking_for_the_failed_ones_twice_at_once_doubles_nothing(house, engine):
    batch, prompts = through(["dashscope:x"], 6), prompts_of(6)
    await house.runner.store.create("me", batch, prompts)
    await house.runner.store.write(batch.id, [Cell(row, 0, "error" if row < 3 else "done") for row in range(6)])
    engine.hold("dashscope:x")
    await asyncio.gather(*(house.runner.again("me", Access(), batch.id) for _ in range(2)))
    await until(lambda: engine.active["dashscope:x"] >= 3)
    assert engine.most["dashscope:x"] == 3, "the second one took the place of the first"
    engine.release()
    await house.to_the_end(batch)
    assert keys(await house.cells(batch)) == everything(batch) and await house.state(batch) == "done"


@pytest.mark.parametrize("act", ["pause", "delete"])
async def test_what_comes_during_a_start_is_not_overtaken_by_it(house, engine, act):
    engine.hold("dashscope:x")
    batch = through(["dashscope:x"], 5)
    await house.runner.store.create("me", batch, prompts_of(5))
    await asyncio.gather(house.runner.resume("me", Access(), batch.id), getattr(house.runner, act)("me", batch.id))
    assert not house.runner.runs(batch.id), "the later one counts"
    assert engine.active.total() == 0
    assert [found.state for found in await house.runner.store.all("me", "set")] == (["paused"] if act == "pause" else [])


# ---- progress
def test_what_is_left_takes_as_long_as_the_pace_of_this_start(monkeypatch):
    monkeypatch.setattr(runner_module, "time", SimpleNamespace(monotonic=lambda: 130.0))
    progress = Progress(2, 10, done=Counter({0: 6, 1: 3}), failed=Counter({1: 1}), started_s=100.0, done_before=4)
    assert (progress.total, progress.ended) == (20, 10)
    assert progress.left_s() == pytest.approx(30 / 6 * 10)


@pytest.mark.parametrize("done", [0, 7])
def test_without_a_pace_nothing_is_said_of_what_is_left(done):
    assert Progress(1, 10, done=Counter({0: done}), done_before=done).left_s() is None


async def test_progress_counts_by_lane_and_is_one_and_the_same_while_it_runs(house, engine):
    engine.hold("dashscope:x")
    prompts = prompts_of(4)
    engine.failing[prompts[1].text] = ContentFiltered("Refused.", hint="-")
    batch = await house.begin(through(["dashscope:x", "dashscope:y"], 4), prompts)
    progress = await house.progress(batch)
    assert (progress.total, progress.lanes, progress.rows) == (8, 2, 4)
    await until(lambda: progress.ended == 4)
    assert (progress.done, progress.failed, progress.active) == (Counter({1: 3}), Counter({1: 1}), Counter({0: AT_ONCE, 1: 0}))
    assert await house.progress(batch) is progress, "one and the same while it runs"
    engine.release()
    await house.to_the_end(batch)
    after = await house.progress(batch)
    assert (after.done, after.failed, after.ended, after.active.total()) == (Counter({0: 3, 1: 3}), Counter({0: 1, 1: 1}), 8, 0)


async def test_a_resumed_batch_counts_what_was_there_before(house, engine):
    engine.hold("dashscope:x")
    batch = through(["dashscope:x"], 10)
    await house.runner.store.create("me", batch, prompts_of(10))
    await house.runner.store.write(batch.id, [Cell(row, 0, "error" if row == 0 else "done") for row in range(4)])
    await house.runner.resume("me", Access(), batch.id)
    progress = await house.progress(batch)
    assert (progress.done_before, progress.ended, progress.left_s()) == (4, 4, None)
    await until(lambda: progress.active == Counter({0: AT_ONCE}))
    assert engine.asked_of("dashscope:x") == texts_of(prompts_of(10))[4 : 4 + AT_ONCE]


async def test_a_page_that_looks_during_a_start_sees_the_batch_move(house, engine, monkeypatch):
    engine.hold("dashscope:x")
    batch, set_state = through(["dashscope:x"], 5), house.runner.store.set_state

    async def looked_at(*given) -> None:
        await house.progress(batch)
        await set_state(*given)

    monkeypatch.setattr(house.runner.store, "set_state", looked_at)
    await house.begin(batch, prompts_of(5))
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    assert (await house.progress(batch)).active == Counter({0: AT_ONCE})


async def test_a_page_that_began_to_look_before_a_start_does_not_hide_it(house, engine, monkeypatch):
    engine.hold("dashscope:x")
    batch, counts = through(["dashscope:x"], 5), house.runner.store.counts
    counted, go_on = asyncio.Event(), asyncio.Event()
    await house.runner.store.create("me", batch, prompts_of(5))

    async def slowly(*given):
        found = await counts(*given)
        if not counted.is_set():
            counted.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(house.runner.store, "counts", slowly)
    looking = asyncio.create_task(house.progress(batch))
    await counted.wait()
    await house.runner.resume("me", Access(), batch.id)
    await until(lambda: engine.active["dashscope:x"] == AT_ONCE)
    go_on.set()
    await looking
    assert (await house.progress(batch)).active == Counter({0: AT_ONCE})


# ---- public hosts
@pytest.fixture
async def public(houses, engine) -> House:
    return await houses(engine, public=True)


async def test_a_public_host_takes_so_many_answers_at_once(public, engine):
    rows = MOST_ANSWERS_PUBLIC // 2
    with pytest.raises(BadInput, match=f"{2 * rows + 2} answers are more than .*{MOST_ANSWERS_PUBLIC}"):
        await public.begin(through(["dashscope:x", "dashscope:y"], rows + 1), prompts_of(rows + 1))
    assert await public.runner.store.all("me", "set") == [] and engine.requests == []
    engine.hold("dashscope:x", "dashscope:y")
    batch = await public.begin(through(["dashscope:x", "dashscope:y"], rows), prompts_of(rows))
    assert public.runner.runs(batch.id)


async def test_ones_own_machine_takes_as_many_as_one_likes(house, engine):
    engine.hold("dashscope:x")
    batch = await house.begin(through(["dashscope:x"], MOST_ANSWERS_PUBLIC + 1), prompts_of(MOST_ANSWERS_PUBLIC + 1))
    other = await house.begin(through(["dashscope:x"], 1), prompts_of(1))
    assert house.runner.runs(batch.id) and house.runner.runs(other.id)


async def test_a_public_host_runs_one_batch_of_a_visitor_at_a_time(public, engine):
    engine.hold("dashscope:x")
    first, second = (through(["dashscope:x"], 2) for _ in range(2))
    await public.begin(first, prompts_of(2))
    with pytest.raises(BadInput, match="Another run of yours is still going"):
        await public.begin(second, prompts_of(2))
    assert [found.id for found in await public.runner.store.all("me", "set")] == [first.id]
    await public.runner.resume("me", Access(), first.id)  # the same one is no other
    theirs = await public.begin(through(["dashscope:x"], 2), prompts_of(2), owner="you")
    assert public.runner.runs(theirs.id)
    await public.runner.pause("me", first.id)
    await public.begin(second, prompts_of(2))
    with pytest.raises(BadInput, match="Another run of yours is still going"):
        await public.runner.resume("me", Access(), first.id)
    assert public.runner.runs(second.id) and not public.runner.runs(first.id)


async def test_visitors_behind_one_address_have_so_many_batches_and_not_one_more(public, engine):
    engine.hold("dashscope:x")

    async def begin(owner: str, address: str) -> Batch:
        batch = through(["dashscope:x"], 2)
        await public.runner.begin(owner, Access(address=address), batch, prompts_of(2))
        return batch

    batches = [await begin(f"visitor {n}", "203.0.113.5") for n in range(MAX_BATCHES_PER_ADDRESS)]
    with pytest.raises(BadInput, match="your network"):
        await begin("one more", "203.0.113.5")
    await begin("elsewhere", "203.0.113.6")
    await public.runner.pause("visitor 0", batches[0].id)
    await begin("one more", "203.0.113.5")


async def test_two_batches_begun_at_once_by_a_visitor_of_a_public_host_are_one_too_many(public, engine):
    engine.hold("dashscope:x")
    batches = [through(["dashscope:x"], 2) for _ in range(3)]
    begun = await asyncio.gather(*(public.begin(batch, prompts_of(2)) for batch in batches), return_exceptions=True)
    assert sorted(type(each).__name__ for each in begun) == ["BadInput", "BadInput", "Batch"]
    assert [public.runner.runs(batch.id) for batch in batches].count(True) == 1
    assert len(await public.runner.store.all("me", "set")) == 1, "what was refused is not kept"


async def test_a_visitors_open_chats_do_not_fail_the_rows_of_their_set(public, engine):
    engine.hold("dashscope:chat")
    request = ChatRequest("dashscope:chat", (Message("user", "hi"),))
    for n in range(MAX_ACTIVE_RUNS_PUBLIC):
        public.backend.runs.start(Run("me", f"c{n}", f"n{n}", "dashscope:chat", request), engine)
    await until(lambda: engine.active["dashscope:chat"] == MAX_ACTIVE_RUNS_PUBLIC)
    batch = await public.begin(through(["dashscope:x"], 5), prompts_of(5))
    progress = await public.progress(batch)
    await until(lambda: progress.ended or progress.active.total())
    engine.release()
    await public.to_the_end(batch)
    assert [cell.status for cell in await public.cells(batch)] == ["done"] * 5
