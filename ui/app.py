"""Builds the page and binds its events. The only module that knows both the components and the handlers."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr

from backend import Backend, BackendError, Capabilities, ModelChoice, Slots, check_listening
from ui import attached, drawing, layout, mcp_server, theme
from ui.answers import Answers
from ui.chat import ChatTab
from ui.chats import ChatList
from ui.compare.asking import Asking
from ui.compare.background import Background
from ui.compare.judging import Judging
from ui.compare.model_judging import ModelJudging
from ui.compare.sets import Sets
from ui.compare.setup import Setup
from ui.compare.share import Share
from ui.compare.shelf import Shelf
from ui.compare.sweeps import Sweeps
from ui.compare.tab import CompareTab
from ui.events import Blocks, Loads, OpenPages
from ui.front import front
from ui.layout import Page
from ui.machine import Machine
from ui.parameters import BUILT_IN_PRESETS
from ui.settings import Settings
from ui.text import WORDS as W
from ui.tools.handlers import ToolPanel
from ui.uploads import UploadedFiles

MAX_EVENTS = 4096  # at work at once, of all visitors; what one visitor may have is in ui/events.py
MAX_WAITING = 1024
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RAW: dict[str, Any] = {"preprocess": False, "postprocess": False, **QUIET}  # values as the page has them: see ui/answers.py
CLEAR_COMPOSER = "() => ({ text: '', files: [] })"
REQUEST_AGAIN = "() => playground.requestAgain()"


def build(backend: Backend, choices: list[ModelChoice], model: str, capabilities: Capabilities) -> Blocks:
    """The page. `choices` and `capabilities` are what it shows first; a load asks again for each visitor."""
    # gradio sums up its timings with pandas after every event, a tenth of the server's time; its page of them is not served here
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
    with Blocks(title=W.product, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        tab: ChatTab

        async def trace(node: str, request: gr.Request) -> str:
            whose = drawing.visitor.set(tab.owner(request) if tab.visitors.public else None)
            try:
                return await tab.trace(str(node), request)
            except BackendError as error:
                return f"{error.message} {error.hint}"
            finally:
                drawing.visitor.reset(whose)

        async def describe_files(files: list[Any], request: gr.Request) -> list[dict[str, Any]]:
            return await attached.describe(files, tab.owner(request), uploads=demo.uploads, read_files=backend.read_files)

        page = layout.build(choices, model, capabilities, trace, backend.settings, describe_files=describe_files, shared=backend.shared)
        tab = ChatTab(backend, page)
        demo.visitors, demo.open_pages, demo.loads = tab.visitors, OpenPages(), Loads()
        demo.uploads = UploadedFiles(bounded=backend.settings.public, on_forget=backend.read_files.forget)
        demo.slots = Slots(W.too_many_events, W.too_many_events_hint)
        _bind_machine(demo, page, Machine(backend, page, tab))
        _bind_tools(page, ToolPanel(page, tab))
        chats = ChatList(backend, page, tab)
        _bind(demo, page, tab, Answers(backend, page, tab), chats, Settings(backend, page, tab))
        compare = CompareTab(backend, page.compare, tab)
        _bind_compare(demo, page, compare, chats)
        _bind_background(demo, page, compare)
        mcp_server.offer(backend.asking)
        for event in demo.fns.values():  # progress is hidden anyway; gradio's page goes through all that may show it at every update
            event.show_progress_on = [page.files]
    # no number for each function, as gradio has it: an answer that is followed keeps its place for as long as it is written
    demo.queue(default_concurrency_limit=None, max_size=MAX_WAITING, api_open=False)
    return demo


def _bind(demo: gr.Blocks, page: Page, tab: ChatTab, answers: Answers, chats: ChatList, settings: Settings) -> None:
    session, panel = page.session, page.panel.components()
    show = [page.live, page.log, page.history, page.context]
    settled = [page.model, *panel]  # each costs 1.5 ms to leave as it is: only events that may change them have them as outputs
    asked = [page.model, session, *panel]

    gr.on([page.composer.submit, page.send.click], answers.send, [page.composer, *asked], page.live, **RAW)
    page.log.restart(answers.restart, asked, page.live, **RAW)
    page.log.act(tab.act, [session], [*show, page.files, *settled], **QUIET)
    page.log.restore(chats.restore, [page.model, session], settled, **QUIET).then(None, None, None, js=REQUEST_AGAIN, **QUIET)
    page.live.sent(None, None, page.composer, js=CLEAR_COMPOSER, **QUIET)
    page.live.begun(answers.begun, [page.search, session], show[1:], trigger_mode="multiple", **QUIET)
    page.live.over(answers.over, [page.search, session], show, trigger_mode="multiple", **QUIET)
    page.live.unsaved(answers.saved, [page.search, session], show, trigger_mode="multiple", **QUIET)
    page.stop.click(answers.stop, [session], None, queue=False, **QUIET)
    # opening a chat ends before an answer in it is followed: an update that comes while a page still mounts may be missed
    opened = [
        page.log.replay(tab.replay, [session], [*show, session], **QUIET),
        page.history.pick(chats.pick, [session], [*show, session, page.files], **QUIET),
        page.new_chat.click(chats.new_chat, [session], [*show, session, page.search], **QUIET),
        demo.load(chats.load, [session], [*show, session], **QUIET),
    ]
    for event in opened:
        event.then(answers.resume, [session], page.live, trigger_mode="multiple", **RAW)
    page.search.change(chats.search, [page.search, session], page.history, trigger_mode="always_last", **QUIET)
    demo.unload(tab.gone)

    chosen = page.model.input(settings.choose_model, [page.model, session], [*panel, page.connect_note], **QUIET)
    chosen.then(None, None, None, js=REQUEST_AGAIN, **QUIET)
    page.reset.click(settings.choose_model, [page.model, session], [*panel, page.connect_note], **QUIET)
    page.panel.checkpoint.input(
        settings.switch_checkpoint, [page.panel.checkpoint, page.model, session], [page.model, *panel, page.connect_note], **QUIET
    )
    preset = page.panel.preset
    preset.input(settings.apply_preset, [preset, page.presets, page.model, session], [*panel, page.connect_note], **QUIET)
    page.preset_save.click(settings.save_preset, [preset, page.presets, *asked], [page.presets, preset], **QUIET)
    page.preset_delete.click(settings.delete_preset, [preset, page.presets], [page.presets, preset], **QUIET)
    demo.load(lambda saved: gr.update(choices=[*BUILT_IN_PRESETS, *(saved or {})]), page.presets, preset, **QUIET)

    page.log.request(settings.request_of, [session], page.request, **RAW)
    page.show_request.click(settings.request, [page.composer, *asked], page.request, **RAW)
    page.composer.change(settings.context, [page.composer, *asked], page.context, trigger_mode="always_last", **RAW)

    key = [page.dashscope_key, page.dashscope_region, session, page.model]
    connected = [session, page.model, page.connect_note, page.dashscope_key, page.server_key, *panel]
    gr.on([page.use_key.click, page.dashscope_key.submit], settings.use_key, key, connected, **QUIET)
    server = [page.server_url, page.server_key, session]
    gr.on([page.add_server.click, page.server_url.submit], settings.add_server, server, connected, **QUIET)
    page.import_button.upload(settings.import_chats, [page.import_button, session], [page.history, page.live], **QUIET)
    page.export_all.click(settings.export_all, None, page.files, **QUIET)


def _bind_machine(demo: gr.Blocks, page: Page, machine: Machine) -> None:
    note, used = page.machine_note, [page.model, page.machine_note, *page.panel.components()]
    gr.on([page.machine_plan.click, page.machine_name.submit], machine.plan, page.machine_name, note, **QUIET)
    page.machine_use.click(machine.use, [page.machine_name, page.session], used, **QUIET)
    page.machine_unload.click(machine.unload, None, note, **QUIET)
    demo.load(machine.look, None, note, **QUIET)
    page.live.over(machine.look, None, note, **QUIET)


def _bind_tools(page: Page, tools: ToolPanel) -> None:
    parts, changed = page.tools, [page.panel.tools, page.tools.note]
    parts.add.click(tools.add, [parts.definition, parts.url, parts.url_header, page.panel.tools], changed, **QUIET)
    parts.built_in.click(tools.add_built_in, page.panel.tools, changed, **QUIET)
    parts.openapi.upload(tools.import_openapi, [parts.openapi, page.panel.tools], changed, **QUIET)
    mcp = [parts.mcp, parts.mcp_header, page.panel.tools]
    gr.on([parts.mcp_connect.click, parts.mcp.submit], tools.connect_mcp, mcp, [page.panel.tools, parts.mcp_note], **QUIET)
    page.live.tool(tools.decide, [page.session], parts.note, queue=False, trigger_mode="multiple", **QUIET)


def _bind_compare(demo: gr.Blocks, page: Page, tab: CompareTab, chats: ChatList) -> None:
    parts, session, panel = page.compare, page.session, page.compare.panel.components()
    asking, judging, setup, shelf, share = Asking(tab), Judging(tab), Setup(tab), Shelf(tab), Share(tab)
    shown, drawer = [parts.bench, parts.live, parts.saved], [parts.settings_title, parts.model, parts.link, *panel]

    gr.on([parts.prompt.submit, parts.send.click], asking.send, [parts.prompt, session], parts.live, **RAW)
    parts.live.begun(asking.begun, [session], parts.bench, trigger_mode="multiple", **QUIET)
    parts.stop.click(asking.stop, [session], None, queue=False, **QUIET)
    parts.bench.halt(asking.halt, [session], None, queue=False, trigger_mode="multiple", **QUIET)
    # what changes the panes ends before what is written in them is followed again, in their new places; with the usual mode "once" the
    # page would drop a following that comes while the one before streams, which ends by itself as soon as it is shown no more
    changes = [
        parts.bench.ask(asking.act, [session], [parts.bench, parts.live], trigger_mode="multiple", **QUIET),
        parts.bench.arrange(setup.arrange, [session], shown, trigger_mode="multiple", **QUIET),
        parts.add.click(setup.add, [session], shown, **QUIET),
        parts.earlier.pick(shelf.pick, [session], [parts.bench, parts.live], **QUIET),
        parts.bench.new(shelf.new, [session], [parts.bench, parts.live, parts.prompt], **QUIET),
        demo.load(shelf.load, [parts.saved, session], [parts.bench, parts.live], **QUIET),
        parts.share_open.upload(share.open, [parts.share_open, session], [parts.bench, parts.live], **QUIET),
        parts.live.over(asking.over, [session], [parts.bench, parts.live], trigger_mode="multiple", **QUIET),
        parts.live.unsaved(asking.saved, [session], [parts.bench, parts.live], trigger_mode="multiple", **QUIET),
        parts.setup_use.click(setup.use_setup, [parts.setup, parts.setups, session], shown, **QUIET),
    ]
    for change in changes:
        change.then(asking.resume, [session], parts.live, trigger_mode="multiple", **RAW)
    parts.share_page.click(share.page, [session], [parts.files, parts.live], **QUIET)
    parts.share_run.click(share.run_file, [session], [parts.files, parts.live], **QUIET)
    parts.bench.earlier(shelf.earlier, [session], parts.earlier, **QUIET)
    parts.bench.chat(chats.adopt, [session], [page.live, page.log, page.history, page.context, session], **QUIET)

    parts.bench.vote(judging.vote, [session], [parts.bench, parts.live], trigger_mode="multiple", **QUIET)
    parts.bench.blind(judging.blind, [session], shown, **QUIET)
    parts.bench.look(judging.look, [session], parts.view, trigger_mode="always_last", **QUIET)
    parts.bench.export(judging.export, None, [parts.files, parts.live], **QUIET)

    parts.bench.settings(setup.focus, [session], [*shown, *drawer], **QUIET)
    parts.model.input(setup.choose_model, [parts.model, session], [*shown, *drawer], **QUIET)
    parts.panel.checkpoint.input(setup.switch_checkpoint, [parts.panel.checkpoint, session], [*shown, *drawer], **QUIET)
    parts.panel.preset.input(setup.apply_preset, [parts.panel.preset, page.presets, session], [*shown, *drawer], **QUIET)
    values = [c for c in panel if c not in (parts.panel.checkpoint, parts.panel.preset)]
    # gradio's text boxes tell of no input that is pasted with the mouse; of a change they do
    changed = [c.change if isinstance(c, gr.Textbox) else c.input for c in values]
    gr.on(changed, setup.change, [session, *panel], shown, trigger_mode="always_last", **QUIET)
    parts.link.input(setup.link, [parts.link, session, *panel], shown, **QUIET)
    parts.setup_save.click(setup.save_setup, [parts.setup, parts.setups, session], [parts.setups, parts.setup], **QUIET)
    parts.setup_delete.click(setup.delete_setup, [parts.setup, parts.setups], [parts.setups, parts.setup], **QUIET)
    demo.load(setup.list_setups, parts.setups, parts.setup, **QUIET)
    demo.unload(tab.gone)


def _bind_background(demo: gr.Blocks, page: Page, tab: CompareTab) -> None:
    parts, session, shown = page.compare.background, page.session, page.compare
    background = Background(tab, parts)
    sets, sweeps, judge = Sets(background), Sweeps(background), ModelJudging(background)

    parts.upload.upload(sets.upload, [parts.upload, session], parts.note, **QUIET)
    parts.shipped.click(sets.ship, [session], parts.note, **QUIET)
    for changed in (
        parts.start.click(sets.start, [session], [parts.note, parts.sets], **QUIET),
        parts.sets.act(sets.act, [session], [parts.judge, shown.live, shown.files], trigger_mode="multiple", **QUIET),
    ):
        changed.then(sets.follow, [session], parts.sets, **QUIET)
    shown.bench.sets(sets.follow, [session], parts.sets, **QUIET)
    parts.judge.verdict(sets.judge, [session], parts.judge, trigger_mode="multiple", **QUIET)

    asked = [parts.sweep_prompt, parts.first, parts.first_values, parts.second, parts.second_values, parts.seeds, session]
    results = [parts.sweeps, parts.cards, parts.length_plot, parts.time_plot]
    gr.on([part.change for part in asked[:-1]], sweeps.plan, asked, parts.plan, trigger_mode="always_last", **QUIET)
    for changed in (
        parts.sweep_start.click(sweeps.start, asked, [parts.plan, parts.sweeps], **QUIET),
        parts.sweeps.act(sweeps.act, [session], [shown.live, shown.files], trigger_mode="multiple", **QUIET),
    ):
        changed.then(sweeps.look, [session], results[1:], **QUIET).then(sweeps.follow, [session], results, **QUIET)
    opened = shown.bench.sweep(sweeps.plan, asked, parts.plan, **QUIET)
    opened.then(sweeps.look, [session], results[1:], **QUIET).then(sweeps.follow, [session], results, **QUIET)

    parts.judge_model.focus(judge.models, [session], parts.judge_model, **QUIET)
    judging = parts.judge_start.click(judge.start, [parts.judge_model, parts.rubric, session], parts.judge_note, **QUIET)
    judging.then(None, None, None, js="() => playground.lookAgain()", **QUIET)
    parts.judge_stop.click(judge.stop, None, None, queue=False, **QUIET)


def launch(demo: Blocks, backend: Backend, *, host: str, port: int | None, root_path: str | None = None, block: bool = True) -> str:
    """Serves the page and returns its address; with `block` only after it was stopped. Raises `OSError` where the port is taken,
    `ConfigError` where it would be open to a network that nobody said may see it."""
    check_listening(host, public=backend.settings.public, shared=backend.shared)

    @asynccontextmanager
    async def before_the_first_request(app: Any) -> AsyncIterator[None]:
        # gradio puts middleware of its own before any that it is given, and answers pages from elsewhere there
        app.middleware_stack = front(app.middleware_stack, backend, demo, listens_at=host)
        backend.serve_here()
        yield

    _, address, _ = demo.launch(
        server_name=host, server_port=port, root_path=root_path, theme=theme.theme(), head=theme.head(shared=backend.shared),
        max_threads=MAX_EVENTS, max_file_size="5mb", allowed_paths=[], run_history=False, show_error=False, footer_links=[], quiet=True,
        prevent_thread_lock=True, share=False, mcp_server=True,
        app_kwargs={"lifespan": before_the_first_request, "docs_url": None, "openapi_url": None},
    )  # fmt: skip
    gc.freeze()  # what is there by now stays: a full look for garbage through it keeps everybody waiting for 0.3 s
    if block:
        demo.block_thread()
    return str(address)
