"""The answers in the making, side by side: from several runs to one bounded stream of values for the panes.

Each pane shows its own run's present state when the page is ready for it (latest wins). A pane that ends shows its rendered answer
and its figures at once, whatever the others still do.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from backend import Capabilities, Lanes, Run, node_of
from ui.compare.bench import error, foot
from ui.live import HEARTBEAT_S, LONGEST_GAP_S, LiveView
from ui.text import WORDS as W

SHORTEST_GAP_S = 0.08  # gradio.md section 2: 8 to 10 updates a second for several panes
NOTHING: dict[str, Any] = {"panes": [], "running": False, "state": "idle", "status": W.states["idle"]}


class PaneView(LiveView):
    """Follows one pane's run. While names are hidden nothing is told that could give the model away."""

    def __init__(self, run: Run, capabilities: Capabilities | None, hidden: Callable[[], bool], *, waits: bool) -> None:
        super().__init__(run)
        self._capabilities, self._hidden, self._waits = capabilities, hidden, waits

    def value(self) -> dict[str, Any]:
        value, run, hidden = super().value(), self._run, self._hidden()
        del value["says"], value["running"], value["on"]
        if run.ended:
            value["foot"] = "" if hidden else foot(node_of(run), self._capabilities, waits=self._waits)
            if run.error is not None:
                value["error"] = error(run.error.message, run.error.hint, type(run.error).__name__, hidden=hidden)
        if hidden:
            value |= {"status": W.states[run.state], "wait": W.states[run.state] if value["wait"] else "", **self._plain(value)}
        return value

    @staticmethod
    def _plain(value: dict[str, Any]) -> dict[str, Any]:
        """A trace without its times and counts."""
        thinking = value["thinking"]
        if thinking is None:
            return {}
        label = W.thought_unknown if thinking["done"] else W.thinking
        return {"thinking": {**thinking, "label": label, "count": "", "of": "", "share": None}}


async def follow(
    runs: Mapping[int, Run],
    capabilities: Mapping[str, Capabilities],
    waits: frozenset[int],
    hidden: Callable[[], bool],
    still_shown: Callable[[], bool],
) -> AsyncGenerator[dict[str, Any], None]:
    """Values for the live component, `panes` by place, until all of `runs` (by place, from 0) have ended or the page shows something else.

    The first comes at once; a pane's end comes at once; in between the gap grows with what the page's own machinery takes.
    """
    places = list(runs)
    views = [PaneView(runs[place], capabilities.get(runs[place].model), hidden, waits=place in waits) for place in places]
    shown: list[dict[str, Any] | None] = [None] * (max(places, default=-1) + 1)
    with Lanes([runs[place] for place in places]) as lanes:
        while still_shown():
            marks, ended = await lanes.changed(HEARTBEAT_S), lanes.ended
            before_s = time.monotonic()
            for lane, place in enumerate(places):
                if lane in marks or not lanes.runs[lane].ended:  # the seconds of a silent one go on
                    shown[place] = views[lane].value()
            yield {"panes": list(shown), "running": not ended, "hidden": hidden(), **_state(lanes)}
            if ended:
                return
            spent_s = time.monotonic() - before_s
            await lanes.pause(min(max(SHORTEST_GAP_S, 4 * spent_s), LONGEST_GAP_S) - spent_s)


def _state(lanes: Lanes) -> dict[str, str]:
    """One line for all panes, which screen readers are told when it changes."""
    over = sum(run.ended for run in lanes.runs)
    if over == len(lanes.runs):
        return {"state": "done", "status": W.compare_over}
    return {"state": "running", "status": W.compare_running.format(done=over, all=len(lanes.runs))}
