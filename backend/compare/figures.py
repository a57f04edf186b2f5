"""What one answer cost, as numbers by name: the rows of the comparison's table, and what a vote keeps. Unknown is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from backend.catalogue import Capabilities
from backend.compare.votes import Contestant
from backend.history import Node
from backend.types import Timing, Usage

Better = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `better` says which end is the better one, `None` where neither is."""

    name: str
    better: Better | None = None


FIGURES = (
    Figure("ttft_s", "low"),
    Figure("thinking_s", "low"),
    Figure("answer_s", "low"),
    Figure("total_s", "low"),
    Figure("input_tokens"),
    Figure("thinking_tokens"),
    Figure("answer_tokens"),
    Figure("tokens_per_s", "high"),
    Figure("guesses_right"),
    Figure("context_share", "low"),
    Figure("cost", "low"),
    Figure("seed"),
)


def answer_tokens(usage: Usage, capabilities: Capabilities | None) -> int | None:
    """Tokens of the answer alone: a model that never thinks has spent all its output on it, whether or not the engine splits the count."""
    if usage.answer_tokens is None and capabilities is not None and capabilities.thinking == "never":
        return usage.output_tokens
    return usage.answer_tokens


def context_share(usage: Usage, capabilities: Capabilities | None) -> float | None:
    """How much of the model's context question and answer took, 0..1."""
    total = capabilities.context_tokens if capabilities else None
    if total is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return (usage.input_tokens + usage.output_tokens) / total


def figures_of(node: Node, capabilities: Capabilities | None) -> dict[str, float]:
    """By the names of `FIGURES`, only what is known. Times in seconds, cost in the currency of the price list."""
    usage, timing = node.usage or Usage(), node.timing or Timing()
    cost = capabilities.cost(usage, node.region) if capabilities else None
    found = {
        "ttft_s": timing.ttft_s,
        "thinking_s": timing.thinking_s,
        "answer_s": timing.answer_s,
        "total_s": timing.total_s,
        "input_tokens": usage.input_tokens,
        "thinking_tokens": usage.reasoning_tokens,
        "answer_tokens": answer_tokens(usage, capabilities),
        "tokens_per_s": timing.decode_tokens_per_s(usage),
        "guesses_right": usage.acceptance,
        "context_share": context_share(usage, capabilities),
        "cost": cost[0] if cost else None,
        "seed": node.parameters.get("seed"),
    }
    # of a chat that somebody else's file brought, a seed may be anything
    return {name: value for name, value in found.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def contestant(node: Node, capabilities: Capabilities | None) -> Contestant:
    """An answer as a vote keeps it."""
    return Contestant(node.model or "", dict(node.parameters), figures_of(node, capabilities), node.id)


def best(values: Mapping[int, float], better: Better | None) -> frozenset[int]:
    """The places that hold the best of a row; none where there is nothing to choose between."""
    if better is None or len(values) < 2 or len(set(values.values())) < 2:
        return frozenset()
    wanted = min(values.values()) if better == "low" else max(values.values())
    return frozenset(place for place, value in values.items() if value == wanted)
