"""Memory of a local model: what an allocation failure looks like, giving it back."""

from __future__ import annotations

import errno
import gc

import torch

from backend.errors import OutOfMemory

_HINT = "Close other programs, choose a smaller model, or use a hosted one or a server."


def as_out_of_memory(error: Exception) -> OutOfMemory | None:
    """The error for people where `error` is a failed allocation, `None` where it is anything else.

    torch's CPU allocator raises a bare `RuntimeError`, so there its name in the text is the only thing to go by.
    """
    failed = (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (type(error) is RuntimeError and "DefaultCPUAllocator" in str(error))
    )
    return OutOfMemory("This machine ran out of memory.", hint=_HINT) if failed else None


def release() -> None:
    """Gives memory that nothing refers to any more back to the machine."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
