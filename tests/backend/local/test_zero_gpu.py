"""On ZeroGPU an answer goes through the marked function, with nothing that cannot be pickled, and a stop ends it from outside."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType, SimpleNamespace

import pytest

from backend.local import zero_gpu
from backend.types import Finished
from tests.backend.local.tiny import END, ask, said, scripted


@pytest.fixture
def spaces(monkeypatch):
    """What the package does to a generator: arguments and events cross a border of processes, closing it ends the work."""
    seen = SimpleNamespace(durations=[], closed=0)

    def gpu(duration):
        seen.durations.append(duration)

        def marked(function):
            def run(*args):
                try:
                    for event in function(*pickle.loads(pickle.dumps(args))):
                        yield pickle.loads(pickle.dumps(event))
                finally:
                    seen.closed += 1

            return run

        return marked

    module = ModuleType("spaces")
    module.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setattr(zero_gpu, "_answer", None)
    monkeypatch.setattr(zero_gpu, "_held", [])
    return seen


def test_an_answer_comes_through_the_marked_function(spaces):
    zero_gpu.prepare()
    events = list(zero_gpu.serve(scripted("Hello there" + END), ask(), 50, lambda: False))
    assert said(events)[1] == "Hello there" and isinstance(events[-1], Finished)
    assert spaces.durations == [zero_gpu.DURATION_S] and spaces.closed == 1


def test_a_stop_closes_it(spaces):
    zero_gpu.prepare()
    loaded = scripted("on and ")
    events = list(zero_gpu.serve(loaded, ask(), 500, lambda: loaded.model.forwards >= 5))
    assert loaded.model.forwards <= 6 and spaces.closed == 1
    assert not any(isinstance(event, Finished) for event in events)


def test_it_must_be_prepared_at_the_start(spaces):
    with pytest.raises(RuntimeError, match="not prepared"):
        next(zero_gpu.serve(scripted("x"), ask(), 5, lambda: False))


@pytest.mark.parametrize(("value", "here"), [(None, False), ("", False), ("0", False), ("true", True), ("1", True)])
def test_only_such_a_space_is_one(monkeypatch, value, here):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if value is not None:
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
    assert zero_gpu.is_here() is here
