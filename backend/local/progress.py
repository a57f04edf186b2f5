"""How far a load has come: the callback that the parts report to, its log lines, and progress bars turned into it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any, Literal, Protocol

from tqdm.std import tqdm  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

Stage = Literal["fetching", "converting", "loading"]


class Report(Protocol):
    """Called with a stage and its share in 0..1, `None` where nobody knows; `plan` says once what the load takes."""

    def __call__(self, stage: Stage, share: float | None, plan: str | None = None, /) -> None: ...


def unheard(stage: Stage, share: float | None, plan: str | None = None, /) -> None:
    """A report that nobody listens to."""


Tell = Callable[[Stage, float | None, str | None], None]


class Progress:
    """Hands each whole per cent on once, and each tenth to the log."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._name, self._tell = name, tell
        self._plan: str | None = None
        self._last: tuple[Stage, int | None] | None = None

    def __call__(self, stage: Stage, share: float | None, plan: str | None = None) -> None:
        self._plan = plan or self._plan
        percent = None if share is None else int(100 * min(max(share, 0.0), 1.0))
        if (stage, percent) == self._last:
            return
        before = self._last
        self._last = (stage, percent)
        self._tell(stage, None if percent is None else percent / 100, self._plan)
        if before is None or before[0] != stage or (percent or 0) // 10 != (before[1] or 0) // 10:
            log.info("%s: %s%s", self._name, stage, "" if percent is None else f" {percent} %")


def bar(told: Callable[[float], None], *, unit: str | None = None) -> type[tqdm]:
    """A progress bar class that tells its share instead of drawing; with `unit`, only bars of that unit do."""

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": StringIO(), "disable": False})

        def display(self, *args: Any, **kwargs: Any) -> None:
            if self.total and unit in (None, self.unit):
                told(self.n / self.total)

    return Bar


@contextmanager
def weights_told_to(told: Callable[[float], None], sizes: Mapping[str, float] | None = None) -> Iterator[None]:
    """While it is open, transformers' bar over weights is told as shares and not drawn: of bytes where `sizes` has them by name."""
    from transformers.utils import logging as transformers_logging

    def weights(items: Collection[Any]) -> Iterator[Any]:
        parts = [(sizes or {}).get(item[0], 0.0) if sizes else 1.0 for item in items]
        done, total = 0.0, sum(parts) or 1.0
        for item, part in zip(items, parts, strict=True):
            told(done / total)
            yield item
            done += part
        told(1.0)

    before = transformers_logging.set_tqdm_hook(lambda factory, args, kwargs: weights(args[0]))
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(before)
