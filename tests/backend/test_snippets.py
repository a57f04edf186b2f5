"""Snippets say exactly what the providers send, run as they stand, and never hold a key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import httpx2
import pytest

from backend.catalogue import catalogue
from backend.providers.bodies import compatible_body, native_body
from backend.snippets import Place, snippets
from backend.types import ChatRequest, GenerationParameters, Message
from tests.emulator import running_emulator

HARD = "Chào bạn! 你好 \"quotes\" 'single' $HOME `id` \\ back\nslash \u2028 </script> 🙂"
PARAMETERS = GenerationParameters(temperature=0.6, top_p=0.95, top_k=20, max_tokens=64, thinking_budget=128, seed=7, stop=("</s>", "'"))


def made(model: str, engine: str, base_url: str) -> tuple[ChatRequest, dict[str, str], object]:
    capabilities = catalogue().capabilities(engine, model)
    request = ChatRequest(model, (Message("system", "Be brief."), Message("user", HARD)), PARAMETERS)
    return request, {s.title: s.text for s in snippets(request, capabilities, Place(engine, base_url))}, capabilities


@pytest.fixture(scope="module")
def emulator():
    with running_emulator() as base_url:
        yield base_url


def last_body(base_url: str) -> dict:
    return httpx2.get(f"{base_url}/mock/state").json()["requests"][-1]["body"]


def run(command: list[str], text: str, tmp_path) -> str:
    env = {**os.environ, "DASHSCOPE_API_KEY": "sk-test", "OPENAI_API_KEY": "sk-test", "no_proxy": "*"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("title", ["curl", "Python openai", "JavaScript"])
def test_compatible_snippets_run_and_send_the_exact_body(emulator, tmp_path, title):
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", emulator)
    program = {"curl": ["bash"], "Python openai": [sys.executable, "-"], "JavaScript": ["node", "--input-type=module"]}[title]
    if shutil.which(program[0]) is None or (title == "curl" and shutil.which("curl") is None):
        pytest.skip(f"{program[0]} is not installed")
    assert run(program, found[title], tmp_path)
    assert last_body(emulator) == compatible_body(request, capabilities)


@pytest.mark.parametrize("title", ["curl, native", "Python dashscope"])
def test_native_snippets_run_and_send_the_exact_body(emulator, tmp_path, title):
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", emulator)
    if title == "curl, native" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert run(["bash"] if "curl" in title else [sys.executable, "-"], found[title], tmp_path)
    assert last_body(emulator) == native_body(request, capabilities)


def test_a_servers_snippets_hold_its_own_fields(emulator, tmp_path):
    request, found, capabilities = made("Qwen/Qwen3-Next-80B-A3B-Instruct", "server", f"{emulator}/v1")
    assert run([sys.executable, "-"], found["Python openai"], tmp_path)
    assert last_body(emulator) == compatible_body(request, capabilities)


def test_the_json_is_the_body():
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", "https://host")
    assert json.loads(found["JSON"]) == compatible_body(request, capabilities)
    assert json.loads(found["JSON, native"]) == native_body(request, capabilities)


def test_the_transformers_snippet_is_python():
    _, found, _ = made("demo", "local", "")
    compile(found["Python transformers"], "snippet", "exec")


@pytest.mark.parametrize(
    ("model", "parameters", "absent", "present"),
    [
        ("qwen3-next-80b-a3b-instruct", {"min_p": 0.1, "thinking_budget": 5, "enable_thinking": True}, {"min_p", "thinking_budget", "enable_thinking"}, {}),
        ("qwen3-next-80b-a3b-thinking", {"min_p": 0.1, "enable_thinking": False}, {"min_p", "enable_thinking"}, {}),
        ("qwen3-32b", {"enable_thinking": False, "thinking_budget": 9}, {"thinking_budget"}, {"enable_thinking": False}),
        ("qwen-plus", {"enable_thinking": True, "thinking_budget": 9}, set(), {"enable_thinking": True, "thinking_budget": 9}),
    ],
)  # fmt: skip
def test_dashscope_gets_only_what_it_takes(model, parameters, absent, present):
    capabilities = catalogue().capabilities("dashscope", model)
    request = ChatRequest(model, (Message("user", "hi"),), GenerationParameters(**parameters, extra={"anything": 1}))
    for body in (compatible_body(request, capabilities), native_body(request, capabilities)["parameters"]):
        assert not (absent | {"anything"}) & set(body)
        assert present.items() <= body.items()


def test_a_server_gets_its_extras_and_the_template_switch():
    capabilities = catalogue().capabilities("server", "Qwen/Qwen3-0.6B")
    parameters = GenerationParameters(min_p=0.1, top_k=5, repetition_penalty=1.1, enable_thinking=False, extra={"guided_regex": "a+"})
    body = compatible_body(ChatRequest("Qwen/Qwen3-0.6B", (Message("user", "hi"),), parameters), capabilities)
    assert (body["min_p"], body["top_k"], body["repetition_penalty"], body["guided_regex"]) == (0.1, 5, 1.1, "a+")
    assert body["chat_template_kwargs"] == {"enable_thinking": False} and "enable_thinking" not in body


@pytest.mark.parametrize(("resend", "content"), [(False, "4"), (True, "<think>\nhm\n</think>\n\n4")])
def test_earlier_thinking_is_sent_only_on_request(resend, content):
    messages = (Message("user", "2+2"), Message("assistant", "4", "hm"), Message("user", "sure?"))
    request = ChatRequest("Qwen/Qwen3-Next-80B-A3B-Thinking", messages, resend_thinking=resend)
    body = compatible_body(request, catalogue().capabilities("server", request.model))
    assert body["messages"][1]["content"] == content
