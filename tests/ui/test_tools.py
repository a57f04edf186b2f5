"""Tools on the page, by its handlers: defining them, answering calls, and what a reload, a stop and a wrong definition leave."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import gradio as gr
import pytest

from backend import kit_from
from backend.tools.defining import specs_from_openapi
from backend.tools.kit import ToolKit, ToolSpec
from backend.tools.running import ToolContext, ToolFailed
from backend.tools.toolbox import Toolbox
from backend.types import Tool
from tests.emulator import bodies
from tests.ui.tab import INSTRUCT, Tab, until
from ui.tools.handlers import ToolPanel

ADD = {
    "name": "add",
    "description": "Cộng hai số, 加法",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


class Tools:
    """A tab with the Tools panel."""

    def __init__(self, house, **given):
        self.tab: Tab = house.tab(**given)
        self.panel = ToolPanel(house.page, house.chat)
        self.page = house.page

    @property
    def kit(self):
        return kit_from(self.tab.values[self.page.panel.tools])

    def note(self) -> str:
        return self.tab.shown[self.page.tools.note]

    def mcp_note(self) -> str:
        return self.tab.shown[self.page.tools.mcp_note]

    def add(self, definition, url="", header=""):
        text = definition if isinstance(definition, str) else json.dumps(definition)
        self.tab.take_one(self.panel.add(text, url, header, self.tab.values[self.page.panel.tools], self.tab.request))

    def add_built_in(self):
        self.tab.take_one(self.panel.add_built_in(self.tab.values[self.page.panel.tools]))

    async def connect(self, address, header=""):
        self.tab.take_one(await self.panel.connect_mcp(address, header, self.tab.values[self.page.panel.tools], self.tab.request))

    def decide(self, decision, text=""):
        card = next(p["id"] for p in reversed(self.tab.live["steps"]) if p["id"].startswith("call_"))
        event = SimpleNamespace(_data={"call": card, "decision": decision, "text": text})
        return self.panel.decide(event, self.tab.session, self.tab.request)

    def state(self) -> str:
        return self.tab.live["state"]


@contextmanager
def listening():
    """A tool's address, and what it has heard: the header with the key, and the arguments."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.headers["authorization"], json.loads(body)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write('{"sum": "bảy"}'.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/add", heard
        server.shutdown()


@pytest.fixture
async def tools(house):
    return Tools(house)


async def answering(tools, decision, text=""):
    """A watcher that answers the first call that waits."""
    done = []

    async def look(tab):
        if tools.state() == "asking" and not done:
            done.append(True)
            tools.decide(decision, text)

    return look


async def test_a_tool_is_defined_called_and_answered_by_hand(tools, emulator):
    tools.add(ADD)
    assert [s.tool.name for s in tools.kit.specs] == ["add"] and tools.kit.specs[0].by == "hand" and "Added: add." in tools.note()
    long = json.dumps({"a": 7, "why": "vì sao, 为什么 " * 10}, ensure_ascii=False)
    await tools.tab.send(
        f"Cộng đi [[tool]] [[args:{long}]] [[rate:40]] [[think:40]]", on_update=await answering(tools, "result", "bảy, 七")
    )
    assert tools.state() == "done" and "bảy, 七" in tools.tab.last["html"] and "data-state='done'" in tools.tab.last["html"]
    assert bodies(emulator)[0]["tools"][0]["function"]["name"] == "add"
    states = [live["state"] for live in tools.tab.lives]
    assert "thinking" in states and "asking" in states
    writing = [p for live in tools.tab.lives for p in live.get("steps", []) if "data-state='writing'" in p["html"]]
    assert writing, "the call is shown while it is written"


async def test_the_kit_comes_back_with_its_chat(tools, house):
    tools.add(ADD)
    await tools.tab.send("Hello")
    again = Tools(house, chat=tools.tab.session.conversation_id)
    await again.tab.load()
    assert again.kit == tools.kit
    await again.tab.new_chat()
    assert again.kit == tools.kit, "a new chat goes on with the settings"


