"""How soon the engine is free again: from a click on Stop, and from a closed tab, to the closed connection at the engine.

`python tests/bench/stop.py [--times 5]`. In Chromium over the emulator, which stops generating when its client is gone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.servers import emulator, machine, the_page
from tests.browser.conftest import FLAGS, chromium_path

BEFORE_FIRST, DURING = "wait [[first:600]]", "long [[think:20000]] [[rate:100]]"


def asked(browser: Browser, url: str, engine: str, text: str, *, wait_for_text: bool) -> Page:
    """A page whose question has reached the engine."""
    before = len(runs(engine))
    page = browser.new_page()
    page.goto(url)
    page.locator("#chat-log .hello").wait_for()
    page.locator("#composer textarea").fill(text)
    page.locator("#composer textarea").press("Enter")
    while len(runs(engine)) == before:
        time.sleep(0.01)
    if wait_for_text:
        page.locator("#thinking-live").wait_for()
    page.locator("#stop").wait_for()
    return page


def runs(engine: str) -> list[dict]:
    return httpx2.get(f"{engine}/mock/state").json()["runs"]


def until_closed(engine: str) -> float:
    start_s = time.perf_counter()
    while runs(engine)[-1]["closed_after_s"] is None:
        time.sleep(0.005)
    return time.perf_counter() - start_s


def stopped(page: Page, engine: str) -> float:
    page.evaluate("document.querySelector('#stop').click()")
    taken_s = until_closed(engine)
    page.close()
    return taken_s


def closed(page: Page, engine: str) -> float:
    page.close()
    return until_closed(engine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    print(machine())
    with emulator() as engine, the_page(engine) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        for name, text, wait_for_text, end in (
            ("stop before the first token", BEFORE_FIRST, False, stopped),
            ("stop during thinking", DURING, True, stopped),
            ("tab closed before the first token", BEFORE_FIRST, False, closed),
            ("tab closed during thinking", DURING, True, closed),
        ):
            found = [end(asked(browser, url, engine, text, wait_for_text=wait_for_text), engine) for _ in range(times)]
            print(
                f"{name}: upstream closed after at most {max(found):.2f} s, median {sorted(found)[times // 2]:.2f} s, of {times}",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
