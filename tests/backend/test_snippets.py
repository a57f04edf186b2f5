"""Snippets say exactly what the providers send, run as they stand, and never hold a key."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import httpx2
import pytest

from backend.catalogue import catalogue
from backend.providers.bodies import compatible_body, native_body
from backend.snippets import Place, snippets
from backend.types import ChatRequest, GenerationParameters, Message
from tests.emulator import running_emulator

HARD = "Chào bạn! 你好 \"quotes\" 'single' $HOME `id` \\ back\nslash \u2028 </script> 🙂"
PARAMETERS = GenerationParameters(temperature=0.6, top_p=0.95, top_k=20, max_tokens=64, thinking_budget=128, seed=7, stop=("</s>", "'"))


def made(model: str, engine: str, base_url: str, more: str = "") -> tuple[ChatRequest, dict[str, str], object]:
    capabilities = catalogue().capabilities(engine, model)
    request = ChatRequest(model, (Message("system", "Be brief."), Message("user", HARD + more)), PARAMETERS)
    return request, {s.title: s.text for s in snippets(request, capabilities, Place(engine, base_url))}, capabilities


@pytest.fixture(scope="module")
def emulator():
    with running_emulator() as base_url:
        yield base_url


def last_body(base_url: str) -> dict:
    return httpx2.get(f"{base_url}/mock/state").json()["requests"][-1]["body"]


PROGRAMS = {
    "curl": ["bash"],
    "curl, native": ["bash"],
    "Python openai": [sys.executable, "-"],
    "Python dashscope": [sys.executable, "-"],
    "JavaScript": ["node", "--input-type=module"],
}


def run(title: str, text: str, tmp_path, *, key: str | None = "sk-test") -> str:
    program = PROGRAMS[title]
    for needed in (program[0], "curl" if program == ["bash"] else program[0]):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    env = {**os.environ, "no_proxy": "*"}
    if key is not None:
        env |= {"DASHSCOPE_API_KEY": key, "OPENAI_API_KEY": key}
    done = subprocess.run(program, input=text, capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(title: str, output: str) -> str:
    """The text that a snippet showed: curl shows the frames themselves."""
    if "curl" not in title:
        return output
    frames = [json.loads(line[5:]) for line in output.splitlines() if line.startswith("data:") and "[DONE]" not in line]
    choices = [choice for frame in frames for choice in frame.get("output", frame)["choices"]]
    said = [choice.get("delta") or choice.get("message") for choice in choices]
    return "".join(part.get("reasoning_content") or part.get("reasoning") or part.get("content") or "" for part in said)


@pytest.mark.parametrize("title", PROGRAMS)
def test_snippets_run_send_the_exact_body_and_show_the_answer(emulator, tmp_path, title):
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", emulator)
    shown = printed(title, run(title, found[title], tmp_path))
    body = native_body if title in ("curl, native", "Python dashscope") else compatible_body
    assert last_body(emulator) == body(request, capabilities)
    assert "你好" in shown and len(shown) > 100


@pytest.mark.parametrize("title", ["curl", "Python openai", "JavaScript"])
@pytest.mark.parametrize("style", ["reasoning", "reasoning_content"])
def test_a_servers_snippets_need_no_key_and_know_both_fields_of_a_trace(emulator, tmp_path, title, style):
    request, found, capabilities = made("Qwen/Qwen3-Next-80B-A3B-Thinking", "server", f"{emulator}/v1", f" [[style:{style}]]")
    shown = printed(title, run(title, found[title], tmp_path, key=None))
    assert last_body(emulator) == compatible_body(request, capabilities)
    assert shown.startswith("The user wrote") and len(shown) > 100  # its trace; max_tokens leaves no room for more


def test_the_json_is_the_body():
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", "https://host")
    assert json.loads(found["JSON"]) == compatible_body(request, capabilities)
    assert json.loads(found["JSON, native"]) == native_body(request, capabilities)


def test_the_body_in_curl_is_quoted_for_a_shell():
    request, found, capabilities = made("qwen3-next-80b-a3b-thinking", "dashscope", "https://host")
    for title, body in (("curl", compatible_body), ("curl, native", native_body)):
        words = shlex.split(found[title].replace("\\\n", " "))
        assert json.loads(words[words.index("--data-raw") + 1]) == body(request, capabilities)
        assert "Authorization: Bearer $DASHSCOPE_API_KEY" in words


def test_an_address_is_shown_without_its_password():
    _, found, _ = made("anything", "server", "https://user:secret@host/v1")
    assert found and all("secret" not in text and "https://host/v1" in text for title, text in found.items() if title != "JSON")


@pytest.mark.parametrize("engine", ["replay", "new"])
def test_what_has_no_request_has_no_snippet(engine):
    capabilities = catalogue().capabilities("replay", "maths-thinking")
    assert snippets(ChatRequest("maths-thinking", (Message("user", "hi"),)), capabilities, Place(engine)) == []


@pytest.mark.parametrize("parameters", [PARAMETERS, GenerationParameters(temperature=0, max_tokens=2, enable_thinking=False)])
def test_the_transformers_snippet_runs(tmp_path, capsys, parameters):
    from tests.backend.local.tiny import HYBRID, checkpoint

    request = ChatRequest(str(checkpoint(tmp_path / "tiny", HYBRID)), (Message("user", HARD),), replace(parameters, max_tokens=2))
    capabilities = catalogue().capabilities("local", request.model)
    (snippet,) = snippets(request, capabilities, Place("local"))
    exec(compile(snippet.text, "snippet", "exec"), {})
    assert capsys.readouterr().out


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


@pytest.mark.parametrize("engine", ["dashscope", "server"])
def test_a_model_that_nobody_knows_is_sent_the_switch_that_was_set(engine):
    capabilities = catalogue().capabilities(engine, "someone/new-hybrid")
    request = ChatRequest("someone/new-hybrid", (Message("user", "hi"),), GenerationParameters(enable_thinking=False))
    body = compatible_body(request, capabilities)
    assert (body.get("enable_thinking"), body.get("chat_template_kwargs")) == (
        (False, None) if engine == "dashscope" else (None, {"enable_thinking": False})
    )
    assert not {"enable_thinking", "chat_template_kwargs"} & set(
        compatible_body(replace(request, parameters=GenerationParameters()), capabilities)
    )


def test_half_an_emoji_is_replaced_in_everything_that_is_sent():
    request = ChatRequest("qwen-plus", (Message("user", "a\ud83d"),), GenerationParameters(stop=("\ud83d",)))
    for body in (compatible_body, native_body):
        json.dumps(body(request, catalogue().capabilities("dashscope", "qwen-plus")), ensure_ascii=False).encode()


def test_dashscope_is_never_sent_an_earlier_trace():
    messages = (Message("user", "2+2"), Message("assistant", "4", "hm"), Message("user", "sure?"))
    request = ChatRequest("qwen3-next-80b-a3b-thinking", messages, resend_thinking=True)
    capabilities = catalogue().capabilities("dashscope", request.model)
    assert "hm" not in json.dumps([compatible_body(request, capabilities), native_body(request, capabilities)])


@pytest.mark.parametrize(("resend", "content"), [(False, "4"), (True, "<think>\nhm\n</think>\n\n4")])
def test_earlier_thinking_is_sent_only_on_request(resend, content):
    messages = (Message("user", "2+2"), Message("assistant", "4", "hm"), Message("user", "sure?"))
    request = ChatRequest("Qwen/Qwen3-Next-80B-A3B-Thinking", messages, resend_thinking=resend)
    body = compatible_body(request, catalogue().capabilities("server", request.model))
    assert body["messages"][1]["content"] == content
