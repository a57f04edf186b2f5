"""The end of the app: what is at work ends in order, what is asked gets a sentence, a second signal ends at once."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from backend import Access, Backend, Choices, GenerationParameters, load_settings
from backend.api.answers import ChatFrames, chat_body
from backend.api.serving import Job, Streamed, Whole
from backend.ending import Ending, within
from backend.errors import Unavailable
from backend.tools.kit import ToolKit
from backend.types import ChatRequest, Message, Started, TextDelta
from tests.clock import until
from tests.emulator import running_emulator, runs
from tests.running_page import free_port

ROOT = Path(__file__).resolve().parents[2]
REQUEST = ChatRequest("m", (Message("user", "hi"),))
MODEL = "dashscope:qwen3-next-80b-a3b-instruct"
SLOW = "long [[words:5000]] [[rate:100]]"


async def for_ever() -> None:
    await asyncio.Event().wait()


# ---- what is at work
async def test_what_is_at_work_is_ended_and_told_so():
    ending, ended = Ending(), []

    async def work() -> None:
        try:
            await for_ever()
        finally:
            ended.append(True)

    waiting = asyncio.create_task(ending.unless_ended(work()))
    await asyncio.sleep(0)
    await ending.begin()
    assert ended == [True]
    with pytest.raises(Unavailable, match="being ended"):
        await waiting
    with pytest.raises(Unavailable, match="being ended"):
        ending.check()


async def test_what_ends_before_is_not_disturbed():
    ending = Ending()

    async def fails() -> None:
        raise ValueError("its own")

    ending.check()
    assert await ending.unless_ended(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="its own"):
        await ending.unless_ended(fails())
    await ending.begin()


class Sent:
    def __init__(self) -> None:
        self.messages: list[dict] = []

    async def __call__(self, message: dict) -> None:
        self.messages.append(message)


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_of_the_http_api_ends_with_an_error_and_its_engine_is_free(scripted, streamed):
    provider, ending, sent, done = scripted([Started("m"), TextDelta("half"), for_ever]), Ending(), Sent(), []
    job = Job(provider, REQUEST, 1, lambda: done.append(True), ending)
    answer = (
        Streamed(job, ChatFrames("id", "m", include_usage=False, choices=1))
        if streamed
        else Whole(job, lambda choices: chat_body("id", "m", choices))
    )
    serving = asyncio.create_task(answer({"type": "http"}, for_ever, sent))
    await until(lambda: any(b"half" in m.get("body", b"") for m in sent.messages) if streamed else bool(provider.requests))
    await ending.begin()
    async with asyncio.timeout(20):
        await serving
    assert b"being ended" in sent.messages[-1]["body"] and not sent.messages[-1].get("more_body")
    assert (provider.closed, done) == (1, [True])
    assert sent.messages[0]["status"] == (200 if streamed else 503)


async def test_a_closing_that_hangs_or_fails_does_not_keep_the_others_from_ending(caplog):
    async def fails() -> None:
        raise ValueError("no")

    async with asyncio.timeout(20):
        await within(0.01, for_ever(), fails(), asyncio.sleep(0))
    assert "took longer" in caplog.text and "failed" in caplog.text


async def test_answers_end_as_stopped_with_their_text_and_new_questions_get_a_sentence(own_settings):
    with running_emulator() as emulator:
        backend = Backend(load_settings(dashscope_base_url=emulator, dashscope_api_key="k", demo=False))
        chat, choices = await backend.open(), Choices.from_stored(MODEL, {})
        run = await chat.send("me", Access(), None, SLOW, choices)
        backend.runs.watch(run, "tab")
        asking = asyncio.create_task(backend.asking.ask(MODEL, SLOW))
        await until(lambda: len(run.answer.text) > 20 and len(runs(emulator)) == 2)
        await backend.aclose()
        with pytest.raises(Unavailable, match="being ended"):
            await asking
        for refused in (chat.send("me", Access(), None, "more", choices), backend.asking.ask(MODEL, "more")):
            with pytest.raises(Unavailable, match="being ended"):
                await refused
        await until(lambda: all(each["closed_after_s"] is not None for each in runs(emulator)))
    with closing(sqlite3.connect(own_settings / "history.db")) as connection:
        found = connection.execute("SELECT status, content FROM playground_nodes WHERE role = 'assistant'").fetchall()
    assert found == [("stopped", run.answer.text)]


STUBBORN = """
import json, os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
child.stdout.readline()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
noted = sys.argv[1]
def note(**found):
    with open(noted, "a") as file:
        file.write(json.dumps(found) + "\\n")
