"""The demo model on this machine: its second load in a fresh process; a long prompt and decoding against transformers' `generate`.

`python tests/bench/local.py [--tokens 128] [--times 5]`. Fetches and converts the demo model first where it is missing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend import ChatRequest, GenerationParameters, Message
from backend.local import demo
from backend.local.names import parse
from backend.local.progress import unheard
from tests.bench.servers import ROOT, machine

if TYPE_CHECKING:
    from backend.local.model import LoadedModel

QUESTION = "Write a long story about a river."
LONG_QUESTION = "Which of these sentences speaks of a river that flows from the mountains to the sea? " * 36
LOAD = """
import sys, time
from pathlib import Path
start = time.perf_counter()
from backend.warmup import warm_up
warm_up("local:demo").join()  # as while the first question is typed
from backend.local.loading import load
from backend.local.names import parse
from backend.local.progress import unheard
imported = time.perf_counter()
load(parse("demo"), Path(sys.argv[1]), allow_fetch=False, report=unheard)
print(imported - start, time.perf_counter() - imported)
"""


def second_load(models: Path, times: int) -> tuple[float, float]:
    """Median seconds of (imports, load) in processes of their own."""
    found = []
    for _ in range(times):
        done = subprocess.run([sys.executable, "-c", LOAD, str(models)], cwd=ROOT, capture_output=True, text=True, check=True)
        found.append([float(part) for part in done.stdout.split()])
    imports, loads = zip(*found, strict=True)
    return statistics.median(imports), statistics.median(loads)


def answer_times(loaded: LoadedModel, question: str, tokens: int, times: int) -> tuple[int, float, float]:
    """(tokens of the prompt, median seconds of our loop, of `generate`), both greedy on the same prompt and weights, in turn."""
    import torch

    from backend.local.generation import generate
    from backend.local.prompt import build

    asked = ChatRequest("demo", (Message("user", question),), GenerationParameters(temperature=0.0, max_tokens=tokens))
    ids = torch.tensor([build(loaded.tokenizer, asked, loaded.think).ids])
    ours, theirs = [], []
    for turn in range(times + 1):
        loaded.prefixes.clear()  # else the prompt would be known from the turn before
        start_s = time.perf_counter()
        finished = list(generate(loaded, asked, tokens, lambda: False))[-1]
        ours_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        with torch.inference_mode():
            made = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        theirs_s = time.perf_counter() - start_s
        if turn:  # the first warms up
            assert finished.usage.output_tokens == made.shape[1] - ids.shape[1] == tokens, "one of the two ended before"
            ours.append(ours_s)
            theirs.append(theirs_s)
    return ids.shape[1], statistics.median(ours), statistics.median(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--models", type=Path, default=None, help="folder that holds the demo model (default: a new one)")
    told = parser.parse_args()
    from backend.local.loading import load

    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        models = told.models or Path(folder)
        demo.ensure(models, allow_fetch=True, report=unheard)
        imports_s, load_s = second_load(models, told.times)
        print(f"demo model, second load in a fresh process, median of {told.times}: imports {imports_s:.2f} s, then load {load_s:.2f} s")
        loaded = load(parse("demo"), models, allow_fetch=False, report=unheard)
        prompt, ours_s, theirs_s = answer_times(loaded, LONG_QUESTION, 1, told.times)
        print(
            f"demo model, first token after a prompt of {prompt} tokens, median of {told.times} in turn: ours {ours_s:.2f} s, "
            f"transformers' generate {theirs_s:.2f} s = {ours_s / theirs_s:.2f} x"
        )
        _, ours_s, theirs_s = answer_times(loaded, QUESTION, told.tokens, told.times)
    print(
        f"demo model, {told.tokens} tokens greedy, median of {told.times} in turn: ours {told.tokens / ours_s:.1f} tokens a second, "
        f"transformers' generate {told.tokens / theirs_s:.1f} = {theirs_s / ours_s:.2f} x"
    )


if __name__ == "__main__":
    main()
