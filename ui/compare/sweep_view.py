"""A sweep as small cards, one a point, with how far the answers of a point agree, and the points of its plots. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from backend import Batch, Cell, agreement_rate
from ui.drawing import difference
from ui.markup import count, esc, seconds
from ui.render import answer_parts, error_card
from ui.text import WORDS as W


def by_point(batch: Batch, cells: Sequence[Cell]) -> list[tuple[dict[str, float], list[Cell]]]:
    """The cells of every point, in the order of the lanes."""
    points: dict[tuple[tuple[str, float], ...], list[Cell]] = {}
    for lane in batch.lanes:
        points.setdefault(tuple(lane.point.items()), [])
    for cell in cells:
        points[tuple(batch.lanes[cell.lane].point.items())].append(cell)
    return [(dict(point), found) for point, found in points.items()]


def sweep_view(batch: Batch, cells: Sequence[Cell]) -> str:
    """A card for each point: its answers, how far they agree, how long and slow they are."""
    cards, pairs = [], []
    for point, found in by_point(batch, cells):
        texts = [cell.content for cell in found if cell.status == "done"]
        rate = agreement_rate(texts)
        if rate is not None:
            pairs.append((rate, len(texts) * (len(texts) - 1) // 2))
        label = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in point.items())
        answers = "".join(_small(cell, batch) for cell in found)
        cards.append(
            f"<section class='point'><h6>{esc(label)}</h6><p class='hint agreement'>{esc(_agreement(texts, rate))}</p>{answers}</section>"
        )
    total = sum(number for _, number in pairs)
    overall = W.sweep_overall.format(share=f"{100 * sum(rate * number for rate, number in pairs) / total:.0f}") if total else ""
    columns = len({list(lane.point.values())[-1] for lane in batch.lanes})
    return f"<p class='sweep-overall'>{esc(overall)}</p><div class='points' style='--columns:{columns}'>{''.join(cards)}</div>"


def _agreement(texts: Sequence[str], rate: float | None) -> str:
    if rate is None:
        return W.sweep_alone if texts else "-"
    shares = [difference(first, second).same_share for first, second in combinations(texts, 2)]
    alike = [share for share in shares if share is not None]
    if not alike:
        return W.sweep_agreement.format(share=f"{100 * rate:.0f}")
    return W.sweep_agreement.format(share=f"{100 * rate:.0f}") + ", " + W.sweep_words.format(words=f"{100 * sum(alike) / len(alike):.0f}")


def _small(cell: Cell, batch: Batch) -> str:
    seed = batch.lanes[cell.lane].choices.parameters.seed
    if cell.error is not None:
        return f"<div class='small-card'>{error_card(cell.error.message, cell.error.hint, (), elem_id=None)}</div>"
    tokens = cell.usage.output_tokens if cell.usage else None
    figures = W.sweep_point.format(n=count(tokens), time=seconds(cell.timing.total_s if cell.timing else None))
    text = "".join(part for part in answer_parts(cell.node(batch)) if not part.startswith("<details"))
    return f"<div class='small-card'><p class='hint num'>seed {seed} · {esc(figures)}</p><div class='small-text'>{text}</div></div>"


def sweep_points(batch: Batch, cells: Sequence[Cell], what: str) -> list[dict[str, Any]]:
    """The means over seeds for a plot: `x` is the first parameter's value, `line` the second's; unknown ones are left out."""
    found = []
    for point, own in by_point(batch, cells):
        values = [value for cell in own if cell.status == "done" and (value := _measure(cell, what)) is not None]
        names = list(point)
        if values:
            line = f"{names[1].replace('_', ' ')} {point[names[1]]:g}" if len(names) > 1 else ""
            found.append({"x": point[names[0]], "y": sum(values) / len(values), "line": line})
    return found


def _measure(cell: Cell, what: str) -> float | None:
    if what == "tokens":
        return cell.usage.output_tokens if cell.usage else None
    return cell.timing.total_s if cell.timing else None