note(pids=[os.getpid(), child.pid])
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize" and sys.argv[2:] != ["mute"]:
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    elif asked["method"] == "tools/list":
        result = {"tools": [{"name": "wait", "description": "Never answers", "inputSchema": {"type": "object"}}]}
    else:
        note(method=asked["method"])
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
time.sleep(600)
"""


def runs_still(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # an orphan waits for init to look at it


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
async def test_programs_of_mcp_end_even_those_that_do_not_want_to(own_settings, tmp_path):
    """One in the midst of a call, whose answer is stopped, and one that is being connected; each with a program of its own."""
    script, noted, mute = tmp_path / "stubborn.py", tmp_path / "noted", tmp_path / "mute"
    script.write_text(STUBBORN)

    def found(file: Path, what: str) -> list[object]:
        return [each[what] for line in (file.read_text().splitlines() if file.exists() else []) if what in (each := json.loads(line))]

    with running_emulator() as emulator:
        backend = Backend(load_settings(dashscope_base_url=emulator, dashscope_api_key="k", demo=False))
        command = shlex.join([sys.executable, str(script), str(noted)])
        specs = await backend.toolbox.connect_mcp("me", command, ToolKit(), from_here=True)
        connecting = asyncio.create_task(
            backend.toolbox.connect_mcp("me", shlex.join([sys.executable, str(script), str(mute), "mute"]), ToolKit(), from_here=True)
        )
        chat = await backend.open()
        kit = ToolKit(tuple(replace(spec, policy="always") for spec in specs))
        run = await chat.send("me", Access(), None, "[[tool]] [[args:{}]]", Choices(MODEL, GenerationParameters(), tools=kit))
        backend.runs.watch(run, "tab")
        await until(lambda: "tools/call" in found(noted, "method") and "initialize" in found(mute, "method"), 60)
        pids = [pid for file in (noted, mute) for pid in found(file, "pids")[0]]
        assert len(pids) == 4 and all(map(runs_still, pids))
        await backend.aclose()
        assert not any(map(runs_still, pids))
        assert run.state == "stopped"
        with pytest.raises(Unavailable):
            await connecting


# ---- signals
TAKES_SIGNALS = """
import sys, time, app
end = app.EndOnSignal()
if sys.argv[1] == "serving":
    end.serving = True
    print("serving", flush=True)
    end.wait()
    print("asked", flush=True)
    time.sleep(float(sys.argv[2]))
    sys.exit(0)
print("starting", flush=True)
time.sleep(60)
"""


def taking_signals(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES_SIGNALS, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    process.stdout.readline()
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_in_order_and_the_second_at_once(number):
    with taking_signals("serving", "0") as orderly:
        orderly.send_signal(number)
        assert orderly.stdout.readline() == "asked\n"
        assert orderly.wait(20) == 0
    with taking_signals("serving", "60") as twice:
        twice.send_signal(number)
        twice.stdout.readline()
        twice.send_signal(number)
        assert twice.wait(20) == 128 + number
    with taking_signals("starting") as early:
        early.send_signal(number)
        assert early.wait(20) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_real_app_ends_on_sigterm_with_its_answers_stopped(tmp_path):
    """As `docker stop` does it, with a stream of /v1 open."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running_emulator(tokens_per_s=50.0) as emulator:
        told = {
            "DASHSCOPE_BASE_URL": emulator,
            "DASHSCOPE_API_KEY": "k",
            "PLAYGROUND_DATA_DIR": str(tmp_path / "data"),
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), "--no-demo"],
            cwd=ROOT,
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with httpx.Client(trust_env=False, timeout=60) as client:
                assert any("Ctrl+C ends it" in line for line in process.stdout)
                body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": SLOW}]}
                with client.stream("POST", f"{url}/v1/chat/completions", json=body) as stream:
                    lines = stream.iter_lines()
                    next(line for line in lines if "content" in line)
                    process.send_signal(signal.SIGTERM)
                    rest = list(lines)
            assert any("being ended" in line for line in rest)
            assert process.wait(30) == 0
            assert (tmp_path / "data" / "uploads").stat().st_mode & 0o077 == 0
        finally:
            process.kill()
            process.wait()


def test_the_emulator_ends_on_sigterm():
    port = free_port()
    process = subprocess.Popen([sys.executable, "app.py", "mock", "--port", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline_s
            try:
                httpx.get(f"http://127.0.0.1:{port}/mock/state", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
