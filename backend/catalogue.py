"""What each model can do on each engine, read from `assets/models.toml`: limits, parameter ranges, defaults, prices.

The panel, request validation, the run card's cost and the docs all read these, so they cannot disagree. Knows nothing of
how a parameter is written on the wire.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.display import display_name
from backend.model_names import portable_name
from backend.types import GenerationParameters, ToolChoice, Usage

ASSETS = Path(__file__).resolve().parent.parent / "assets"

Thinking = Literal["never", "always", "switch", "unknown"]
Format = Literal["json_object", "json_schema"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParameterSpec(_Frozen):
    """Inclusive range of one number, the step of its slider, and the recommended value (`None`: not sent)."""

    min: float
    max: float
    step: float
    default: float | None = None
    integer: bool = False


class Price(_Frozen):
    """Price per million tokens. `output_thinking` where a hybrid model costs more while it thinks."""

    region: str
    currency: Literal["USD", "CNY"]
    input: float
    output: float
    output_thinking: float | None = None
    as_of: str


class Engine(_Frozen):
    """What an engine's wire format takes. `tool_choices` and `formats` hold while thinking too unless the `_thinking` ones are given.

    `max_alternatives` is how many log-probabilities beside the token's own may be asked for; `None`: none are told at all.
    """

    title: str
    max_stop: int
    continuation: bool
    extra: bool = False
    tools: bool = False
    tool_choices: tuple[ToolChoice, ...] = ()
    tool_choices_thinking: tuple[ToolChoice, ...] | None = None
    formats: tuple[Format, ...] = ()
    formats_thinking: tuple[Format, ...] | None = None
    max_alternatives: int | None = None
    completes: bool = False
    parameters: dict[str, ParameterSpec] = Field(default_factory=dict)


class ModelCard(_Frozen):
    """One model as listed in the catalogue. Limits are tokens, `None` where unknown."""

    id: str
    engine: Literal["dashscope", "checkpoint", "local"]
    title: str
    names: tuple[str, ...] = ()
    thinking: Thinking
    thinks_by_default: bool | None = None
    context_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_thinking_tokens: int | None = None
    max_tokens_limits_thinking: bool = True
    defaults: dict[str, float] = Field(default_factory=dict)
    sibling: str | None = None
    note: str = ""
    price_note: str = ""
    prices: tuple[Price, ...] = ()


class Capabilities(_Frozen):
    """A model on an engine: everything the page needs to draw its panel and `checking.py` needs to judge a request."""

    name: str
    title: str
    engine: str
    engine_title: str
    known: bool = True
    thinking: Thinking = "unknown"
    thinks_by_default: bool | None = None
    context_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_thinking_tokens: int | None = None
    max_tokens_limits_thinking: bool = True
    parameters: dict[str, ParameterSpec] = Field(default_factory=dict)
    max_stop: int = 0
    can_continue: bool = False
    can_complete: bool = False
    takes_extra: bool = False
    takes_tools: bool = False
    tool_choices: tuple[ToolChoice, ...] = ()
    tool_choices_thinking: tuple[ToolChoice, ...] = ()
    formats: tuple[Format, ...] = ()
    formats_thinking: tuple[Format, ...] = ()
    max_alternatives: int | None = None
    takes_system: bool = True
    sibling: str | None = None
    note: str = ""
    price_note: str = ""
    prices: tuple[Price, ...] = ()

    def thinks(self, parameters: GenerationParameters) -> bool | None:
        """Whether an answer begins with a trace under these parameters; `None` where nobody knows."""
        if self.thinking == "switch":
            return self.thinks_by_default if parameters.enable_thinking is None else parameters.enable_thinking
        return {"always": True, "never": False, "unknown": None}[self.thinking]

    def recommended(self) -> dict[str, float | bool]:
        """The values that the panel shows at first, by the names of `GenerationParameters`."""
        found: dict[str, float | bool] = {}
        for name, spec in self.parameters.items():
            if spec.default is not None:
                found[name] = int(spec.default) if spec.integer else spec.default
        if self.thinking == "switch" and self.thinks_by_default is not None:
            found["enable_thinking"] = self.thinks_by_default
        return found

    def price(self, region: str | None) -> Price | None:
        return next((p for p in self.prices if p.region == region), None)

    def cost(self, usage: Usage, region: str | None) -> tuple[float, str] | None:
        """Estimated (amount, currency) of one answer; `None` where a count or the price is unknown.

        input x price + output x price, per million tokens; a hybrid model that thought pays its thinking price for all output.
        """
        price = self.price(region)
        if price is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        thought = bool(usage.reasoning_tokens) and price.output_thinking is not None
        output_price = price.output_thinking if thought and price.output_thinking is not None else price.output
        return (usage.input_tokens * price.input + usage.output_tokens * output_price) / 1e6, price.currency


class Catalogue:
    """All cards and engines of one models file."""

    def __init__(self, engines: Mapping[str, Engine], models: Iterable[ModelCard]) -> None:
        self.engines = dict(engines)
        self.models = tuple(models)

    @classmethod
    def load(cls, path: Path = ASSETS / "models.toml") -> Catalogue:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            {name: Engine.model_validate(engine) for name, engine in raw["engines"].items()},
            [ModelCard.model_validate(model) for model in raw["models"]],
        )

    def card(self, engine: str, model: str) -> ModelCard | None:
        """The card of `model` as `engine` calls it; server and local engines also know the checkpoints by their names."""
        wanted = model.casefold()
        homes = (engine,) if engine == "dashscope" else (engine, "checkpoint")
        for card in self.models:
            if card.engine in homes and wanted in {n.casefold() for n in (card.id, *card.names)}:
                return card
        return None

    def capabilities(
        self,
        engine: str,
        model: str,
        *,
        name: str | None = None,
        context_tokens: int | None = None,
        thinking: Thinking | None = None,
        drafts: bool = False,
        tools: bool | None = None,
        sampling: Mapping[str, float] | None = None,
    ) -> Capabilities:
        """The card on this engine, or an honest generic one. `context_tokens`, `thinking`, `drafts` (an MTP head), `tools` (a chat
        template that knows them): what the engine told.

        `sampling`: defaults that a checkpoint without a card brings along.
        """
        made_by = self.engines[engine]
        card = self.card(engine, model)
        known = card is not None
        title = display_name(portable_name(model))
        card = card or ModelCard(id=model, engine="checkpoint", title=title, thinking="unknown", defaults=dict(sampling or {}))
        context = context_tokens or card.context_tokens
        return Capabilities(
            name=name or f"{engine}:{model}",
            title=card.title,
            engine=engine,
            engine_title=made_by.title,
            known=known,
            thinking=thinking or card.thinking,
            thinks_by_default=card.thinks_by_default,
            context_tokens=context,
            max_input_tokens=card.max_input_tokens,
            max_output_tokens=card.max_output_tokens,
            max_thinking_tokens=card.max_thinking_tokens,
            max_tokens_limits_thinking=card.max_tokens_limits_thinking,
            parameters={
                name: spec
                for name, spec in _parameters(made_by, card, context, thinking or card.thinking).items()
                if drafts or name != "draft_tokens"
            },
            max_stop=made_by.max_stop,
            can_continue=made_by.continuation,
            can_complete=made_by.completes,
            takes_extra=made_by.extra,
            takes_tools=made_by.tools if tools is None else made_by.tools and tools,
            tool_choices=made_by.tool_choices,
            tool_choices_thinking=made_by.tool_choices if made_by.tool_choices_thinking is None else made_by.tool_choices_thinking,
            formats=made_by.formats,
            formats_thinking=made_by.formats if made_by.formats_thinking is None else made_by.formats_thinking,
            max_alternatives=made_by.max_alternatives,
            sibling=card.sibling,
            note=card.note,
            price_note=card.price_note,
            prices=card.prices,
        )


def _parameters(engine: Engine, card: ModelCard, context: int | None, thinking: Thinking) -> dict[str, ParameterSpec]:
    limits = {"max_tokens": card.max_output_tokens or context, "thinking_budget": card.max_thinking_tokens}
    out: dict[str, ParameterSpec] = {}
    for name, spec in engine.parameters.items():
        if name == "thinking_budget" and thinking in ("never", "unknown"):
            continue
        top = min(spec.max, limits.get(name) or spec.max)
        default = card.defaults.get(name, spec.default)
        out[name] = spec.model_copy(update={"max": top, "default": None if default is None else max(spec.min, min(default, top))})
    return out


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The shipped catalogue, read once."""
    return Catalogue.load()
