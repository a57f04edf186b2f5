"""Tools and answers in JSON in a browser: define one, watch the call stream in, answer it by hand, read the answer."""

from __future__ import annotations

import json
import sys

import httpx2
from playwright.sync_api import Page, expect

from tests.browser.conftest import ask
from tests.browser.test_chat import sent, state

WEATHER = {
    "name": "get_weather",
    "description": "Thời tiết của một thành phố, 天气",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
}


def define(page: Page, tool: dict, url: str = "") -> None:
    page.locator("#seg-tools").click()
    page.locator("#tool-definition textarea").fill(json.dumps(tool, ensure_ascii=False, indent=2))
    page.locator("#tool-url :is(textarea, input)").fill(url)
    page.locator("#tool-add").click()
    expect(page.locator("#tools .tool").filter(has_text=tool["name"])).to_be_visible()


def test_a_call_streams_in_is_answered_by_hand_and_the_answer_comes(page, emulator):
    define(page, WEATHER)
    long = json.dumps({"city": "Hà Nội, 河内 " * 20, "days": 3}, ensure_ascii=False)  # some seconds of writing, whoever else is at work
    ask(page, f"Trời ở Hà Nội thế nào? [[tool]] [[args:{long}]] [[think:30]] [[rate:25]]")
    writing = page.locator("#live .call[data-state=writing]")
    expect(writing).to_be_visible()
    expect(writing.locator(".call-arguments")).to_contain_text("city")
    waiting = page.locator("#live .call[data-state=waiting]")
    expect(waiting).to_be_visible()
    expect(waiting).to_contain_text("fit the schema")
    state(page, "asking")
    box = waiting.locator("textarea")
    box.fill("31 °C, nắng")
    page.reload()
    expect(waiting).to_be_visible()
    expect(page.locator("#tools .tool")).to_have_count(1)
    waiting.locator("textarea").fill("31 °C, nắng, 晴")
    waiting.locator("[data-decision=result]").click()
    state(page, "done")
    answer = page.locator("#chat-log .turn.assistant")
    expect(answer.locator(".call[data-state=done]")).to_contain_text("31 °C, nắng, 晴")
    expect(answer.locator(".answer").last).to_contain_text("31 °C, nắng, 晴")
    page.locator("#chat-log .step-trace summary").click()
    expect(page.locator("#chat-log .step-body")).to_contain_text("emulator")
    body = sent(emulator)
    assert body["tools"][0]["function"] == WEATHER and body["messages"][-1]["content"] == "31 °C, nắng, 晴"


def test_the_list_of_tools_is_what_is_sent(page, emulator):
    define(page, WEATHER)
    define(page, {**WEATHER, "name": "clock"})
    page.locator("#tools .tool").first.locator("input[type=checkbox]").uncheck()
    page.locator("#tool-choice").select_option("none")
    page.locator("#tools .tool-foot input[type=checkbox]").check()
    ask(page, "Hello")
    state(page, "done")
    body = sent(emulator)
    assert [t["function"]["name"] for t in body["tools"]] == ["clock"]
    assert body["tool_choice"] == "none" and body["parallel_tool_calls"] is True
    page.locator("#tools .tool").first.get_by_text("Remove").click()
    page.locator("#tools .tool").first.get_by_text("Remove").click()
    expect(page.locator("#tools .hint")).to_be_visible()
    ask(page, "Hello again")
    expect(page.locator("#chat-log .turn.assistant")).to_have_count(2)
    state(page, "done")
    assert "tools" not in sent(emulator)


def test_a_stop_while_a_call_waits_and_going_on_later(page):
    define(page, WEATHER)
    ask(page, "Stop me [[tool]] [[think:5]]")
    expect(page.locator("#live .call[data-state=waiting]")).to_be_visible()
    page.locator("#stop").click()
    state(page, "stopped")
    expect(page.locator("#chat-log .call")).to_contain_text("waits for its result")
    page.locator("#chat-log [data-op=continue]").click()
    waiting = page.locator("#live .call[data-state=waiting]")
    waiting.locator("[data-decision=deny]").click()
    state(page, "done")
    expect(page.locator("#chat-log .call[data-state=refused]")).to_be_visible()


