"""How long does the server keep others waiting while it lays out texts that are made to take for ever?

`python tests/bench/hostile_texts.py [--only NAME ...]`. The page runs in a process of its own. One client imports each text as a chat, opens it and
its trace, and saves it; then two panes of Compare answer with such texts, which are compared word by word and saved as a page. Meanwhile a
second client asks for /healthz every 10 ms. Two baselines: the same with nothing else asked for, and, all the time, the same of a server that
does nothing else: what the machine itself, which others may use, does to such a poll.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp
from aiohttp import web

from tests.bench.load import Visitor
from tests.bench.servers import machine, the_page
from tests.running_page import free_port

POLL_EVERY_S, BASELINE_S, MAX_PAUSE_MS = 0.01, 10.0, 100
LINE_CHARS = 4_900_000  # what the page takes as one file


def _code(language: str, unit: str, chars: int = 20_000) -> str:
    return f"```{language}\n{unit * (chars // len(unit))}\n```\n\nafter"


def _table(columns: int, rows: int) -> str:
    return "\n".join("|".join(each * columns) + "|" for each in [("a",), ("-",), *[("b",)] * rows])


def hostile_texts() -> dict[str, str]:
    """By name. The code is that of lexers whose time grows with the square of such a text, found by trying."""
    return {
        "java": _code("java", "a "), "ts": _code("ts", "a."), "c": _code("c", "\n "), "perl": _code("perl", "s{"), "python": _code("python", "\n "),
        "js": _code("js", '"\\'), "cpp": _code("cpp", "\n "), "kotlin": _code("kotlin", "a "), "csharp": _code("csharp", "a "), "ruby": _code("ruby", "%<"),
        "c-objdump": _code("c-objdump", "a "), "d-objdump": _code("d-objdump", "'"), "cpp-objdump": _code("cpp-objdump", "{"), "php": _code("html+php", "<?"),
        "erb": _code("erb", "<%"), "jinja": _code("html+jinja", "{%"), "console": _code("console", "$ a\n"), "java, 100 kB": _code("java", "a ", 100_000),
        "unknown languages": "".join(f"```l{i}\nx\n```\n" for i in range(3000)), "many blocks of code": _code("java", "a ", 3000) * 100,
        "5,000 columns": _table(5000, 20), "50,000 rows": _table(2, 50_000), "20,000 rows": _table(2, 20_000), "1,000 columns, 1,000 rows": _table(1000, 1000),
        "a 5 MB line": "a" * LINE_CHARS, "5 MB of words": "ab " * (LINE_CHARS // 3), "2 million lines": "a\n" * (LINE_CHARS // 3),
        "a million paragraphs": "a\n\n" * (LINE_CHARS // 5), "blank lines": "\n" * (LINE_CHARS // 2), "5 MB to escape": "<&\n" * (LINE_CHARS // 4),
        "quotes": ">" * 50_000 + "a", "lists": "- " * 50_000, "list by list": "".join("  " * i + "- a\n" for i in range(300)), "quotes and lists": ("> - " * 2000 + "\n") * 10,
        "brackets": "[" * 50_000, "links": "[a](" * 20_000, "links in angles": "[a](<b" * 10_000, "pictures": "![" * 40_000, "emphasis": "*a " * 50_000,
        "mixed emphasis": "**_" * 30_000 + "a", "crossed emphasis": "*a_ " * 30_000, "definitions": "\n".join(f"[a{i}]: b" for i in range(20_000)),
        "references": "[a]: b\n\n" + "[a]" * 60_000, "open references": "[\\\n" * 20_000, "backticks": "".join("`" * i + " " for i in range(1000)),
        "autolinks": "<a:" * 30_000, "addresses": "https://a.b/ " * 10_000, "half addresses": "http://" * 20_000, "mail": "mailto:a@" * 20_000, "HTML": "<a " * 50_000,
        "comments": "<!--" * 30_000, "entities": "&amp;" * 50_000, "half entities": "&#" * 50_000, "deep TeX": "$$" + "{" * 2000 + "}" * 2000 + "$$",
        "fractions": "$$" + "\\frac{" * 800 + "}" * 800 + "$$", "little TeX": "$x$ " * 20_000, "roots": ("$$" + "\\sqrt{" * 300 + "}" * 300 + "$$\n\n") * 20,
        "open TeX": "\\(" * 30_000, "TeX environments": "\\begin{a}\n" * 10_000, "strikes": "~~a" * 30_000, "underlined": "a\n-\n" * 30_000,
        "marks": "a" + "\u0315\u0300" * 40_000, "backslashes": "\\" * 100_000, "everything": ("> - *a_ [b](c `d` $x$ <e: &f; | g\n" * 3000),
    }  # fmt: skip


JSON_ANSWERS = {
    "a long list": "[" + ",".join("0" * 1_000_000) + "]", "deep": "[" * 100_000, "deep objects": '{"a":' * 500 + "1" + "}" * 500, "many objects": "[" + ",".join(["{}"] * 300_000) + "]",
}  # fmt: skip


def chat_file(text: str, *, as_json: bool) -> bytes:
    """A chat whose answer, trace and tool call are `text`, as the page imports it; the answer alone where all of it were too large a file."""
    small = len(text) < 1_000_000
    answer = {
        "id": "2", "parent": "1", "role": "assistant", "content": text, "thinking": text if small else "short", "model": "local:demo",
        "parameters": {"format": {"schema": {"type": "array", "items": {"type": "integer"}}}} if as_json else {},
        "steps": [{"calls": [{"id": "c", "name": "look", "arguments": text, "state": "done", "result": text}], "content": text}] if len(text) < 300_000 else [],
    }  # fmt: skip
    nodes = [{"id": "1", "role": "user", "content": text if small else "q"}, answer]
    return json.dumps(
        {"format": "qwen3-next-playground chats", "version": 1, "conversations": [{"nodes": nodes, "path": ["1", "2"]}]}, ensure_ascii=False
    ).encode()


# ---- the client that polls, in a process of its own
def poll(url: str, told: Connection) -> None:
    """Until something is told: asks for /healthz, and then tells (when, milliseconds) of each."""

    async def asking() -> list[tuple[float, float]]:
        found = []
        async with aiohttp.ClientSession(url) as client:
            await (await client.get("/healthz")).read()
            told.send("begun")
            while not told.poll():
                start_s = time.time()
                async with client.get("/healthz") as answer:
                    await answer.read()
                found.append((start_s, 1000 * (time.time() - start_s)))
                await asyncio.sleep(max(0.0, POLL_EVERY_S - (time.time() - start_s)))
        return found

    told.send(asyncio.run(asking()))


@contextmanager
def polled(url: str) -> Iterator[list[tuple[float, float]]]:
    """Filled at the end."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=poll, args=(url, theirs), daemon=True)
    process.start()
    ours.recv()
    found: list[tuple[float, float]] = []
    try:
        yield found
    finally:
        ours.send("enough")
        found += ours.recv()
        process.join()


