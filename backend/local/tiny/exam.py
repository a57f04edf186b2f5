"""The tiny model's exam: problems whose operands were never trained on, answered by the engine itself, marked by their results.

`python -m backend.local.tiny.exam [--model local:qwen3-next-tiny] [--each 200]` prints the table of the card.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from backend.local import tiny
from backend.local.tiny.lessons import LANGUAGE_WEIGHTS
from backend.local.tiny.problems import Problem, Task, make
from backend.types import ChatRequest, GenerationParameters, Message, TextDelta

if TYPE_CHECKING:
    from backend.local.model import LoadedModel

EXAM: tuple[Task, ...] = ("sum", "difference", "sort", "letters", "story")
SEED = 2026


def problems(chosen: random.Random, count: int, task: Task | None = None) -> list[Problem]:
    """Held-out problems, of all tasks in turn where none is named."""
    found: list[Problem] = []
    while len(found) < count:
        kind = task or EXAM[len(found) % len(EXAM)]
        (language,) = chosen.choices(list(LANGUAGE_WEIGHTS), list(LANGUAGE_WEIGHTS.values()))
        problem = make(kind, language, chosen)
        if problem.held_out:
            found.append(problem)
    return found


def right(problem: Problem, answer: str) -> bool:
    """Whether an answer has the result: the last number in it, a list as it stands, or the count of a letter."""
    if problem.task == "sort":
        return answer.strip() == problem.result
    numbers = re.findall(r"\d+", answer)
    return bool(numbers) and (numbers[0] if problem.task in ("letters", "story") else numbers[-1]) == problem.result


def ask(loaded: LoadedModel, question: str) -> str:
    """The answer without its trace, greedy."""
    from backend.local.generation import generate

    request = ChatRequest("exam", (Message("user", question),), GenerationParameters(temperature=0.0))
    return "".join(event.text for event in generate(loaded, request, 512, lambda: False) if isinstance(event, TextDelta))


def marks(loaded: LoadedModel, each: int, seed: int = SEED) -> dict[Task, float]:
    """The share of right answers in each task."""
    chosen, found = random.Random(seed), defaultdict[Task, list[bool]](list)  # nosec B311: problems, not secrets
    for task in EXAM:
        for problem in problems(chosen, each, task):
            found[task].append(right(problem, ask(loaded, problem.question)))
    return {task: sum(answers) / len(answers) for task, answers in found.items()}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m backend.local.tiny.exam", description=__doc__)
    options.add_argument("--model", default=f"local:{tiny.NAME}", help="local:NAME or local:FOLDER, @4bit for packed weights")
    options.add_argument("--each", type=int, default=200, help="problems of each task")
    told = options.parse_args()
    from backend.local.loading import load
    from backend.local.names import parse
    from backend.local.progress import unheard

    loaded = load(parse(told.model.removeprefix("local:")), Path(), allow_fetch=False, report=unheard)
    for task, share in marks(loaded, told.each).items():
        print(f"{task:<12}{100 * share:6.1f} %")  # noqa: T201


if __name__ == "__main__":
    main()
