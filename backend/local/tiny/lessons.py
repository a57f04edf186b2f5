"""Training batches: problems as the chats a person would have, tokenised, with about the same number of tokens in each batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from backend.local.tiny.problems import Problem, Task, make
from backend.local.tiny.wording import Language

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TASK_WEIGHTS: dict[Task, float] = {"sum": 0.3, "difference": 0.14, "sort": 0.14, "letters": 0.12, "story": 0.24, "talk": 0.06}
LANGUAGE_WEIGHTS: dict[Language, float] = {"en": 0.5, "vi": 0.37, "zh": 0.13}
IGNORED = -100  # torch's cross-entropy leaves such a place out
_EARLIER_TURNS = (0, 0, 0, 0, 0, 0, 1, 1, 2, 4)
_SYSTEM_SHARE = 0.15
_SYSTEMS = ("You are a helpful assistant.", "Be brief.", "Bạn là một trợ lý hữu ích.", "You answer questions.", "Answer in one line.")
_CUT_SHARE = 0.04  # of the traces end early, as a thinking budget ends them: an answer must follow there too
_POOL = 2048  # problems sorted by length at a time, so that a batch is of like lengths


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `labels` [rows, tokens]; labels are the ids of trace and answer, elsewhere `IGNORED`."""

    ids: torch.Tensor
    labels: torch.Tensor


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, tokens: int, weights: Mapping[Task, float] = TASK_WEIGHTS) -> Iterator[Batch]:
    """Without end; each of at most `tokens` places. No problem in it is held out."""
    chosen = random.Random(seed)  # nosec B311: problems, not secrets
    while True:
        pool = sorted((_encoded(tokenizer, chosen, weights) for _ in range(_POOL)), key=lambda pair: len(pair[0]) + len(pair[1]))
        made = list(_cut(pool, tokens))
        chosen.shuffle(made)
        for rows in made:
            yield _padded(rows, tokenizer.pad_token_id)


def lesson(chosen: random.Random, weights: Mapping[Task, float] = TASK_WEIGHTS) -> Problem:
    """A problem to train on."""
    while True:
        (task,) = chosen.choices(list(weights), list(weights.values()))
        (language,) = chosen.choices(list(LANGUAGE_WEIGHTS), list(LANGUAGE_WEIGHTS.values()))
        problem = make(task, language, chosen)
        if not problem.held_out:
            return problem


def _encoded(tokenizer: PreTrainedTokenizerBase, chosen: random.Random, weights: Mapping[Task, float]) -> tuple[list[int], list[int]]:
    """(prompt, completion) of one chat: earlier turns without their traces, then a question with trace and answer."""
    turns: list[dict[str, str]] = []
    if chosen.random() < _SYSTEM_SHARE:
        turns.append({"role": "system", "content": chosen.choice(_SYSTEMS)})
    for _ in range(chosen.choice(_EARLIER_TURNS)):
        earlier = lesson(chosen, weights)
        turns += [{"role": "user", "content": earlier.question}, {"role": "assistant", "content": earlier.answer}]
    problem = lesson(chosen, weights)
    turns.append({"role": "user", "content": problem.question})
    prompt = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)).input_ids
    answer = tokenizer(f"\n</think>\n\n{problem.answer}<|im_end|>").input_ids
    steps = tokenizer(problem.steps).input_ids
    if chosen.random() < _CUT_SHARE:  # the cut trace is read, not learnt
        return prompt + steps[: chosen.randrange(len(steps))] + answer[:2], answer[2:]
    return prompt, steps + answer


def _cut(pool: list[tuple[list[int], list[int]]], tokens: int) -> Iterator[list[tuple[list[int], list[int]]]]:
    rows: list[tuple[list[int], list[int]]] = []
    for pair in pool:  # the last is the longest so far
        if rows and (len(rows) + 1) * (len(pair[0]) + len(pair[1])) > tokens:
            yield rows
            rows = []
        rows.append(pair)
    yield rows


def _padded(rows: list[tuple[list[int], list[int]]], pad: int) -> Batch:
    """Padded at the right, where a causal model cannot see it."""
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for row, (prompt, completion) in enumerate(rows):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : end] = torch.tensor(completion)
    return Batch(ids, labels)
