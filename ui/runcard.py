"""What one answer cost: times, tokens, money. Unknown is a dash, never 0."""

from __future__ import annotations

import html

from backend import Capabilities, Node, Usage, answer_tokens, context_share, display_name, portable_name
from ui.text import WORDS as W

SIGNS = {"USD": "$", "CNY": "¥"}


def run_card(node: Node, capabilities: Capabilities | None, *, elem_id: str | None) -> str:
    """The line under an answer. Each figure has its class, so that tests and people's scripts can read it."""
    usage = node.usage or Usage()
    timing = node.timing
    answered = answer_tokens(usage, capabilities)
    share = context_share(usage, capabilities)
    cells = [
        _cell("ttft", W.first_token, _seconds(timing.ttft_s if timing else None)),
        _cell("thinking-time", W.thinking_time, _seconds(timing.thinking_s if timing else None)),
        _cell("answer-time", W.answer_time, _seconds(timing.answer_s if timing else None)),
        (
            f"<span><b class='tokens-thinking'>{_count(usage.reasoning_tokens)}</b> + <b class='tokens-answer'>{_count(answered)}</b>"
            f" {W.tokens_word}</span>"
        ),
        _rate(timing.decode_tokens_per_s(usage) if timing else None),
        *_guessed(usage),
        *([_cell("cached", W.cached, _count(usage.cached_tokens))] if usage.cached_tokens else []),
        _cell("context-share", W.context, "-" if share is None else f"{100 * share:.1f} %"),
        _cost(usage, capabilities, node.region),
    ]
    if node.parameters.get("seed") is not None:
        cells.append(_cell("seed", W.seed, str(node.parameters["seed"])))
    reason = node.status if node.status in ("stopped", "error", "interrupted") else display_name(node.finish_reason or "unknown")
    cells.append(
        f"<span class='finish-reason' data-reason='{html.escape(reason)}'>{html.escape(W.finish_reasons.get(reason, reason))}</span>"
    )
    cells.append(f"<span class='model-name'>{html.escape(display_name(portable_name(node.model or '-')))}</span>")
    name = f" id='{elem_id}'" if elem_id else ""
    return f"<div class='run-card'{name}>{''.join(cells)}</div>"


def _cell(name: str, label: str, value: str) -> str:
    return f"<span>{html.escape(label)} <b class='{name}'>{html.escape(value)}</b></span>"


def _guessed(usage: Usage) -> list[str]:
    """How guessing ahead went, where it was on: the share that came true, and output tokens a forward pass of the model."""
    if usage.acceptance is None:
        return []
    known = usage.forward_passes and usage.output_tokens is not None
    pace = f"{usage.output_tokens / usage.forward_passes:.2f}" if known else "-"
    return [_cell("acceptance", W.guessed, W.acceptance.format(share=f"{100 * usage.acceptance:.0f}", pace=pace))]


def _rate(tokens_per_s: float | None) -> str:
    value = "-" if tokens_per_s is None else f"{tokens_per_s:.1f}" if tokens_per_s < 10 else f"{tokens_per_s:.0f}"
    return f"<span><b class='decode-rate'>{value}</b> {W.rate}</span>"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _cost(usage: Usage, capabilities: Capabilities | None, region: str | None) -> str:
    cost = capabilities.cost(usage, region) if capabilities else None
    if cost is None or capabilities is None:
        return _cell("cost", W.cost, "-")
    price = capabilities.price(region)
    note = W.cost_note.format(as_of=price.as_of if price else "-", region=region, note=capabilities.price_note).strip()
    return f"<span title='{html.escape(note)}'>{W.cost} <b class='cost'>{SIGNS[cost[1]]}{cost[0]:.4f}</b></span>"
