"""The steps of an answer as HTML: what was thought and said before each call, and a card for every call. Pure functions; all that a
model, a tool or a person wrote is escaped here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from backend import Called, Run, Step
from ui.drawing import kept
from ui.markup import esc, markdown, thinking_seconds
from ui.text import WORDS as W

LONGEST_SHOWN = 4000  # characters of a result; the rest scrolls no further
MAX_LAID_OUT_CHARS = 100_000  # of arguments: longer ones are shown as they were written


def step_parts(steps: Sequence[Step], *, live: bool) -> list[dict[str, str]]:
    """Parts with ids that stay while the answer grows, so that only what changed is drawn again; `live`: calls can be answered."""
    return [{"id": name, "html": text} for place, step in enumerate(steps) for name, text in _parts(step, place, live)]


def _parts(step: Step, place: int, live: bool) -> Iterator[tuple[str, str]]:
    if step.thinking:
        yield f"{place}-trace", _once(("trace", step.thinking, step.thinking_s), lambda: _trace(step))
    if step.content.strip():
        yield f"{place}-text", f"<div class='answer step-text' dir='auto'>{markdown(step.content)}</div>"
    for call in step.calls:
        yield call.id, _once(("card", call, live), partial(call_card, call, live=live))


def _once(key: object, draw: Callable[[], str]) -> str:
    """While the answer goes on, what is before is asked for twenty times a second."""
    drawn: str | None = kept.find(key)
    if drawn is None:
        drawn = draw()
        kept.keep(key, drawn, 2 * len(drawn))  # the key holds the text, too
    return drawn


def steps_html(steps: Sequence[Step]) -> str:
    """The steps of a finished answer."""
    return "".join(part["html"] for part in step_parts(steps, live=False))


def calls_being_written(run: Run) -> list[dict[str, str]]:
    """Cards of the calls that the model is writing just now."""
    calls = (Called(call.id, call.name, call.arguments) for call in run.calls.calls)
    return [{"id": call.id, "html": call_card(call, live=True, written=False)} for call in calls]


def call_card(call: Called, *, live: bool, written: bool = True) -> str:
    """Name, state, who answers, arguments checked, result; and what can be done about it."""
    state = W.call_states[call.state] if written else W.call_writing
    who = W.call_by.get(call.by or "", "") + (f" · {call.where}" if call.where else "")
    by = f"<span class='by'>{esc(who)}</span>" if who else ""
    took = "" if call.elapsed_s is None else f"<span class='num'>{call.elapsed_s:.2f} s</span>"
    told = f"{by}<span class='grow'></span>{took}<span class='call-state'>{esc(state)}</span>"
    head = f"<div class='call-head'><b>{esc(call.name)}</b>{told}</div>"
    body = _arguments(call, written=written)
    if call.result is not None:
        shown = call.result if len(call.result) <= LONGEST_SHOWN else f"{call.result[:LONGEST_SHOWN]}…"
        body += f"<div class='call-part'>{esc(W.call_result)}</div><pre class='call-result'>{esc(shown)}</pre>"
    if live and call.state in ("asking", "waiting"):
        body += _questions(call)
    marks = f"data-state='{call.state if written else 'writing'}' data-call='{esc(call.id)}' data-name='{esc(call.name)}'"
    return f"<div class='call' {marks}>{head}{body}</div>"


def _arguments(call: Called, *, written: bool) -> str:
    pretty, whole = _pretty(call.arguments)
    verdict = ""
    if call.problem is not None:
        verdict = f"<span class='bad'>{esc(call.problem)}</span>"
    elif written and whole and call.state in ("asking", "waiting", "running", "done"):
        verdict = f"<span class='ok'>{esc(W.call_fits)}</span>"
    if not call.arguments.strip() or call.arguments.strip() == "{}":
        return f"<div class='call-part'>{esc(W.call_no_arguments if written else W.call_arguments)} {verdict}</div>"
    return f"<div class='call-part'>{esc(W.call_arguments)} {verdict}</div><pre class='call-arguments'>{esc(pretty)}</pre>"


def _pretty(arguments: str) -> tuple[str, bool]:
    """Laid out where they are JSON; as the model wrote them where not, or not yet."""
    if len(arguments) > MAX_LAID_OUT_CHARS:
        return arguments, True
    try:
        value: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments, False
    flat = json.dumps(value, ensure_ascii=False)
    return (flat if len(flat) <= 80 else json.dumps(value, ensure_ascii=False, indent=2)), True


def _questions(call: Called) -> str:
    def button(decision: str, label: str, kind: str = "btn") -> str:
        return f"<button type='button' class='{kind}' data-op='tool' data-decision='{decision}'>{esc(label)}</button>"

    if call.state == "waiting":
        label = esc(W.call_type.format(name=call.name))
        box = f"<textarea class='call-answer' rows='3' dir='auto' aria-label='{label}' placeholder='{label}'></textarea>"
        return f"{box}<div class='call-acts'>{button('result', W.call_send, 'btn go')}{button('deny', W.call_no_result)}</div>"
    acts = button("allow", W.call_run, "btn go") + button("deny", W.call_refuse)
    acts += button("always", W.call_always.format(name=call.name)) + button("never", W.call_never.format(name=call.name))
    return f"<div class='call-acts'>{acts}</div>"


def _trace(step: Step) -> str:
    """Folded, and there as text: a step's trace is short beside the answer's own."""
    label = W.thought_unknown if step.thinking_s is None else W.thought.format(seconds=thinking_seconds(step.thinking_s))
    return (
        f"<details class='trace step-trace' data-filled='yes'><summary><b>{esc(label)}</b></summary>"
        f"<div class='trace-body step-body'>{esc(step.thinking)}</div></details>"
    )
