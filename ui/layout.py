"""The page's frame: top bar, the chats on the left, the open chat in the middle, settings on the right, and the About tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend import Capabilities, ModelChoice, Settings, display_name, portable_name
from ui import parameters
from ui.about import about_text
from ui.calling import calling
from ui.compare import frame
from ui.compare.frame import CompareParts
from ui.live import IDLE
from ui.parameters import Panel
from ui.text import WORDS as W
from ui.theme import script
from ui.tools import panel as tool_panel
from ui.tools.panel import ToolParts
from ui.visitor import Session

LIVE_TEMPLATE = f"""
<div class='turn live' hidden>
  <div class='steps'></div>
  <div class='trace think' hidden>
    <div class='trace-head'><b class='label'></b><span class='count num'></span><span class='grow'></span>
      <span id='thinking-meter' class='meter' role='meter' aria-label='{W.parameters["thinking_budget"]}'
        aria-valuemin='0' aria-valuemax='100' hidden><i></i></span>
      <span class='of num'></span></div>
    <div id='thinking-live' class='trace-text' tabindex='0' aria-live='off'></div>
  </div>
  <div id='answer-live' class='answer-live' dir='auto' aria-live='off'><div class='drawn'></div><div class='tail'></div></div>
  <div class='wait'></div>
</div>
<div class='page-error'></div>
"""


@dataclass
class Page:
    """The components that handlers read and write."""

    model: gr.Dropdown
    search: gr.Textbox
    new_chat: gr.Button
    history: gr.HTML
    import_button: gr.UploadButton
    export_all: gr.Button
    log: gr.HTML
    live: gr.HTML
    composer: gr.MultimodalTextbox
    send: gr.Button
    stop: gr.Button
    context: gr.HTML
    files: gr.HTML
    panel: Panel
    preset_save: gr.Button
    preset_delete: gr.Button
    reset: gr.Button
    show_request: gr.Button
    request: gr.HTML
    dashscope_key: gr.Textbox
    dashscope_region: gr.Dropdown
    use_key: gr.Button
    server_url: gr.Textbox
    server_key: gr.Textbox
    add_server: gr.Button
    connect_note: gr.HTML
    machine_note: gr.HTML
    machine_name: gr.Textbox
    machine_plan: gr.Button
    machine_use: gr.Button
    machine_unload: gr.Button
    presets: gr.BrowserState
    session: gr.State
    compare: CompareParts
    tools: ToolParts


def build(
    choices: list[ModelChoice], model: str, capabilities: Capabilities, trace: Any, settings: Settings, *, describe_files: Any,
    shared: bool = False,
) -> Page:  # fmt: skip
    """Draws the page inside the open `gr.Blocks`. `trace` is the server function that a folded trace is read with, `describe_files` the
    one that tells what was attached.

    On a public host nobody looks at the machine's models, and no tool calls an address. A page that is `shared` with the network
    says so.
    """
    made: dict[str, Any] = {"session": gr.State(Session())}
    words = {
        n: getattr(W, n) for n in ("rename", "rename_to", "pin", "unpin", "delete", "delete_sure", "export_markdown", "export_json", "more")
    }
    log_words = {n: getattr(W, n) for n in ("edit", "cancel", "save_edit", "delete_turn_sure")}
    if shared:
        gr.HTML(f"<p role='note'>{W.shared_with_network}</p>", elem_id="shared-note")
    with gr.Row(elem_id="topbar"):
        gr.Button("☰", elem_id="open-left", elem_classes=["icon"])
        gr.HTML(f"<div class='brand'><i></i><span>{W.product}</span></div>", elem_id="brand")
        gr.Button(W.tab_chat, elem_id="tab-chat", elem_classes=["nav"])
        gr.Button(W.tab_compare, elem_id="tab-compare", elem_classes=["nav"])
        gr.Button(W.tab_about, elem_id="tab-about", elem_classes=["nav"])
        gr.HTML("", elem_id="spring")
        made["model"] = gr.Dropdown(
            picker(choices, model),
            value=model,
            show_label=False,
            container=False,
            allow_custom_value=True,
            elem_id="model",
            label=W.model,
        )
        gr.Button("☾", elem_id="theme", elem_classes=["icon"])
        gr.Button("⚙", elem_id="open-right", elem_classes=["icon"])
    with gr.Row(elem_id="frame"):
        with gr.Column(elem_id="left"):
            made["new_chat"] = gr.Button(W.new_chat, elem_id="new-chat")
            made["search"] = gr.Textbox(
                show_label=False, container=False, placeholder=f"{W.search}   Ctrl K", label=W.search, elem_id="history-search"
            )
            made["history"] = gr.HTML(
                {"groups": [], "empty": W.no_history}, html_template="<div class='chats'></div>", js_on_load=script("history"),
                elem_id="history", words=words, apply_default_css=False,
            )  # fmt: skip
            with gr.Row(elem_id="history-tools"):
                made["import_button"] = gr.UploadButton(W.import_chats, file_types=[".json", ".md", ".jsonl"], size="sm", elem_id="import")
                made["export_all"] = gr.Button(W.export_all, size="sm", elem_id="export-all")
                gr.Button(W.tab_about, size="sm", elem_id="about-here", elem_classes=["only-phone"])  # the top bar is full there
        with gr.Column(elem_id="centre"):
            with gr.Column(elem_id="scroll"):
                made["log"] = gr.HTML(
                    {"chat": None, "turns": []}, html_template="<div class='log'></div>", js_on_load=script("chat_log"),
                    elem_id="chat-log", words=log_words, server_functions=[trace, describe_files], apply_default_css=False,
                )  # fmt: skip
                made["live"] = gr.HTML(
                    IDLE, html_template=LIVE_TEMPLATE, js_on_load=script("live"), elem_id="live", apply_default_css=False
                )
            gr.Button(W.jump, elem_id="jump", size="sm")
            with gr.Column(elem_id="composer-area"):
                with gr.Row(elem_id="composer-row"):
                    made["composer"] = gr.MultimodalTextbox(
                        placeholder=W.ask, show_label=False, label=W.ask, container=False, lines=1, max_lines=10, file_count="multiple",
                        sources=["upload"], submit_btn=False, stop_btn=False, max_plain_text_length=1_000_000,
                        elem_id="composer", autofocus=True,
                    )  # fmt: skip
                    made["send"] = gr.Button(W.send, elem_id="send")
                    made["stop"] = gr.Button(W.stop, elem_id="stop")
                with gr.Row(elem_id="under"):
                    made["context"] = gr.HTML("", elem_id="context", apply_default_css=False)
                    gr.HTML(f"<span id='status' data-state='idle'>{W.states['idle']}</span>")
        with gr.Column(elem_id="right"):
            with gr.Row(elem_id="segments"):
                gr.Button(W.seg_parameters, elem_id="seg-parameters")
                gr.Button(W.seg_tools, elem_id="seg-tools")
                made["show_request"] = gr.Button(W.seg_request, elem_id="show-request")
                gr.Button(W.seg_connect, elem_id="seg-connect")
            with gr.Column(elem_id="panel-tools"):
                gr.HTML(f"<p class='hint'>{W.tools_intro}</p>")
                tools = tool_panel.tool_list(shown=True)
                made["tools"] = tool_panel.build(public=settings.public)
            with gr.Column(elem_id="panel-parameters"):
                made["panel"] = parameters.build(capabilities, tools)
                with gr.Row():
                    made["reset"] = gr.Button(W.reset, size="sm", elem_id="reset")
                    made["preset_save"] = gr.Button(W.preset_save, size="sm", elem_id="preset-save")
                    made["preset_delete"] = gr.Button(W.preset_delete, size="sm", elem_id="preset-delete")
            with gr.Column(elem_id="panel-request"):
                made["request"] = gr.HTML(
                    "",
                    elem_id="request",
                    html_template="<div class='request'></div>",
                    js_on_load=script("request"),
                    apply_default_css=False,
                )
            with gr.Column(elem_id="panel-connect"):
                _connect(made)
                _machine(made, shown=not (settings.public or shared))
    files = made["files"] = gr.HTML(None, html_template="<div></div>", js_on_load=script("files"), elem_id="files")
    made["compare"] = frame.build(picker(choices, model), model, capabilities, trace, files)
    with gr.Column(elem_id="about"):
        gr.HTML(about_text(), apply_default_css=False)
        calling(settings, model, capabilities)
    gr.HTML("<div id='shade'></div>")
    made["presets"] = gr.BrowserState({}, storage_key="qnp-presets", secret="qnp-presets")  # nosec B106: no secret
    return Page(**made)


def picker(choices: list[ModelChoice], model: str, title: str = "") -> list[tuple[str, str]]:
    """The model picker's entries as (label, name); the selected model is always among them, as `title` if it is not a choice."""
    entries = [(display_name(f"{c.title} · {c.place}", 200), c.name) for c in choices]
    if model not in {name for _, name in entries}:
        entries.insert(0, (display_name(title or portable_name(model)), model))
    return entries


