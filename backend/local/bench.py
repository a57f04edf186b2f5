"""`python app.py bench`: first token, reading, decoding, guessing ahead, kept prefixes, memory and the share of the bandwidth ceiling.

Everything is greedy and measured in one run; against transformers' `generate` on the same weights where asked for.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psutil  # type: ignore[import-untyped]
import torch

from backend.local import tiny
from backend.local.decoding import Decoder
from backend.local.drafting import MOST_DRAFTS
from backend.local.model import LoadedModel
from backend.local.packed.stacks import is_experts
from backend.local.prefixes import Prefixes
from backend.local.prompt import build
from backend.local.sampling import Sampling
from backend.types import ChatRequest, GenerationParameters, Message

PROSE = ("Write a long story about a river.", "Explain how a bicycle stays upright.", "Viết một câu chuyện dài về một dòng sông.")
_TINY_PROBLEMS = 12
_CONVERSATION_TOKENS = 2000
_COPY_BYTES = 1 << 28


@dataclass
class Measured:
    """One way of answering the questions. Seconds; `first_s` holds each question's time to its first token."""

    name: str
    first_s: list[float] = field(default_factory=list)
    read_tokens: int = 0
    made_tokens: int = 0
    decode_s: float = 0.0
    drafted: int = 0
    accepted: int = 0
    forwards: int = 0

    @property
    def decode_rate(self) -> float | None:
        """Tokens a second after each first one."""
        return self.made_tokens / self.decode_s if self.decode_s else None

    @property
    def read_rate(self) -> float:
        return self.read_tokens / sum(self.first_s)

    def take(self, times_s: list[float], started_s: float) -> None:
        self.first_s.append(times_s[0] - started_s)
        self.made_tokens += len(times_s) - 1
        self.decode_s += times_s[-1] - times_s[0]


def run(loaded: LoadedModel, tokens: int, *, against: bool, say: Callable[[str], None]) -> None:
    """Prints a table line by line through `say`. `tokens`: the longest answer."""
    questions = [_prompt(loaded, question) for question in _questions(loaded)]
    ways = [0, *(range(1, MOST_DRAFTS + 1) if loaded.network.drafts else ())]
    found = [_ours(loaded, questions, tokens, drafts) for drafts in ways]
    if against:
        found.append(_generate(loaded, questions, tokens))
    say(f"{'':<22}{'first token':>13}{'reading':>13}{'decoding':>13}{'guesses right':>15}{'tokens a pass':>15}")
    for measured in found:
        say(_row(measured))
    if against:
        ratio = (found[0].decode_rate or 0.0) / (found[-1].decode_rate or 1.0)
        best = max(m.decode_rate or 0.0 for m in found[:-1]) / (found[-1].decode_rate or 1.0)
        say(f"decoding against generate: {ratio:.2f} x, at best {best:.2f} x; steps: {getattr(loaded.network, 'how', 'eager')}")
    _ceiling(loaded, found[0], say)
    _second_turn(loaded, say)
    used = {loaded.network.device} if loaded.plan is None else set(loaded.plan.devices)
    say(f"peak memory: {_peak_bytes(used) / 1e9:.2f} GB")


def _questions(loaded: LoadedModel) -> list[str]:
    if not loaded.name.startswith(tiny.NAME):
        return list(PROSE)
    from backend.local.tiny.exam import problems

    return [problem.question for problem in problems(random.Random(11), _TINY_PROBLEMS)]  # nosec B311: problems, not secrets


def _prompt(loaded: LoadedModel, question: str) -> list[int]:
    return build(loaded.tokenizer, ChatRequest("bench", (Message("user", question),), GenerationParameters()), loaded.think).ids


def _ours(loaded: LoadedModel, questions: list[list[int]], tokens: int, drafts: int) -> Measured:
    measured = Measured(f"ours, {drafts} ahead" if drafts else "ours")
    for turn, ids in enumerate([questions[0], *questions]):  # the first warms up
        decoder = Decoder(replace(loaded, prefixes=Prefixes(0)), ids, Sampling(), drafts=drafts)
        started_s, times_s = time.perf_counter(), list[float]()
        for _ in decoder.read():
            pass
        while len(times_s) < tokens:
            made = [chosen.token for chosen in decoder.next()]
            _wait(loaded.network.device)
            times_s += [time.perf_counter()] * len(made)
            if loaded.end_ids & set(made):
                break
        if turn:
            measured.take(times_s, started_s)
            measured.read_tokens += len(ids)
            measured.drafted, measured.accepted = measured.drafted + decoder.drafted, measured.accepted + decoder.accepted
            measured.forwards += decoder.forwards
    return measured


