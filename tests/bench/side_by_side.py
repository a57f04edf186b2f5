"""Side by side: how soon each pane shows its last word, whether a slow pane holds up a fast one, and 32 panes of 8 visitors at once.

`python tests/bench/side_by_side.py [--words 4000] [--rate 100] [--visitors 8] [--bare-limit 60] [--only four|paced|visitors]`.
The first two need a Chromium.

four      four panes in one browser, all at `--rate`; for each pane, from the emulator's last token of it to the first frame that was
          drawn with its whole answer, scrolled to its end
paced     a pane at `--rate` beside one at 5 words a second that outlasts it: from sending to the fast one's last word on screen,
          against the same pane alone
visitors  that many pages over gradio's queue protocol as in load.py, each with four panes of 100 tokens of thinking and 150 of
          answer at 50 a second; the ideal is the emulator's own pace, which runs on the same cores

Beside the first two in the same run: FastChat's side-by-side loop as a bare gradio app over the same emulator (bare.py), given up
`--bare-limit` seconds after the last word was due. Beside the third: a bare handler that paces itself, one for each pane.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import aiohttp
import httpx2
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from backend.mock.pacing import tokens
from backend.mock.texts import FILLER
from tests.bench.load import Visitor, load
from tests.bench.servers import bare_gradio, emulator, machine, the_page
from tests.bench.streaming import blocked, opened
from tests.browser.conftest import FLAGS, chromium_path

FIRST_TOKEN_S = 0.2
WARM_WORDS = 5  # of one question before: what is imported or opened at the first use is not what is measured
SLOW_RATE, SLOW_FOR = 5.0, 1.5  # words a second; how many times as long as the fast pane the slow one takes
OUR_LIMIT_S = 60.0
PANES, THINKING, ANSWER, VISITOR_RATE = 4, 100, 150, 50
IDEAL_S = FIRST_TOKEN_S + (THINKING + ANSWER) / VISITOR_RATE
THINKER = "dashscope:qwen3-next-80b-a3b-thinking"

# Says "shown N AT" once for each of `panes` ([number, selector of its text, selector of what scrolls it or ""]): when the first frame
# that holds all of `whole` (which has no white space) has been drawn. A timer that is set in a frame's callback runs after the drawing.
# Told through the console: a page that is far behind answers no question, nor lets one time out.
WATCH = """([whole, panes]) => {
  const waiting = new Set(panes);
  const holds = (e) => e.textContent.length >= whole.length && e.checkVisibility() && e.textContent.replace(/\\s+/g, '').includes(whole);
  const atEnd = (box) => !box || box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const shows = ([, text, box]) => [...document.querySelectorAll(text)].some(holds) && atEnd(box && document.querySelector(box));
  const look = () => requestAnimationFrame(() => {
    for (const pane of waiting) if (shows(pane)) { waiting.delete(pane); setTimeout(() => console.log(`shown ${pane[0]} ${Date.now() / 1000}`)); }
    if (waiting.size) setTimeout(look, 20);
  });
  look();
}"""
BLOCKED = "() => ({ blocked: window.blockedMs, worst: window.worstMs })"


def whole(words: int) -> str:
    """The emulator's answer of that many words, without its white space."""
    return "".join("".join(islice(cycle(tokens(FILLER)), words)).split())


def prompt_of(number: int, words: int, rate: float) -> str:
    """What makes the emulator pace a pane, and by which its request is told apart."""
    return f"pane {number} [[think:0]] [[words:{words}]] [[rate:{rate:g}]]"


def runs_of(engine: str) -> dict[int, dict[str, Any]]:
    """The newest run of each pane, by its number, with what was asked for beside it."""
    state = httpx2.get(f"{engine}/mock/state").json()
    runs = {run["id"]: run for run in state["runs"]}
    found = {}
    for request in state["requests"]:
        text = json.dumps(request["body"]["messages"])
        number, words = re.search(r"pane (\d)", text), re.search(r"\[\[words:(\d+)\]\]", text)
        if number and words:
            found[int(number[1])] = {**runs[request["id"]], "words": int(words[1])}
    return found


