"""From Enter to the finished turn: one's own words at once, the live answer and the finished one the same picture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import ask, guard
from tests.running_page import running_page
from tests.saying import saying


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    with saying() as server, running_page(openai_base_url=server, data_dir=data, demo=False) as (url, _):
        yield url


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    outside = guard(context)
    yield context
    context.close()
    assert outside == []


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#chat-log .hello")).to_be_visible()
    return page


ASKED_AT_ONCE = """() => { window.seen = null; document.querySelector('#composer textarea').addEventListener('keydown', (e) => {
  if (e.key === 'Enter') queueMicrotask(() => { window.seen = [...document.querySelectorAll('#chat-log .turn.user .you')].map((e) => e.innerText); }); }, true); }"""


def test_ones_own_message_stands_there_before_anything_is_sent(page):
    page.evaluate(ASKED_AT_ONCE)
    ask(page, "say 400\n**chào** 你好 ```x```")
    assert page.evaluate("window.seen") == ["say 400\n**chào** 你好 ```x```"]
    expect(page.locator("#chat-log .hello")).to_have_count(0)
    expect(page.locator("#chat-log .turn.assistant .answer strong")).to_have_text("chào")
    expect(page.locator("#chat-log .turn.user")).to_have_count(1)
    expect(page.locator("#chat-log .turn.user [data-op=edit]")).to_be_visible()  # the server's own turn came in its place


def test_code_in_ones_own_message_is_drawn(page):
    ask(page, "say 400\nWhat is\n```python\nx = 1\n```\n**this**")
    own = page.locator("#chat-log .turn.user .you")
    expect(own.locator(".code pre")).to_have_text("x = 1\n")
    expect(own.locator(".code-bar span").first).to_have_text("Python")
    expect(own).to_contain_text("**this**")


def test_a_question_that_is_refused_goes_again_and_the_words_stay_in_the_box(page, context):
    page.route("**/gradio_api/queue/join*", lambda route: route.continue_())
    page.locator("#p-extra textarea").first.fill("{not json")
    page.locator("#p-extra textarea").first.press("Tab")
    ask(page, "say 400\nnever sent")
    expect(page.locator("#error-card")).to_be_visible()
    expect(page.locator("#chat-log .turn.user")).to_have_count(0)
    expect(page.locator("#chat-log .hello")).to_be_visible()
    expect(page.locator("#composer textarea")).to_have_value("say 400\nnever sent")
    assert page.evaluate("document.body.dataset.sending === undefined")


LIVE_AND_DONE = """() => { window.frames_ = { live: null, done: null };
  const look = () => { const live = document.querySelector('#answer-live .drawn'), done = document.querySelector('#chat-log .turn.assistant .answer markdown-text');
    if (done?.dataset.drawn === undefined && done) window.frames_.raw = done.innerText;
    if (live?.children.length) window.frames_.live = live.innerHTML;
    if (done && done.dataset.drawn !== undefined) { window.frames_.done ??= done.innerHTML; return; }
    requestAnimationFrame(look); }; look(); }"""
ANSWER = "## Kết quả\n\nRoses are red,\nviolets **are** blue, $x^2$.\n\n1. một\n2. hai\n\n```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n步骤**一：**好。"


def test_the_finished_turn_is_the_picture_that_the_stream_ended_with(page):
    page.evaluate(LIVE_AND_DONE)
    ask(page, f"say 600\n{ANSWER}")
    expect(page.locator("#chat-log .turn.assistant .run-card")).to_be_visible()
    frames = page.evaluate("window.frames_")
    assert frames["live"] == frames["done"] and "katex" in frames["done"] and "raw" not in frames


def test_a_trace_is_drawn_as_a_whole_when_it_is_opened(page):
    thinking = "Ones: 1+7=8\nTens: 5+8=13\n\n```python\na = 1\n\n# not a heading\n```\n\n$$\na\n\n= b\n$$"
    ask(page, f"say 800\n{thinking}\n</think>\n137")
    page.locator("#chat-log details.trace summary").click()
    trace = page.locator("#chat-log .trace-body")
    expect(trace.locator(".code")).to_have_count(1)
    expect(trace.locator("h1")).to_have_count(0)
    expect(trace.locator("br")).to_have_count(1)
    expect(trace.locator(".katex-display")).to_have_count(1)


def test_code_can_be_copied_saved_and_wrapped(page, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, "say 800\n```js\nconst a = `<b>`;\n\nlet c;\n```\nend")
    code = page.locator("#chat-log .answer .code")
    code.locator("[data-code=copy]").click()
    expect(code.locator("[data-code=copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "const a = `<b>`;\n\nlet c;"
    with page.expect_download() as download:
        code.locator("[data-code=download]").click()
    assert download.value.suggested_filename == "code.js"
    assert download.value.path().read_text() == "const a = `<b>`;\n\nlet c;\n"
    code.locator("[data-code=wrap]").click()
    assert code.locator("pre").evaluate("e => getComputedStyle(e).whiteSpace") == "pre-wrap"


def test_a_diagram_is_drawn_on_demand_in_a_frame_that_can_do_nothing(page):
    ask(page, "say 800\n```mermaid\ngraph TD\n A[Bắt đầu] --> B{检查}\n```\n\n```mermaid\ngraph TD\n A[[[ --> (\n```\nend")
    expect(page.locator("#chat-log .answer .code")).to_have_count(2)
    first, second = page.locator("#chat-log .answer .code").all()
    first.locator("[data-code=draw]").click()
    frame = first.locator("iframe")
    expect(frame).to_have_attribute("sandbox", "allow-scripts")
    expect(first.frame_locator("iframe").locator("svg")).to_contain_text("Bắt đầu")
    assert (
        frame.element_handle().content_frame().evaluate("(() => { try { return !!localStorage } catch { return 'denied' } })()") == "denied"
    )
    second.locator("[data-code=draw]").click()
    expect(second.locator(".hint")).to_contain_text("could not be drawn")
    expect(second.locator("iframe")).to_have_count(0)
    first.locator("[data-code=draw]").click()
    expect(first.locator("iframe")).to_have_count(0)
