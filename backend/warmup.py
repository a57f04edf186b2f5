"""Imports ahead of the first request what its engine needs, beside everything else: openai takes 0.7 s, torch and transformers 6 s."""

from __future__ import annotations

import gc
import importlib
import logging
import threading

from backend import tokens

log = logging.getLogger(__name__)

MODULES = {
    "dashscope": ("backend.providers.openai_compatible",),
    "server": ("backend.providers.openai_compatible",),
    # the last ones are what transformers itself imports late, for the demo model's architecture
    "local": (
        "backend.local.loading",
        "backend.local.generation",
        "transformers.models.llama.modeling_llama",
        "transformers.tokenization_utils_tokenizers",
    ),
}
_begun: set[str] = set()
# transformers fills its namespace while it is imported, so two threads that import it at once find half of it
importing = threading.Lock()


def warm_up(model: str) -> threading.Thread | None:
    """Begins in a thread of its own, once for each engine; that thread, `None` where there is nothing to do (any more)."""
    engine = model.partition(":")[0]
    if engine not in MODULES or engine in _begun:
        return None
    _begun.add(engine)
    thread = threading.Thread(target=_import, args=(MODULES[engine],), name=f"warm-up {engine}", daemon=True)
    thread.start()
    return thread


def _import(names: tuple[str, ...]) -> None:
    tokens.load()
    for name in names:
        try:
            with importing:
                importlib.import_module(name)
        except Exception:  # the request itself is going to meet it, and can tell somebody
            log.debug("%s cannot be imported", name, exc_info=True)
            return
    # torch and transformers leave 400,000 objects that live as long as the process. Looked through by the garbage collector again
    # and again, they made the load of the demo model take 2.0 s in place of 1.7 (2 cores AMD EPYC, 2026-11-26).
    gc.freeze()
