"""32 chats at once, and the page's share of the time to the first token. `python tests/bench/load.py [--chats 32]`.

Every chat is one visitor over gradio's queue protocol, who has loaded the page before: 200 tokens of thinking and 300 of answer at 100 tokens a second. The
ideal is the emulator's own pace; the emulator runs on the same cores. Baselines in the same run: a bare gr.Chatbot handler
that paces itself (load), and a bare gr.ChatInterface over the same emulator (first token).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp

from tests.bench.servers import bare_gradio, emulator, machine, the_page

FIRST_TOKEN_S, TOKENS, RATE = 0.2, 500, 100.0
IDEAL_S = FIRST_TOKEN_S + TOKENS / RATE
FIRST_TOKENS = 40
# what the page's script asks for as it sees an answer begin (the composer is cleared, which asks for the context meter) and end
EVENTS = (("change", '"begins"'), ("begun", '"begins"'), ("over", '"over"'))
PROMPT = "bench [[think:200]] [[words:300]] [[rate:100]]"


class Visitor:
    """One browser tab as gradio's server sees it: it loads the page, then sends one question. No heartbeat, no rendering.

    Over aiohttp, whose parser is in C: the visitors share the two cores with what is measured.
    """

    def __init__(self, client: aiohttp.ClientSession, config: dict[str, Any]) -> None:
        self._client, self._config = client, config
        self._components = {c["id"]: c for c in config["components"]}
        self.session = secrets.token_hex(6)

    async def open(self) -> None:
        """What a page asks for as it loads; also makes the server's state of this session, as for a person who then types."""
        for dependency in self._config["dependencies"]:
            if any(event == "load" for _, event in dependency["targets"]):
                await self._call(dependency, self._inputs(dependency), ())

    async def ask(self, target: str, text: Any, marks: tuple[str, ...]) -> tuple[float, float]:
        """(seconds to the first update that holds one of `marks`, seconds to the end) of one question."""
        dependency = next(d for d in self._config["dependencies"] if any(e == "submit" and self._is(target, c) for c, e in d["targets"]))
        return await self._call(dependency, [text, *self._inputs(dependency)[1:]], marks)

    def _is(self, target: str, number: int) -> bool:
        component = self._components.get(number)
        if component is None:
            return False
        return component["props"].get("elem_id") == target or (target == "textbox" and component["type"] == "textbox")

    def _fires(self, target: int, event: str) -> bool:
        return (event in ("begun", "over") and self._is("live", target)) or (event == "change" and self._is("composer", target))

    def _inputs(self, dependency: dict[str, Any]) -> list[Any]:
        components = [self._components[number] for number in dependency["inputs"]]
        return [None if c["type"] == "state" else c["props"].get("value") for c in components]

    async def _join(self, dependency: dict[str, Any], data: list[Any]) -> str:
        body = {"data": data, "fn_index": dependency["id"], "trigger_id": dependency["targets"][0][0], "session_hash": self.session}
        async with self._client.post("/gradio_api/queue/join", json=body) as joined:
            return str((await joined.json())["event_id"])

    async def _call(self, dependency: dict[str, Any], data: list[Any], marks: tuple[str, ...]) -> tuple[float, float]:
        """Joins the queue and reads to the end, also of what our page's script asks for as an answer begins and is over."""
        start_s, first_s = time.perf_counter(), None
        fired = {event: d for d in self._config["dependencies"] for target, event in d["targets"] if self._fires(target, event)}
        waiting = {await self._join(dependency, data)}
        while waiting:
            async with self._client.get("/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
                async for raw in stream.content:
                    line = raw.decode()
                    if not line.startswith("data:"):
                        continue
                    if first_s is None and any(mark in line for mark in marks):
                        first_s = time.perf_counter() - start_s
                    for event, mark in EVENTS:
                        if event in fired and mark in line:
                            waiting.add(await self._join(fired[event], self._inputs(fired.pop(event))))
                    message = json.loads(line[5:])
                    if message["msg"] == "process_completed":
                        if not message["success"]:
                            raise RuntimeError(line)
                        waiting.discard(message["event_id"])
                        if not waiting:
                            break
        end_s = time.perf_counter() - start_s
        return first_s if first_s is not None else end_s, end_s


@asynccontextmanager
async def visitors(url: str, count: int) -> AsyncIterator[list[Visitor]]:
    """That many open pages."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**22) as client:
        async with client.get("/config") as told:
            config = await told.json()
        found = [Visitor(client, config) for _ in range(count)]
        for visitor in found:
            await visitor.open()
        yield found


async def load(url: str, target: str, text: Any, chats: int, marks: tuple[str, ...]) -> list[tuple[float, float]]:
    async with visitors(url, chats + 1) as (first, *others):
        await first.ask(target, text, marks)  # what is imported or opened at the first use is not load
        return await asyncio.gather(*(visitor.ask(target, text, marks) for visitor in others))


async def first_tokens(asked: Sequence[tuple[str, str, Any]], count: int) -> list[float]:
    """Median seconds to the first token of each app in `asked` (url, target, text), asked in turn so that all meet the same noise."""
    async with AsyncExitStack() as stack:
        tabs = [(await stack.enter_async_context(visitors(url, count + 1)), target, text) for url, target, text in asked]
        times: list[list[float]] = [[] for _ in asked]
        for turn in range(count + 1):
            for found, (opened, target, text) in zip(times, tabs, strict=True):
                found.append((await opened[turn].ask(target, text, ("This",)))[0])
    return [statistics.median(found[1:]) for found in times]  # the first of each imports and connects


async def direct_first_tokens(url: str, count: int) -> list[float]:
    """Seconds to the first token of the emulator itself."""
    body = {"model": "qwen3-next-80b-a3b-instruct", "stream": True, "messages": [{"role": "user", "content": "hi [[words:5]]"}]}
    times = []
    async with aiohttp.ClientSession(url, headers={"authorization": "Bearer bench"}) as client:
        for _ in range(count + 1):
            start_s = time.perf_counter()
            async with client.post("/compatible-mode/v1/chat/completions", json=body) as stream:
                async for line in stream.content:
                    if b"This" in line:
                        times.append(time.perf_counter() - start_s)
                        break
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=32)
    chats = parser.parse_args().chats
    print(machine())
    with emulator(rate=RATE, first_token_s=FIRST_TOKEN_S) as url, the_page(url) as page:
        ours = asyncio.run(load(page, "composer", {"text": PROMPT, "files": []}, chats, ("This",)))
    with bare_gradio("handler") as bare:
        theirs = asyncio.run(load(bare, "textbox", "bench", chats, ("token0",)))
    for name, ideal_s, found in (("page + emulator", IDEAL_S, ours), ("bare handler, no engine", TOKENS / RATE, theirs)):
        ends = sorted(end for _, end in found)
        firsts = sorted(first for first, _ in found)
        print(
            f"{chats} chats, {name}: last ends after {ends[-1]:.2f} s = {ends[-1] / ideal_s:.2f} x ideal, "
            f"median {statistics.median(ends) / ideal_s:.2f}; first token median {statistics.median(firsts):.2f} s, last {firsts[-1]:.2f} s"
        )
    with emulator(rate=RATE, first_token_s=0.0) as url:
        straight = statistics.median(asyncio.run(direct_first_tokens(url, FIRST_TOKENS)))
        with the_page(url) as page, bare_gradio("proxy", url) as bare:
            ours = (page, "composer", {"text": "hi [[think:5]] [[words:5]]", "files": []})
            through_page, through_bare = asyncio.run(first_tokens([ours, (bare, "textbox", "hi [[words:5]]")], FIRST_TOKENS))
    added, bare_added = through_page - straight, through_bare - straight
    print(
        f"time to first token added, median of {FIRST_TOKENS} in turn: page {1000 * added:.0f} ms, bare gr.ChatInterface {1000 * bare_added:.0f} ms "
        f"= {added / bare_added:.2f} x (the emulator alone: {1000 * straight:.0f} ms)"
    )


if __name__ == "__main__":
    main()