async def test_a_call_that_waits_is_there_after_a_reload(tools, house):
    tools.add(ADD)
    asking = asyncio.create_task(tools.tab.send("Add [[tool]]"))
    await until(lambda: bool(tools.tab.lives) and tools.state() == "asking")
    again = Tools(house, chat=tools.tab.session.conversation_id)
    house.backend.runs.expect("local")
    asking.cancel()
    tools.tab.close()
    await again.tab.load(on_update=await answering(again, "result", "after the reload"))
    assert again.state() == "done" and "after the reload" in again.tab.last["html"]


async def test_a_stopped_call_is_gone_on_with(tools):
    tools.add(ADD)

    async def stop(tab):
        if tools.state() == "asking":
            await tab.stop()

    await tools.tab.send("Add [[tool]]", on_update=stop)
    assert (
        tools.state() == "stopped" and "waits for its result" in tools.tab.last["html"] and "data-op='continue'" in tools.tab.last["html"]
    )
    assert "<textarea" not in tools.tab.last["html"]
    await tools.tab.act("continue", tools.tab.last["id"], on_update=await answering(tools, "result", "later"))
    assert tools.state() == "done" and "later" in tools.tab.last["html"]


async def test_a_call_that_nobody_waits_for_says_so(tools):
    tools.add(ADD)
    await tools.tab.send("Add [[tool]]", on_update=await answering(tools, "deny"))
    assert "not run" in tools.tab.last["html"]
    tools.tab.live["steps"] = [{"id": "call_gone", "html": ""}]
    with pytest.raises(gr.Error, match="not waiting any more"):
        tools.decide("result", "late")


BAD = [
    ("", "no definition yet"),
    ("{broken", "no JSON"),
    ("[1]", "has a name"),
    ({"parameters": {}}, "has a name"),
    ({"name": "bad name"}, "no tool name"),
    ({"name": "f", "parameters": {"type": "array"}}, "are no object"),
    ({"name": "f", "parameters": {"type": "nothing"}}, "no JSON Schema"),
    ({"name": "f", "parameters": 5}, "are no object"),
]


@pytest.mark.parametrize(("definition", "sentence"), BAD)
async def test_a_wrong_definition_changes_nothing_and_says_why(tools, definition, sentence):
    tools.add(ADD)
    before = tools.kit
    tools.add(definition)
    assert sentence in tools.note() and "class='err'" in tools.note() and tools.kit == before


async def test_a_definition_takes_the_place_of_one_of_its_name(tools):
    tools.add(ADD)
    tools.add({"type": "function", "function": {**ADD, "description": "Other"}}, "http://127.0.0.1:9/add")
    (spec,) = tools.kit.specs
    assert (spec.tool.description, spec.by, spec.url) == ("Other", "http", "http://127.0.0.1:9/add") and "Replaced: add." in tools.note()
    tools.add(ADD, "ftp://x")
    assert "begins with http" in tools.note()


async def test_a_tool_that_is_edited_stays_what_it_is(tools):
    file = {"openapi": "3.1.0", "servers": [{"url": "https://api.example"}], "paths": {"/a": {"get": {"operationId": "look"}}}}
    (spec,) = specs_from_openapi(json.dumps(file))
    remote = ToolSpec(Tool("pid", "", {"type": "object"}), "mcp", url="python -m x", server="x", remote="pid")
    tools.tab.values[tools.page.panel.tools] = ToolKit((spec, remote)).stored()
    tools.add({"name": "look", "description": "changed"}, "https://api.example/a", "X-Key: k")
    tools.add({"name": "pid", "description": "changed"}, "python -m x")
    look, pid = tools.kit.specs
    assert (look.by, look.method, look.tool.description) == ("http", "GET", "changed")
    assert (pid.by, pid.server, pid.tool.description) == ("mcp", "x", "changed")
    tools.add({"name": "pid"})
    assert tools.kit.specs[1].by == "hand", "without its address it is another tool"


async def test_on_a_public_host_no_address_is_taken(houses, emulator):
    tools = Tools(houses(dashscope_base_url=emulator, dashscope_api_key="k", public=True))
    tools.add(ADD, "http://127.0.0.1:9/add")
    assert tools.kit.specs[0].by == "hand" and tools.kit.specs[0].url == ""


