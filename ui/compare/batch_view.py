"""What runs in the background, as HTML: what a set holds and costs, the list of runs, how far each is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend import Batch, Capabilities, Estimate, Progress, PromptSet
from ui.markup import count, esc
from ui.render import error_card
from ui.runcard import SIGNS
from ui.text import WORDS as W

SHOWN_PROBLEMS = 20


def set_note(found: PromptSet, panes: int, cost: str) -> str:
    """What an uploaded set holds, what was left out of it, and what it will take."""
    tags = sorted({prompt.tag for prompt in found.prompts if prompt.tag})
    told = [W.set_found.format(title=found.title, n=count(len(found.prompts)), panes=panes, answers=count(panes * len(found.prompts)))]
    told += [W.set_tags.format(tags=", ".join(tags[:30]))] if tags else []
    told.append(cost)
    parts = [f"<p>{esc(' '.join(told))}</p>"]
    if found.problems:
        shown = "".join(f"<li>{esc(problem)}</li>" for problem in found.problems[:SHOWN_PROBLEMS])
        more = len(found.problems) - SHOWN_PROBLEMS
        shown += f"<li>{esc(W.set_more.format(n=more))}</li>" if more > 0 else ""
        parts.append(f"<p class='problems'>{esc(W.set_left_out.format(n=len(found.problems)))}</p><ul class='problems'>{shown}</ul>")
    return "".join(parts)


def cost_line(found: Estimate, likely_tokens: int | None) -> str:
    """What it costs at most, and if the answers are as long as one that is known."""
    if found.most is None or found.currency is None:
        return W.cost_unknown
    sign = SIGNS[found.currency]
    told = W.cost_most.format(most=f"{sign}{found.most:.4f}")
    if found.likely is not None and likely_tokens:
        told += ", " + W.cost_likely.format(likely=f"{sign}{found.likely:.4f}", tokens=count(likely_tokens))
    return told + "."


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch with how far it is; `runs`: a task of this process works on it."""

    batch: Batch
    progress: Progress
    runs: bool

    @property
    def state(self) -> str:
        if self.runs:
            return "running"
        return "broken" if self.batch.state == "running" else self.batch.state


def batches_view(shown: Sequence[Shown], current: str | None, titles: Mapping[str, str]) -> str:
    """All runs, the current one with its lanes. `titles` of models by name."""
    if not shown:
        return f"<p class='hint'>{esc(W.batches_empty)}</p>"
    return "".join(_batch(each, titles, opened=each.batch.id == current) for each in shown)


def _batch(shown: Shown, titles: Mapping[str, str], *, opened: bool) -> str:
    batch, progress = shown.batch, shown.progress
    share = 100 * progress.ended / max(1, progress.total)
    told = [W.batch_states[shown.state], W.batch_progress.format(done=count(progress.ended), total=count(progress.total))]
    told += [W.batch_failed.format(n=count(progress.failed.total()))] if progress.failed.total() else []
    left_s = progress.left_s() if shown.runs else None
    told += [W.batch_left.format(time=_about(left_s))] if left_s is not None else []
    state = f"<span class='num batch-state' data-state='{shown.state}'>{esc(' · '.join(told))}</span>"
    value = f"aria-valuenow='{share:.0f}' aria-valuemin='0' aria-valuemax='100'"
    bar = f"<div class='bar' role='progressbar' {value}><i style='width:{share:.1f}%'></i></div>"
    return (
        f"<section class='batch' data-batch='{esc(batch.id)}' data-open='{str(opened).lower()}'>"
        f"<div class='batch-head'><b>{esc(batch.title)}</b>{state}<span class='grow'></span>{_buttons(shown, opened=opened)}</div>"
        f"{bar}{_lanes(shown, titles) if opened else ''}</section>"
    )


def _buttons(shown: Shown, *, opened: bool) -> str:
    batch, progress = shown.batch, shown.progress
    ops = [] if opened else [("show", W.batch_show)]
    ops.append(("pause", W.batch_pause) if shown.runs else ("resume", W.batch_resume))
    if not shown.runs and progress.ended == progress.total:
        ops.pop()
    if not shown.runs and progress.failed.total():
        ops.append(("again", W.batch_again))
    if progress.done.total():
        ops += [("judge", W.batch_judge)] if batch.kind == "set" and len(batch.lanes) > 1 else []
        ops.append(("answers", W.batch_answers))
    ops.append(("delete", W.batch_delete))
    return "".join(f"<button type='button' class='btn' data-batch-op='{op}'>{esc(label)}</button>" for op, label in ops)


def _lanes(shown: Shown, titles: Mapping[str, str]) -> str:
    rows = []
    for number, lane in enumerate(shown.batch.lanes):
        name = lane.label if lane.point else f"{number + 1} · {titles.get(lane.choices.model, lane.choices.model)}"
        done, failed = shown.progress.done[number], shown.progress.failed[number]
        problem = shown.progress.problems.get(number) or shown.progress.storage_error
        told = error_card(problem.message, problem.hint, (), elem_id=None) if problem else ""
        rows.append(
            f"<tr><th scope='row'>{esc(name)}</th><td>{count(done)}</td><td>{count(failed) if failed else ''}</td><td>{told}</td></tr>"
        )
    if shown.batch.kind == "sweep":
        rows = [row for row in rows if "class='err'" in row][:1]
    left_out = shown.batch.spec.get("problems") or []
    note = "".join(f"<li>{esc(problem)}</li>" for problem in left_out[:SHOWN_PROBLEMS])
    note = (
        f"<details class='left-out'><summary>{esc(W.set_left_out.format(n=len(left_out)))}</summary><ul>{note}</ul></details>"
        if note
        else ""
    )
    return f"<table class='figures num lanes'><tbody>{''.join(rows)}</tbody></table>{note}"


def _about(left_s: float) -> str:
    return W.minutes.format(n=f"{left_s / 60:.0f}") if left_s >= 90 else W.seconds_left.format(n=f"{left_s:.0f}")


def titles_of(capabilities: Mapping[str, Capabilities]) -> dict[str, str]:
    return {name: known.title for name, known in capabilities.items()}
