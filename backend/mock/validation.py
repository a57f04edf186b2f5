"""DashScope's rules for a request, with its own texts (dashscope.md section 4.1's list, from Alibaba's error pages).

Returns the first `Refusal` or none. Knows no envelope. Not checked, because the service's behaviour is not known: unknown
parameters (`min_p` and the like) pass in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from backend.catalogue import ModelCard
from backend.mock.call import Call, text_of
from backend.mock.refusals import Refusal, invalid

_ROLES = ("system", "user", "assistant", "tool")
_RANGES: tuple[tuple[str, Callable[[float], bool], bool, str], ...] = (
    ("temperature", lambda v: 0 <= v < 2, False, "Temperature should be in [0.0, 2.0)"),
    ("top_p", lambda v: 0 < v <= 1, False, "Range of top_p should be (0.0, 1.0]"),
    ("top_k", lambda v: v >= 0, True, "Parameter top_k be greater than or equal to 0"),
    ("repetition_penalty", lambda v: v > 0, False, "Repetition_penalty should be greater than 0.0"),
    ("presence_penalty", lambda v: -2 <= v <= 2, False, "Presence_penalty should be in [-2.0, 2.0]"),
    ("n", lambda v: 1 <= v <= 4, True, "Range of n should be [1, 4]"),
    ("seed", lambda v: 0 <= v <= 2**63 - 1, True, "Range of seed should be [0, 9223372036854775807]"),
)


def check(call: Call, card: ModelCard, max_input_tokens: int | None) -> Refusal | None:
    """The first thing the service would refuse. `max_input_tokens` replaces the card's own limit."""
    rules = (_messages(call), _thinking(call, card), _ranges(call, card), _json_mode(call, card), _tools(call))
    for found in rules:
        for refusal in found:
            return refusal
    limit = max_input_tokens or card.max_input_tokens or card.context_tokens
    if limit is not None and call.input_tokens > limit:
        text = f"<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, {limit}]"
        return invalid(text, native="InternalError.Algo.InvalidParameter")
    return None


def _messages(call: Call) -> Iterator[Refusal]:
    source: Any = call.body if call.surface == "compatible" else call.body.get("input")
    given = source.get("messages") if isinstance(source, dict) else None
    if given is None and not call.messages:
        yield invalid('Either "prompt" or "messages" must exist and cannot both be none')
    elif given is not None and not isinstance(given, list):
        yield invalid("Required body invalid, please check the request body format.")
    elif given == []:
        yield invalid("[] is too short - 'messages'" if call.surface == "compatible" else "[] is too short")
    elif isinstance(given, list) and any(not isinstance(m, dict) or m.get("role") not in _ROLES for m in given):
        yield invalid("Required body invalid, please check the request body format.")
    elif any(not _plain_text(m, call.surface == "compatible") for m in call.messages):
        yield invalid("input content must be a string.")


def _plain_text(message: Mapping[str, Any], parts_allowed: bool) -> bool:
    content = message.get("content")
    if content is None:
        return bool(message.get("tool_calls"))
    return isinstance(content, str) or (parts_allowed and isinstance(content, list) and bool(text_of(content)))


def _thinking(call: Call, card: ModelCard) -> Iterator[Refusal]:
    asked, thinks = call.parameters.get("enable_thinking"), call.thinks(card)
    if asked is not None and card.thinking == "never":
        text = f"The model {card.id} does not support enable_thinking."
        yield invalid(text, native="InvalidParameter.NotSupportEnableThinking")
    if asked is False and card.thinking == "always":
        yield invalid("The value of the enable_thinking parameter is restricted to True.")
    if thinks and not call.stream:
        yield invalid(
            "This model only support stream mode, please enable the stream parameter to access the model."
            if card.thinking == "always"
            else "parameter.enable_thinking must be set to false for non-streaming calls"
        )
    if thinks and call.parameters.get("incremental_output") is False:
        yield invalid(
            "The incremental_output parameter of this model cannot be set to False."
            if card.thinking == "always"
            else 'The incremental_output parameter must be "true" when enable_thinking is true'
        )
    if thinks and call.parameters.get("result_format", "message") != "message":
        yield invalid('The result_format parameter must be "message" when enable_thinking is true')
    budget, most = call.parameters.get("thinking_budget"), card.max_thinking_tokens or card.context_tokens
    if thinks and budget is not None and not _within(budget, True, lambda v: v > 0 and (most is None or v <= most)):
        yield invalid(f"The thinking_budget parameter must be a positive integer and not greater than {most}")


def _ranges(call: Call, card: ModelCard) -> Iterator[Refusal]:
    seed = call.parameters.get("seed")
    if call.surface == "compatible" and isinstance(seed, int) and seed < 0:
        text = f"{seed} is lesser than the minimum of 0 - 'seed'"
        yield Refusal(400, "InvalidParameter", "invalid_request_error", text)
    for name, allowed, whole, text in _RANGES:
        value = call.parameters.get(name)
        if value is not None and not _within(value, whole, allowed):
            yield invalid(text)
    most, asked = card.max_output_tokens, call.parameters.get("max_tokens")
    if asked is not None and not _within(asked, True, lambda v: v >= 1 and (most is None or v <= most)):
        yield invalid(f"Range of max_tokens should be [1, {most}]")


def _within(value: object, whole: bool, allowed: Callable[[float], bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return allowed(value)


def _json_mode(call: Call, card: ModelCard) -> Iterator[Refusal]:
    wanted = call.parameters.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
        return
    if call.thinks(card):
        yield invalid("Json mode response is not supported when enable_thinking is true")
    elif not any("json" in text_of(m.get("content")).casefold() for m in call.messages):
        yield invalid("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")


def _tools(call: Call) -> Iterator[Refusal]:
    choice = call.parameters.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none"):
        yield invalid('tool_choice is one of the strings that should be ["none", "auto"]')
