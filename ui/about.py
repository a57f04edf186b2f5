"""The About tab: what answers here, the keys, licence and versions."""

from __future__ import annotations

import platform

import gradio as gr

from ui.text import WORDS as W


def about_text() -> str:
    keys = "".join(f"<tr><td><code>{key}</code></td><td>{what}</td></tr>" for key, what in W.keys)
    lines = "".join(f"<p>{line}</p>" for line in W.about)
    versions = f"Python {platform.python_version()}, gradio {gr.__version__}"
    return (
        f"<div class='answer'><h1>{W.product}</h1>{lines}"
        f"<h2 id='keys'>{W.keys_title}</h2><table>{keys}</table><p class='note'>{versions}</p></div>"
    )
