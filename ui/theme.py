"""The Gradio theme, CSS and scripts: the look's tokens put into Gradio's own variables, so that stock components follow."""

from __future__ import annotations

import json
from functools import cache

import gradio as gr

from backend.catalogue import ASSETS
from ui import page_files
from ui.text import WORDS as W

PAGE = ASSETS / "page"


@cache
def script(name: str) -> str:
    """A script of the page by its file name without the ending."""
    return (PAGE / f"{name}.js").read_text(encoding="utf-8")


def head(*, shared: bool = False) -> str:
    """Styles and scripts: viewport for phones with an on-screen keyboard, keys, theme, panels.

    The styles go here and not into gradio's `css=`, which puts its own classes before every selector and breaks those that
    begin with body inside a media query.
    """
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">'
    styles = "".join((PAGE / f"{name}.css").read_text(encoding="utf-8") for name in ("page", "markdown", "compare", "tools"))
    scripts = "\n".join(script(name) for name in ("page", "drawing", "diagram", "saved_page", "growing", "turns"))
    known = {"version": page_files.version(), "code": W.code, "shared": shared}
    config = json.dumps(known, ensure_ascii=False).replace("<", "\\u003c")
    return f"{viewport}<style>{styles}</style><script>{scripts}</script>".replace("PLAYGROUND_CONFIG", config)


def theme() -> gr.themes.Base:
    sans = (
        "system-ui",
        "-apple-system",
        "Segoe UI",
        "Noto Sans",
        "Noto Sans CJK SC",
        "PingFang SC",
        "Microsoft YaHei",
        "sans-serif",
    )
    mono = ("ui-monospace", "JetBrains Mono", "Cascadia Code", "Menlo", "Consolas", "monospace")
    paired = {
        "body_background_fill": "var(--paper)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--soft)",
        "background_fill_primary": "var(--card)",
        "background_fill_secondary": "var(--sunk)",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "color_accent_soft": "var(--accent-wash)",
        "block_background_fill": "var(--card)",
        "block_border_color": "var(--line)",
        "block_label_text_color": "var(--soft)",
        "block_title_text_color": "var(--soft)",
        "block_info_text_color": "var(--faint)",
        "input_background_fill": "var(--card)",
        "input_border_color": "var(--line)",
        "input_border_color_focus": "var(--accent)",
        "input_placeholder_color": "var(--faint)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent)",
        "button_primary_text_color": "var(--accent-ink)",
        "button_secondary_background_fill": "var(--card)",
        "button_secondary_background_fill_hover": "var(--accent-wash)",
        "button_secondary_text_color": "var(--ink)",
        "button_secondary_border_color": "var(--line)",
        "checkbox_background_color": "var(--card)",
        "checkbox_background_color_selected": "var(--accent)",
        "checkbox_border_color": "var(--faint)",
        "error_text_color": "var(--bad)",
        "link_text_color": "var(--accent)",
    }
    both = {**paired, **{f"{name}_dark": value for name, value in paired.items()}}
    return gr.themes.Base(font=sans, font_mono=mono).set(
        slider_color="var(--accent)", slider_color_dark="var(--accent)", color_accent="var(--accent)", block_shadow="none",
        block_radius="10px", input_shadow="none", input_shadow_focus="none", button_large_radius="8px", button_small_radius="8px",
        button_border_width="1px", **both,
    )  # fmt: skip
