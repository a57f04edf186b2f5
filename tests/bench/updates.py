"""What one update of a growing answer costs the browser's main thread, with a list, a table and a code block open after 8,000 words.

`python tests/bench/updates.py [--words 8000] [--seconds 8]`. Needs a Chromium. Desktop (1360 x 860) and a phone's window (390 x 844) with the
processor slowed down four times. Main-thread time is Chromium's own sum over its tasks (`TaskDuration`), an update one change of the answer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Browser, CDPSession, sync_playwright

from tests.bench.servers import machine
from tests.browser.conftest import FLAGS, chromium_path
from tests.running_page import running_page
from tests.saying import saying

WORDS_PER_S = 60
OPEN = {
    "paragraph": "word **bold** and `code` with $x_1^2$ goes on, ",
    "list": "- **Item**: use `gate_1` with some more words and $x_1^2$ in it\n",
    "table": "| cell one | **two** | `three` | four words in it |\n",
    "code": "    value = compute(first, second)  # a comment of some words\n",
}
BEGIN = {"paragraph": "", "list": "", "table": "| a | b | c | d |\n|---|---|---|---|\n", "code": "```python\ndef f(first, second):\n"}
COUNT = """() => { window.updates = 0; window.worst = 0;
  new MutationObserver(() => { window.updates++; }).observe(document.querySelector('#answer-live .drawn'), { subtree: true, childList: true, characterData: true });
  new PerformanceObserver((list) => { for (const e of list.getEntries()) window.worst = Math.max(window.worst, e.duration); }).observe({ entryTypes: ['longtask'] }); }"""


def task_ms(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def measure(browser: Browser, kind: str, *, phone: bool, words: int, seconds: float) -> str:
    before = "\n\n".join("A paragraph of ten words that is written with some care." for _ in range(words // 10 // 2))
    grown = BEGIN[kind] + OPEN[kind] * (words // 2 // len(OPEN[kind].split()))  # half of the words are in the block that is open
    more = OPEN[kind] * (int(seconds * WORDS_PER_S) // len(OPEN[kind].split()) + 200)
    text = f"{before}\n\n{grown}"
    with (
        saying() as server,
        tempfile.TemporaryDirectory() as data,
        running_page(openai_base_url=server, data_dir=Path(data), demo=False) as (url, _),
    ):
        page = browser.new_page(viewport={"width": 390, "height": 844} if phone else {"width": 1360, "height": 860})
        page.goto(url)
        page.locator("#chat-log .hello").wait_for()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        page.locator("#composer textarea").fill(f"say {6 * WORDS_PER_S} {len(text)}\n{text}{more}")
        page.locator("#composer textarea").press("Enter")
        page.wait_for_function(
            "(n) => (document.querySelector('#answer-live .drawn')?.textContent.split(/\\s+/).length || 0) > n",
            arg=0.6 * words,
            polling=500,
            timeout=120_000,
        )
        if phone:
            session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.wait_for_timeout(1000)
        page.evaluate(COUNT)
        begun_ms = task_ms(session)
        page.wait_for_timeout(1000 * seconds)
        spent_ms = task_ms(session) - begun_ms
        updates, worst = page.evaluate("[window.updates, window.worst]")
        page.close()
    longest = f"longest task {worst:.0f} ms" if worst else "no task above 50 ms"
    return f"{kind:9s} {'phone, 4 x slower' if phone else 'desktop':17s} {spent_ms / max(1, updates):5.1f} ms an update, {updates / seconds:.1f} updates a second, {longest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=8_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    told = parser.parse_args()
    print(machine(), flush=True)
    with sync_playwright() as playwright:
        for phone in (False, True):
            for kind in OPEN:
                browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
                print(measure(browser, kind, phone=phone, words=told.words, seconds=told.seconds), flush=True)
                browser.close()


if __name__ == "__main__":
    main()
