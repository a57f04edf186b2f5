"""What is kept when the app is ended, killed, or its database is locked, full, read-only, cut short or opened twice.

`python tests/bench/faults.py [NAME ...]`: the real app as a process over the emulator; one line for each fault. Full and read-only
disks are small file systems in memory, which only root may mount; without that they are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp
import httpx2

from tests.bench.load import Visitor, visitors
from tests.bench.servers import emulator, machine, started
from tests.running_page import free_port

FILE = "history.db"
LONG, SHORT = "count [[words:5000]] [[rate:100]]", "brief [[words:5]]"
STREAMING_S = 3.0  # of three answers, before they are cut


@contextmanager
def app(engine: str, data: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    told = {"DASHSCOPE_BASE_URL": engine, "DASHSCOPE_API_KEY": "bench", "PLAYGROUND_DATA_DIR": str(data)}
    with started(["app.py", "--port", str(port), "--no-demo"], f"{url}/config", **told) as process:
        yield process, url


@contextmanager
def small_disk(size_kb: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def kept(data: Path) -> str:
    """Every answer's state and length, and what SQLite says of the file."""
    with closing(sqlite3.connect(f"file:{data / FILE}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute(
            "SELECT status, length(content) FROM playground_nodes WHERE role = 'assistant' ORDER BY created_at"
        ).fetchall()
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
    return f"{', '.join(f'{status} {length}' for status, length in rows) or 'no answers'}; integrity {sound}"


async def until(condition: Callable[[], bool], limit_s: float = 60) -> float:
    start_s = time.perf_counter()
    while not condition():
        if time.perf_counter() - start_s > limit_s:
            return float("inf")
        await asyncio.sleep(0.05)
    return time.perf_counter() - start_s


def sizes(data: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in data.iterdir()}


def stored(data: Path, words: str) -> bool:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{data / FILE}?mode=ro", uri=True, timeout=5)) as connection:
        found = "SELECT count(*) FROM playground_nodes q JOIN playground_nodes a ON a.parent_id = q.id WHERE q.content LIKE ? AND a.status = 'done'"
        return bool(connection.execute(found, (f"{words}%",)).fetchone()[0])
    return False


async def heartbeat(url: str, visitor: Visitor) -> None:
    """The connection that an open page holds; without one its answers are ended soon."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as client,
        client.get(f"{url}/gradio_api/heartbeat/{visitor.session}") as alive,
    ):
        async for _ in alive.content:
            pass


async def ask(visitor: Visitor, text: str, mark: str = "This") -> tuple[float, float]:
    return await visitor.ask("composer", {"text": text, "files": []}, (mark,))


@asynccontextmanager
async def three_answers(url: str) -> AsyncIterator[None]:
    async with visitors(url, 3) as tabs:
        asked = [asyncio.create_task(ask(tab, LONG)) for tab in tabs]
        await asyncio.sleep(STREAMING_S)
        yield
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def api_stream(url: str) -> bytes:
    """The last that a caller of /v1 hears."""
    body = {"model": "dashscope:qwen3-next-80b-a3b-instruct", "stream": True, "messages": [{"role": "user", "content": LONG}]}
    last = b""
    async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=body) as stream:
        with suppress(aiohttp.ClientError):
            async for line in stream.content:
                last = line.strip() or last
    return last


async def ended(engine: str, data: Path, *signals: signal.Signals) -> str:
    with app(engine, data) as (process, url):
        caller = asyncio.create_task(api_stream(url))
        async with three_answers(url):
            start_s = time.perf_counter()
            for number in signals:
                process.send_signal(number)
                await asyncio.sleep(0.05)
            await until(lambda: process.poll() is not None, 20)
            took_s = time.perf_counter() - start_s
        heard = await caller
        upstream = [run for run in httpx2.get(f"{engine}/mock/state").json()["runs"][-4:] if run["closed_after_s"] is None]
    told = "an error" if b"error" in heard else "[DONE]" if b"DONE" in heard else "a cut"
    return f"exit {process.returncode} after {took_s:.1f} s; {kept(data)}; /v1 heard {told}; {len(upstream)} streams open upstream"


async def terminated(engine: str, data: Path) -> str:
    return await ended(engine, data, signal.SIGTERM)


async def interrupted(engine: str, data: Path) -> str:
    return await ended(engine, data, signal.SIGINT)


async def interrupted_twice(engine: str, data: Path) -> str:
    return await ended(engine, data, signal.SIGINT, signal.SIGINT)


async def killed(engine: str, data: Path) -> str:
    told = await ended(engine, data, signal.SIGKILL)
    with app(engine, data) as (_, url):
        async with visitors(url, 1):
            return f"{told}; after the next start: {kept(data)}"


async def locked(engine: str, data: Path) -> str:
    with app(engine, data) as (_, url):
        async with visitors(url, 2) as (first, second):
            await ask(first, SHORT)
            with closing(sqlite3.connect(data / FILE, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                _, answered_s = await ask(second, "during " + SHORT)
                there = stored(data, "during")
                other.execute("ROLLBACK")
            after_s = await until(lambda: stored(data, "during"))
    return f"answered after {answered_s:.1f} s, stored then: {there}, stored {after_s:.1f} s after the lock went; {kept(data)}"


async def full(engine: str, _: Path) -> str:
    with small_disk(1024) as data:
        with app(engine, data) as (_, url):
            async with visitors(url, 2) as (first, second):
                await ask(first, SHORT)
                with suppress(OSError), (data / "filler").open("wb", buffering=0) as filler:
                    while True:
                        filler.write(bytes(1024))
                _, answered_s = await ask(second, "during [[words:4000]] [[rate:4000]]")
                there = stored(data, "during")
                (data / "filler").unlink()
                after_s = await until(lambda: stored(data, "during"))
        return f"answered after {answered_s:.1f} s, stored then: {there}, stored {after_s:.1f} s after there was room; {kept(data)}"


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


async def read_only(engine: str, _: Path) -> str:
    with small_disk(4096) as data:
        remount(data, "ro")
        with app(engine, data) as (_, url):
            async with visitors(url, 1) as (tab,):
                _, answered_s = await ask(tab, "during " + SHORT)
                remount(data, "rw")
                after_s = await until(lambda: stored(data, "during"))
        return f"answered after {answered_s:.1f} s, stored {after_s:.1f} s after it could be written; {kept(data)}"


async def cut_short(engine: str, data: Path) -> str:
    with app(engine, data) as (_, url):
        async with visitors(url, 1) as (tab,):
            await ask(tab, SHORT)
    size = (data / FILE).stat().st_size
    with (data / FILE).open("r+b") as file:
        file.truncate(size // 2)
    with app(engine, data) as (_, url):
        async with visitors(url, 1) as (tab,):
            await ask(tab, "after " + SHORT)
    aside = [length for name, length in sizes(data).items() if ".damaged-" in name and not name.endswith(("-wal", "-shm"))]
    return f"set aside {len(aside)} file of {sum(aside)} of {size} bytes; {kept(data)}"


async def opened_twice(engine: str, data: Path) -> str:
    with app(engine, data) as (first, url):
        async with visitors(url, 1) as (tab,):
            page = asyncio.create_task(heartbeat(url, tab))
            asked = asyncio.create_task(ask(tab, "twice [[words:2500]] [[rate:100]]"))
            await asyncio.sleep(1)
            with app(engine, data) as (_, second):
                async with visitors(second, 1) as (other,):
                    during = kept(data)
                    await asked
                    page.cancel()
                    after = kept(data)
                    first.send_signal(signal.SIGTERM)
                    await until(lambda: first.poll() is not None, 20)
                    await ask(other, "later " + SHORT)
                    await until(lambda: stored(data, "later"))
    return f"while the second starts: {during}; at its end: {after}; the second goes on: {kept(data)}"


FAULTS = {f.__name__: f for f in (terminated, interrupted, interrupted_twice, killed, locked, full, read_only, cut_short, opened_twice)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all unless told")
    names = parser.parse_args().names or list(FAULTS)
    print(machine())
    with emulator(rate=100.0, first_token_s=0.1) as engine:
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    told = asyncio.run(FAULTS[name](engine, Path(folder) / "data"))
                except (subprocess.CalledProcessError, FileNotFoundError) as error:
                    told = f"left out: {error}"
            print(f"| {name.replace('_', ' ')} | {told} |", flush=True)


if __name__ == "__main__":
    main()