# ---- a service that answers with such texts
async def answer(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    name = str(body["messages"][-1]["content"])
    text = hostile_texts().get(name, name)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    step = max(1, len(text) // 50)
    for start in range(0, len(text), step):
        delta = (
            {"content": text[start : start + step]}
            if "instruct" in body["model"]
            else {"reasoning_content" if start < len(text) // 2 else "content": text[start : start + step]}
        )
        try:
            await response.write(b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n")
        except ConnectionError:  # the answer has grown beyond what the page takes
            return response
        await asyncio.sleep(0.02)
    await response.write(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
    return response


async def healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def service(port: int) -> None:
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{path:.*}", answer)
    app.router.add_get("/healthz", healthy)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


# ---- the client that asks for them
class Tab(Visitor):
    """A browser tab that uses more of the page than the composer."""

    async def do(self, target: str, event: str, data: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
        """What an event of the component `target` (its elem_id) gives, by elem_id; `inputs` in place of what stands in components."""
        dependency = next(d for d in self._config["dependencies"] for c, e in d["targets"] if e == event and self._is(target, c))
        values = [
            inputs.get(self._name(number), value) for number, value in zip(dependency["inputs"], self._inputs(dependency), strict=True)
        ]
        body = {
            "data": values,
            "fn_index": dependency["id"],
            "trigger_id": dependency["targets"][0][0],
            "session_hash": self.session,
            "event_data": data,
        }
        async with self._client.post("/gradio_api/queue/join", json=body) as joined:
            event_id = (await joined.json())["event_id"]
        async with self._client.get("/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            async for raw in stream.content:
                if raw.startswith(b"data:") and b'"process_completed"' in raw:
                    message = json.loads(raw[5:])
                    if message["msg"] == "process_completed" and message["event_id"] == event_id:
                        if not message["success"]:
                            raise RuntimeError(raw[:2000].decode())
                        return dict(zip(map(self._name, dependency["outputs"]), message["output"]["data"], strict=False))
        raise RuntimeError("no end")

    def _name(self, number: int) -> str:
        return str(self._components[number]["props"].get("elem_id") or number)

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("files", data, filename=name)
        async with self._client.post("/gradio_api/upload", data=form) as answer:
            (path,) = await answer.json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    async def trace(self, node: str) -> list[str]:
        number = next(n for n, c in self._components.items() if c["props"].get("elem_id") == "chat-log")
        body = {"data": node, "component_id": number, "fn_name": "trace", "session_hash": self.session}
        async with self._client.post("/gradio_api/component_server", json=body) as answer:
            return list(await answer.json())


async def opened(tab: Tab, text: str, *, as_json: bool) -> None:
    """Imports a text as a chat, opens it, its trace, and saves it in both forms."""
    file = await tab.upload("chat.json", chat_file(text, as_json=as_json))
    listed = (await tab.do("import", "upload", None, **{"import": file}))["history"]
    chat = listed["groups"][-1 if len(listed["groups"]) == 1 else 0]["entries"][0]["id"]
    turns = (await tab.do("history", "pick", {"op": "open", "id": chat}))["chat-log"]["turns"]
    if len(turns) != 2:
        raise RuntimeError("the chat was not opened")
    await tab.trace(turns[1]["id"])
    for form in ("markdown", "json"):
        await tab.do("history", "pick", {"op": form, "id": chat})
    await tab.do("history", "pick", {"op": "delete", "id": chat})


async def compared(tab: Tab, name: str) -> None:
    """Two panes that answer with a text, their difference word by word and by traces, the table, and all of it as a page."""
    await tab.do("bench", "new")
    await tab.do("compare-prompt", "submit", **{"compare-prompt": name})
    await tab.do("compare-live", "over")
    for look in ({"view": "diff", "what": "answers"}, {"view": "diff", "what": "thinking"}, {"view": "table"}):
        await tab.do("bench", "look", look)
    await tab.do("share-page", "click")


async def measure(url: str, idle: str, only: list[str]) -> bool:
    with polled(url) as alone:
        await asyncio.sleep(BASELINE_S)
    print(line("nothing else asked for", alone))
    texts = {name: text for name, text in hostile_texts().items() if not only or name in only}
    answers = {name: text for name, text in JSON_ANSWERS.items() if not only or name in only}
    spans: list[tuple[str, float, float]] = []
    async with aiohttp.ClientSession(
        url, connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**27, timeout=aiohttp.ClientTimeout(300)
    ) as client:
        async with client.get("/config") as told:
            tab = Tab(client, await told.json())
        await tab.open()
        await tab.do("composer", "change", composer={"text": "hello", "files": []})  # whoever types is going to ask: the page warms up
        await opened(tab, "```python\nx = 1\n```", as_json=False)  # what is imported at the first use is not a text's doing
        await compared(tab, "hello")
        tasks = [(name, opened(tab, text, as_json=False)) for name, text in texts.items()]
        tasks += [(f"JSON answer: {name}", opened(tab, text, as_json=True)) for name, text in answers.items()]
        tasks += [
            (f"compared: {name}", compared(tab, name))
            for name in texts
            if name in ("java", "20,000 rows", "5 MB of words", "marks", "everything")
        ]
        with polled(url) as found, polled(idle) as beside:
            for name, task in tasks:
                start_s = time.time()
                await task
                spans.append((name, start_s, time.time()))
    for name, start_s, end_s in spans:
        worst = max((ms for at_s, ms in found if start_s - 0.1 <= at_s <= end_s), default=0.0)
        machine_ms = max((ms for at_s, ms in beside if start_s - 0.1 <= at_s <= end_s), default=0.0)
        print(f"{name:32} {end_s - start_s:6.2f} s   worst pause {worst:5.0f} ms   (idle server {machine_ms:3.0f} ms)")
    print(line(f"{len(spans)} hostile texts", found))
    print(line("an idle server meanwhile", beside))
    return max(ms for _, ms in found) < MAX_PAUSE_MS


def line(name: str, found: list[tuple[float, float]]) -> str:
    times = [ms for _, ms in found]
    return f"{name}: /healthz asked {len(times)} times, median {statistics.median(times):.1f} ms, worst {max(times):.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    only = parser.parse_args().only
    print(machine(), flush=True)
    ports = (free_port(), free_port())
    processes = [multiprocessing.get_context("spawn").Process(target=service, args=(port,), daemon=True) for port in ports]
    for process in processes:
        process.start()
    engine, idle = (f"http://127.0.0.1:{port}" for port in ports)
    try:
        with the_page(engine) as url:
            return 0 if asyncio.run(measure(url, idle, only)) else 1
    finally:
        for process in processes:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
