"""The tiny Qwen3-Next behind the page: its trace live, its budget, a stop, what was guessed, a packed folder, the plan and unloading."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from playwright.sync_api import expect

import app
from backend.local import tiny
from backend.local.decoding import Decoder
from tests.browser.conftest import ask
from tests.browser.test_chat import state
from tests.running_page import running_page

SUM = "What is 4821 + 394?"
# what the trace showed, each time it changed
WATCH = """() => { window.seen = []; new MutationObserver(() => {
  const text = document.querySelector('#thinking-live').textContent;
  if (text && text !== window.seen.at(-1)) window.seen.push(text); }).observe(document.querySelector('#live'),
  { childList: true, subtree: true, characterData: true }); }"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    with running_page(data_dir=data, demo=False, model=f"local:{tiny.NAME}") as running:
        yield running


@pytest.fixture
def slow(monkeypatch):
    """The engine at some twenty tokens a second, as a large model on a small machine is."""
    counted, fast = [], Decoder.next

    def paced(decoder):
        counted.append(decoder)
        time.sleep(0.05)
        return fast(decoder)

    monkeypatch.setattr(Decoder, "next", paced)
    return counted


def put(page, name, value):
    page.locator(f"#{name} input[type=number]").fill(value)
    page.locator(f"#{name} input[type=number]").press("Tab")


def expect_answer(page, text):
    state(page, "done")
    expect(page.locator("#chat-log .answer").last).to_contain_text(text)


def test_the_trace_is_live_and_the_answer_right(page, slow):
    page.evaluate(WATCH)
    ask(page, "Tính 356 + 87")
    expect_answer(page, "443")
    seen = page.evaluate("window.seen")
    assert len(seen) > 5 and all(later.startswith(sooner) for sooner, later in pairwise(seen))
    card = page.locator("#run-card")
    for name in ("ttft", "thinking-time", "tokens-thinking", "tokens-answer", "decode-rate", "context-share"):
        expect(card.locator(f".{name}")).not_to_have_text("-")
    expect(card.locator(".finish-reason")).to_have_text("finished")
    page.locator("#chat-log details.trace summary").click()
    expect(page.locator("#chat-log .trace-body")).to_contain_text("= 443")


def test_a_spent_budget_closes_the_trace_and_the_answer_follows(page):
    put(page, "p-thinking-budget", "12")
    ask(page, SUM)
    state(page, "done")
    card = page.locator("#run-card")
    spent = int(card.locator(".tokens-thinking").inner_text())
    assert 12 <= spent <= 16  # the closing tag's tokens are of the trace
    expect(card.locator(".finish-reason")).to_have_text("finished")
    expect(page.locator("#chat-log .answer")).to_contain_text(re.compile(r"\d"))


def test_a_stop_ends_the_work_and_keeps_the_trace(page, slow):
    ask(page, SUM)
    expect(page.locator("#thinking-live")).to_contain_text("4821")
    page.keyboard.press("Escape")
    state(page, "stopped")
    passes = len(slow)
    expect(page.locator("#run-card .finish-reason")).to_have_attribute("data-reason", "stopped")
    expect(page.locator("#run-card .tokens-thinking")).not_to_have_text("-")
    page.wait_for_timeout(300)
    assert len(slow) == passes
    page.locator("#chat-log details.trace summary").click()
    expect(page.locator("#chat-log .trace-body")).to_contain_text("4821")
    ask(page, "Tính 356 + 87")
    expect_answer(page, "443")


def test_guesses_ahead_are_told_on_the_run_card_and_change_no_word(page):
    answers = []
    for drafts in ("0", "2"):
        put(page, "p-draft-tokens", drafts)
        put(page, "p-temperature", "0")
        ask(page, SUM)
        expect_answer(page, "5215")
        answers.append(page.locator("#chat-log .answer").last.inner_text())
        if drafts == "0":
            expect(page.locator("#run-card .acceptance")).to_have_count(0)
            page.locator("#new-chat").click()
    expect(page.locator("#run-card .acceptance")).to_contain_text(re.compile(r"\d+ %"))
    assert answers[0] == answers[1]


def test_a_refresh_in_the_middle_does_not_end_the_answer(page, slow):
    ask(page, SUM)
    expect(page.locator("#thinking-live")).to_contain_text("4821")
    page.reload()
    expect(page.locator("#chat-log .answer")).to_contain_text("5215")


def test_a_packed_folder_is_planned_used_and_unloaded(page, tmp_path):
    packed = tmp_path / "tiny-4bit"
    assert app.main(["pack", str(tiny.FOLDER), str(packed)]) == 0
    page.locator("#seg-connect").click()
    name, note = page.locator("#machine-name input, #machine-name textarea"), page.locator("#machine-note")
    name.fill("/no/such/folder")
    page.locator("#machine-plan").click()
    expect(note.locator("#machine-error")).to_contain_text("/no/such/folder")
    name.fill(str(packed))
    page.locator("#machine-plan").click()
    expect(note).to_contain_text("free")
    page.locator("#machine-use").click()
    expect(page.locator("#model input")).to_have_value(re.compile("tiny-4bit"))
    ask(page, SUM)
    expect_answer(page, "5215")
    expect(page.locator("#run-card .model-name")).to_contain_text("tiny-4bit")
    page.locator("#machine-unload").click()
    expect(note).to_contain_text("Unloaded")
    ask(page, "Tính 356 + 87")
    expect_answer(page, "443")
