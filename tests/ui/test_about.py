"""The About tab on calling this host from elsewhere: what it says of tokens, and settings that their clients can read."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from backend import load_settings
from backend.catalogue import catalogue
from ui.calling import ADDRESS, calling_text

THINKING = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
MODEL = 'server:box/Qwen/"Qwen3" 0.6B'


def blocks(language, **settings):
    return re.findall(rf"```{language}\n(.*?)\n```", calling_text(load_settings(**settings), MODEL, THINKING), re.DOTALL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "may call without a token"),
        ({"api_token": "s3cret"}, "set as `PLAYGROUND_API_TOKEN`"),
        ({"public": True}, "answers nobody yet"),
    ],
)
def test_who_may_call_is_said_and_no_token_is(settings, said):
    text = calling_text(load_settings(**settings), MODEL, THINKING)
    assert said in text and "s3cret" not in text


def test_python_compiles_and_names_model_and_address():
    for code in blocks("python"):
        compile(code, "snippet", "exec")
        assert repr(MODEL) in code and f'"{ADDRESS}/v1"' in code and "PLAYGROUND_API_TOKEN" in code


def test_settings_of_editors_are_whole():
    (text,) = blocks("yaml")
    config = yaml.safe_load(text)
    assert (config["schema"], config["models"][0]["provider"]) == ("v1", "openai")
    assert (config["models"][0]["model"], config["models"][0]["apiBase"]) == (MODEL, f"{ADDRESS}/v1")
    assert config["models"][0]["capabilities"] == ["tool_use"]
    assert config["models"][0]["defaultCompletionOptions"] == {"contextLength": 131_072, "maxTokens": 32_768}
    small = calling_text(load_settings(), "local:demo", catalogue().capabilities("local", "demo").model_copy(update={"takes_tools": False}))
    assert "tool_use" not in small and "maxTokens: 2048" in small
    (text,) = blocks("json")
    assert json.loads(text) == {"servers": {"playground": {"type": "http", "url": f"{ADDRESS}/gradio_api/mcp/"}}}
    (text,) = blocks("json", api_token="s3cret")
    config = json.loads(text)
    assert config["servers"]["playground"]["headers"]["Authorization"] == f"Bearer ${{input:{config['inputs'][0]['id']}}}"