class Screen:
    """What one page says of its panes: when each has shown its last word."""

    def __init__(self, page: Page, panes: Sequence[tuple[int, str, str]], words: int) -> None:
        self._page, self._count = page, len(panes)
        self.at_s: dict[int, float] = {}
        page.on("console", lambda said: self._take(said.text))
        page.evaluate(WATCH, [whole(words), panes])

    def _take(self, said: str) -> None:
        if said.startswith("shown "):
            number, at_s = said.split()[1:]
            self.at_s[int(number)] = float(at_s)

    def wait(self, until_s: float) -> None:
        """Returns when all panes have shown all, at the latest at `until_s`."""
        left_s = until_s - time.time()
        if len(self.at_s) < self._count and left_s > 0:
            try:
                self._page.wait_for_event("console", lambda _: len(self.at_s) == self._count, timeout=1000 * left_s)
            except PlaywrightTimeout:
                return


# ---- the page
def compared(browser: Browser, url: str, prompts: Sequence[str], most: int) -> Page:
    """A page with that many panes side by side, each with its pace in its system prompt, set in the drawer as a person does."""
    page = opened(browser, url)
    page.locator("#tab-compare").click()
    page.locator("#pane-2").wait_for()  # there are two at first
    for number in range(3, len(prompts) + 1):
        page.locator("#compare-add").click()
        page.locator(f"#pane-{number}").wait_for()
    if len(prompts) == 1:
        page.locator("#pane-2 .pane-more summary").click()
        page.locator("#pane-2 [data-compare=remove]").click()
        page.locator("#pane-2").wait_for(state="hidden")
    for number, prompt in enumerate(prompts, start=1):
        page.locator(f"#pane-{number} header > button[data-compare=settings]").last.click()
        page.locator("#drawer-title", has_text=f"Pane {number}").wait_for()
        page.locator("#c-p-max-tokens input[type=number]").fill(str(most))  # the emulator keeps to it
        page.locator("#c-p-max-tokens input[type=number]").press("Tab")
        page.locator("#c-p-system textarea").fill(prompt)
        page.locator(f"#pane-{number} .setting", has_text="system").wait_for()
        page.locator("#drawer [data-compare=close]").click()
        page.locator("#drawer").wait_for(state="hidden")
    return page


def ours(browser: Browser, url: str, engine: str, prompts: Sequence[str], watched: Sequence[int], words: int, rate: float) -> dict[str, Any]:
    """Asks all panes; when the `watched` ones, of `words` at `rate`, had their last token and were on screen."""
    page = compared(browser, url, prompts, words + 100)
    screen = Screen(page, [(n, f"#pane-{n} .answer", f"#pane-{n} .pane-body") for n in watched], words)
    page.locator("#compare-prompt textarea").fill("all at once")
    sent_s = time.time()
    page.locator("#compare-prompt textarea").press("Enter")
    screen.wait(sent_s + FIRST_TOKEN_S + words / rate + OUR_LIMIT_S)
    runs = runs_of(engine)
    for n in watched:
        if n not in runs or runs[n]["tokens_sent"] < words:
            raise RuntimeError(f"the emulator sent pane {n} fewer tokens than {words}: {runs.get(n)}")
        if n not in screen.at_s:
            shown = page.evaluate("(s) => [...document.querySelectorAll(s)].map((e) => e.innerText.split(/\\s+/).length)", f"#pane-{n} .answer")
            raise RuntimeError(f"pane {n} shows {shown} words of {words} (or not their end) {OUR_LIMIT_S:.0f} s after the last was due")
    found = {"sent_s": sent_s, "at_s": screen.at_s, "runs": runs, **page.evaluate(BLOCKED)}
    page.close()
    return found


# ---- FastChat's loop
def theirs(browser: Browser, url: str, engine: str, prompts: Sequence[str], watched: Sequence[int], words: int, rate: float, limit_s: float) -> dict[str, Any]:
    """Likewise over the bare app; a pane that is not on screen in time is missing in `at_s`."""
    page = opened(browser, url)
    screen = Screen(page, [(n, f"#side-{n} .bot", "") for n in watched], words)
    page.locator("textarea").first.fill(" | ".join(prompts))
    sent_s = time.time()
    page.locator("textarea").first.press("Enter")
    screen.wait(sent_s + FIRST_TOKEN_S + words / rate + limit_s)
    found: dict[str, Any] = {"sent_s": sent_s, "at_s": screen.at_s, "runs": runs_of(engine)}
    short = [n for n in screen.at_s if found["runs"][n]["tokens_sent"] < words]
    if short:
        raise RuntimeError(f"the emulator sent sides {short} fewer tokens than {words}: {found['runs']}")
    if len(screen.at_s) == len(watched):  # else the page may answer nothing
        found |= page.evaluate(BLOCKED)
        page.close()
    return found