class _Times:
    """A streamer of transformers that only looks at the clock."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt:
            self.times_s.append(time.perf_counter())
        self._prompt = False

    def end(self) -> None:
        pass


def _generate(loaded: LoadedModel, questions: list[list[int]], tokens: int) -> Measured:
    measured, model = Measured("transformers generate"), cast(Any, loaded.model)
    for turn, ids in enumerate([questions[0], *questions]):
        prompt, times = torch.tensor([ids], device=loaded.model.device), _Times()
        started_s = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=tokens,
                do_sample=False,
                repetition_penalty=1.0,
                eos_token_id=sorted(loaded.end_ids),
                pad_token_id=min(loaded.end_ids, default=0),
                streamer=times,
            )
        if turn:
            measured.take(times.times_s, started_s)
            measured.read_tokens += len(ids)
    return measured


def _row(m: Measured) -> str:
    rate = "-" if m.decode_rate is None else f"{m.decode_rate:.1f} /s"
    right = f"{100 * m.accepted / m.drafted:.0f} %" if m.drafted else "-"
    pace = f"{(m.made_tokens + len(m.first_s)) / m.forwards:.2f}" if m.forwards else "-"
    first = f"{1000 * statistics.median(m.first_s):.0f} ms"
    return f"{m.name:<22}{first:>13}{f'{m.read_rate:.0f} /s':>13}{rate:>13}{right:>15}{pace:>15}"


def _ceiling(loaded: LoadedModel, measured: Measured, say: Callable[[str], None]) -> None:
    """Decoding as a share of what reading each needed weight once a token would allow at the speed of a plain copy."""
    bandwidth, needed = _bandwidth(loaded.network.device), _bytes_a_token(loaded)
    rate = measured.decode_rate
    share = "-" if rate is None else f"{100 * rate * needed / bandwidth:.1f} %"
    say(
        f"a token reads {needed / 1e6:,.1f} MB of weights; memory copies at {bandwidth / 1e9:.1f} GB/s: "
        f"at most {bandwidth / needed:,.0f} tokens a second, of which {share} are reached"
    )


def _bytes_a_token(loaded: LoadedModel) -> float:
    """Bytes of the weights that a step reads: all but the embedding's other rows and the experts that are not chosen."""
    config = loaded.model.config.get_text_config(decoder=True)
    share = getattr(config, "num_experts_per_tok", 1) / max(1, getattr(config, "num_experts", 1) or 1)
    experts = {id(t) for m in loaded.model.modules() if is_experts(m) for t in _tensors(m)}
    embedding = loaded.model.get_input_embeddings().weight
    head = loaded.model.get_output_embeddings()
    total = 0.0
    for tensor in _tensors(loaded.model):
        if tensor is embedding and (head is None or head.weight is not embedding):
            continue
        total += tensor.nbytes * (share if id(tensor) in experts else 1.0)
    return total - getattr(loaded.network, "saved_bytes", 0)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _bandwidth(device: torch.device) -> float:
    """Bytes a second of a plain copy, read and written."""
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=device)
    target, best_s = torch.empty_like(source), float("inf")
    for _ in range(5):
        started_s = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best_s = min(best_s, time.perf_counter() - started_s)
    return 2 * _COPY_BYTES / best_s


def _second_turn(loaded: LoadedModel, say: Callable[[str], None]) -> None:
    """A conversation of some 2,000 tokens, and its second turn."""
    if not loaded.network.reusable:
        return
    kept = replace(loaded, prefixes=Prefixes(1 << 32))
    words = "one two three four five six seven eight nine ten "
    limit = min(_CONVERSATION_TOKENS, (loaded.context_tokens or _CONVERSATION_TOKENS) - 100)
    text = words
    while len(_prompt(loaded, text)) < limit:
        text += words
    first: tuple[Message, ...] = (Message("user", text),)
    second = (*first, Message("assistant", "Ten words, many times."), Message("user", "What is 12 + 30?"))
    spent: list[tuple[int, int, float]] = []
    for messages in (first, second):
        prompt = build(loaded.tokenizer, ChatRequest("bench", messages, GenerationParameters()), loaded.think)
        decoder = Decoder(kept, prompt.ids, Sampling(), borders=prompt.borders)
        started_s = time.perf_counter()
        for _ in decoder.read():
            pass
        decoder.next()
        _wait(loaded.network.device)
        spent.append((len(prompt.ids), decoder.reused, time.perf_counter() - started_s))
    (n, _, first_s), (m, reused, second_s) = spent
    say(
        f"first turn: {n:,} tokens, {first_s:.2f} s to the first one; second turn: {m:,} tokens, {reused:,} of them known, "
        f"{second_s:.3f} s: {first_s / second_s:.1f} x sooner"
    )


def _peak_bytes(devices: set[torch.device]) -> float:
    """The sum of each device's since the start; on a processor, of the process."""
    if any(device.type == "cuda" for device in devices):
        return float(sum(torch.cuda.max_memory_allocated(device) for device in devices))
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