async def test_an_answer_in_json_is_checked(tools, emulator):
    tools.tab.model = INSTRUCT
    await tools.tab.house.settings.choose_model(INSTRUCT, tools.tab.session)
    tools.tab.set("json_on", True)
    tools.tab.set("json_schema", json.dumps(ADD["parameters"]))
    await tools.tab.send("JSON please")
    assert "Keeps to the schema." in tools.tab.last["html"] and "class='json'" in tools.tab.last["html"]
    assert bodies(emulator)[-1]["response_format"]["json_schema"]["schema"] == ADD["parameters"]


async def test_a_broken_schema_keeps_the_text(tools):
    tools.tab.model = INSTRUCT
    tools.tab.set("json_on", True)
    tools.tab.set("json_schema", "{broken")
    await tools.tab.send("JSON please")
    assert "The schema is no JSON" in str(tools.tab.live) and tools.page.composer not in tools.tab.shown


async def test_a_model_that_cannot_call_tools_says_so_and_keeps_the_text(tools):
    tools.add(ADD)
    tools.tab.model = "local:demo"
    await tools.tab.send("Add")
    assert "cannot call tools" in str(tools.tab.live) and tools.page.composer not in tools.tab.shown


async def test_json_while_thinking_is_refused_with_a_sentence(tools):
    tools.tab.set("json_on", True)
    await tools.tab.send("JSON please")
    assert "cannot be held to json_object while it thinks" in str(tools.tab.live)


async def test_the_built_in_tools_answer_by_themselves(tools, emulator):
    tools.add_built_in()
    assert {spec.policy for spec in tools.kit.specs} == {"always"} and "calculator" in tools.note()
    await tools.tab.send('Bao nhiêu? [[steps:calculator,weather_sample]] [[args:{"expression": "12 * 7", "city": "Huế"}]]')
    assert tools.state() == "done"
    failed = "Additional properties are not allowed"
    assert failed in tools.tab.last["html"], "the emulator sends the same arguments to both tools"
    await tools.tab.send('Bao nhiêu? [[tool:calculator]] [[args:{"expression": "12 * 7"}]]')
    assert "84" in tools.tab.last["html"] and bodies(emulator)[-1]["messages"][-1] == {
        "role": "tool", "tool_call_id": bodies(emulator)[-1]["messages"][-2]["tool_calls"][0]["id"], "content": "84",
    }  # fmt: skip


async def test_the_attached_files_are_searched(tools, emulator, tmp_path):
    tools.add_built_in()
    file = tmp_path / "giá.txt"
    file.write_text("Mở đầu.\n\nGiá vé là 500.000 đồng.", encoding="utf-8")
    await tools.tab.send('Giá? [[tool:search_files]] [[args:{"query": "giá vé"}]]', files=[str(file)])
    assert "500.000 đồng" in bodies(emulator)[-1]["messages"][-1]["content"]


async def test_an_address_answers_with_its_header_which_no_chat_keeps(tools, emulator, house):
    with listening() as (url, heard):
        tools.add(ADD, url, "Authorization: Bearer s3cret")
        await tools.tab.send('Cộng [[tool]] [[args:{"a": 1}]]', on_update=await answering(tools, "always"))
        assert tools.state() == "done" and "bảy" in tools.tab.last["html"]
        assert f"over HTTP · {url}" in tools.tab.last["html"]
        assert heard == [("Bearer s3cret", {"a": 1})]
    chat = await house.backend.open()
    assert "s3cret" not in await chat.history.export_all("local") + json.dumps(tools.kit.stored())
    tools.add(ADD, url, "no colon s3cret")
    assert "no colon" in tools.note() and "s3cret" not in tools.note()


async def test_the_tools_of_a_published_mcp_server_answer_on_the_page(tools, emulator):
    await tools.connect(f"{sys.executable} -m mcp_server_time")
    assert "2 tools of" in tools.mcp_note() and "get_current_time, convert_time" in tools.mcp_note()
    assert {(spec.by, spec.policy) for spec in tools.kit.specs} == {("mcp", "ask")}
    noon = {"source_timezone": "Asia/Shanghai", "time": "12:00", "target_timezone": "Asia/Ho_Chi_Minh"}
    await tools.tab.send(f"Mấy giờ? [[tool:convert_time]] [[args:{json.dumps(noon)}]]", on_update=await answering(tools, "allow"))
    assert tools.state() == "done" and "MCP · mcp_server_time" in tools.tab.last["html"]
    assert json.loads(bodies(emulator)[-1]["messages"][-1]["content"])["time_difference"] == "-1.0h"


