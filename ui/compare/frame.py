"""The Compare tab's frame: the panes, the prompt and vote row under them, the views, and the drawer with one pane's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend import MOST_PANES, Capabilities
from ui import parameters
from ui.compare.background_frame import BackgroundParts, build_background
from ui.compare.live import NOTHING
from ui.markup import esc
from ui.parameters import Panel
from ui.text import WORDS as W
from ui.theme import script
from ui.tools.panel import tool_list

VIEWS = (
    ("answers", W.view_answers), ("thinking", W.view_thinking), ("diff", W.view_diff), ("table", W.view_table),
    ("results", W.view_results), ("sets", W.view_sets), ("sweep", W.view_sweep),
)  # fmt: skip
PRESETS = (W.setup_checkpoints, W.setup_temperatures, W.setup_here)


@dataclass
class CompareParts:
    """The components that handlers read and write."""

    bench: gr.HTML
    live: gr.HTML
    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    add: gr.Button
    earlier: gr.HTML
    share_page: gr.Button
    share_run: gr.Button
    share_open: gr.UploadButton
    view: gr.HTML
    settings_title: gr.HTML
    model: gr.Dropdown
    link: gr.Checkbox
    panel: Panel
    setup: gr.Dropdown
    setup_use: gr.Button
    setup_save: gr.Button
    setup_delete: gr.Button
    saved: gr.BrowserState
    setups: gr.BrowserState
    files: gr.HTML
    background: BackgroundParts


def build(picker: list[tuple[str, str]], model: str, capabilities: Capabilities, trace: Any, files: gr.HTML) -> CompareParts:
    """Draws the tab inside the open `gr.Blocks`. `trace` is the server function that a folded trace is read with."""
    made: dict[str, Any] = {"files": files}
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_id="compare-main"):
            with gr.Column(elem_id="compare-centre"):
                made["bench"] = gr.HTML(
                    {"id": None, "panes": []}, html_template=_panes(), js_on_load=script("bench"), elem_id="bench",
                    server_functions=[trace], words={"busy": W.compare_busy}, apply_default_css=False,
                )  # fmt: skip
                made["live"] = gr.HTML(
                    NOTHING, html_template="<div class='page-error'></div><div class='visually-hidden' role='status'></div>",
                    js_on_load=script("panes_live"), elem_id="compare-live", apply_default_css=False,
                )  # fmt: skip
                with gr.Column(elem_id="views"):
                    made["view"] = gr.HTML("", elem_id="compare-view", apply_default_css=False)
                    made["background"] = build_background(picker)
                with gr.Column(elem_id="compare-composer"):
                    with gr.Row(elem_id="compare-row"):
                        made["prompt"] = gr.Textbox(
                            placeholder=W.compare_ask, show_label=False, label=W.compare_ask, container=False, lines=1, max_lines=8,
                            elem_id="compare-prompt",
                        )  # fmt: skip
                        made["add"] = gr.Button(f"+ {W.add_pane}", elem_id="compare-add", size="sm")
                        made["send"] = gr.Button(W.send, elem_id="compare-send")
                        made["stop"] = gr.Button(W.stop, elem_id="compare-stop")
                    with gr.Row(elem_id="compare-under"):
                        gr.HTML(_votes(), elem_id="vote-row", apply_default_css=False)
            with gr.Column(elem_id="drawer"):
                _drawer(made, picker, model, capabilities)
        with gr.Column(elem_id="compare-share"):
            gr.HTML(f"<p class='hint'>{W.share_hint}</p>", apply_default_css=False)
            made["share_page"] = gr.Button(W.share_page, size="sm", elem_id="share-page")
            made["share_run"] = gr.Button(W.share_run, size="sm", elem_id="share-run")
            made["share_open"] = gr.UploadButton(W.share_open, file_types=[".jsonl"], size="sm", elem_id="share-open")
        made["earlier"] = gr.HTML(
            {"groups": [], "empty": W.compare_earlier_empty}, html_template="<div class='chats'></div>", js_on_load=script("history"),
            elem_id="compare-history", apply_default_css=False,
            words={n: getattr(W, n) for n in ("rename", "rename_to", "pin", "unpin", "delete", "export_markdown", "export_json", "more")}
            | {"delete_sure": W.compare_delete_sure},
        )  # fmt: skip
    made["saved"] = gr.BrowserState({}, storage_key="qnp-compare", secret="qnp")  # nosec B106: no secret
    made["setups"] = gr.BrowserState({}, storage_key="qnp-setups", secret="qnp")  # nosec B106: likewise
    return CompareParts(**made)


def _drawer(made: dict[str, Any], picker: list[tuple[str, str]], model: str, capabilities: Capabilities) -> None:
    made["settings_title"] = gr.HTML(drawer_title(0), elem_id="drawer-title", apply_default_css=False)
    made["model"] = gr.Dropdown(picker, value=model, label=W.model, allow_custom_value=True, elem_id="compare-model")
    made["link"] = gr.Checkbox(label=W.link, info=W.link_hint, value=False, elem_id="compare-link")
    made["panel"] = parameters.build(capabilities, tool_list(shown=False, prefix="c-"), prefix="c-")
    gr.HTML(f"<h5>{W.setups}</h5>", apply_default_css=False)
    made["setup"] = gr.Dropdown(list(PRESETS), value=PRESETS[0], label=W.setup_name, allow_custom_value=True, elem_id="setup")
    with gr.Row():
        made["setup_use"] = gr.Button(W.setup_use, size="sm", elem_id="setup-use")
        made["setup_save"] = gr.Button(W.setup_save, size="sm", elem_id="setup-save")
        made["setup_delete"] = gr.Button(W.setup_delete, size="sm", elem_id="setup-delete")


def drawer_title(place: int) -> str:
    close = f"<button type='button' class='btn' data-compare='close'>{esc(W.done_settings)}</button>"
    return f"<div class='drawer-head'><h5>{esc(W.settings_of.format(n=place + 1))}</h5>{close}</div>"


def _panes() -> str:
    """The skeletons of all panes; bench.js and panes_live.js fill them. Nothing in here comes from a model or a person."""
    tabs = "".join(f"<button type='button' data-tab-of='{n}' hidden></button>" for n in range(1, MOST_PANES + 1))
    panes = "".join(map(_pane, range(1, MOST_PANES + 1)))
    return f"<nav id='pane-tabs' class='only-phone'>{tabs}</nav><div id='panes'>{panes}</div><div id='bench-note'></div>"


def _pane(number: int) -> str:
    def button(op: str, sign: str, label: str, kind: str = "icon") -> str:
        return f"<button type='button' class='{kind}' data-compare='{op}' title='{esc(label)}' aria-label='{esc(label)}'>{sign}</button>"

    ops = (("left", W.pane_left), ("right", W.pane_right), ("to-chat", W.pane_to_chat), ("remove", W.pane_remove))
    items = "".join(f"<button type='button' role='menuitem' data-compare='{op}'>{esc(label)}</button>" for op, label in ops)
    return (
        f"<section class='pane' id='pane-{number}' data-place='{number - 1}' aria-label='{esc(W.pane.format(n=number))}' hidden>"
        "<header><span class='dot'></span><span class='place num'></span>"
        f"<button type='button' class='model' data-compare='settings' title='{esc(W.pane_settings)}'></button>"
        "<span class='setting num'></span><span class='grow'></span><span class='state num'></span>"
        f"<button type='button' class='btn stop' data-compare='stop' hidden>{esc(W.pane_stop)}</button>"
        + button("grow", "⤢", W.pane_grow) + button("settings", "⚙", W.pane_settings)
        + f"<details class='pane-more'><summary class='icon' title='{esc(W.pane_more)}' aria-label='{esc(W.pane_more)}'>⋯</summary>"
        f"<div class='menu pane-menu' role='menu'>{items}</div></details></header>"
        "<div class='pane-body' tabindex='0'><div class='pane-turns'></div>"
        "<div class='pane-live turn' hidden><div class='trace think' hidden><div class='trace-head'><b class='label'></b>"
        "<span class='count num'></span><span class='grow'></span>"
        f"<span class='meter' role='meter' aria-label='{esc(W.parameters['thinking_budget'])}'"
        " aria-valuemin='0' aria-valuemax='100' hidden><i></i></span><span class='of num'></span></div>"
        "<div class='trace-text' aria-live='off'></div></div>"
        "<div class='answer-live' dir='auto' aria-live='off'><div class='drawn'></div><div class='tail'></div></div>"
        "<div class='wait'></div><div class='pane-error'></div></div></div><div class='pane-foot num'></div></section>"
    )  # fmt: skip


def _votes() -> str:
    def button(op: str, label: str, more: str = "") -> str:
        return f"<button type='button' class='btn' data-compare='{op}'{more}>{esc(label)}</button>"

    def vote(verdict: str, label: str, more: str = "") -> str:
        return button("vote", label, f" id='vote-{verdict}' data-verdict='{verdict}'{more}")

    votes = "".join(vote(str(number), str(number), " hidden") for number in range(1, MOST_PANES + 1))
    views = "".join(
        f"<button type='button' class='btn' data-view='{name}' aria-pressed='{str(name == 'answers').lower()}'>{esc(label)}</button>"
        for name, label in VIEWS
    )
    tag = f"placeholder='{esc(W.vote_tag)}' title='{esc(W.vote_tag_hint)}' aria-label='{esc(W.vote_tag)}' maxlength='40'"
    return (
        f"<div class='votes'><span>{esc(W.vote)}</span>{votes}{vote('tie', W.vote_tie)}{vote('bad', W.vote_bad)}<input id='vote-tag' {tag}>"
        + button("blind", W.blind, f" id='blind' aria-pressed='false' title='{esc(W.blind_hint)}'")
        + f"<span id='voted' role='status'></span></div><div class='views' role='group'>{views}"
        + f"{button('share', W.share)}{button('earlier', W.compare_earlier)}{button('new', W.compare_new)}</div>"
    )
