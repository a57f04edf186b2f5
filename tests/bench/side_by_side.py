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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
FROM_NOW = "() => { window.blockedMs = 0; window.worstMs = 0; }"  # not what opening the page and setting it up took
BLOCKED = "() => ({ blocked: window.blockedMs, worst: window.worstMs })"


def whole(words: int) -> str:
    """The emulator's answer of that many words, without its white space."""
    return "".join("".join(islice(cycle(tokens(FILLER)), words)).split())


def prompt_of(number: int, words: int, rate: float) -> str:
    """What makes the emulator pace a pane, and by which its request is told apart."""
    return f"pane {number} [[think:0]] [[words:{words}]] [[rate:{rate:g}]]"


@dataclass(frozen=True)
class Asked:
    """What is sent to how many panes; only the `watched` ones are waited for, each of `words` at `rate`."""

    prompts: Sequence[str]
    watched: Sequence[int]
    words: int
    rate: float

    @property
    def due_s(self) -> float:
        """When the last word is due, after sending."""
        return FIRST_TOKEN_S + self.words / self.rate


def warm(rate: float) -> Asked:
    return Asked([prompt_of(1, WARM_WORDS, rate)], [1], WARM_WORDS, rate)


@dataclass(frozen=True)
class Seen:
    """What came of it: Unix times, by pane; a pane that was given up is missing in `at_s`. `blocked` is empty for a page given up."""

    asked: Asked
    sent_s: float
    at_s: dict[int, float]
    runs: dict[int, dict[str, Any]]
    blocked: str

    def late_s(self, pane: int) -> float:
        """From the emulator's last token of a pane to its last word on screen."""
        return self.at_s[pane] - float(self.runs[pane]["last_token_at_s"])

    def taken_s(self, pane: int) -> float | None:
        """From sending to a pane's last word on screen."""
        return self.at_s[pane] - self.sent_s if pane in self.at_s else None


def runs_of(engine: str) -> dict[int, dict[str, Any]]:
    """The emulator's newest run of each pane, by its number."""
    state = httpx2.get(f"{engine}/mock/state").json()
    runs = {run["id"]: run for run in state["runs"]}
    numbers = {request["id"]: re.search(r"pane (\d)", json.dumps(request["body"]["messages"])) for request in state["requests"]}
    return {int(number[1]): runs[which] for which, number in numbers.items() if number}


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


def ours(browser: Browser, url: str, engine: str, asked: Asked) -> Seen:
    page = compared(browser, url, asked.prompts, asked.words + 100)
    screen = Screen(page, [(n, f"#pane-{n} .answer", f"#pane-{n} .pane-body") for n in asked.watched], asked.words)
    page.locator("#compare-prompt textarea").fill("all at once")
    page.evaluate(FROM_NOW)
    sent_s = time.time()
    page.locator("#compare-prompt textarea").press("Enter")
    screen.wait(sent_s + asked.due_s + OUR_LIMIT_S)
    runs = checked(runs_of(engine), asked.watched, asked.words)
    for n in set(asked.watched) - set(screen.at_s):
        shown = page.locator(f"#pane-{n} .answer").last.inner_text().split()
        raise RuntimeError(
            f"pane {n} shows {len(shown)} words of {asked.words}, or not their end, {OUR_LIMIT_S:.0f} s after the last was due"
        )
    seen = Seen(asked, sent_s, screen.at_s, runs, blocked(page.evaluate(BLOCKED)))
    page.close()
    return seen


def checked(runs: dict[int, dict[str, Any]], panes: Iterable[int], words: int) -> dict[int, dict[str, Any]]:
    """`runs`, if the emulator sent these panes what was asked for."""
    for n in panes:
        if n not in runs or runs[n]["tokens_sent"] < words:
            raise RuntimeError(f"the emulator sent pane {n} fewer tokens than {words}: {runs.get(n)}")
    return runs


# ---- FastChat's loop
def theirs(browser: Browser, url: str, engine: str, asked: Asked, limit_s: float) -> Seen:
    """Likewise over the bare app."""
    page = opened(browser, url)
    screen = Screen(page, [(n, f"#side-{n} .bot", "") for n in asked.watched], asked.words)
    page.locator("textarea").first.fill(" | ".join(asked.prompts))
    page.evaluate(FROM_NOW)
    sent_s = time.time()
    page.locator("textarea").first.press("Enter")
    screen.wait(sent_s + asked.due_s + limit_s)
    runs = checked(runs_of(engine), screen.at_s, asked.words)
    if len(screen.at_s) < len(asked.watched):
        return Seen(asked, sent_s, screen.at_s, runs, "")  # the page may answer nothing any more
    seen = Seen(asked, sent_s, screen.at_s, runs, blocked(page.evaluate(BLOCKED)))
    page.close()
    return seen


