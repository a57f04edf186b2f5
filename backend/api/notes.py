"""What a caller should know of the models, as Markdown drawn from the catalogue: limits, thinking, prices with their date, routing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from backend.catalogue import ASSETS, Catalogue, Engine, ModelCard, ParameterSpec, catalogue

# of Qwen3-Next 80B-A3B, from its published config.json; a test holds them against transformers' own
LAYERS, EXPERTS, ROUTED, SHARED = 48, 512, 10, 1
_WORDS = {"always": "always", "never": "never", "unknown": "not known"}


@lru_cache(maxsize=1)
def model_notes() -> str:
    """All notes, headings from the second level down."""
    found = catalogue()
    return "\n\n".join((_models(found), _prices(found), _parameters(found), _abilities(found), _routing()))


def _models(found: Catalogue) -> str:
    rows = [
        (
            _name(card),
            card.title,
            _thinking(card),
            _count(card.context_tokens),
            _count(card.max_input_tokens),
            _count(card.max_output_tokens),
            _count(card.max_thinking_tokens),
        )
        for card in found.models
    ]
    head = ("model", "title", "thinks", "context", "input at most", "output at most", "trace at most")
    apart = ", ".join(f"`{card.id}`" for card in found.models if not card.max_tokens_limits_thinking)
    return f"""## Models

A name says the engine first: `dashscope:ID`, `server:NAME/ID` (an OpenAI-compatible server that this host knows as NAME), `local:ID` (this
machine; a folder or a name of the Hugging Face hub works too), `replay:FILE` (a recorded run). `GET /v1/models` lists what this host can
use right now; the catalogue knows these. Limits are tokens, as far as they are known (those of a hosted model's input and trace are not
documented to the token):

{_table(head, rows)}

A trace comes as `reasoning_content`, before `content`. Where a model has a switch, `enable_thinking` sets it. `max_tokens` counts the trace
too, except on DashScope for {apart}, whose trace has a limit of its own, `thinking_budget`."""


def _name(card: ModelCard) -> str:
    return f"`server:NAME/{card.id}`, `local:{card.id}`" if card.engine == "checkpoint" else f"`{card.engine}:{card.id}`"


def _thinking(card: ModelCard) -> str:
    if card.thinking != "switch":
        return _WORDS[card.thinking]
    return f"switch, {'on' if card.thinks_by_default else 'off'} by default"


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _prices(found: Catalogue) -> str:
    rows = [
        (
            _name(card),
            price.region,
            f"{price.input:g} {price.currency}",
            f"{price.output:g} {price.currency}",
            "" if price.output_thinking is None else f"{price.output_thinking:g} {price.currency}",
            price.as_of,
            card.price_note,
        )
        for card in found.models
        for price in card.prices
    ]
    head = ("model", "region", "input", "output", "output of an answer with a trace", "as of", "note")
    return f"## Prices\n\nList prices of a million tokens, each with the day on which it was looked up. They move.\n\n{_table(head, rows)}"


def _parameters(found: Catalogue) -> str:
    engines = [engine for engine in found.engines.values() if engine.parameters]
    names = dict.fromkeys(name for engine in engines for name in engine.parameters)
    rows = [(f"`{name}`", *(_range(engine.parameters.get(name)) for engine in engines)) for name in names]
    return f"""## Parameters

Ranges by engine, both ends included; a model's own limit can be lower, and `GET /v1/models/{{name}}` tells a model's ranges and defaults. A
number out of range is an error. A parameter that the engine lacks is left out, and the header `x-ignored-parameters` names it.

{_table(("parameter", *(engine.title for engine in engines)), rows)}"""


def _range(spec: ParameterSpec | None) -> str:
    return "" if spec is None else f"{spec.min:.10g} to {spec.max:.10g}"


def _abilities(found: Catalogue) -> str:
    rows = [
        (
            engine.title,
            _listed(engine.tool_choices if engine.tools else ()),
            _listed(engine.formats),
            "" if engine.max_alternatives is None else f"yes, with up to {engine.max_alternatives} alternatives",
            str(engine.max_stop or ""),
            "yes" if engine.completes else "",
        )
        for engine in found.engines.values()
    ]
    head = ("engine", "tool_choice", "response_format beside text", "logprobs", "stop strings at most", "/v1/completions")
    hint = "`named` is the object that names one function. Whether a model has tools, `GET /v1/models/{name}` tells."
    limits = " ".join(_while_thinking(engine) for engine in found.engines.values() if _is_narrower(engine))
    return f"## Tools, JSON and log-probabilities\n\n{_table(head, rows)}\n\n{limits} {hint}"


def _is_narrower(engine: Engine) -> bool:
    return engine.tool_choices_thinking is not None or engine.formats_thinking is not None


def _while_thinking(engine: Engine) -> str:
    choices = engine.tool_choices if engine.tool_choices_thinking is None else engine.tool_choices_thinking
    formats = engine.formats if engine.formats_thinking is None else engine.formats_thinking
    return f"While a model thinks, {engine.title} takes tool_choice {_listed(choices)} and response_format {_listed(formats) or 'none'}."


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _routing() -> str:
    config = json.loads((ASSETS / "qwen3-next-tiny" / "config.json").read_text(encoding="utf-8"))
    tiny = f"{config['num_hidden_layers']} layers, {config['num_experts_per_tok']} of {config['num_experts']} experts a token, and 1 shared"
    return f"""## Routing

Qwen3-Next 80B-A3B is a mixture of experts: in each of its {LAYERS} layers a router picks {ROUTED} of {EXPERTS} experts for every token, and
{SHARED} shared expert works on all of them, so that some 3 of 80 billion weights take part in a token. `local:qwen3-next-tiny`, the small
model of this repository, is built alike: {tiny}.
Hosted models do not tell which experts a token went to. Engines on this machine can tell it for every token and layer, with the weights;
that is for programs in the same process (`Detail(experts=True)`), OpenAI's format has no place for it and `/v1` does not send it."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
