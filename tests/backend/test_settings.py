"""Settings come from the environment; a wrong one is named, its value never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.errors import ConfigError
from backend.settings import REGION_HOSTS, Server, load_settings

SECRET = "sk-do-not-show"


def test_the_defaults_need_nothing(own_settings):
    settings = load_settings()
    assert settings.dashscope_region == ("singapore",) and settings.dashscope_protocol == "compatible"
    assert settings.dashscope_key("singapore") is None and settings.all_servers == () and settings.model is None
    assert settings.public is False and settings.demo is True and settings.data_dir == own_settings


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("DASHSCOPE_REGION", "beijing, virginia,", lambda s: s.dashscope_region == ("beijing", "virginia")),
        ("DASHSCOPE_PROTOCOL", "native", lambda s: s.dashscope_protocol == "native"),
        ("DASHSCOPE_API_KEY", SECRET, lambda s: s.dashscope_key("beijing").get_secret_value() == SECRET),
        ("DASHSCOPE_BASE_URL", "https://host:8443/compatible-mode/v1", lambda s: s.dashscope_host("beijing") == "https://host:8443"),
        ("OPENAI_BASE_URL", "http://h:8000/v1/", lambda s: s.all_servers[0] == Server(name="default", base_url="http://h:8000/v1")),
        ("PLAYGROUND_MODEL", "local:demo", lambda s: s.model == "local:demo"),
        ("PLAYGROUND_PUBLIC", "true", lambda s: s.public is True),
        ("SPACE_ID", "someone/space", lambda s: s.public is True),
        ("OPENAI_BASE_URL", " HTTP://h:8000/v1", lambda s: s.all_servers[0].base_url == "http://h:8000/v1"),
        ("DASHSCOPE_BASE_URL", "HTTPS://h:8000/compatible-mode/v1?a", lambda s: s.dashscope_host("beijing") == "https://h:8000"),
        ("PLAYGROUND_DATABASE_URL", "postgresql+asyncpg://h/db", lambda s: s.database_url == "postgresql+asyncpg://h/db"),
        ("PLAYGROUND_SERVERS", json.dumps([{"name": "a", "base_url": "http://h/v1"}]), lambda s: [x.name for x in s.all_servers] == ["a"]),
        ("DASHSCOPE_API_KEY", "", lambda s: s.dashscope_key("singapore") is None),
        ("DASHSCOPE_REGION", "", lambda s: s.dashscope_region == ("singapore",)),
    ],
)
def test_read_from_the_environment(monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    assert read(load_settings())


def test_a_regions_own_key_goes_before_the_general_one(monkeypatch):
    monkeypatch.setenv("DASHSCOPE_API_KEY", "general")
    monkeypatch.setenv("DASHSCOPE_API_KEY_BEIJING", "own")
    settings = load_settings()
    assert [settings.dashscope_key(r).get_secret_value() for r in ("beijing", "singapore")] == ["own", "general"]


@pytest.mark.parametrize("region", list(REGION_HOSTS))
def test_every_region_has_a_host_and_a_key_of_its_own(monkeypatch, region):
    monkeypatch.setenv("DASHSCOPE_REGION", region)
    monkeypatch.setenv(f"DASHSCOPE_API_KEY_{region.upper()}", "own")
    settings = load_settings()
    assert settings.dashscope_region == (region,) and settings.dashscope_key(region).get_secret_value() == "own"
    assert settings.dashscope_host(region) == REGION_HOSTS[region] and REGION_HOSTS[region].startswith("https://")


def test_the_default_server_comes_before_the_named_ones(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://one/v1")
    monkeypatch.setenv("PLAYGROUND_SERVERS", json.dumps([{"name": "two", "base_url": "http://two/v1", "api_key": SECRET}]))
    settings = load_settings()
    assert [s.name for s in settings.all_servers] == ["default", "two"]
    assert settings.all_servers[1].api_key.get_secret_value() == SECRET and SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("DASHSCOPE_REGION", SECRET, "dashscope_region"),
        ("DASHSCOPE_PROTOCOL", SECRET, "dashscope_protocol"),
        ("DASHSCOPE_BASE_URL", SECRET, "dashscope_base_url"),
        ("DASHSCOPE_BASE_URL", f"ftp://{SECRET}", "dashscope_base_url"),
        ("OPENAI_BASE_URL", f"{SECRET}:8000/v1", "openai_base_url"),
        ("OPENAI_BASE_URL", f"http://{SECRET}:port/v1", "openai_base_url"),
        ("OPENAI_BASE_URL", "http:///v1", "openai_base_url"),
        ("PLAYGROUND_PUBLIC", SECRET, "public"),
        ("PLAYGROUND_SERVERS", json.dumps([{"name": "a", "base_url": SECRET}]), "servers"),
        ("PLAYGROUND_SERVERS", json.dumps([{"name": SECRET + "!", "base_url": "http://h"}]), "servers"),
        ("PLAYGROUND_SERVERS", json.dumps([{"name": "a", "base_url": "http://h", "key": SECRET}]), "servers"),
        ("PLAYGROUND_SERVERS", json.dumps({"name": SECRET}), "servers"),
        ("PLAYGROUND_SERVERS", SECRET, "servers"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(monkeypatch, name, value, named):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert named in caught.value.message.lower() and caught.value.hint
    assert SECRET not in f"{caught.value!r} {caught.value.message} {caught.value.hint} {caught.value.__cause__!r}"


def test_every_wrong_setting_is_named_at_once(monkeypatch):
    monkeypatch.setenv("DASHSCOPE_REGION", "moon")
    monkeypatch.setenv("DASHSCOPE_PROTOCOL", "pigeon")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "dashscope_region" in caught.value.message and "dashscope_protocol" in caught.value.message


def test_no_key_is_in_the_settings_repr(monkeypatch):
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_KEY_HONGKONG", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    settings = load_settings()
    assert SECRET not in repr(settings) and SECRET not in str(settings) and SECRET not in settings.model_dump_json()


def test_a_dot_env_file_is_read_and_the_environment_goes_before_it(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PLAYGROUND_MODEL=local:demo\nDASHSCOPE_REGION=beijing\nSOMETHING_ELSE=1\n", encoding="utf-8")
    assert (load_settings().model, load_settings().dashscope_region) == ("local:demo", ("beijing",))
    monkeypatch.setenv("PLAYGROUND_MODEL", "dashscope:qwen-plus")
    assert load_settings().model == "dashscope:qwen-plus"


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValueError):
        load_settings().public = True
