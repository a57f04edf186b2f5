"""How the emulator behaves: pace, style, faults. Knows nothing of HTTP.

The defaults are a plausible day on DashScope; tests make it fast with `tokens_per_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.catalogue import ASSETS

ServerStyle = Literal["reasoning_content", "reasoning", "inline"]
SERVER_STYLES: tuple[ServerStyle, ...] = ("reasoning_content", "reasoning", "inline")


@dataclass(frozen=True, slots=True)
class MockConfig:
    """`chunk_tokens` is the mean number of tokens in a frame (1: exactly one each); `jitter` is the share of a frame's own
    interval by which it may come early or late.

    `server_style` is how `/v1` (the vLLM-like surface) sends a trace: in one of two fields, or in the text, closed by
    `</think>` and never opened. `fault` is a fault's name (see faults.py) that every request meets with `fault_probability`.
    `max_input_tokens` replaces every model's own limit; `seed` makes jitter and probability repeatable.
    """

    first_token_s: float = 0.4
    tokens_per_s: float = 80.0
    jitter: float = 0.15
    chunk_tokens: int = 2
    bad_key: str = "sk-wrong"
    server_style: ServerStyle = "reasoning_content"
    fault: str | None = None
    fault_probability: float = 1.0
    max_input_tokens: int | None = None
    recordings: Path = ASSETS / "recordings"
    seed: int | None = None
    kept_runs: int = 200
    kept_requests: int = 50
