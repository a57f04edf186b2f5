"""Every figure of every pane side by side, the best of each row marked, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backend import FIGURES, Capabilities, Node, best, figures_of
from ui.compare.difference import word_count
from ui.markup import count, esc, seconds
from ui.runcard import SIGNS
from ui.text import WORDS as W


@dataclass(frozen=True, slots=True)
class Column:
    """One pane's answer; without a `node` it has none yet. `in_turn`: it waited for other panes on the same machine."""

    name: str
    node: Node | None
    capabilities: Capabilities | None = None
    in_turn: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of each pane as it is shown, the places that are best, and the spread."""

    name: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    spread: str = ""
    label: str = field(default="")


def rows_of(columns: Sequence[Column]) -> list[Row]:
    """The figures in their order; a row that no pane knows is left out, except for those that everybody looks for."""
    values = [figures_of(column.node, column.capabilities) if column.node else {} for column in columns]
    finished = {place for place, column in enumerate(columns) if column.node and column.node.status == "done"}
    rows = [_states(columns)]
    for figure in FIGURES:
        known = {place: of[figure.name] for place, of in enumerate(values) if figure.name in of}
        if not known and figure.name in ("guesses_right", "seed", "context_share"):
            continue
        cells = tuple(_shown(figure.name, known.get(place), columns[place]) for place in range(len(columns)))
        rivals = {place: value for place, value in known.items() if place in finished}  # one that failed at once was not the fastest
        mixed = figure.name == "cost" and len({_currency(columns[place]) for place in rivals}) > 1  # dollars and yuan have no smallest
        marked = frozenset() if mixed else _alike(cells, best(rivals, figure.better), finished)
        spread = _spread(list(rivals.values())) if figure.better and not mixed else ""
        rows.append(Row(figure.name, cells, marked, spread, W.figures[figure.name]))
    words = tuple(count(word_count(column.node.content)) if column.node else "-" for column in columns)
    rows.append(Row("words", words, label=W.figures["words"]))
    return rows


def _states(columns: Sequence[Column]) -> Row:
    cells = []
    for column in columns:
        node = column.node
        if node is None:
            cells.append("-")
            continue
        reason = node.status if node.status in ("stopped", "error", "interrupted") else (node.finish_reason or "unknown")
        cells.append(W.finish_reasons.get(reason, reason) + (f", {W.in_turn}" if column.in_turn else ""))
    return Row("state", tuple(cells), label=W.figures["state"])


def _alike(cells: tuple[str, ...], places: frozenset[int], rivals: set[int]) -> frozenset[int]:
    """The places that show what the best show; none where all show the same: nobody sees a difference that is rounded away."""
    shown = {cells[place] for place in places}
    alike = frozenset(place for place in rivals if cells[place] in shown)
    return alike if len(alike) < sum(cells[place] != "-" for place in rivals) else frozenset()


def _currency(column: Column) -> str | None:
    price = column.capabilities.price(column.node.region) if column.capabilities and column.node else None
    return price.currency if price else None


def _shown(name: str, value: float | None, column: Column) -> str:
    if value is None:
        return "-"
    if name.endswith("_s") and name != "tokens_per_s":
        return seconds(value)
    if name in ("guesses_right", "context_share"):
        return f"{100 * value:.1f} %"
    if name == "tokens_per_s":
        return f"{value:.1f}"
    if name == "cost":
        return f"{SIGNS.get(_currency(column) or '', '')}{value:.4f}"
    return str(int(value)) if name == "seed" else count(int(value))


def _spread(values: list[float]) -> str:
    """The largest over the smallest, as people say it: 6.9 x."""
    if len(values) < 2 or min(values) <= 0:
        return "-"
    return f"{max(values) / min(values):.1f} ×"


def table_view(columns: Sequence[Column]) -> str:
    """The table as HTML; the classes of its cells are the names of the figures."""
    if not any(column.node for column in columns):
        return f"<p class='hint'>{esc(W.table_empty)}</p>"
    head = "".join(f"<th scope='col'>{esc(column.name)}</th>" for column in columns)
    body = []
    for row in rows_of(columns):
        cells = "".join(
            f"<td class='{row.name}{' best' if place in row.best else ''}'>{esc(cell)}"
            f"{f'<i title={W.table_best!r}> ✓</i>' if place in row.best else ''}</td>"
            for place, cell in enumerate(row.cells)
        )
        body.append(
            f"<tr data-figure='{row.name}'><th scope='row'>{esc(row.label)}</th>{cells}<td class='spread'>{esc(row.spread)}</td></tr>"
        )
    return (
        f"<div class='table-scroll'><table class='figures num'><thead><tr><th scope='col'>{esc(W.table_figure)}</th>{head}"
        f"<th scope='col'>{esc(W.table_spread)}</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<p class='hint'>{esc(W.table_note)}</p>"
    )
