"""What only a browser can show: streaming, stop, refresh, versions, the wire, hostile text, a phone."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import httpx2
from playwright.sync_api import Page, expect

from tests.browser.conftest import ask
from ui.chats import ChatList
from ui.events import Loads


def state(page: Page, *names: str) -> None:
    expect(page.locator("#status")).to_have_attribute("data-state", re.compile("|".join(names)))


def sent(emulator: str) -> dict:
    return httpx2.get(f"{emulator}/mock/state").json()["requests"][-1]["body"]


def test_thinking_is_live_then_folds_and_the_answer_is_rendered(page):
    ask(page, "Xin chào [[scenario:markdown]] [[think:300]]")
    expect(page.locator("#thinking-live")).to_be_visible()
    state(page, "thinking")
    expect(page.locator("#thinking-meter")).to_be_visible()
    expect(page.locator("#composer textarea")).to_have_value("")
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#answer-live")).to_contain_text("Everything at once")
    expect(page.locator("#thinking-live")).to_be_hidden()
    state(page, "done")
    answer = page.locator("#chat-log .answer")
    expect(answer.locator("table")).to_be_visible()
    expect(answer.locator("math").first).to_be_visible()
    expect(answer.locator("pre code span").first).to_be_visible()
    expect(answer.locator(".trace")).to_have_count(0)
    card = page.locator("#run-card")
    for name in ("ttft", "thinking-time", "tokens-thinking", "tokens-answer", "decode-rate", "cost"):
        expect(card.locator(f".{name}")).not_to_have_text("-")
    expect(card.locator(".tokens-thinking")).to_have_text("300")
    expect(card.locator(".finish-reason")).to_have_text("finished")
    page.locator("#chat-log details.trace summary").click()
    expect(page.locator("#chat-log .trace-body")).to_contain_text("emulator")
    expect(page.locator("#send")).to_be_visible()


def test_stop_keeps_the_partial_answer_and_frees_the_service(page, emulator):
    ask(page, "long [[think:20]] [[words:5000]] [[rate:100]]")
    expect(page.locator("#answer-live")).to_contain_text("emulator")
    page.keyboard.press("Escape")
    state(page, "stopped")
    expect(page.locator("#chat-log .answer")).to_contain_text("emulator")
    expect(page.locator("#run-card .finish-reason")).to_have_attribute("data-reason", "stopped")
    expect(page.locator("#run-card .ttft")).not_to_have_text("-")
    runs = httpx2.get(f"{emulator}/mock/state").json()["runs"]
    assert runs[-1]["state"] == "disconnected"


def test_a_refresh_in_the_middle_goes_on_where_it_was(page):
    ask(page, "refresh [[think:400]] [[words:60]] [[rate:100]]")
    state(page, "thinking")
    expect(page.locator("#thinking-live")).to_contain_text("emulator")
    page.reload()
    state(page, "thinking", "answering")
    expect(page.locator("#chat-log .you")).to_contain_text("refresh")
    state(page, "done")
    expect(page.locator("#run-card .tokens-thinking")).to_have_text("400")
    expect(page.locator("#run-card .tokens-answer")).to_have_text("60")
    page.reload()
    expect(page.locator("#chat-log .answer")).to_contain_text("emulator")


def test_what_is_asked_while_the_page_still_loads_is_asked_in_its_chat(page, monkeypatch):
    ask(page, "the first [[words:5]]")
    state(page, "done")
    loads, waits, open_chat, over = threading.Event(), threading.Event(), ChatList.open_chat, Loads.over

    async def slow(self, *given):
        await asyncio.to_thread(loads.wait, 60)
        return await open_chat(self, *given)

    async def noted(self, of):
        waits.set()
        await over(self, of)

    monkeypatch.setattr(ChatList, "open_chat", slow)
    monkeypatch.setattr(Loads, "over", noted)
    page.reload()
    expect(page.locator("#composer textarea")).to_be_visible()
    waits.clear()
    ask(page, "the second [[words:5]]")
    assert waits.wait(20)
    loads.set()
    expect(page.locator("#chat-log .you")).to_have_count(2)
    state(page, "done")
    expect(page.locator("#chat-log .answer")).to_have_count(2)
    expect(page.locator("#composer textarea")).to_have_value("")


def test_a_refresh_before_the_question_is_stored_finds_the_chat(page, monkeypatch):
    monkeypatch.setattr("backend.first_writes.BEGIN_AFTER_S", 3.0)
    ask(page, "at once [[think:900]] [[words:20]] [[rate:100]]")
    expect(page.locator("#thinking-live")).to_contain_text("emulator")
    page.reload()
    state(page, "thinking")
    expect(page.locator("#chat-log .you")).to_contain_text("at once")
    state(page, "done")
    expect(page.locator("#run-card .tokens-thinking")).to_have_text("900")


def test_a_closed_tab_frees_the_service(page, server, emulator):
    other = page.context.new_page()
    other.goto(server[0])
    expect(other.locator("#chat-log .turn").first).to_be_visible()
    ask(other, "closing [[think:30000]] [[rate:50]]")
    expect(other.locator("#thinking-live")).to_contain_text("emulator")
    other.close()
    for _ in range(600):
        if not httpx2.get(f"{emulator}/mock/state").json()["active"]:
            break
        page.wait_for_timeout(50)
    run = httpx2.get(f"{emulator}/mock/state").json()["runs"][-1]
    assert run["state"] == "disconnected"


def test_an_edit_makes_a_sibling_and_the_arrows_go_between(page):
    ask(page, "first question")
    state(page, "done")
    page.locator("#chat-log .turn.user [data-op=edit]").click()
    page.locator("#chat-log .editor textarea").fill("second question")
    page.locator("#chat-log .editor .btn").last.click()
    expect(page.locator("#chat-log .you")).to_have_text("second question")
    expect(page.locator("#chat-log .turn.user .sib")).to_contain_text("2/2")
    state(page, "done")
    page.locator("#chat-log .turn.user [data-step='-1']").click()
    expect(page.locator("#chat-log .you")).to_have_text("first question")
    expect(page.locator("#chat-log .answer")).to_contain_text("first question")
    page.locator("#chat-log .turn.user [data-step='1']").click()
    expect(page.locator("#chat-log .answer")).to_contain_text("second question")


def test_a_parameter_reaches_the_wire(page, emulator):
    page.locator("#p-temperature input[type=number]").fill("0.35")
    page.locator("#p-temperature input[type=number]").press("Tab")
    page.locator("#p-system textarea").fill("Trả lời ngắn gọn.")
    page.locator("#p-system textarea").press("Tab")
    ask(page, "parameters")
    state(page, "done")
    body = sent(emulator)
    assert body["temperature"] == 0.35 and "min_p" not in body
    assert body["messages"][0] == {"role": "system", "content": "Trả lời ngắn gọn."}
    expect(page.locator("#p-min-p")).to_contain_text("not taken by DashScope")


def test_a_value_out_of_range_is_told_and_the_text_stays(page):
    page.locator("#p-seed input").fill("-5")
    page.locator("#p-seed input").press("Tab")
    ask(page, "keep me")
    expect(page.locator("#error-card")).to_contain_text("Seed is -5")
    expect(page.locator("#composer textarea")).to_have_value("keep me")


def test_an_error_is_a_card_with_what_to_do(page):
    ask(page, "broke [[fault:arrearage]]")
    state(page, "error")
    expect(page.locator("#error-card b")).to_contain_text("good standing")
    expect(page.locator("#error-card button")).to_be_visible()
    page.reload()
    expect(page.locator("#error-card b")).to_contain_text("good standing")


HOSTILE = """<script>window.hacked=1</script><img src=x onerror="window.hacked=2"><b id=hostile style="position:fixed;inset:0">x</b>
![p](https://evil.invalid/p.png) [j](javascript:window.hacked=3) $\\text{<img src=x onerror=window.hacked=4>}$
<iframe srcdoc="<script>parent.hacked=5</script>"></iframe><form action="https://evil.invalid"><input></form>"""


def test_hostile_text_in_prompt_answer_and_thinking_does_nothing(page):
    ask(page, f"{HOSTILE} [[scenario:html]]")
    state(page, "done")
    page.locator("#chat-log details.trace summary").click()
    expect(page.locator("#chat-log .trace-body")).to_contain_text("Is this bold?")
    expect(page.locator("#chat-log .you")).to_contain_text("<script>window.hacked=1</script>")
    inside = page.evaluate(
        """() => { const bad = 'script,img,iframe,form,object,embed,style,[onerror],[onclick],[onload],b#hostile';
        return [...document.querySelectorAll('#chat-log, #live, #history')].map((e) => e.querySelectorAll(bad).length); }"""
    )
    assert inside == [0, 0, 0]
    assert page.evaluate("window.hacked") is None
    entries = page.locator("#history .chat-entry").first
    expect(entries).to_contain_text("<script>")


def test_history_search_rename_and_delete(page):
    ask(page, "Đường đi ngắn nhất")
    state(page, "done")
    page.locator("#history-search input, #history-search textarea").first.fill("ĐƯỜNG ĐI")
    entry = page.locator("#history .chat-entry", has_text="Đường đi ngắn nhất")
    expect(entry).to_be_visible()
    entry.locator(".dots").click()
    page.locator("#history .menu button").first.click()
    page.locator("#history .chat-entry input").fill("Đồ thị")
    page.locator("#history .chat-entry input").press("Enter")
    page.locator("#history-search input, #history-search textarea").first.fill("")
    entry = page.locator("#history .chat-entry", has_text="Đồ thị")
    expect(entry).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    entry.locator(".dots").click()
    page.locator("#history .menu button.bad").click()
    expect(page.locator("#history .chat-entry", has_text="Đồ thị")).to_have_count(0)
    expect(page.locator(".hello")).to_be_visible()


def test_a_recorded_run_plays_and_says_that_it_was_scripted(page):
    page.locator("#history .chat-entry", has_text="Counting").locator("button.open").click()
    expect(page.locator("#thinking-live")).to_be_visible()
    page.locator("#stop").click()
    state(page, "stopped")
    expect(page.locator("#chat-log")).to_contain_text("Scripted sample")


def test_show_request_is_what_is_sent_and_holds_no_key(page, emulator):
    page.locator("#composer textarea").fill("what would be sent")
    page.locator("#show-request").click()
    code = page.locator("#request pre")
    expect(code).to_contain_text("what would be sent")
    shown = json.loads(code.inner_text())
    page.locator("#composer textarea").press("Enter")
    state(page, "done")
    body = sent(emulator)
    assert {**shown, "seed": body["seed"]} == body
    assert "sk-test" not in page.content()


def test_an_answers_own_request_is_shown_from_its_turn(page, emulator):
    ask(page, "whose request? [[words:5]] [[think:5]]")
    state(page, "done")
    page.locator("#chat-log [data-op=request]").click()
    expect(page.locator("#request pre").first).to_contain_text("whose request?")


def test_a_file_dropped_into_the_prompt_is_read(page, emulator, tmp_path):
    file = tmp_path / "ghi-chú.md"
    file.write_text("# Ghi chú\nmật khẩu là 42", encoding="utf-8")
    page.locator("#composer input[type=file]").set_input_files(str(file))
    expect(page.locator("#composer .thumbnail-item, #composer [class*=thumbnail]").first).to_be_visible()
    ask(page, "what does it say?")
    state(page, "done")
    assert "mật khẩu là 42" in sent(emulator)["messages"][-1]["content"]
    expect(page.locator("#chat-log .file")).to_contain_text("ghi-chú.md")


def test_half_a_word_of_an_input_method_is_not_sent(page):
    box = page.locator("#composer textarea")
    box.fill("ni")
    box.evaluate("e => e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', keyCode: 229, isComposing: true, bubbles: true}))")
    expect(box).to_have_value("ni")
    expect(page.locator("#chat-log .you")).to_have_count(0)


def test_on_a_phone_everything_is_in_reach(page, server):
    page.set_viewport_size({"width": 390, "height": 844})
    ask(page, "điện thoại [[scenario:table]]")
    state(page, "done")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for element in ("#composer textarea", "#send", "#model", "#run-card"):
        expect(page.locator(element)).to_be_in_viewport()
    page.locator("#open-right").click()
    expect(page.locator("#p-temperature")).to_be_visible()
    page.locator("#shade").click(position={"x": 10, "y": 10})
    expect(page.locator("#p-temperature")).to_be_hidden()
    page.locator("#open-left").click()
    expect(page.locator("#new-chat")).to_be_visible()
    page.locator("#new-chat").click()
    expect(page.locator(".hello")).to_be_visible()


def test_another_chat_shows_nothing_of_an_answer_that_goes_on(page):
    ask(page, "goes on [[think:2000]] [[rate:100]]")
    state(page, "thinking")
    expect(page.locator("#chat-log .turn.user")).to_have_count(1)
    page.locator("#new-chat").click()
    expect(page.locator("#chat-log .hello")).to_be_visible()
    expect(page.locator("#live .turn.live")).to_be_hidden()
    state(page, "idle")
    ask(page, "another [[words:5]] [[think:5]]")
    state(page, "done")
    expect(page.locator("#chat-log .turn.user")).to_contain_text("another")
    page.locator("#history .chat-entry", has_text="goes on").locator("button.open").click()
    state(page, "thinking")
    expect(page.locator("#thinking-live")).to_contain_text("emulator")
    page.locator("#stop").click()
    state(page, "stopped")


def test_of_two_chats_that_are_written_the_one_that_is_opened_is_shown_live_each_time(page):
    for name in ("first", "second"):
        ask(page, f"{name} of two [[think:20]][[words:3000]]")
        expect(page.locator("#answer-live")).to_contain_text("emulator")
        if name == "first":
            page.locator("#new-chat").click()
            expect(page.locator("#chat-log .you")).to_have_count(0)
    for name in ("first", "second", "first"):
        page.locator("#history .chat-entry", has_text=f"{name} of two").locator("button.open").click()
        expect(page.locator("#chat-log .you")).to_contain_text(f"{name} of two")
        expect(page.locator("#answer-live")).to_contain_text("emulator")
    for name in ("first", "second"):
        page.locator("#history .chat-entry", has_text=f"{name} of two").locator("button.open").click()
        expect(page.locator("#chat-log .you")).to_contain_text(f"{name} of two")
        page.locator("#stop").click()
        expect(page.locator("#run-card .finish-reason")).to_have_attribute("data-reason", "stopped")


def test_the_checkpoint_switch_changes_the_model_that_is_asked(page, emulator):
    page.locator("#checkpoint label", has_text="Instruct").click()
    expect(page.locator("#p-thinking-budget")).to_contain_text("does not think")
    ask(page, "which? [[words:5]]")
    state(page, "done")
    assert sent(emulator)["model"] == "qwen3-next-80b-a3b-instruct"
    page.locator("#checkpoint label", has_text="Thinking").click()
    expect(page.locator("#p-thinking-budget")).to_contain_text("no limit")


def test_a_short_chat_after_a_long_one_has_nothing_to_jump_to_and_its_own_request(page):
    ask(page, "short one [[words:3]]")
    state(page, "done")
    page.locator("#show-request").click()
    expect(page.locator("#request")).to_contain_text("short one")
    page.locator("#new-chat").click()
    expect(page.locator("#request")).not_to_contain_text("short one")
    ask(page, "long one [[think:10]] [[words:900]] [[rate:2000]]")
    state(page, "done")
    expect(page.locator("#chat-log .answer")).to_contain_text("emulator")
    page.locator("#scroll").evaluate("(s) => { s.scrollTop = 0; }")
    expect(page.locator("#jump")).to_be_visible()
    page.locator(".chat-entry .open", has_text="short one").click()
    expect(page.locator("#chat-log .you")).to_contain_text("short one")
    expect(page.locator("#jump")).to_be_hidden()
    expect(page.locator("#request")).to_contain_text("short one")