# ---- the measurements
@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own for each: what the one leaves behind must not weigh on the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


def four(told: argparse.Namespace) -> None:
    panes = range(1, PANES + 1)
    asked = Asked([prompt_of(n, told.words, told.rate) for n in panes], panes, told.words, told.rate)
    name = f"{PANES} panes at {told.rate:g} words a second, {told.words} words each"
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, the_page(engine) as url, chromium() as browser:
        ours(browser, url, engine, warm(told.rate))
        seen = ours(browser, url, engine, asked)
    late = ", ".join(f"{seen.late_s(n):.2f}" for n in panes)
    shown_s = max(seen.at_s.values()) - seen.sent_s
    sent_s = max(seen.runs[n]["last_token_at_s"] for n in panes) - seen.sent_s
    print(
        f"{name}, page: last word on screen {late} s after the emulator's last token of that pane (aim 1); all on screen {shown_s:.2f} s "
        f"after sending, all sent by the emulator after {sent_s:.2f}, planned {asked.due_s:.2f}; {seen.blocked}",
        flush=True,
    )
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, bare_gradio(f"sides-{PANES}", engine) as url, chromium() as browser:
        theirs(browser, url, engine, warm(told.rate), told.bare_limit)
        seen = theirs(browser, url, engine, asked, told.bare_limit)
    late = "; ".join(told_of(seen, n, told.bare_limit) for n in panes)
    print(f"{name}, FastChat's loop: last word {late}{'; ' if seen.blocked else ''}{seen.blocked}", flush=True)


def told_of(seen: Seen, pane: int, limit_s: float) -> str:
    taken_s = seen.taken_s(pane)
    if taken_s is None:
        return f"not on screen {limit_s:.0f} s after it was due"
    return f"on screen {seen.late_s(pane):.2f} s after the last token, {taken_s - seen.asked.due_s:.1f} s after it was due"


def paced(told: argparse.Namespace) -> None:
    alone = Asked([prompt_of(1, told.words, told.rate)], [1], told.words, told.rate)
    slow_words = max(2, round(SLOW_FOR * SLOW_RATE * alone.due_s))
    both = replace(alone, prompts=[*alone.prompts, prompt_of(2, slow_words, SLOW_RATE)])
    name = f"a pane of {told.words} words at {told.rate:g} a second beside one of {slow_words} at {SLOW_RATE:g}"
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, the_page(engine) as url, chromium() as browser:
        _, *seen = [ours(browser, url, engine, asked) for asked in (warm(told.rate), alone, both)]
    if seen[1].runs[2]["state"] != "streaming":
        raise RuntimeError(f"the slow pane had ended before the fast one: {seen[1].runs[2]}")
    print(f"{name}, page: {compare(seen[0], seen[1], OUR_LIMIT_S)} (aim 1.1)", flush=True)
    seen = []
    with emulator(first_token_s=FIRST_TOKEN_S) as engine, bare_gradio("sides-2", engine) as url:
        for asked in (alone, both):
            with chromium() as browser:
                theirs(browser, url, engine, warm(told.rate), told.bare_limit)
                seen.append(theirs(browser, url, engine, asked, told.bare_limit))
    print(f"{name}, FastChat's loop: {compare(seen[0], seen[1], told.bare_limit)}", flush=True)


def compare(alone: Seen, both: Seen, limit_s: float) -> str:
    """The fast pane alone and beside the slow one, from sending to its last word on screen."""
    given_up_s = alone.asked.due_s + limit_s
    alone_s, both_s = alone.taken_s(1), both.taken_s(1)
    words = [f"not on screen {given_up_s:.0f} s" if s is None else f"on screen {s:.2f} s" for s in (both_s, alone_s)]
    ratio = ""
    if alone_s is not None:
        ratio = f": more than {given_up_s / alone_s:.2f} x" if both_s is None else f": {both_s / alone_s:.2f} x"
    run = both.runs[1]
    sent = (
        f"{run['last_token_at_s'] - both.sent_s:.2f} s after"
        if run["tokens_sent"] >= both.asked.words
        else f"{run['tokens_sent']} words only"
    )
    return f"the fast one's last word {words[0]} after sending, alone {words[1]} after{ratio}; the emulator had sent it {sent}"


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
    print(
        f"{count} visitors with {PANES} panes each at {VISITOR_RATE} tokens a second, page + emulator: {ends(found, IDEAL_S)}{sent}",
        flush=True,
    )
    size = THINKING + ANSWER
    with bare_gradio("handler") as url:
        found = asyncio.run(load(url, "textbox", f"{size} {VISITOR_RATE}", PANES * count, ("token0",)))
    print(
        f"{PANES * count} streams at {VISITOR_RATE} tokens a second, bare handler, no engine: {ends(found, size / VISITOR_RATE)}",
        flush=True,
    )


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
