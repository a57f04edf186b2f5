"""Pairs of answers to one prompt, judged blind and with the keyboard: which pairs there are, and how one is shown. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from backend import Batch, Cell
from ui.markup import esc
from ui.render import answer_parts
from ui.text import WORDS as W


@dataclass(frozen=True, slots=True)
class Pair:
    """Two lanes' answers to one prompt, in the order in which they are shown: which one is left is drawn, but always the same way."""

    row: int
    left: int
    right: int


def pairs_of(batch: Batch, states: Mapping[tuple[int, int], str]) -> list[Pair]:
    """Every pair of answers to the same prompt that can be judged, by prompt. `states` of the cells by row and lane."""
    rows: dict[int, list[int]] = {}
    for (row, lane), status in states.items():
        if status == "done":
            rows.setdefault(row, []).append(lane)
    found = []
    for row in sorted(rows):
        for first, second in combinations(sorted(rows[row]), 2):
            key = f"{batch.id}:{row}:{first}:{second}".encode()
            turned = hashlib.blake2s(key, digest_size=1).digest()[0] & 1
            found.append(Pair(row, second, first) if turned else Pair(row, first, second))
    return found


def pair_view(batch: Batch, pair: Pair, prompt: str, left: Cell, right: Cell, *, done: int, total: int) -> str:
    """Two answers without their names, and the buttons whose keys the hint tells."""
    sides = "".join(f"<div class='judge-side'>{''.join(_without_trace(answer_parts(cell.node(batch))))}</div>" for cell in (left, right))
    verdicts = (("left", W.judge_left), ("tie", W.judge_tie), ("bad", W.judge_bad), ("right", W.judge_right), ("skip", W.judge_skip),
                ("back", W.judge_back), ("close", W.judge_close))  # fmt: skip
    buttons = "".join(f"<button type='button' class='btn' data-judge='{verdict}'>{esc(label)}</button>" for verdict, label in verdicts)
    counted = f"<b class='num judge-count'>{esc(W.judge_count.format(done=done, total=total))}</b>"
    return (
        f"<div class='judge-card' data-row='{pair.row}' data-left='{pair.left}' data-right='{pair.right}'>"
        f"<p class='hint'>{esc(W.judge_hint)} {counted}</p><div class='you' dir='auto'>{esc(prompt)}</div>"
        f"<div class='judge-sides'>{sides}</div><div class='judge-buttons'>{buttons}</div></div>"
    )


def _without_trace(parts: Sequence[str]) -> list[str]:
    """That a model thought would tell which it is."""
    return [part for part in parts if not part.startswith("<details")]
