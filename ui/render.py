"""Pure functions from what the backend holds to what the page's components show. Everything a model or a person wrote is
escaped here, on the way out; nothing else builds markup from text. Markdown is drawn by the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2s
from typing import Any

from backend import BackendError, Capabilities, Conversation, Node, ShelfEntry, Usage, display_name
from ui.markup import count, esc, markdown, said, thinking_seconds
from ui.runcard import run_card
from ui.text import WORDS as W
from ui.tools.cards import steps_html
from ui.tools.json_answer import json_answer


def error_actions(kind: str) -> tuple[str, ...]:
    """Which buttons an error gets, by the name of its class."""
    return {
        "AuthError": ("connect",),
        "ConfigError": ("connect",),
        "QuotaExhausted": ("connect",),
        "UnknownModel": ("connect",),
        "BadInput": ("parameters",),
        "ContextTooLong": ("new",),
    }.get(kind, ("regenerate",))


MAX_SENTENCE_CHARS = 1_000  # files may bring longer ones


def error_card(
    message: str, hint: str, actions: Sequence[str], *, elem_id: str | None = "error-card", request_id: str | None = None
) -> str:
    """One bold sentence, one plain sentence, one button."""
    buttons = []
    for action in actions:
        panel = f" data-panel='{action}'" if action in ("connect", "parameters") else ""
        op = "panel" if panel else action
        buttons.append(f"<button type='button' class='btn' data-op='{op}'{panel}>{esc(W.error_actions[action])}</button>")
    trace = f" <span class='hint'>request id {esc(display_name(request_id))}</span>" if request_id else ""
    name = f" id='{elem_id}'" if elem_id else ""
    sentence, advice = (esc(display_name(text, MAX_SENTENCE_CHARS)) for text in (message, hint))
    return f"<div class='err' role='alert'{name}><b>{sentence}</b><p>{advice}{trace}</p>{''.join(buttons)}</div>"


def page_error(error: BackendError) -> str:
    """An error that belongs to no answer: shown under the turns, closed by its button."""
    actions = [a for a in error_actions(type(error).__name__) if a != "regenerate"] or ["dismiss"]
    return error_card(error.message, error.hint, actions, request_id=error.request_id)


def conversation_view(
    conversation: Conversation | None,
    capabilities: dict[str, Capabilities],
    *,
    live_node: str | None = None,
    empty_html: str = "",
    follow: bool = False,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The value of the chat log. The node in the making is left out: the live part of the page shows it.

    `notes` is what to say under every answer of a model (a replayed one, say), by its name.
    """
    if conversation is None or not conversation.path:
        return {
            "chat": None,
            "turns": [turn("empty", "empty", empty_html)],
            "follow": False,
        }
    path = [node for node in conversation.path if node.id != live_node]
    last_answer = next((n.id for n in reversed(path) if n.role == "assistant"), None)
    turns = []
    for node in path:
        if node.role == "user":
            body = user_turn(node)
        else:
            last = node.id == last_answer and live_node is None
            note = (notes or {}).get(node.model or "", "")
            body = assistant_turn(node, capabilities.get(node.model or ""), last=last, note=note)
        turns.append(turn(node.id, node.role, body, node.content))
    return {"chat": conversation.id, "turns": turns, "follow": follow}


def turn(turn_id: str, role: str, body: str, copy: str = "") -> dict[str, str]:
    """One turn as turns.js takes it: its element stays as long as its key does."""
    return {"id": turn_id, "key": blake2s(body.encode(), digest_size=8).hexdigest(), "role": role, "html": body, "copy": copy}


def siblings(node: Node) -> str:
    ids = list(node.siblings)
    if len(ids) < 2:
        return ""
    place = ids.index(node.id)

    def arrow(step: int, label: str, sign: str) -> str:
        target = place + step
        off = "" if 0 <= target < len(ids) else " disabled"
        to = esc(ids[target]) if not off else ""
        return f"<button type='button' data-op='select' data-step='{step}' data-to='{to}' aria-label='{esc(label)}'{off}>{sign}</button>"

    label = W.version.format(i=place + 1, n=len(ids))
    return (
        f"<span class='sib' aria-label='{esc(label)}'>{arrow(-1, W.earlier_version, '‹')}{place + 1}/{len(ids)}"
        f"{arrow(1, W.later_version, '›')}</span>"
    )


def action(op: str, label: str, *, off_because: str = "", extra: str = "") -> str:
    off = f" disabled title='{esc(off_because)}'" if off_because else ""
    return f"<button type='button' data-op='{op}'{extra}{off}>{esc(label)}</button>"


def user_turn(node: Node) -> str:
    files = "".join(f"<span class='file'>{esc(W.files.format(name=a.name, tokens=count(a.tokens)))}</span>" for a in node.attachments)
    files = f"<div class='files'>{files}</div>" if files else ""
    acts = (
        siblings(node)
        + action("copy", W.copy, extra=f" data-copied='{esc(W.copied)}'")
        + action("edit", W.edit)
        + action("delete", W.delete)
    )
    return f"<div class='you' dir='auto'>{files}{said(node.content)}</div><div class='acts'>{acts}</div>"


def trace_summary(node: Node) -> str:
    spent_s, tokens = _own_thinking(node)
    if spent_s is not None:
        label = W.thought.format(seconds=thinking_seconds(spent_s))
    else:
        label = W.thought_unknown if node.content else W.thought_stopped
    parts = [f"<b>{esc(label)}</b>"]
    if tokens is not None:
        parts.append(f"<span class='num'>{esc(W.tokens.format(n=count(tokens)))}</span>")
    budget = node.parameters.get("thinking_budget")
    if budget and tokens is not None:
        share = min(1.0, tokens / budget)
        parts.append(
            f"<span class='grow'></span><span class='meter'><i style='width:{100 * share:.0f}%'></i></span>"
            f"<span class='num of'>{esc(W.of_budget.format(n=count(int(budget))))}</span>"
        )
    return "".join(parts)


