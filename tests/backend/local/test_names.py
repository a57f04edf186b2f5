"""What a local name asks for, and what text files tell about a checkpoint before it is loaded."""

from __future__ import annotations

import json

import pytest

from backend.errors import BackendError, UnknownModel
from backend.local.facts import Facts, read_facts, sampling_of
from backend.local.names import Asked, parse
from backend.model_names import portable_name
from backend.providers.local import LocalProvider
from tests.backend.local.tiny import HYBRID, OPENS, PLAIN


@pytest.mark.parametrize(
    ("name", "kind", "place", "four_bit"),
    [
        ("demo", "demo", "demo", False),
        ("demo@4bit", "demo", "demo", True),
        ("Qwen/Qwen3-0.6B", "hub", "Qwen/Qwen3-0.6B", False),
        ("Qwen/Qwen3-0.6B@4bit", "hub", "Qwen/Qwen3-0.6B", True),
        ("gpt2", "hub", "gpt2", False),
        ("./models/mine", "folder", "models/mine", False),
        ("/models/mine@4bit", "folder", "/models/mine", True),
        ("a/b/c", "folder", "a/b/c", False),
    ],
)
def test_names(name, kind, place, four_bit):
    assert parse(name) == Asked(portable_name(name), kind, place, four_bit)


def test_a_folder_that_is_there_goes_before_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "model").mkdir(parents=True)
    assert parse("own/model").kind == "folder"


@pytest.mark.parametrize("name", ["/etc", "./x", "../x", "a/b/c", "Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B@4bit", "", " "])
def test_a_public_host_takes_only_what_its_owner_chose(name):
    chosen = frozenset({"demo", "Qwen/Qwen3-0.6B"})
    assert parse("Qwen/Qwen3-0.6B", only=chosen).kind == "hub"
    with pytest.raises(UnknownModel) as caught:
        parse(name, only=chosen)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["~nobody-of-this-name/m", "owner/my--model", "models--Qwen--Qwen3-0.6B", "qwen3-", "x.git", "x" * 300, "a/" * 150]
)
async def test_a_name_that_cannot_be_is_a_sentence_and_no_traceback(name, tmp_path):
    provider = LocalProvider(tmp_path, allow_fetch=False)
    assert (await provider.capabilities(name)).name == f"local:{name}"
    with pytest.raises(BackendError) as caught:
        await provider.plan(name)
    assert caught.value.hint


def test_no_name_is_said():
    with pytest.raises(UnknownModel):
        parse(" ")


@pytest.mark.parametrize(("template", "thinking"), [(PLAIN, "never"), (OPENS, "always"), (HYBRID, "switch"), (None, "unknown")])
@pytest.mark.parametrize("where", ["file", "field", "list"])
def test_facts_are_read_as_text(tmp_path, template, thinking, where):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 4096}))
    if template is not None and where == "file":
        (tmp_path / "chat_template.jinja").write_text(template)
    elif template is not None:
        field = template if where == "field" else [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template}]
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": field}))
    assert read_facts(tmp_path) == Facts(4096, thinking)


def test_facts_of_a_model_with_pictures_are_those_of_its_text_part(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 99}}))
    assert read_facts(tmp_path).context_tokens == 99


@pytest.mark.parametrize("config", ["", "{", "[1]", '{"max_position_embeddings": "many"}'])
def test_broken_files_tell_nothing(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe\xff")
    assert read_facts(tmp_path) == Facts()


OFF = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}, {**OFF, "temperature": 0.6, "top_k": 20, "top_p": 0.95}),
        ({"do_sample": True}, OFF),
        ({"do_sample": False}, {**OFF, "temperature": 0.0}),
        ({"temperature": 0.6, "repetition_penalty": 1.1}, {**OFF, "temperature": 0.0, "repetition_penalty": 1.1}),
        ({"do_sample": True, "temperature": "hot", "top_p": None, "top_k": True}, OFF),
        ({"eos_token_id": 2}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_the_sampling_that_a_generation_config_advises(config, expected):
    assert sampling_of(config) == expected


def test_the_advice_stands_in_the_file(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6}')
    assert read_facts(tmp_path).sampling == {**OFF, "temperature": 0.6}
