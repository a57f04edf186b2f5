"""A comparison saved as a file, opened from the disk without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend import Node, Timing, Usage
from backend.catalogue import catalogue
from backend.history.records import AnswerError
from ui.compare.page_file import Side, page_file
from ui.text import WORDS as W

NOW = datetime(2026, 7, 20, 12, tzinfo=UTC)
THINKING = catalogue().capabilities("dashscope", "qwen3-next-80b-a3b-thinking")
EVIL = """<script>document.title = 'hacked'; window.hacked = 1</script><img src="http://127.0.0.1:9/x.png" onerror="window.hacked = 1">
</style></title></details></div><script>window.hacked = 1</script><svg onload="window.hacked = 1">

<iframe srcdoc="<script>parent.hacked = 1</script>"></iframe> ![picture](http://127.0.0.1:9/y.png) [click](javascript:window.hacked=1)
"""
WIDE = r"""
```python
count = sum(1 for number in range(1, 1000) if number % 6 != 0 and number % 10 != 0 and number % 15 != 0)
```

| a column | another column | abcdefghijklmnopqrstuvwxyz | abcdefghijklmnopqrstuvwxyz |
|---|---:|---|---|
| 1 | 2 | 3 | 4 |

$$a_1 + a_2 + a_3 + a_4 + a_5 + a_6 + a_7 + a_8 + a_9 + a_{10} + a_{11} + a_{12} + a_{13} + a_{14} + a_{15} + a_{16} = \sum_{k=1}^{16} a_k$$

"""


@dataclass
class Watched:
    """A page and all that went out of it or wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: Path) -> Page:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        return self.page


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1360, "height": 860}, offline=True)
    yield Watched(context.new_page())
    context.close()


def node(content: str, **given) -> Node:
    return Node(id="n", conversation_id="c", parent_id=None, role="assistant", content=content, created_at=NOW, **given)


@pytest.fixture
def saved(drawing: Page, tmp_path: Path) -> Path:
    quick, slow = Timing(ttft_s=0.5, total_s=2.0), Timing(ttft_s=2.0, thinking_s=3.2, total_s=8.0)
    first = node(
        f"The red house. Đây là kết quả. {EVIL}{WIDE}",
        thinking=f"Let me think. 想一想。 {EVIL}{WIDE}",
        timing=slow,
        usage=Usage(9, 900, 512),
    )
    second = node(f"The blue house. {WIDE}", timing=quick)
    failed = node("", status="error", error=AnswerError("OutOfMemory", f"There is not enough memory. {EVIL}", "x" * 200))
    sides = [
        Side("1 · Thinking", "dashscope:thinking", {"temperature": 0.6, "system": EVIL}, (first, None), THINKING),
        Side("2 · Instruct", "dashscope:instruct", {"temperature": 0.7}, (second, node("w" * 300)), None),
        Side("3 · " + "verylongname" * 8, "openai:" + "verylongname" * 8, {"stop": ["s" * 80]}, (failed, None), None, True),
        Side(EVIL, EVIL, {}, (None, None), None),
    ]
    text = page_file(["Which house?", "And " + "now" * 80 + EVIL], sides, {0: f"Voted 1 · Thinking. {EVIL}"}, made_at=NOW, versions=EVIL)
    path = tmp_path / "comparison.html"
    path.write_text(drawing.evaluate("(text) => playground.drawnPage(text)", text), encoding="utf-8")
    return path


