"""Makes `assets/screenshot.png` from the running page: `python tests/browser/screenshot.py`. Needs a Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import FLAGS, chromium_path
from tests.running_page import running_page

TARGET = Path(__file__).resolve().parents[2] / "assets" / "screenshot.png"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        running_page(data_dir=data, demo=True) as (url, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1360, "height": 860})
        page.goto(url)
        page.locator("#history .chat-entry", has_text="Lãi đơn").locator("button.open").click()
        expect(page.locator("#status")).to_have_attribute("data-state", "done", timeout=60_000)
        page.screenshot(path=TARGET)
        browser.close()


if __name__ == "__main__":
    main()
