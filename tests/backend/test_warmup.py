from __future__ import annotations

import subprocess
import sys

import pytest

from backend.warmup import MODULES

PROGRAM = """
import gc, sys
from backend.warmup import warm_up
thread = warm_up(sys.argv[1])
if thread:
    thread.join()
print(warm_up(sys.argv[1]), *(name in sys.modules for name in ("openai", "torch", "tiktoken")), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("model", "imported"),
    [
        ("dashscope:qwen-plus", "True False True True"),
        ("server:box/m", "True False True True"),
        ("local:demo", "False True True True"),
        ("replay:x", "False False False False"),
    ],
)
def test_what_the_engine_needs_is_imported_once_and_nothing_else_and_left_to_itself_by_the_collector(model, imported):
    done = subprocess.run([sys.executable, "-c", PROGRAM, model], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"None {imported}"


def test_a_module_that_cannot_be_imported_ends_the_warm_up_quietly(monkeypatch):
    import backend.warmup as warmup

    monkeypatch.setitem(MODULES, "broken", ("backend.no_such_module",))
    thread = warmup.warm_up("broken:x")
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
