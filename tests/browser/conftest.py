"""Browser tests: the page over the emulator in the system's Chromium, one browser for all, a fresh profile for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from backend import Backend
from tests.drawing_app import drawing_app
from tests.emulator import running_emulator
from tests.running_page import running_page
from tests.serving import serving

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
LOOPBACK = ("http://127.0.0.1", "http://localhost", "data:", "blob:")
expect.set_options(timeout=20_000)


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.browser)
            if chromium_path() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium found (set CHROMIUM to its path)"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator(first_token_s=0.1, tokens_per_s=150.0, jitter=0.1) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def server(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Backend]]:
    data = tmp_path_factory.mktemp("data")
    with running_page(dashscope_base_url=emulator, dashscope_api_key="sk-test", data_dir=data, demo=False) as running:
        yield running


def guard(context: BrowserContext) -> list[str]:
    """Aborts whatever is not loopback; returns the list that such addresses are put into."""
    outside: list[str] = []

    def check(route: Route) -> None:
        if route.request.url.startswith(LOOPBACK):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    context.route("**/*", check)
    return outside


@pytest.fixture
def page(browser: Browser, server: tuple[str, Backend]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    outside = guard(context)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server[0])
    expect(page.locator("#composer textarea")).to_be_visible()
    expect(page.locator("#chat-log .turn").first).to_be_visible()
    yield page
    context.close()
    assert errors == []
    assert outside == []


def ask(page: Page, text: str) -> None:
    page.locator("#composer textarea").fill(text)
    page.locator("#composer textarea").press("Enter")


@pytest.fixture(scope="module")
def drawing(browser: Browser) -> Iterator[Page]:
    """A page that holds nothing but the app's own scripts and styles, and beside it the renderer itself outside its worker."""
    with serving(drawing_app()) as base_url:
        context = browser.new_context(viewport={"width": 900, "height": 700})
        outside = guard(context)
        page = context.new_page()
        page.goto(base_url)
        version = page.evaluate("playground.config.version")
        for file in (
            "vendor/markdown.min.js vendor/highlight.min.js vendor/katex/katex.min.js vendor/katex/mhchem.min.js page/maths.js page/markdown.js "
            "page/growing_markdown.js"
        ).split():
            page.add_script_tag(url=f"/page/{version}/{file}")
        yield page
        context.close()
        assert outside == []
