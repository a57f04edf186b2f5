"""Hugging Face ZeroGPU: a GPU that is there only while a function marked for it runs, in a forked process of its own.

Such a function is a plain generator: coroutines are refused and async generators not recognised. What goes in and comes out is pickled,
so the model is not passed but inherited by the fork, and a stop ends the generator from outside. Nothing of the package `spaces` is
needed anywhere else. Not run on a Space.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from backend.types import ChatRequest, Event

if TYPE_CHECKING:
    from backend.local.model import LoadedModel

DURATION_S = 120  # asked for a call; visitors with less of their quota left are refused by the service itself

_Answer = Callable[[ChatRequest, int], Generator[Event, None, None]]
_answer: _Answer | None = None
_held: list[LoadedModel] = []  # the fork finds the model here


def is_here() -> bool:
    """Whether this process runs on a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true", "t", "yes")


def prepare() -> None:
    """Marks the function that needs the GPU. The service wants that done while the app starts, before CUDA is touched."""
    global _answer
    import spaces  # type: ignore[import-not-found,unused-ignore]

    marked: Any = spaces.GPU(duration=DURATION_S)(_on_gpu)
    _answer = marked


def serve(loaded: LoadedModel, request: ChatRequest, max_tokens: int, stopped: Callable[[], bool]) -> Iterator[Event]:
    """As `generation.generate`, in the process that has the GPU. Raises `RuntimeError` before `prepare`."""
    if _answer is None:
        raise RuntimeError("the ZeroGPU function was not prepared at the start")
    _held[:] = [loaded]
    events = _answer(request, max_tokens)
    try:
        for event in events:
            if stopped():
                return
            yield event
    finally:
        events.close()
        _held.clear()  # else it would be kept beside the next one


def _on_gpu(request: ChatRequest, max_tokens: int) -> Generator[Event, None, None]:
    from backend.local.generation import generate

    yield from generate(_held[0], request, max_tokens, lambda: False)
