"""Memory of a local model: what a failed allocation and a failed GPU look like, giving it back."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys

import torch

from backend.errors import LocalModelError, OutOfMemory

_HINT = "Close other programs, choose a smaller model, or use a hosted one or a server."


def as_out_of_memory(error: Exception, kind: type[OutOfMemory] = OutOfMemory) -> OutOfMemory | None:
    """The error for people where `error` is a failed allocation, `None` where it is anything else.

    torch's CPU allocator raises a bare `RuntimeError`, and CUDA outside torch's allocator (a context, a kernel's code) the error of any
    failure: there the text is the only thing to go by.
    """
    failed = (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (type(error) is RuntimeError and "DefaultCPUAllocator" in str(error))
        or (isinstance(error, torch.AcceleratorError) and "out of memory" in str(error))
    )
    return kind("This machine ran out of memory.", hint=_HINT) if failed else None


def as_gpu_lost(error: Exception) -> LocalModelError | None:
    """The error for people where the GPU itself failed; nothing more can be computed on it in this process."""
    if not isinstance(error, torch.AcceleratorError):
        return None
    return LocalModelError("The GPU failed while it computed.", hint="Restart the app. If it happens again, the driver's log says more.")


def _trim() -> None:
    """The C library keeps what was freed unless it is told: 112 MB of 179 after packing a model of 66 MB (glibc, 2026-11-25)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def release() -> None:
    """Gives memory that nothing refers to any more back to the machine."""
    if gc.get_freeze_count():  # the warm-up did; a model that was there by then is in cycles which only a full look finds
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    else:
        gc.collect()
    _trim()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
