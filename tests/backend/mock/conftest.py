"""One fast emulator for this folder's tests, and a view of what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.emulator import http, running_emulator


class Seen:
    """The emulator's address and state. `run()` is the last request's run, once it has ended."""

    def __init__(self, url: str) -> None:
        self.url = url

    def state(self) -> dict[str, Any]:
        return http.get(f"{self.url}/mock/state").json()

    def wait(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline_s = time.monotonic() + 30
        while not ready(state := self.state()):
            assert time.monotonic() < deadline_s, state["runs"][-1:]
            time.sleep(0.01)
        return state

    def run(self) -> dict[str, Any]:
        return self.wait(lambda state: state["active"] == 0)["runs"][-1]

    def body(self) -> dict[str, Any]:
        return self.state()["requests"][-1]["body"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_emulator(seed=1) as address:
        yield address


@pytest.fixture
def seen(url: str) -> Seen:
    http.delete(f"{url}/mock/state")
    return Seen(url)
