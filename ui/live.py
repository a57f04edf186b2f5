"""The answer in the making: from a run's present state to the live part of the page, at a pace the page can keep.

A run is read when the page is ready for it (latest wins), so the engine never waits for a browser.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

from backend import LiveCounter, Run
from ui.markup import count
from ui.text import WORDS as W
from ui.tools.cards import calls_being_written, step_parts

SHORTEST_GAP_S = 0.05  # at most 20 updates a second
LONGEST_GAP_S = 0.5
FIRST_TOKEN_S = 0.03  # an engine that answers this soon is shown with the first update rather than with a second one
HEARTBEAT_S = 0.5  # an update without news: the seconds go on, and gradio notices a closed tab
IDLE: dict[str, Any] = {"on": False, "running": False, "state": "idle", "status": W.states["idle"]}


class LiveView:
    """Follows one run. Keeps what is costly to make again: token counts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._counter = LiveCounter()
        self._counted = self._about = 0
        self._said, self._said_step = "", -1

    def value(self) -> dict[str, Any]:
        """What the live component shows now."""
        run = self._run
        return {
            "on": True,
            "running": not run.ended,
            "state": run.state,
            "status": self._status(),
            "says": self._says(),
            "thinking": self._thinking(),
            "answer": run.answer.text,
            "plain": run.request.format is not None,  # JSON is no Markdown: it is laid out once it is whole
            "ended": run.ended,
            "steps": [*step_parts(run.steps, live=run.desk is not None and not run.ended), *calls_being_written(run)],
            "wait": self._waiting(),
        }

    def _thinking_tokens(self, text: str) -> tuple[int, bool]:
        """(tokens of the trace, whether the engine told them); else counted here from the text, and marked as about."""
        if self._run.usage.reasoning_tokens is not None:
            return self._run.usage.reasoning_tokens, True
        if self._run.thinking_tokens is not None:
            return self._run.thinking_tokens, True
        self._about = self._counter.feed(text[self._counted :])
        self._counted = len(text)
        return self._about, False

    def _thinking(self) -> dict[str, Any] | None:
        run = self._run
        if not run.thinking:
            return None
        text = run.thinking.text
        tokens, told = self._thinking_tokens(text)
        spent_s = run.thinking_s() or 0.0
        done = run.state not in ("thinking", "reading", "queued", "loading") or run.thinking_until_s is not None
        budget = run.request.parameters.thinking_budget
        number = W.tokens.format(n=count(tokens) if told else f"≈{count(tokens)}")
        share = tokens / budget if budget else None
        return {
            "text": text,
            "label": W.thought.format(seconds=f"{spent_s:.0f}" if spent_s >= 10 else f"{spent_s:.1f}") if done else W.thinking,
            "count": number if done else f"{number} · {spent_s:.0f} s",
            "of": W.of_budget.format(n=count(budget)) if budget else "",
            "share": share,
            "level": "ok" if share is None or share < 0.8 else "warn" if share < 1 else "bad",
            "done": done,
        }

    def _status(self) -> str:
        run = self._run
        words = W.states[run.state]
        if run.state == "thinking":
            return f"{words}, {run.thinking_s() or 0:.0f} s"
        if run.state in ("reading", "loading", "queued") and run.waiting is not None:
            share = "" if run.waiting.share is None else f" {100 * run.waiting.share:.0f} %"
            return f"{words}{share}"
        return words

    def _says(self) -> str:
        """For screen readers: the start, about every seven seconds of thinking, the end."""
        run = self._run
        if run.state == "thinking":
            step = int(run.thinking_s() or 0) // 7
            if step != self._said_step:
                self._said_step = step
                self._said = W.says_still.format(n=count(run.thinking_tokens or self._about)) if step else W.says_started
        elif run.state == "done":
            self._said = W.says_ready
        return self._said

    def _waiting(self) -> str:
        run = self._run
        parts = []
        if run.storage_error is not None:
            parts.append(W.not_saved.format(reason=run.storage_error.message))
        if run.thinking or run.answer or run.ended or run.calls or run.state in ("calling", "asking"):
            return " ".join(parts)
        if run.retrying is not None:
            parts.append(W.retrying.format(reason=run.retrying.reason, seconds=f"{run.retrying.wait_s:.0f}", attempt=run.retrying.attempt))
        elif run.waiting is not None:
            where = W.place.format(n=run.waiting.position) if run.waiting.position else ""
            detail = "" if run.waiting.detail == W.states[run.state] else run.waiting.detail
            since = self._since() if run.waiting.share is None and not where else ""
            parts.append(" · ".join(x for x in (self._status(), detail, where, since) if x))
        else:
            parts.append(f"{W.states[run.state]} · {self._since()}")
        return " ".join(parts)

    def _since(self) -> str:
        return f"{time.monotonic() - self._run.started_s:.0f} s"


async def are_saved(runs: Collection[Run], still_shown: Callable[[], bool]) -> bool:
    """Returns once runs that could not be saved are; False where the page shows something else by then, or they never will be."""
    while waiting := [run for run in runs if run.storage_error is not None]:
        if any(run.unstorable for run in waiting) or not still_shown():
            return False
        await waiting[0].wait_for_change(waiting[0].version, HEARTBEAT_S)
    return True


async def follow(run: Run, still_shown: Callable[[], bool]) -> AsyncGenerator[dict[str, Any], None]:
    """Values for the live component until the run ends or the page shows something else.

    The first comes at once (or with the first token where that is quick), later ones at most 20 a second; where the page's own
    machinery is slow the gap grows with it, so that many visitors share one processor without falling behind.
    """
    view, version, gap_s = LiveView(run), -1, SHORTEST_GAP_S
    await run.wait_for_text(FIRST_TOKEN_S)
    while still_shown():
        await run.wait_for_change(version, HEARTBEAT_S)
        version, ended = run.version, run.ended
        before_s, shown_text = time.monotonic(), bool(run.thinking or run.answer)
        yield view.value()
        if ended:
            return
        if not shown_text:
            continue  # the first token comes at once
        spent_s = time.monotonic() - before_s
        gap_s = min(max(SHORTEST_GAP_S, 4 * spent_s), LONGEST_GAP_S)
        await run.wait_for_end(gap_s - spent_s)