def test_a_wrong_definition_is_told_and_kept(page):
    page.locator("#seg-tools").click()
    page.locator("#tool-definition textarea").fill('{"name": "x y"}')
    page.locator("#tool-add").click()
    expect(page.locator("#tool-error")).to_contain_text("no tool name")
    expect(page.locator("#tool-definition textarea")).to_have_value('{"name": "x y"}')


def test_a_built_in_tool_answers_by_itself(page, emulator):
    page.locator("#seg-tools").click()
    page.locator("#tool-built-in").click()
    expect(page.locator("#tools .tool")).to_have_count(5)
    ask(page, 'Bao nhiêu? 多少？ [[tool:calculator]] [[args:{"expression": "12 * 7"}]] [[think:10]]')
    state(page, "done")
    card = page.locator("#chat-log .call[data-state=done]")
    expect(card).to_contain_text("built in")
    expect(card.locator(".call-result")).to_have_text("84")
    expect(page.locator("#chat-log .answer").last).to_contain_text("84")
    assert sent(emulator)["messages"][-1]["content"] == "84"


def test_an_mcp_server_is_connected_and_asks_before_it_is_called(page, emulator):
    page.locator("#seg-tools").click()
    page.locator("#mcp-address :is(textarea, input)").fill(f"{sys.executable} -m mcp_server_time")
    page.locator("#mcp-connect").click()
    expect(page.locator("#mcp-note")).to_contain_text("2 tools of mcp_server_time")
    noon = {"source_timezone": "Asia/Shanghai", "time": "12:00", "target_timezone": "Asia/Ho_Chi_Minh"}
    ask(page, f"Mấy giờ? [[tool:convert_time]] [[args:{json.dumps(noon)}]] [[think:10]]")
    asking = page.locator("#live .call[data-state=asking]")
    expect(asking).to_contain_text("MCP · mcp_server_time")
    asking.locator("[data-decision=allow]").click()
    state(page, "done")
    expect(page.locator("#chat-log .call[data-state=done] .call-result")).to_contain_text("-1.0h")


def test_about_tells_this_hosts_own_address(page, server):
    page.locator("#tab-about").click()
    calling = page.locator("#calling")
    expect(calling).to_contain_text(f'base_url="{server[0]}/v1"')
    expect(calling).not_to_contain_text("address.invalid")
    expect(calling.get_by_role("link", name="What can be called")).to_have_attribute("href", f"{server[0]}/docs")


def test_an_answer_in_json_is_laid_out_and_checked(page, emulator):
    page.locator("#checkpoint").get_by_text("Instruct").click()
    expect(page.locator("#model input")).to_have_value("Qwen3-Next 80B-A3B Instruct · DashScope, Singapore")
    page.locator("#p-json input").check()
    page.locator("#p-json-schema textarea").fill(json.dumps(WEATHER["parameters"]))
    ask(page, "In JSON, please")
    state(page, "done")
    expect(page.locator("#chat-log .fit.ok")).to_have_text("Keeps to the schema.")
    assert sent(emulator)["response_format"]["json_schema"]["schema"] == WEATHER["parameters"]


def test_cards_fit_a_phone(browser, server):
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True)
    page = context.new_page()
    page.goto(server[0])
    expect(page.locator("#composer textarea")).to_be_visible()
    page.locator("#open-right").click()
    define(page, WEATHER)
    page.locator("#shade").click(position={"x": 10, "y": 10})
    ask(page, "Điện thoại [[tool]] [[think:5]]")
    waiting = page.locator("#live .call[data-state=waiting]")
    expect(waiting).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert waiting.locator("[data-decision=result]").bounding_box()["height"] >= 44
    waiting.locator("textarea").fill("có")
    waiting.locator("[data-decision=result]").click()
    state(page, "done")
    page.locator("#open-left").click()
    page.locator("#about-here").click()
    expect(page.locator("#calling")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
    assert httpx2.get(f"{server[0]}/healthz").json() == {"status": "ok"}
