"""A comparison as one HTML file that opens anywhere, offline: no script, no address that anything is loaded from. The browser that saves it
draws its Markdown first (assets/page/saved_page.js); without that it shows what was written.

What models and people wrote is escaped or rendered by the page's own functions; then the whole body goes through a sieve that knows
only what such a page is made of, which also takes out the buttons that would do nothing here. Knows no comparison and no database,
and works long on long traces: call it by `ui.drawing.in_thread`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import nh3

from backend import Capabilities, Node, portable_name
from backend.catalogue import ASSETS
from ui.compare.bench import foot
from ui.compare.difference import diff_view
from ui.compare.table import Column, table_view
from ui.drawing import difference
from ui.markup import esc, markdown, said
from ui.render import answer_parts, error_card
from ui.text import WORDS as W

POLICY = "default-src 'none'; style-src 'unsafe-inline'; font-src data:; img-src data:"
LONGEST_TITLE = 60  # characters of the first prompt in the window's title
_EMPTY_TRACE = "<div class='trace-body'></div>"  # as `answer_parts` leaves it, to be filled when it is opened
_TAGS = {"markdown-text"} | set(
    "a article b blockquote br code del details div em footer h1 h2 h3 h4 h5 h6 header hr i ins li main ol p pre s section span strong "
    "summary table tbody td th thead tr ul".split()
)
_ATTRIBUTES = {
    "*": {"class", "dir", "title"},
    "a": {"href", "target"},
    "ol": {"start"},
    "td": {"style"},
    "th": {"scope", "style"},
    "markdown-text": {"fenced"},
}
_SIEVE = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags={"button", "script", "style"},
    attributes=_ATTRIBUTES,
    filter_style_properties={"text-align"},  # of the columns of a Markdown table
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",  # it would lead into the folder of whoever opens the file
    link_rel="noopener noreferrer nofollow",
)
_PAGE = """<!doctype html>
<html lang="{language}"><head>
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head><body>
{body}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One pane: its `name` as shown, the model's full name, its settings as stored, and its answers by turn, `None` where it was
    not asked. `in_turn`: its answers waited for those of other panes on the same machine. `questions`: what it was asked by turn, where
    that is not the turn's prompt."""

    name: str
    model: str
    settings: Mapping[str, Any]
    answers: tuple[Node | None, ...]
    capabilities: Capabilities | None
    in_turn: bool = False
    questions: Mapping[int, str] = field(default_factory=dict)

    def answer(self, turn: int) -> Node | None:
        return self.answers[turn] if turn < len(self.answers) else None


def page_file(prompts: Sequence[str], sides: Sequence[Side], votes: Mapping[int, str], *, made_at: datetime, versions: str) -> str:
    """The file's text, to be written as UTF-8. `votes` is what to say about the vote on a turn, from 0."""
    made = W.file_made.format(when=made_at.strftime("%Y-%m-%d %H:%M %Z").strip(), versions=versions)
    parts = [
        f"<main><header><p class='product'>{esc(W.product)}</p><h1>{esc(W.file_title)}</h1><p class='made'>{esc(made)}</p></header>",
        _settings_table(sides),
        *(_turn(turn, prompts, sides, votes.get(turn, "")) for turn in range(len(prompts))),
        "</main>",
    ]
    first = " ".join(prompts[0].split()) if prompts else ""
    short = first if len(first) <= LONGEST_TITLE else first[: LONGEST_TITLE - 1] + "…"
    return _PAGE.format(
        language=W.language,
        policy=POLICY,
        title=_writable(esc(W.file_title_of.format(prompt=short or W.file_title, product=W.product))),
        style="".join((ASSETS / "page" / f"{name}.css").read_text(encoding="utf-8") for name in ("export", "markdown")),
        body=_SIEVE.clean(_writable("\n".join(parts))),
    )


def _writable(text: str) -> str:
    """UTF-8 has no half of a surrogate pair, which a cut emoji leaves behind."""
    return text.encode("utf-8", "replace").decode()