async def test_a_tool_of_a_server_keeps_out_of_the_way_of_another_of_its_name(tools, emulator):
    tools.add({**ADD, "name": "convert_time"})
    command = f"{sys.executable} -m mcp_server_time"
    await tools.connect(command)
    await tools.connect(command)
    names = [(spec.by, spec.tool.name) for spec in tools.kit.specs]
    assert names == [("hand", "convert_time"), ("mcp", "get_current_time"), ("mcp", "mcp_server_time_convert_time")]
    noon = {"source_timezone": "Asia/Shanghai", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    prompt = f"Mấy giờ? [[tool:mcp_server_time_convert_time]] [[args:{json.dumps(noon)}]]"
    await tools.tab.send(prompt, on_update=await answering(tools, "allow"))
    assert json.loads(bodies(emulator)[-1]["messages"][-1]["content"])["time_difference"] == "+1.0h"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "no MCP server yet"),
        ("no-such-program-here", "no program named"),
        ("http://127.0.0.1:9/mcp", "cannot be reached"),
        ("http://[", "cannot be"),
    ],
)
async def test_an_mcp_server_that_cannot_be_had_says_why(tools, address, why):
    await tools.connect(address)
    assert why in tools.mcp_note() and "class='err'" in tools.mcp_note() and tools.kit.specs == ()


async def test_a_public_host_starts_no_program_and_calls_nothing_inside(houses, emulator):
    tools = Tools(houses(dashscope_base_url=emulator, dashscope_api_key="k", public=True))
    await tools.connect("python -m mcp_server_time")
    assert "starts no programs" in tools.mcp_note()
    await tools.connect("http://127.0.0.1:9/mcp")
    assert "private addresses" in tools.mcp_note()


@pytest.mark.parametrize(
    ("client", "host"),
    [("192.168.1.7", b"192.168.1.2:7860"), ("127.0.0.1", b"playground.example"), ("127.0.0.1", b"127.0.0.1.example:7860")],
)
async def test_a_program_is_started_only_for_whoever_sits_at_this_machine(tools, client, host):
    tools.tab.request.request.scope = {"client": (client, 5), "headers": [(b"host", host)]}
    await tools.connect(f"{sys.executable} -m mcp_server_time")
    assert "starts no programs" in tools.mcp_note() and tools.kit.specs == ()


async def test_a_page_that_listens_to_others_calls_nothing_inside(tools, house, monkeypatch):
    monkeypatch.setattr(house.backend, "toolbox", Toolbox(house.backend.settings))
    house.backend.toolbox.serve_others()
    await tools.connect(f"{sys.executable} -m mcp_server_time")
    assert "starts no programs" in tools.mcp_note()
    spec = ToolSpec(Tool("inside", "", {}), "http", url="http://127.0.0.1:9/")
    run = (await house.backend.toolbox.runners("local", ToolKit((spec,))))["inside"]
    with pytest.raises(ToolFailed, match="private addresses"):
        await run({}, ToolContext())


@pytest.mark.parametrize("shared", [True, False])
async def test_a_page_that_is_shared_with_a_network_starts_no_programs(houses, emulator, shared):
    tools = Tools(houses(dashscope_base_url=emulator, dashscope_api_key="k", shared=shared))
    await tools.connect("no-such-program-here")
    assert ("starts no programs" in tools.mcp_note()) is shared


async def test_a_chat_from_a_file_asks_before_it_calls_an_address(tools, house):
    tools.add(ADD, "http://127.0.0.1:9/add")
    kit = tools.kit.stored()
    kit["specs"][0]["policy"] = "always"
    tools.tab.set("tools", kit)
    await tools.tab.send("Hello")
    chat = await house.backend.open()
    (copy,) = await chat.history.import_text("local", await chat.history.export_all("local"), "chats.json")
    again = Tools(house, chat=copy)
    await again.tab.load()
    assert [spec.policy for spec in again.kit.specs] == ["ask"]
