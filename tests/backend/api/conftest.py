"""The API over the emulator and the models of this machine, once a module."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from tests.emulator import running_emulator
from tests.running_api import running_api


@pytest.fixture(scope="module")
def api_emulator() -> Iterator[str]:
    with running_emulator() as base_url:
        yield base_url


@pytest.fixture(scope="module")
def api_engines(api_emulator, tmp_path_factory):
    settings = {
        "dashscope_base_url": api_emulator,
        "dashscope_api_key": "sk-test",
        "openai_base_url": f"{api_emulator}/v1",
        "data_dir": tmp_path_factory.mktemp("api"),
        "demo": False,
    }
    with running_api(**settings) as found:
        yield found


@pytest.fixture(scope="module")
def api(api_engines) -> str:
    return api_engines[0]


@pytest.fixture(scope="module")
def http_client(api) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=api, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(api) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{api}/v1", api_key="any", max_retries=0) as made:
        yield made
