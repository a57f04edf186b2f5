"""The Tools segment of the right panel: components only. The list of tools keeps the kit as its value, as JSON, and its script changes
that; so it is sent, kept and brought back with the other settings of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.text import WORDS as W
from ui.theme import script

EMPTY: dict[str, Any] = {"specs": []}


@dataclass
class ToolParts:
    """What stands beside the list, which is a part of the parameter panel."""

    note: gr.HTML
    built_in: gr.Button
    definition: gr.Textbox
    url: gr.Textbox
    url_header: gr.Textbox
    add: gr.Button
    openapi: gr.UploadButton
    mcp: gr.Textbox
    mcp_header: gr.Textbox
    mcp_connect: gr.Button
    mcp_note: gr.HTML


def tool_list(*, shown: bool, prefix: str = "") -> gr.HTML:
    """The list of tools; `value` is a kit as `ToolKit.stored` writes it."""
    names = "none by policies choice choices choice_named parallel rounds edit remove who when on".split()
    words = {name: getattr(W, f"tools_{name}") for name in names}
    return gr.HTML(
        EMPTY, html_template="<div class='tool-list'></div>", js_on_load=script("tools"), words=words, visible=shown,
        elem_id=f"{prefix}tools", apply_default_css=False,
    )  # fmt: skip


def build(*, public: bool) -> ToolParts:
    """What defines and imports tools, drawn under the list."""
    gr.HTML(f"<h5>{W.tools_definition}</h5>")
    definition = gr.Textbox(
        show_label=False, label=W.tools_definition, info=W.tools_definition_hint, placeholder=W.tools_example, lines=9, max_lines=24,
        elem_id="tool-definition", elem_classes=["mono"],
    )  # fmt: skip
    url = gr.Textbox(
        label=W.tools_url, info=W.tools_url_public if public else W.tools_url_hint, placeholder="http://127.0.0.1:9000/weather",
        max_lines=1, elem_id="tool-url", interactive=not public,
    )  # fmt: skip
    url_header = _header("tool-header", interactive=not public)
    with gr.Row():
        add = gr.Button(W.tools_add, size="sm", elem_id="tool-add")
        built_in = gr.Button(W.tools_builtin, size="sm", elem_id="tool-built-in")
    openapi = gr.UploadButton(W.tools_import, file_types=[".json", ".yaml", ".yml"], size="sm", elem_id="tool-openapi")
    note = gr.HTML("", elem_id="tool-note", apply_default_css=False)
    gr.HTML(f"<h5>{W.mcp_title}</h5>")
    mcp = gr.Textbox(
        label=W.mcp_address, info=W.mcp_hint_public if public else W.mcp_hint, placeholder="http://127.0.0.1:8000/mcp", max_lines=1,
        elem_id="mcp-address",
    )  # fmt: skip
    mcp_header = _header("mcp-header")
    connect = gr.Button(W.mcp_connect, size="sm", elem_id="mcp-connect")
    mcp_note = gr.HTML("", elem_id="mcp-note", apply_default_css=False)
    return ToolParts(note, built_in, definition, url, url_header, add, openapi, mcp, mcp_header, connect, mcp_note)


def _header(elem_id: str, *, interactive: bool = True) -> gr.Textbox:
    """Never among a chat's settings: it mostly holds a key."""
    return gr.Textbox(
        label=W.tools_header, info=W.tools_header_hint, placeholder="Authorization: Bearer …", type="password", max_lines=1,
        elem_id=elem_id, interactive=interactive,
    )  # fmt: skip
