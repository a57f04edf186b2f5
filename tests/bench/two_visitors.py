"""One visitor of a public host floods it, another asks: `python tests/bench/two_visitors.py`.

The flood has one cookie and one address: 200 questions at once, 100 uploads of 400 kB, 64 streams that nobody reads. The other visitor
opens the page meanwhile and asks. What is measured is the time from their question to the first words on their page, five times, and the
same without the flood in the same run; the emulator takes 0.2 s to a first token, and all share the machine's cores.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp

from tests.bench.load import Visitor
from tests.bench.servers import emulator, machine, the_page

SENDS, UPLOADS, IDLE, TIMES = 200, 100, 64, 5
FLOOD_ADDRESS, OTHER_ADDRESS = "203.0.113.5", "198.51.100.7"  # as the proxy in front of a public host tells them
QUESTION = {"text": "flood [[think:2000]] [[words:2000]] [[rate:50]]", "files": []}


def client(url: str, address: str) -> aiohttp.ClientSession:
    """A browser: it keeps its cookie, and the proxy says where it is."""
    jar = aiohttp.CookieJar(unsafe=True)  # for a host that is an address
    headers = {"X-Forwarded-For": address}
    return aiohttp.ClientSession(url, headers=headers, cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**22)


async def opened(url: str, address: str, stack: AsyncExitStack) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
    session = await stack.enter_async_context(client(url, address))
    await (await session.get("/")).read()
    async with session.get("/config") as told:
        return session, await told.json()


async def first_words(session: aiohttp.ClientSession, config: dict[str, Any]) -> float:
    visitor = Visitor(session, config)
    await visitor.open()
    return (await visitor.ask("composer", {"text": "hello [[think:5]] [[words:20]]", "files": []}, ("This",)))[0]


async def flood(
    session: aiohttp.ClientSession, config: dict[str, Any], stack: AsyncExitStack
) -> tuple[Counter[str], list[asyncio.Task[None]]]:
    """Returns once all of it is under way, with what became of its requests so far."""
    became: Counter[str] = Counter()
    composer = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "composer")
    send = next(d for d in config["dependencies"] if [composer, "submit"] in d["targets"])
    values = {c["id"]: None if c["type"] == "state" else c["props"].get("value") for c in config["components"]}

    async def ask() -> None:
        body = {
            "data": [QUESTION, *(values[n] for n in send["inputs"][1:])],
            "fn_index": send["id"],
            "trigger_id": send["targets"][0][0],
            "session_hash": secrets.token_hex(6),
        }
        async with session.post("/gradio_api/queue/join", json=body) as joined:
            became[f"question {joined.status}"] += 1

    async def upload(number: int) -> None:
        form = aiohttp.FormData()
        form.add_field("files", secrets.token_bytes(400_000), filename=f"{number}.txt")
        async with session.post("/gradio_api/upload", data=form) as sent:
            became[f"upload {sent.status}"] += 1

    async def idle() -> None:
        await stack.enter_async_context(session.get("/gradio_api/heartbeat/" + secrets.token_hex(6)))
        became["idle stream"] += 1

    tasks = [asyncio.create_task(idle()) for _ in range(IDLE)]
    tasks += [asyncio.create_task(ask()) for _ in range(SENDS)]
    tasks += [asyncio.create_task(upload(n)) for n in range(UPLOADS)]
    return became, tasks


async def measure(engine: str, url: str) -> None:
    async with AsyncExitStack() as stack:
        calm_session, config = await opened(url, OTHER_ADDRESS, stack)
        await first_words(calm_session, config)  # what is imported at the first use is not load
        calm = [await first_words(calm_session, config) for _ in range(TIMES)]
        attacker, _ = await opened(url, FLOOD_ADDRESS, stack)
        became, tasks = await flood(attacker, config, stack)
        flooded = []
        start_s = time.perf_counter()
        for _ in range(TIMES):
            other, _ = await opened(url, OTHER_ADDRESS, stack)
            flooded.append(await first_words(other, config))
        await asyncio.gather(*tasks, return_exceptions=True)
        async with aiohttp.ClientSession() as told, told.get(f"{engine}/mock/state") as state:
            runs = (await state.json())["runs"]
        upstream = sum(run["closed_after_s"] is None for run in runs)
        print(f"without the flood: first words after {statistics.median(calm):.2f} s in the median, {max(calm):.2f} s at most, of {TIMES}")
        print(
            f"beside it: {statistics.median(flooded):.2f} s, {max(flooded):.2f} s at most, of {TIMES} in {time.perf_counter() - start_s:.1f} s"
        )
        print(f"the flood: {dict(sorted(became.items()))}; answers of it that the engine writes: {upstream}")


def main() -> None:
    print(machine())
    with emulator() as engine, the_page(engine, PLAYGROUND_PUBLIC="1") as url:
        asyncio.run(measure(engine, url))


if __name__ == "__main__":
    main()
