"""A long answer in a real browser: how long after the engine's last token is all of it on screen?

`python tests/bench/streaming.py [--rates 60 200] [--thinking 32000] [--answer 8000] [--bare-limit 300]`. Needs a Chromium.

The emulator sends a trace and an answer, one word a token, and notes when the last one left. "On screen" is the first frame
of the browser in which the page shows the end of the answer and its whole trace. Beside it in the same run: a bare
`gr.ChatInterface` that yields as its documentation shows, with as many words at the same pace and no engine behind it; it is
given up after `--bare-limit` seconds beyond its last word.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.bench.servers import bare_gradio, emulator, machine, the_page
from tests.browser.conftest import FLAGS, chromium_path

# Calls back at the first frame in which `seen` holds, with the time of that frame and the words of answer and trace on the page then.
WATCH = """(seen) => new Promise((done) => {
  const words = (s) => [...document.querySelectorAll(s)].reduce((n, e) => n + e.innerText.split(/\\s+/).filter(Boolean).length, 0);
  const all = () => ({ at: Date.now() / 1000, answer: words('#answer-live') || words('#chat-log .answer') });
  const look = () => requestAnimationFrame(() => { if (eval(seen)) done(all()); else setTimeout(look, 20); });
  look();
})"""
TRACE = "() => document.querySelector('#chat-log .trace-body').innerText.split(/\\s+/).filter(Boolean).length"
BLOCKED = """() => { window.blockedMs = 0; window.worstMs = 0;
  new PerformanceObserver((list) => { for (const e of list.getEntries()) { window.blockedMs += e.duration; window.worstMs = Math.max(window.worstMs, e.duration); } })
    .observe({ entryTypes: ['longtask'] }); }"""
OURS_LIVE = "document.querySelector('#status').dataset.state === 'done' && !document.body.dataset.running"
BARE_DONE = "(document.querySelector('.bot')?.textContent || '').includes('lastword@')"


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1360, "height": 860})
    page.goto(url)
    page.locator("textarea").first.wait_for()
    page.evaluate(BLOCKED)
    return page


def ours(browser: Browser, rate: float, thinking: int, answer: int) -> dict[str, Any]:
    with emulator(rate=rate, first_token_s=0.2) as engine, the_page(engine) as url:
        page = opened(browser, url)
        page.locator("#chat-log .hello").wait_for()
        for name, value in (("thinking-budget", thinking + 100), ("max-tokens", answer + 100)):  # the emulator keeps to both
            page.locator(f"#p-{name} input[type=number]").fill(str(value))
            page.locator(f"#p-{name} input[type=number]").press("Tab")
        page.locator("#composer textarea").fill(f"long [[think:{thinking}]] [[words:{answer}]]")
        page.locator("#composer textarea").press("Enter")
        page.set_default_timeout(1000 * (60 + 2 * (thinking + answer) / rate))
        shown = page.evaluate(WATCH, OURS_LIVE)
        stored = page.evaluate(WATCH, "document.querySelector('#chat-log .answer') !== null")
        run = httpx2.get(f"{engine}/mock/state").json()["runs"][-1]
        blocked = page.evaluate("() => ({ blocked: window.blockedMs, worst: window.worstMs })")
        page.locator("#chat-log details.trace summary").click()
        # a word of more than twelve letters is two of the emulator's tokens
        page.wait_for_function(f"(n) => ({TRACE})() >= n", arg=0.97 * thinking, polling=200)
        if run["tokens_sent"] < thinking + answer:
            raise RuntimeError(f"the emulator sent only {run['tokens_sent']} tokens")
        found = {
            "on_screen_s": shown["at"] - run["last_token_at_s"],
            "rendered_s": stored["at"] - run["last_token_at_s"],
            "words": (page.evaluate(TRACE), shown["answer"]),
            "sent": run["tokens_sent"],
            **blocked,
        }
        page.close()
    return found


def bare(browser: Browser, rate: float, words: int, limit_s: float) -> dict[str, Any]:
    with bare_gradio("chat") as url:
        page = opened(browser, url)
        # told through the console: a page that is far behind answers no question, nor lets one time out
        page.evaluate(f"() => setInterval(() => {{ if ({BARE_DONE}) console.log('all on screen'); }}, 100)")
        start_s = time.time()
        page.locator("textarea").first.fill(f"{words} {rate}")
        page.locator("textarea").first.press("Enter")
        due_s = start_s + words / rate
        try:
            page.wait_for_event("console", lambda said: said.text == "all on screen", timeout=1000 * (words / rate + limit_s))
        except PlaywrightTimeout:
            return {"late_s": None}
        shown_s = time.time()
        text = page.evaluate("document.querySelector('.bot').textContent")
        last_s = float(text.split("lastword@")[1].split()[0][:14])
        told = page.evaluate("() => ({ blocked: window.blockedMs, worst: window.worstMs })")
        page.close()
    return {"late_s": shown_s - last_s, "behind_plan_s": shown_s - due_s, **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[60.0, 200.0])
    parser.add_argument("--thinking", type=int, default=32_000)
    parser.add_argument("--answer", type=int, default=8_000)
    parser.add_argument("--bare-limit", type=float, default=300.0, metavar="SECONDS")
    told = parser.parse_args()
    print(machine(), flush=True)
    with sync_playwright() as playwright:
        for measure in (show_ours, show_bare):
            for rate in told.rates:
                # a browser of its own for each: what the one leaves behind must not weigh on the other
                browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
                print(f"{rate:.0f} words a second, {measure(browser, rate, told)}", flush=True)
                browser.close()


def show_ours(browser: Browser, rate: float, told: argparse.Namespace) -> str:
    found = ours(browser, rate, told.thinking, told.answer)
    return (
        f"page: all text on screen {found['on_screen_s']:.2f} s after the last token, rendered from the history {found['rendered_s']:.2f} s "
        f"after; {found['words'][0]} + {found['words'][1]} words shown of {found['sent']} tokens; {blocked(found)}"
    )


def show_bare(browser: Browser, rate: float, told: argparse.Namespace) -> str:
    found = bare(browser, rate, told.thinking + told.answer, told.bare_limit)
    if found["late_s"] is None:
        return f"bare gr.ChatInterface: not all on screen {told.bare_limit:.0f} s after its last word was due"
    late = f"on screen {found['late_s']:.2f} s after its last word, {found['behind_plan_s']:.1f} s after that was due"
    return f"bare gr.ChatInterface: {late}; {blocked(found)}"


def blocked(found: dict[str, Any]) -> str:
    return f"main thread blocked {found['blocked'] / 1000:.1f} s in all, {found['worst']:.0f} ms at the longest"


if __name__ == "__main__":
    main()
