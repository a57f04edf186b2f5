"""The HTTP API alone on a free loopback port, without the page: `with running_api(dashscope_base_url=...) as (url, engines): ...`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backend import load_settings
from backend.api.app import HttpApi
from backend.api.record_examples import serving
from backend.catalogue import catalogue
from backend.engines import Engines


@contextmanager
def running_api(**settings: Any) -> Iterator[tuple[str, Engines]]:
    chosen = load_settings(**settings)
    engines = Engines(chosen, catalogue())
    with serving(HttpApi(chosen, engines).asgi(), engines) as url:
        yield url, engines
