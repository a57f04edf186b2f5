"""From a comparison to what its panes show: heads, finished turns, feet, the state of the vote. Pure; names stay out of a hidden one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend import Capabilities, Comparison, Conversation, Node, Pane, display_name, last_answers, missing_questions, portable_name
from ui import render
from ui.compare.table import Column
from ui.markup import esc
from ui.runcard import run_card
from ui.text import WORDS as W

LETTERS = "ABCD"
HERE = "local:"  # engines of this machine hold one model at a time, whatever it is


def title_of(pane: Pane, capabilities: Mapping[str, Capabilities]) -> str:
    known = capabilities.get(pane.choices.model)
    return known.title if known else display_name(portable_name(pane.choices.model).partition(":")[2]) or "-"


def name_of(comparison: Comparison, place: int, capabilities: Mapping[str, Capabilities]) -> str:
    """How a pane is called in tables and votes; a hidden one by its letter."""
    if comparison.hidden:
        return W.pane_hidden.format(letter=LETTERS[place])
    return f"{place + 1} · {title_of(comparison.pane(place), capabilities)}"


def setting_of(pane: Pane) -> str:
    """The settings that tell two panes of one model apart, in a few signs."""
    p = pane.choices.parameters
    parts = [] if p.temperature is None else [f"T {p.temperature:g}"]
    parts += [] if p.seed is None else [f"seed {p.seed}"]
    parts += ["system"] if pane.choices.system.strip() else []
    return " · ".join(parts)


def in_turn(comparison: Comparison) -> frozenset[int]:
    """The places whose answers wait for each other, since one machine runs them."""
    places = frozenset(place for place, pane in enumerate(comparison.panes) if pane.choices.model.startswith(HERE))
    return places if len(places) > 1 else frozenset()


def foot(node: Node, capabilities: Capabilities | None, *, waits: bool) -> str:
    """A pane's run card; `waits` marks times that were taken while others used the same machine before and after."""
    mark = f"<span class='in-turn'>{esc(W.in_turn)}</span>" if waits else ""
    return run_card(node, capabilities, elem_id=None).removesuffix("</div>") + mark + "</div>"


def columns_of(comparison: Comparison, conversations: Mapping[str, Conversation], capabilities: Mapping[str, Capabilities]) -> list[Column]:
    """The last answers as columns of the table."""
    waits = in_turn(comparison)
    return [
        Column(name_of(comparison, place, capabilities), node, capabilities.get(node.model or "") if node else None, place in waits)
        for place, node in enumerate(last_answers(comparison, conversations))
    ]


def bench_value(
    comparison: Comparison,
    conversations: Mapping[str, Conversation],
    capabilities: Mapping[str, Capabilities],
    *,
    live_nodes: frozenset[str] = frozenset(),
    verdict: str = "",
    focus: int | None = None,
    note: str = "",
) -> dict[str, Any]:
    """The value of the bench component. The nodes in the making are left out: the live part shows them."""
    waits = in_turn(comparison)
    asked = [pane for pane in comparison.panes if pane.asked]
    if waits and not comparison.hidden and not note:
        note = f"<p class='hint'>{esc(W.in_turn_note.format(places=_listed(waits)))}</p>"
    return {
        "id": comparison.id if asked else None,
        "panes": [
            _pane(comparison, place, conversations, capabilities, live_nodes, in_turn=place in waits)
            for place in range(len(comparison.panes))
        ],
        "blind": comparison.blind,
        "hidden": comparison.hidden,
        "verdict": verdict,
        "voted": _thanks(verdict),
        "focus": focus,
        "note": note,
    }


def _listed(places: frozenset[int]) -> str:
    return ", ".join(str(place + 1) for place in sorted(places))


def _thanks(verdict: str) -> str:
    words = {"tie": W.verdict_tie, "bad": W.verdict_bad}
    return W.vote_thanks.format(verdict=words.get(verdict, verdict)) if verdict else ""


def _pane(
    comparison: Comparison,
    place: int,
    conversations: Mapping[str, Conversation],
    capabilities: Mapping[str, Capabilities],
    live_nodes: frozenset[str],
    *,
    in_turn: bool,
) -> dict[str, Any]:
    pane, hidden = comparison.pane(place), comparison.hidden
    path: Sequence[Node] = conversations[pane.conversation_id].path if pane.asked else ()
    shown = [node for node in path if node.id not in live_nodes]
    last = shown[-1] if shown and shown[-1].role == "assistant" else None
    turns = [_turn(node, hidden=hidden) for node in shown]
    behind = missing_questions(comparison, conversations, place) if len(shown) == len(path) else []
    if not path:
        turns = [_left_out(W.pane_joined, W.pane_catch_up) if any(p.asked for p in comparison.panes) else _left_out(W.pane_empty)]
    elif behind:
        turns.append(_left_out((W.pane_behind if len(behind) > 1 else W.pane_behind_one).format(n=len(behind)), W.pane_catch_up_behind))
    ready = not hidden and last is not None and shown[-1] is path[-1]
    return {
        "name": W.pane_hidden.format(letter=LETTERS[place]) if hidden else title_of(pane, capabilities),
        "place": "" if hidden else str(place + 1),
        "setting": "" if hidden else setting_of(pane),
        "asked": pane.asked,
        "turns": turns,
        "state": (last.status if last.status != "interrupted" else "stopped") if last and shown[-1] is path[-1] else "idle",
        "foot": foot(last, capabilities.get(last.model or ""), waits=in_turn) if ready and last else "",
    }


def _left_out(told: str, button: str = "") -> dict[str, Any]:
    """What stands in a pane in the place of turns that it was not asked."""
    ask = f"<button type='button' class='btn' data-compare='catch-up'>{esc(button)}</button>" if button else ""
    return render.turn("empty", "empty", f"<p class='hint'>{esc(told)}</p>{ask}")


def _turn(node: Node, *, hidden: bool) -> dict[str, Any]:
    if node.role == "user":
        return render.turn(node.id, "user", f"<div class='you' dir='auto'>{esc(node.content)}</div>", node.content)
    parts = render.answer_parts(node, trace_class="trace thinking", plain=hidden)
    if not node.thinking:
        parts.insert(0, f"<p class='hint no-thinking'>{esc(W.pane_no_trace)}</p>")  # seen in the view of thinking only
    if node.error is not None:
        parts.append(error(node.error.message, node.error.hint, node.error.kind, hidden=hidden))
    copy = render.action("copy", W.copy, extra=f" data-copied='{esc(W.copied)}'") if node.content else ""
    again = render.action("regenerate", W.pane_turn_again, extra=f" title='{esc(W.pane_turn_again_hint)}'")
    if node.error is not None and not hidden and "regenerate" in render.error_actions(node.error.kind):
        again = ""  # the error has that button
    acts = render.siblings(node) + copy + again
    return render.turn(node.id, "assistant", "".join(parts) + f"<div class='acts'>{acts}</div>", node.content)


def error(message: str, hint: str, kind: str, *, hidden: bool) -> str:
    """A pane's error; a hidden one keeps the sentence back, which names the model."""
    if hidden:
        return render.error_card(W.pane_hidden_error, "", (), elem_id=None)
    wanted = [action for action in render.error_actions(kind) if action != "new"]  # a new chat is the chat's own way out
    return render.error_card(message, hint, wanted, elem_id=None)