# ---- settings
def settings_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Only the settings that the panel knows, as people read them by their labels; of the extra fields no text, which may be a key."""
    shown = {}
    for name, label in W.parameters.items():
        text = _extra(settings.get(name)) if name == "extra" else _as_text(settings.get(name))
        if text:
            shown[label] = text
    if settings.get("resend_thinking"):
        shown[W.resend] = W.file_yes
    if str(settings.get("system") or "").strip():
        shown[W.system_prompt] = str(settings["system"])
    return shown


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return W.file_yes if value else W.file_no
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(json.dumps(each, ensure_ascii=False) for each in value)
    return "" if value is None else str(value)


def _extra(fields: Any) -> str:
    if not isinstance(fields, Mapping) or not fields:
        return ""
    plain = {name: value for name, value in fields.items() if value is None or isinstance(value, bool | int | float)}
    shown = json.dumps(plain, ensure_ascii=False)
    return shown if len(plain) == len(fields) else W.file_texts_left_out.format(values=shown)


def _settings_table(sides: Sequence[Side]) -> str:
    columns = [{W.model: portable_name(side.model), **settings_of(side.settings)} for side in sides]
    labels = [W.model, *W.parameters.values(), W.resend, W.system_prompt]
    rows = "".join(
        f"<tr><th scope='row'>{esc(label)}</th>{''.join(_cell(column.get(label, '-')) for column in columns)}</tr>"
        for label in labels
        if any(label in column for column in columns)
    )
    names = "".join(f"<th scope='col'>{esc(side.name)}</th>" for side in sides)
    return (
        f"<section class='settings'><h2>{esc(W.file_settings)}</h2><div class='table-scroll'><table><thead><tr>"
        f"<th scope='col'>{esc(W.file_setting)}</th>{names}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _cell(text: str) -> str:
    return f"<td dir='auto'>{esc(text)}</td>"


def _other_settings(side: Side, node: Node) -> str:
    """What to say where a pane's settings were changed after this answer; a seed that was drawn for it is no such change."""
    asked, now = settings_of(node.parameters), settings_of(side.settings)
    if W.parameters["seed"] not in now:
        asked.pop(W.parameters["seed"], None)
    other = [label for label in {**now, **asked} if now.get(label) != asked.get(label)]
    if not node.parameters or not other:
        return ""
    told = "; ".join(W.file_setting_was.format(name=label, value=asked.get(label, "-")) for label in other)
    return _note(W.file_other_settings.format(settings=told))


# ---- turns
def _turn(turn: int, prompts: Sequence[str], sides: Sequence[Side], vote: str) -> str:
    title = W.file_prompt if len(prompts) == 1 else W.file_prompt_of.format(n=turn + 1, all=len(prompts))
    parts = [
        f"<section class='turn'><h2>{esc(title)}</h2><div class='you' dir='auto'>{esc(prompts[turn])}</div><div class='panes'>",
        *(_pane(side, side.answer(turn), side.questions.get(turn)) for side in sides),
        "</div>",
    ]
    if vote:
        parts.append(f"<p class='vote' dir='auto'>{esc(vote)}</p>")
    if any(side.answer(turn) for side in sides):
        columns = [Column(side.name, side.answer(turn), side.capabilities, side.in_turn) for side in sides]
        parts.append(f"<h3>{esc(W.file_figures)}</h3>{table_view(columns)}")
    alike = [side for side in sides if turn not in side.questions]
    parts.append(_difference([(side.name, node.content) for side in alike if (node := side.answer(turn)) and node.content.strip()]))
    return "".join(parts) + "</section>"


def _difference(answers: Sequence[tuple[str, str]]) -> str:
    if len(answers) < 2:
        return ""
    title = W.file_difference.format(left=answers[0][0], right=answers[1][0])
    return f"<details class='difference'><summary>{esc(title)}</summary>{diff_view(answers[0], answers[1], difference)}</details>"


def _pane(side: Side, node: Node | None, question: str | None) -> str:
    body = "" if question is None else f"<div class='you' dir='auto'>{said(question)}</div>"
    body += _note(W.file_not_asked) if node is None else _answer(side, node)
    under = f"<footer>{foot(node, side.capabilities, waits=side.in_turn)}</footer>" if node else ""
    return f"<article class='pane'><header><h3>{esc(side.name)}</h3></header><div class='pane-body'>{body}</div>{under}</article>"


def _answer(side: Side, node: Node) -> str:
    parts = answer_parts(node, trace_class="trace thinking")
    if node.thinking:
        parts[0] = parts[0].replace(_EMPTY_TRACE, f"<div class='trace-body' dir='auto'>{markdown(node.thinking)}</div>")
    if node.error is not None:
        parts.append(error_card(node.error.message, node.error.hint, (), elem_id=None))
    if node.status == "streaming":
        parts.append(_note(W.file_streaming))
    elif node.status == "stopped" and node.content.strip():
        parts.append(_note(W.file_stopped))
    return "".join(parts or [_note(W.file_nothing)]) + _other_settings(side, node)


def _note(text: str) -> str:
    return f"<p class='note' dir='auto'>{esc(text)}</p>"