def _connect(made: dict[str, Any]) -> None:
    gr.HTML(f"<p class='hint'>{W.connect_intro}</p>")
    gr.HTML(f"<h5>{W.connect_dashscope}</h5>")
    made["dashscope_key"] = gr.Textbox(label=W.connect_key, type="password", elem_id="dashscope-key", max_lines=1)
    made["dashscope_region"] = gr.Dropdown(
        ["singapore", "beijing", "virginia", "hongkong"], value="singapore", label=W.connect_region, elem_id="dashscope-region"
    )
    made["use_key"] = gr.Button(W.connect_use, size="sm", elem_id="use-key")
    gr.HTML(f"<h5>{W.connect_server}</h5>")
    made["server_url"] = gr.Textbox(label=W.connect_url, placeholder="http://127.0.0.1:8000/v1", elem_id="server-url", max_lines=1)
    made["server_key"] = gr.Textbox(label=W.connect_server_key, type="password", elem_id="server-key", max_lines=1)
    made["add_server"] = gr.Button(W.connect_add, size="sm", elem_id="add-server")
    made["connect_note"] = gr.HTML("", elem_id="connect-note")


def _machine(made: dict[str, Any], *, shown: bool) -> None:
    with gr.Column(visible=shown, elem_id="machine"):
        gr.HTML(f"<h5>{W.connect_machine}</h5><p class='hint'>{W.machine_hint}</p>")
        made["machine_name"] = gr.Textbox(label=W.machine_name, placeholder="Qwen/Qwen3-0.6B", elem_id="machine-name", max_lines=1)
        with gr.Row():
            made["machine_plan"] = gr.Button(W.machine_plan, size="sm", elem_id="machine-plan")
            made["machine_use"] = gr.Button(W.machine_use, size="sm", elem_id="machine-use")
            made["machine_unload"] = gr.Button(W.machine_unload, size="sm", elem_id="machine-unload")
        made["machine_note"] = gr.HTML("", elem_id="machine-note")
