"""32 chats at once, and the page's share of the time to the first token. `python tests/bench/load.py [--chats 32]`.

Every chat is one visitor over gradio's queue protocol: 200 tokens of thinking and 300 of answer at 100 tokens a second. The
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx2

from tests.bench.servers import bare_gradio, emulator, machine, the_page

FIRST_TOKEN_S, TOKENS, RATE = 0.2, 500, 100.0
IDEAL_S = FIRST_TOKEN_S + TOKENS / RATE
PROMPT = "bench [[think:200]] [[words:300]] [[rate:100]]"


async def prepared(client: httpx2.AsyncClient, target: str, event: str, text: Any) -> dict[str, Any]:
    """The body of one call of the handler that `target`'s `event` triggers, with every input at its present value."""
    config = (await client.get("/config")).json()
    components = {c["id"]: c for c in config["components"]}

    def is_target(component: dict[str, Any]) -> bool:
        return component["props"].get("elem_id") == target or (target == "textbox" and component["type"] == "textbox")

    dependency = next(
        d for d in config["dependencies"] if any(e == event and is_target(components[c]) for c, e in d["targets"] if c in components)
    )
    data = []
    for place, number in enumerate(dependency["inputs"]):
        component = components[number]
        value = None if component["type"] == "state" else component["props"].get("value")
        data.append(text if place == 0 else value)
    return {"data": data, "fn_index": dependency["id"], "trigger_id": dependency["targets"][0][0]}


async def chat(client: httpx2.AsyncClient, body: dict[str, Any], marks: tuple[str, ...]) -> tuple[float, float]:
    """(seconds to the first update that holds one of `marks`, seconds to the end) of one visitor."""
    session = secrets.token_hex(6)
    start_s, first_s = time.perf_counter(), None
    joined = await client.post("/gradio_api/queue/join", json={**body, "session_hash": session})
    event_id = joined.json()["event_id"]
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            if not line.startswith("data:"):
                continue
            if first_s is None and any(mark in line for mark in marks):
                first_s = time.perf_counter() - start_s
            message = json.loads(line[5:])
            if message["msg"] == "process_completed" and message["event_id"] == event_id:
                if not message["success"]:
                    raise RuntimeError(line)
                break
    end_s = time.perf_counter() - start_s
    return first_s if first_s is not None else end_s, end_s


async def load(url: str, target: str, text: Any, chats: int, marks: tuple[str, ...]) -> list[tuple[float, float]]:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        body = await prepared(client, target, "submit", text)
        await chat(client, body, marks)  # what is imported or opened at the first use is not load
        return await asyncio.gather(*(chat(client, body, marks) for _ in range(chats)))


async def first_tokens(url: str, target: str, text: Any, marks: tuple[str, ...], count: int = 20) -> list[float]:
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        body = await prepared(client, target, "submit", text)
        return [(await chat(client, body, marks))[0] for _ in range(count + 1)][1:]


async def direct_first_tokens(url: str, count: int = 20) -> list[float]:
    """Seconds to the first token of the emulator itself."""
    body = {"model": "qwen3-next-80b-a3b-instruct", "stream": True, "messages": [{"role": "user", "content": "hi [[words:5]]"}]}
    times = []
    async with httpx2.AsyncClient(timeout=60, headers={"authorization": "Bearer bench"}) as client:
        for _ in range(count + 1):
            start_s = time.perf_counter()
            async with client.stream("POST", f"{url}/compatible-mode/v1/chat/completions", json=body) as stream:
                async for line in stream.aiter_lines():
                    if "This" in line:
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
        straight = statistics.median(asyncio.run(direct_first_tokens(url)))
        with the_page(url) as page:
            text = {"text": "hi [[think:5]] [[words:5]]", "files": []}
            through_page = statistics.median(asyncio.run(first_tokens(page, "composer", text, ("This",))))
        with bare_gradio("proxy", url) as bare:
            through_bare = statistics.median(asyncio.run(first_tokens(bare, "textbox", "hi [[words:5]]", ("This",))))
    added, bare_added = through_page - straight, through_bare - straight
    print(
        f"time to first token added, median of 20: page {1000 * added:.0f} ms, bare gr.ChatInterface {1000 * bare_added:.0f} ms "
        f"= {added / bare_added:.2f} x (the emulator alone: {1000 * straight:.0f} ms)"
    )


if __name__ == "__main__":
    main()