# ---- the measurements
@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own for each: what the one leaves behind must not weigh on the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


def four(told: argparse.Namespace) -> None:
    words, rate, panes = told.words, told.rate, range(1, PANES + 1)
    prompts = [prompt_of(n, words, rate) for n in panes]
    name = f"{PANES} panes at {rate:g} words a second, {words} words each"
    due_s = FIRST_TOKEN_S + words / rate
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, the_page(engine) as url, chromium() as browser:
        ours(browser, url, engine, [prompt_of(1, WARM_WORDS, rate)], [1], WARM_WORDS, rate)
        found = ours(browser, url, engine, prompts, panes, words, rate)
    late = [found["at_s"][n] - found["runs"][n]["last_token_at_s"] for n in panes]
    ended_s = max(found["runs"][n]["last_token_at_s"] for n in panes) - found["sent_s"]
    print(
        f"{name}, page: last word on screen {', '.join(f'{s:.2f}' for s in late)} s after the emulator's last token of that pane "
        f"(aim 1); {max(found['at_s'].values()) - found['sent_s']:.2f} s after sending, the emulator's last {ended_s:.2f}, planned {due_s:.2f}; {blocked(found)}",
        flush=True,
    )
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, bare_gradio(f"sides-{PANES}", engine) as url, chromium() as browser:
        theirs(browser, url, engine, [prompt_of(1, WARM_WORDS, rate)], [1], WARM_WORDS, rate, told.bare_limit)
        found = theirs(browser, url, engine, prompts, panes, words, rate, told.bare_limit)
    said = []
    for n in panes:
        at_s, last_s = found["at_s"].get(n), found["runs"].get(n, {}).get("last_token_at_s")
        behind = f" ({at_s - found['sent_s'] - due_s:.1f} after it was due)" if at_s else ""
        said.append(f"{at_s - last_s:.2f} s{behind}" if at_s and last_s else f"not on screen {told.bare_limit:.0f} s after it was due")
    print(f"{name}, FastChat's loop: after the emulator's last token of that pane {'; '.join(said)}{blocked_if(found)}", flush=True)


def blocked_if(found: dict[str, Any]) -> str:
    return f"; {blocked(found)}" if "blocked" in found else ""


def paced(told: argparse.Namespace) -> None:
    words, rate = told.words, told.rate
    slow_words = max(2, round(SLOW_FOR * SLOW_RATE * (FIRST_TOKEN_S + words / rate)))
    prompts = [prompt_of(1, words, rate), prompt_of(2, slow_words, SLOW_RATE)]
    name = f"a pane of {words} words at {rate:g} a second beside one of {slow_words} at {SLOW_RATE:g}"
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, the_page(engine) as url, chromium() as browser:
        ours(browser, url, engine, [prompt_of(1, WARM_WORDS, rate)], [1], WARM_WORDS, rate)
        alone = ours(browser, url, engine, prompts[:1], [1], words, rate)
        both = ours(browser, url, engine, prompts, [1], words, rate)
    if both["runs"][2]["state"] != "streaming":
        raise RuntimeError(f"the slow pane had ended before the fast one: {both['runs'][2]}")
    print(f"{name}, page: {compare(alone, both, told)} (aim 1.1)", flush=True)
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, bare_gradio("sides-2", engine) as url:
        with chromium() as browser:
            theirs(browser, url, engine, [prompt_of(1, WARM_WORDS, rate)], [1], WARM_WORDS, rate, told.bare_limit)
            alone = theirs(browser, url, engine, prompts[:1], [1], words, rate, told.bare_limit)
        with chromium() as browser:
            both = theirs(browser, url, engine, prompts, [1], words, rate, told.bare_limit)
    print(f"{name}, FastChat's loop: {compare(alone, both, told)}", flush=True)


def compare(alone: dict[str, Any], both: dict[str, Any], told: argparse.Namespace) -> str:
    """The fast pane alone and beside the slow one, from sending to its last word on screen."""
    given_up_s = FIRST_TOKEN_S + told.words / told.rate + told.bare_limit
    taken = [found["at_s"][1] - found["sent_s"] if 1 in found["at_s"] else None for found in (alone, both)]
    words = [f"{s:.2f} s" if s is not None else f"not on screen {given_up_s:.0f} s" for s in taken]
    ratio = "" if taken[0] is None else f" = {taken[1] / taken[0]:.2f} x" if taken[1] else f" = more than {given_up_s / taken[0]:.2f} x"
    run = both["runs"][1]
    last = f"{run['last_token_at_s'] - both['sent_s']:.2f} s" if run["tokens_sent"] >= told.words else f"not yet, {run['tokens_sent']} tokens"
    return f"its last word on screen {words[1]} after sending, alone {words[0]}{ratio}; its last token from the emulator: {last}"