def _own_thinking(node: Node) -> tuple[float | None, int | None]:
    """(seconds, tokens) of the last trace alone: the answer's figures hold those of its earlier turns, too."""
    spent_s = node.timing.thinking_s if node.timing else None
    tokens = node.usage.reasoning_tokens if node.usage else None
    for step in node.steps:
        spent_s = None if spent_s is None else max(0.0, spent_s - (step.thinking_s or 0.0))
        told = step.usage.reasoning_tokens
        tokens = None if tokens is None or told is None else tokens - told
    return spent_s, tokens


def answer_parts(node: Node, *, trace_class: str = "trace", plain: bool = False) -> list[str]:
    """A finished answer's folded trace, text and what there is to say about a missing one. `plain`: nothing of times and counts."""
    parts = [steps_html(node.steps)] if node.steps else []
    if node.thinking:
        summary = f"<b>{esc(W.thought_unknown)}</b>" if plain else trace_summary(node)
        parts.append(f"<details class='{trace_class}'><summary>{summary}</summary><div class='trace-body'></div></details>")
    if node.content.strip():
        wanted = node.parameters.get("format")
        shown = json_answer(node.content, wanted) if isinstance(wanted, dict) else markdown(node.content)
        parts.append(f"<div class='answer' dir='auto' data-testid='bot'>{shown}</div>")
    elif node.status == "stopped":
        parts.append(f"<p class='note'>{esc(W.empty_stopped)}</p>")
    elif node.status == "done" and node.thinking:
        parts.append(f"<p class='note'>{esc(W.empty_answer)}</p>")
    if node.status == "interrupted":
        parts.append(f"<p class='note'>{esc(W.interrupted)}</p>")
    return parts


def assistant_turn(node: Node, capabilities: Capabilities | None, *, last: bool, note: str = "") -> str:
    """A finished answer: folded trace, answer, notes, run card, actions. The answer's element does not hold the trace."""
    parts = answer_parts(node)
    if note:
        parts.append(f"<p class='note'>{esc(note)}</p>")
    if node.error is not None:
        shown_id = "error-card" if last else None
        parts.append(
            error_card(node.error.message, node.error.hint, error_actions(node.error.kind), elem_id=shown_id, request_id=node.request_id)
        )
    parts.append(run_card(node, capabilities, elem_id="run-card" if last else None))
    cannot = (
        ""
        if node.steps or (capabilities and capabilities.can_continue)
        else W.continue_not.format(engine=capabilities.engine_title if capabilities else "-")
    )
    unfinished = node.status in ("stopped", "interrupted", "error") or node.finish_reason == "length"
    acts = siblings(node) + action("copy", W.copy, extra=f" data-copied='{esc(W.copied)}'") + action("regenerate", W.regenerate)
    if unfinished and (node.content or node.steps):
        acts += action("continue", W.continue_answer, off_because=cannot)
    acts += action("request", W.show_request) + action("record", W.save_recording) + action("delete", W.delete)
    parts.append(f"<div class='acts'>{acts}</div>")
    return "".join(parts)


def empty_page(*, demo: bool, recordings: Sequence[ShelfEntry]) -> str:
    """What a new chat shows: what there is to talk to, and a few prompts."""
    cards = [("use-demo", W.card_demo, W.card_demo_text, "")] if demo else []
    cards.append(("use-tiny", W.card_tiny, W.card_tiny_text, ""))
    cards.append(("panel", W.card_key, W.card_key_text, " data-panel='connect'"))
    cards.append(("panel", W.card_server, W.card_server_text, " data-panel='connect'"))
    if recordings:
        cards.append(("replay", W.card_replay, W.card_replay_text, f" data-name='{esc(recordings[0].name)}'"))
    buttons = "".join(
        f"<button type='button' class='card-btn' data-op='{op}'{extra}><b>{esc(title)}</b><span>{esc(text)}</span></button>"
        for op, title, text, extra in cards
    )
    starters = "".join(
        f"<button type='button' data-op='starter' data-text='{esc(text)}'>"
        f"<span>{esc(text.splitlines()[0])}</span><em>{esc(kind)}</em></button>"
        for text, kind in W.starters
    )
    note = f"<p>{esc(W.hello_small)}</p>" if demo else ""
    return f"<div class='hello'><h2>{esc(W.hello)}</h2>{note}<div class='cards'>{buttons}</div><div class='starters'>{starters}</div></div>"


def context_line(used_tokens: int | None, total_tokens: int | None, usage: Usage | None = None) -> str:
    """The meter under the composer: what the next request will hold, of what the model takes."""
    if used_tokens is None:
        return ""
    if total_tokens is None:
        return f"<span class='num'>{esc(W.context_used.format(used=count(used_tokens)))}</span>"
    share = used_tokens / total_tokens
    level = "bad" if share >= 1 else "warn" if share >= 0.8 else "ok"
    words = W.context_full if share >= 1 else W.context_of
    return (
        f"<span class='meter' data-level='{level}'><i style='width:{min(100.0, 100 * share):.1f}%'></i></span>"
        f"<span class='num'>{esc(words.format(used=count(used_tokens), total=count(total_tokens)))}</span>"
    )
