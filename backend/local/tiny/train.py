"""Trains `local:qwen3-next-tiny`: `python -m backend.local.tiny.train OUT_DIR`.

First the model, in courses that each warm up and cool down; after each its weights are rounded to bf16, as they are written, so that a
course can begin from a folder (`--after`). Then, with the model held still, its MTP head: from the hidden state after a token and the
embedding of the next one it learns the token after that, and from its own hidden state one further.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM
from transformers.modeling_layers import MtpModel
from transformers.models.qwen3_next.modeling_qwen3_next import load_balancing_loss_func

from backend.local.tiny.lessons import IGNORED, TASK_WEIGHTS, Batch, batches
from backend.local.tiny.problems import Task
from backend.local.tiny.tokenizer import build
from backend.local.tiny.writing import write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("tiny")


@dataclass(frozen=True, slots=True)
class Course:
    """So many steps over the lessons that `seed` makes, tasks drawn by `weights`."""

    steps: int
    seed: int
    weights: Mapping[Task, float]


COURSES = (
    Course(2600, 7, TASK_WEIGHTS),
    # sums are all right by then; what is not is asked more often
    Course(1800, 8, {"sum": 0.16, "difference": 0.14, "sort": 0.22, "letters": 0.22, "story": 0.22, "talk": 0.04}),
)
SEED, MTP_STEPS = 7, 700
BATCH_TOKENS = 6144
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 2e-3, 5e-5, 100
DECAY, BETAS, CLIP = 0.05, (0.9, 0.95), 1.0
BALANCE = 0.002  # weight of the loss that spreads the tokens over the experts
DRAFTED = 2  # how far ahead the head is trained


def config(tokenizer: PreTrainedTokenizerBase) -> Qwen3NextConfig:
    """Three linear layers to one of full attention, routed and shared experts, as Qwen3-Next-80B-A3B; 2.0 million parameters.

    Widths are multiples of 64, which the packed blocks ask for, and of 32, which the processor's packed product asks for.
    """
    head: dict[str, Any] = {"num_mtp_layers": 1, "mtp_layer_types": ["full_attention"]}  # what transformers' MTP head looks for
    return Qwen3NextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        num_experts=16,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        shared_expert_intermediate_size=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **head,
    )


def train_model(model: Qwen3NextForCausalLM, lessons: Iterator[Batch], steps: int) -> None:
    model.train()
    optimizer, schedule = _optimizer(list(model.named_parameters()), steps)
    started_s = time.monotonic()
    for step in range(1, steps + 1):
        batch = next(lessons)
        out = model.model(input_ids=batch.ids, use_cache=False, output_router_logits=True)
        asked = batch.labels[:, 1:] != IGNORED
        logits, labels = model.lm_head(out.last_hidden_state[:, :-1][asked]), batch.labels[:, 1:][asked]
        spread = load_balancing_loss_func(out.router_logits, model.config.num_experts, model.config.num_experts_per_tok)
        loss = functional.cross_entropy(logits, labels) + BALANCE * spread
        _update(loss, optimizer, schedule, model)
        if step % 100 == 0:
            right = _whole_rows(logits.argmax(-1) == labels, asked)
            log.info("step %d loss %.4f whole rows right %.3f (%.0f s)", step, float(loss.detach()), right, time.monotonic() - started_s)
    model.eval()


def new_head(model: Qwen3NextForCausalLM, seed: int) -> MtpModel:
    """A head that has learnt nothing. transformers draws its weights as a generic model's, which leaves experts as they were in memory."""
    torch.manual_seed(seed)
    head = MtpModel(model, 1)
    with torch.no_grad():
        head.layers.apply(model._init_weights)
    return head


def train_head(model: Qwen3NextForCausalLM, head: MtpModel, lessons: Iterator[Batch], steps: int) -> None:
    """The embedding and the output head are the model's and stay as they are."""
    model.eval().requires_grad_(False)
    head.train()
    own = [(name, p) for name, p in head.named_parameters() if p.requires_grad]
    optimizer, schedule = _optimizer(own, steps)
    started_s = time.monotonic()
    for step in range(1, steps + 1):
        batch = next(lessons)
        with torch.no_grad():
            hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        loss, rights = torch.zeros(()), list[float]()
        for ahead in range(1, DRAFTED + 1):
            places = batch.ids.shape[1] - ahead
            positions = torch.arange(ahead, ahead + places)[None]
            hidden = head.forward_layer(0, hidden[:, :places], positions, None, input_ids=batch.ids[:, ahead:])
            logits, labels = model.lm_head(hidden[:, :-1]), batch.labels[:, ahead + 1 :]
            loss = loss + functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
            asked = labels != IGNORED
            rights.append(float((logits.argmax(-1) == labels)[asked].float().mean()))
        _update(loss, optimizer, schedule, head)
        if step % 100 == 0:
            log.info(
                "head step %d loss %.4f right %s (%.0f s)",
                step,
                float(loss.detach()),
                [f"{r:.3f}" for r in rights],
                time.monotonic() - started_s,
            )
    head.eval()


def _optimizer(named: list[tuple[str, torch.nn.Parameter]], steps: int) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    groups = [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=BETAS, fused=True)

    def share(step: int) -> float:
        if step < WARM_UP_STEPS:
            return (step + 1) / WARM_UP_STEPS
        done = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
        return (LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2) / PEAK_RATE

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _update(loss: torch.Tensor, optimizer: torch.optim.AdamW, schedule: torch.optim.lr_scheduler.LambdaLR, model: torch.nn.Module) -> None:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()


def _whole_rows(right: torch.Tensor, asked: torch.Tensor) -> float:
    """The share of rows that greedy decoding would write entirely as taught. `right`: for each asked place, row by row."""
    rows = right.split(asked.sum(1).tolist())
    return sum(bool(row.all()) for row in rows) / len(rows)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m backend.local.tiny.train", description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--after", type=int, default=0, metavar="COURSES", help="begin after so many courses, from --begin")
    options.add_argument("--begin", type=Path, default=None, metavar="FOLDER", help="the folder that was written after them")
    options.add_argument("--courses", type=int, default=len(COURSES), help="end after so many")
    options.add_argument("--mtp-steps", type=int, default=MTP_STEPS)
    chosen = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tokenizer = build(SEED)
    torch.manual_seed(SEED)
    model = Qwen3NextForCausalLM(config(tokenizer))
    if chosen.begin is not None:
        model = Qwen3NextForCausalLM.from_pretrained(chosen.begin, dtype=torch.float32)  # nosec B615: a folder here, no download
    model.set_experts_implementation("grouped_mm")
    for course in COURSES[chosen.after : chosen.courses]:
        train_model(model, batches(tokenizer, course.seed, BATCH_TOKENS, course.weights), course.steps)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    head = new_head(model, SEED)
    train_head(model, head, batches(tokenizer, SEED + 100, BATCH_TOKENS), chosen.mtp_steps)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    write(model, head, tokenizer, chosen.folder)


if __name__ == "__main__":
    main()
