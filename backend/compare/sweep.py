"""Sweeps: one prompt through every combination of up to two parameters' values and some seeds; what it will cost, and how far the
answers of one point agree. Pure: running it is runner.py's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from backend.catalogue import Capabilities
from backend.checking import NUMERIC_PARAMETERS
from backend.choices import Choices
from backend.compare.batches import BatchLane
from backend.composing import composed
from backend.errors import BadInput
from backend.types import Usage

MOST_AXES, MOST_VALUES, MOST_SEEDS = 2, 5, 5
_LINE_MARKS = re.compile(r"^[ \t]*(?:(?:[>*+-]|#+)[ \t]+)+", re.MULTILINE)  # Markdown's lists, quotes and titles
_OPERATORS = (  # signs of a number or formula, by what stands around them, to the mathematical sign for the same
    (re.compile(r"(?<=[\d)])\s*[-\u2010-\u2015]\s*(?=[\d(])|[-\u2010-\u2015](?=[.,]?\d)"), "\u2212"),
    (re.compile(r"(?<=\d)(\s?)\*(?=\1\d)"), "\u00d7"),
    (re.compile(r"(?<=\w)\s*/\s*(?=\d)|(?<=\d)\s*/\s*(?=[\w(])"), "\u00f7"),
    (re.compile(r"(?<=\w)\s*\^\s*(?=[\w(])"), "\u2191"),
    (re.compile(r"(?<=\d)\s*%"), " percent "),
)
_MARKDOWN = "|~"
SWEPT = tuple(name for name in NUMERIC_PARAMETERS if name != "seed")


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter and the values it takes."""

    name: str
    values: tuple[float, ...]


def axis_from(name: str, text: str, capabilities: Capabilities) -> Axis:
    """From what a person typed: "0.2, 0.7, 1.0". Raises `BadInput` that names what is wrong: also "0,1" and "1,000", which
    some write for two numbers and some for one."""
    spec = capabilities.parameters.get(name)
    label = name.replace("_", " ")
    if spec is None or name not in SWEPT:
        raise BadInput(f"{capabilities.title} on {capabilities.engine_title} takes no {label}.", hint="Choose another parameter.")
    comma = re.search(r"\d+,\d{3}(?!\d)" if spec.integer else r"\d+,\d+", text)
    if comma is not None and (spec.integer or "." not in text or re.search(r"[;\s]", text.strip())):
        raise BadInput(
            f"{comma[0]} may be one number or two.",
            hint="Write 0.5 and 1000, with a space between values.",
        )
    values: list[float] = []
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        try:
            value = float(part)
        except ValueError:
            raise BadInput(f"{part!r} is no number.", hint="Write the values of a sweep as 0.2, 0.7, 1.0.") from None
        if not spec.min <= value <= spec.max:  # NaN, too
            raise BadInput(f"{label} takes {spec.min:g} to {spec.max:g}, not {part}.", hint="Change that value.")
        if spec.integer and value != int(value):
            raise BadInput(f"{label} takes whole numbers, not {part}.", hint="Leave out the decimals.")
        value = int(value) if spec.integer else value
        if value not in values:
            values.append(value)
    if not values:
        raise BadInput(f"{label} has no values to go through.", hint="Write some, as 0.2, 0.7, 1.0.")
    if len(values) > MOST_VALUES:
        raise BadInput(f"{len(values)} values of {label}; a sweep takes at most {MOST_VALUES}.", hint="Leave some out.")
    return Axis(name, tuple(sorted(values)))


def lanes_of(choices: Choices, axes: Sequence[Axis], seeds: int) -> tuple[BatchLane, ...]:
    """A lane for each point and seed, seeds innermost. Seeds are 1, 2, ...: the same at every point, so that points differ in
    nothing but their values."""
    if not 1 <= seeds <= MOST_SEEDS:
        raise BadInput(f"A sweep takes 1 to {MOST_SEEDS} seeds, not {seeds}.", hint="Change their number.")
    if not 1 <= len(axes) <= MOST_AXES or len({axis.name for axis in axes}) != len(axes):
        raise BadInput(f"A sweep goes through one or {MOST_AXES} different parameters.", hint="Choose another one.")
    found = []
    for values in product(*(axis.values for axis in axes)):
        point: dict[str, Any] = dict(zip((axis.name for axis in axes), values, strict=True))
        for seed in range(1, seeds + 1):
            parameters = replace(choices.parameters, seed=seed, **point)
            label = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in point.items())
            found.append(BatchLane(replace(choices, parameters=parameters), f"{label}, seed {seed}", point))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a whole batch before it starts. `most` is what it costs if every answer takes all the tokens it may, `likely` if they are
    as long as `likely_tokens`; `None` where there is no price or no limit. Currency as in the price list."""

    answers: int
    currency: str | None = None
    most: float | None = None
    likely: float | None = None


def estimate(
    lanes: Sequence[tuple[Choices, Capabilities | None, str | None]], prompts: int, input_tokens: int, likely_tokens: int | None
) -> Estimate:
    """`lanes` with the region that prices stand for; `input_tokens` of all prompts together. An answer takes max_tokens at most, and
    the thinking budget where that comes on top."""
    answers = len(lanes) * prompts
    most, likely, currencies = 0.0, 0.0, set[str]()
    for choices, capabilities, region in lanes:
        longest = _longest(choices, capabilities)
        if capabilities is None or longest is None:
            return Estimate(answers)
        thinking = 1 if capabilities.thinks(choices.parameters) else 0  # a hybrid model that thought pays more for all its output
        at_most = capabilities.cost(Usage(input_tokens, prompts * longest, thinking), region)
        about = capabilities.cost(Usage(input_tokens, prompts * min(likely_tokens or longest, longest), thinking), region)
        if at_most is None or about is None:
            return Estimate(answers)
        most, likely = most + at_most[0], likely + about[0]
        currencies.add(at_most[1])
    if len(currencies) != 1:
        return Estimate(answers)
    return Estimate(answers, currencies.pop(), most, likely if likely_tokens else None)


def _longest(choices: Choices, capabilities: Capabilities | None) -> int | None:
    """Output tokens of one answer at most."""
    parameters = choices.parameters
    if parameters.max_tokens is None or capabilities is None:
        return None
    thinks = capabilities.thinks(parameters)
    if not thinks or capabilities.max_tokens_limits_thinking:
        return parameters.max_tokens
    budget = parameters.thinking_budget or capabilities.max_thinking_tokens
    return None if budget is None else parameters.max_tokens + budget


def agreement_rate(answers: Sequence[str]) -> float | None:
    """The share of pairs of answers that are the same text but for case, punctuation and white space; `None` for fewer than two."""
    pairs = list(combinations(map(_plain, answers), 2))
    return sum(first == second for first, second in pairs) / len(pairs) if pairs else None


def _plain(text: str) -> str:
    """Letters with their marks, digits, and what makes another number or formula of them; words apart by one space."""
    plain = _LINE_MARKS.sub("", composed(text.casefold()))
    for pattern, sign in _OPERATORS:
        plain = pattern.sub(sign, plain)
    return " ".join("".join(map(_sign, plain)).split())


def _sign(sign: str) -> str:
    category = unicodedata.category(sign)
    if category[0] in "LMN":
        return sign
    return f" {sign} " if category == "Sm" and sign not in _MARKDOWN else " "