def unfold(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()


def test_the_watch_sees_what_it_is_there_for(watched, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<title>x</title><script>window.hacked = 1; console.log('here')</script><img src='http://127.0.0.1:9/x.png'>")
    page = watched.open(path)
    assert page.evaluate("window.hacked") == 1
    assert "http://127.0.0.1:9/x.png" in watched.requests and "here" in watched.complaints


def test_the_files_own_policy_stops_a_script_that_got_in(watched, saved):
    saved.write_text(saved.read_text(encoding="utf-8").replace("<main>", "<main><script>window.hacked = 1</script>"), encoding="utf-8")
    page = watched.open(saved)
    assert page.evaluate("document.scripts.length") == 1 and page.evaluate("window.hacked === undefined")
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)


def test_nothing_of_an_answer_runs_or_loads(watched, saved):
    page = watched.open(saved)
    unfold(page)
    expect(page.locator(".trace-body").first).to_be_visible()
    assert page.title().startswith("Which house?")
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("script, img, iframe, svg:not(.katex *), link, base, form, button, [onerror], [onload]").count() == 0
    assert page.locator("style").count() == 2 and page.locator("a[href^=javascript]").count() == 0
    assert watched.requests == [saved.as_uri()] and watched.complaints == []


def test_everything_can_be_read_without_a_network(watched, saved):
    page = watched.open(saved)
    panes = page.locator(".turn").first.locator(".pane")
    expect(panes).to_have_count(4)
    answer = panes.first.locator(".answer")
    expect(answer).to_contain_text("The red house. Đây là kết quả.")
    expect(answer).to_contain_text("window.hacked = 1")  # as text
    for part in ("pre code span", "table", ".katex-html"):
        expect(answer.locator(part).first).to_be_visible()
    expect(panes.nth(1)).to_contain_text("The blue house.")
    expect(panes.nth(2).locator(".err b")).to_contain_text("There is not enough memory.")
    expect(panes.nth(3).locator(".note")).to_have_text(W.file_not_asked)
    expect(page.locator(".turn .you").first).to_have_text("Which house?")
    expect(page.locator(".vote")).to_contain_text("Voted 1 · Thinking.")
    expect(page.locator(".settings td", has_text="0.6").first).to_be_visible()
    best = page.locator("td.ttft_s.best")
    expect(best).to_have_text("0.50 s ✓")
    expect(best).to_be_visible()


def test_a_trace_is_folded_marked_by_its_edge_and_opens_by_a_click(watched, saved):
    trace = watched.open(saved).locator("details.trace").first
    expect(trace.locator(".trace-body")).to_be_hidden()
    assert trace.evaluate("element => getComputedStyle(element).borderLeftWidth") == "3px"
    trace.locator("summary").click()
    expect(trace.locator(".trace-body")).to_be_visible()
    expect(trace.locator(".trace-body")).to_contain_text("Let me think. 想一想。")


def test_the_difference_opens_by_a_click_and_marks_words(watched, saved):
    found = watched.open(saved).locator("details.difference").first
    expect(found.locator("del").first).to_be_hidden()
    found.locator("summary").click()
    expect(found.locator("del", has_text="red").first).to_be_visible()
    expect(found.locator("ins", has_text="blue").first).to_be_visible()


def test_panes_stand_side_by_side_where_there_is_room(watched, saved):
    page = watched.open(saved)
    boxes = [pane.bounding_box() for pane in page.locator(".turn").first.locator(".pane").all()]
    assert len({box["y"] for box in boxes}) == 1
    assert all(left["x"] + left["width"] < right["x"] for left, right in pairwise(boxes))


def test_on_a_phone_panes_are_stacked_and_the_page_does_not_scroll_sideways(watched, saved):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    page = watched.open(saved)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    boxes = [pane.bounding_box() for pane in page.locator(".turn").first.locator(".pane").all()]
    code = page.locator(".answer pre").first
    assert code.evaluate("element => (element.scrollLeft = 50, element.scrollLeft)") == 50  # its long lines are reached within it
    assert code.evaluate("element => getComputedStyle(element).overflowX") == "auto"
    assert len({box["x"] for box in boxes}) == 1 and all(box["width"] <= 390 for box in boxes)
    assert all(upper["y"] + upper["height"] <= lower["y"] for upper, lower in pairwise(boxes))


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(251, 251, 253)"), ("dark", "rgb(19, 18, 27)")])
def test_it_is_light_or_dark_as_the_readers_system_is(watched, saved, scheme, ground):
    watched.page.emulate_media(color_scheme=scheme)
    assert watched.open(saved).evaluate("getComputedStyle(document.body).backgroundColor") == ground


def test_on_paper_it_is_light_and_no_line_of_code_is_cut(watched, saved):
    watched.page.emulate_media(media="print", color_scheme="dark")
    page = watched.open(saved)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 253)"
    assert page.locator(".answer pre").first.evaluate("element => element.scrollWidth <= element.clientWidth")