# ---- visitors
class SideBySide(Visitor):
    """A tab whose browser kept a set-up of four panes, and which fires what the Compare tab's script does."""

    def _inputs(self, dependency: dict[str, Any]) -> list[Any]:
        saved = {"panes": [{"model": THINKER} for _ in range(PANES)], "blind": False}
        components = [self._components[number] for number in dependency["inputs"]]
        kept = [c["props"].get("storage_key") == "qnp-compare" for c in components]
        return [saved if ours else value for ours, value in zip(kept, super()._inputs(dependency), strict=True)]

    def _fires(self, target: int, event: str) -> bool:
        return event in ("begun", "over") and self._is("compare-live", target)

    async def compare(self, text: str) -> tuple[float, float]:
        """(seconds to the first text in a pane, seconds to the end of all panes) of one question."""
        found = await self.ask("compare-prompt", text, ("This",))
        over = next(d for d in self._config["dependencies"] if any(self._fires(c, e) and e == "over" for c, e in d["targets"]))
        for after in self._config["dependencies"]:
            if after["trigger_after"] == over["id"]:
                await self._call(after, self._inputs(after), ())
        return found


async def compared_at_once(url: str, engine: str, count: int) -> tuple[list[tuple[float, float]], float]:
    """What each visitor saw, and the seconds to the emulator's last token."""
    text = f"bench [[think:{THINKING}]] [[words:{ANSWER}]] [[rate:{VISITOR_RATE}]]"
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**22) as client:
        async with client.get("/config") as told:
            config = await told.json()
        first, *others = [SideBySide(client, config) for _ in range(count + 1)]
        for visitor in (first, *others):
            await visitor.open()
        await first.compare(text)  # what is imported or opened at the first use is not load
        start_s = time.time()
        found = await asyncio.gather(*(visitor.compare(text) for visitor in others))
    runs = httpx2.get(f"{engine}/mock/state").json()["runs"][PANES:]
    sent = [run["tokens_sent"] for run in runs if run["state"] == "done"]
    if sent != [THINKING + ANSWER] * PANES * count:
        raise RuntimeError(f"the emulator sent {sent} tokens to {len(runs)} panes, not {THINKING + ANSWER} to each of {PANES * count}")
    return found, max(run["last_token_at_s"] for run in runs) - start_s


def visitors(told: argparse.Namespace) -> None:
    count = told.visitors
    with emulator(rate=VISITOR_RATE, first_token_s=FIRST_TOKEN_S) as engine, the_page(engine) as url:
        found, last_token_s = asyncio.run(compared_at_once(url, engine, count))
    sent = f"; the emulator's last token after {last_token_s:.2f} s = {last_token_s / IDEAL_S:.2f} x (aim 1.3)"
    print(f"{count} visitors with {PANES} panes each at {VISITOR_RATE} tokens a second, page + emulator: {ends(found, IDEAL_S)}{sent}", flush=True)
    size = THINKING + ANSWER
    with bare_gradio("handler") as url:
        found = asyncio.run(load(url, "textbox", f"{size} {VISITOR_RATE}", PANES * count, ("token0",)))
    print(f"{PANES * count} streams at {VISITOR_RATE} tokens a second, bare handler, no engine: {ends(found, size / VISITOR_RATE)}", flush=True)


def ends(found: Sequence[tuple[float, float]], ideal_s: float) -> str:
    last = sorted(end for _, end in found)
    firsts = sorted(first for first, _ in found)
    return (
        f"last ends after {last[-1]:.2f} s = {last[-1] / ideal_s:.2f} x ideal, median {statistics.median(last) / ideal_s:.2f}; "
        f"first text median {statistics.median(firsts):.2f} s, last {firsts[-1]:.2f} s"
    )


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"four": four, "paced": paced, "visitors": visitors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--bare-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    told = parser.parse_args()
    print(machine(), flush=True)
    for name, measure in PARTS.items():
        if told.only in (None, name):
            measure(told)


if __name__ == "__main__":
    main()
