"""The components of prompt sets, sweeps and the judge model, in views of the Compare tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend import MOST_SEEDS, SWEPT, default_rubric
from ui.text import WORDS as W
from ui.theme import script

PARAMETERS = [(W.parameters[name], name) for name in SWEPT if name in W.parameters]
SET_FILES = [".txt", ".md", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"]


@dataclass
class BackgroundParts:
    """The components that handlers read and write."""

    upload: gr.UploadButton
    shipped: gr.Button
    start: gr.Button
    note: gr.HTML
    sets: gr.HTML
    judge: gr.HTML
    sweep_prompt: gr.Textbox
    first: gr.Dropdown
    first_values: gr.Textbox
    second: gr.Dropdown
    second_values: gr.Textbox
    seeds: gr.Slider
    plan: gr.HTML
    sweep_start: gr.Button
    sweeps: gr.HTML
    cards: gr.HTML
    length_plot: gr.LinePlot
    time_plot: gr.LinePlot
    judge_model: gr.Dropdown
    rubric: gr.Textbox
    judge_start: gr.Button
    judge_stop: gr.Button
    judge_note: gr.HTML


def build_background(picker: list[tuple[str, str]]) -> BackgroundParts:
    """Draws the views inside the open column; styles show the one that is chosen."""
    made: dict[str, Any] = {}
    with gr.Column(elem_id="view-sets", elem_classes=["view"]):
        gr.HTML(f"<p class='hint'>{W.set_hint}</p>", apply_default_css=False)
        with gr.Row(elem_classes=["tools"]):
            made["upload"] = gr.UploadButton(W.set_upload, file_types=SET_FILES, size="sm", elem_id="set-upload")
            made["shipped"] = gr.Button(W.set_shipped, size="sm", elem_id="set-shipped")
            made["start"] = gr.Button(W.set_start, size="sm", variant="primary", elem_id="set-start")
        made["note"] = gr.HTML("", elem_id="set-note", apply_default_css=False)
        made["sets"] = _batches("sets")
        made["judge"] = gr.HTML("", elem_id="judge", html_template="${value}", js_on_load=script("judge"), apply_default_css=False)
    with gr.Column(elem_id="view-sweep", elem_classes=["view"]):
        gr.HTML(f"<p class='hint'>{W.sweep_hint}</p>", apply_default_css=False)
        made["sweep_prompt"] = gr.Textbox(label=W.sweep_prompt, lines=2, max_lines=6, elem_id="sweep-prompt")
        with gr.Row(elem_classes=["tools"]):
            made["first"] = gr.Dropdown(PARAMETERS, value="temperature", label=W.sweep_first, elem_id="sweep-first")
            made["first_values"] = gr.Textbox("0.2, 0.7, 1.2", label=W.sweep_values, elem_id="sweep-first-values")
            made["second"] = gr.Dropdown([(W.sweep_none, ""), *PARAMETERS], value="", label=W.sweep_second, elem_id="sweep-second")
            made["second_values"] = gr.Textbox("", label=W.sweep_values, elem_id="sweep-second-values")
            made["seeds"] = gr.Slider(1, MOST_SEEDS, value=3, step=1, label=W.sweep_seeds, elem_id="sweep-seeds")
        with gr.Row(elem_classes=["tools"]):
            made["sweep_start"] = gr.Button(W.sweep_start, size="sm", variant="primary", elem_id="sweep-start")
            made["plan"] = gr.HTML("", elem_id="sweep-plan", apply_default_css=False)
        made["sweeps"] = _batches("sweeps")
        made["cards"] = gr.HTML("", elem_id="sweep-cards", apply_default_css=False)
        with gr.Row(elem_id="sweep-plots"):
            made["length_plot"] = gr.LinePlot(None, x="x", y="y", y_title=W.sweep_length, height=240, visible=False, elem_id="sweep-length")
            made["time_plot"] = gr.LinePlot(None, x="x", y="y", y_title=W.sweep_time, height=240, visible=False, elem_id="sweep-time")
    with gr.Column(elem_id="view-judge", elem_classes=["view"]):
        gr.HTML(f"<h5>{W.judge_model_title}</h5><p class='hint'>{W.judge_model_hint}</p>", apply_default_css=False)
        made["judge_model"] = gr.Dropdown(picker, value=None, label=W.judge_model_name, allow_custom_value=True, elem_id="judge-model")
        made["rubric"] = gr.Textbox(default_rubric(), label=W.judge_model_rubric, lines=6, max_lines=14, elem_id="judge-rubric")
        with gr.Row(elem_classes=["tools"]):
            made["judge_start"] = gr.Button(W.judge_model_start, size="sm", elem_id="judge-start")
            made["judge_stop"] = gr.Button(W.judge_model_stop, size="sm", elem_id="judge-stop")
        made["judge_note"] = gr.HTML("", elem_id="judge-note", apply_default_css=False)
    return BackgroundParts(**made)


def _batches(name: str) -> gr.HTML:
    return gr.HTML(
        "", elem_id=name, html_template="${value}", js_on_load=script("batches"), words={"delete_sure": W.batch_delete_sure},
        apply_default_css=False,
    )  # fmt: skip
