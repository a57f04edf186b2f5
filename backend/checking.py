"""A request judged against what its model takes, before anything is sent. Knows no engine and no wire format."""

from __future__ import annotations

from backend.catalogue import Capabilities, Format
from backend.errors import BadInput
from backend.types import ChatRequest

NUMERIC_PARAMETERS = (
    "thinking_budget", "max_tokens", "temperature", "top_p", "top_k", "min_p",
    "presence_penalty", "repetition_penalty", "seed", "draft_tokens",
)  # fmt: skip


def check(request: ChatRequest, capabilities: Capabilities, *, any_turn: bool = False) -> None:
    """Raises `BadInput` with a sentence and a hint for the first thing in `request` that this model does not take. A person asks in a
    turn of theirs; a program may ask with `any_turn`, as a system prompt alone."""
    turns = (m.content for m in request.messages if m.role == "user" or any_turn)
    asked = turns if request.prompt is None else (request.prompt,)
    if not any(text.strip() for text in asked):
        raise BadInput("The prompt is empty.", hint="Type a question or attach a file with text in it.")
    _check_extras(request, capabilities)
    parameters = request.parameters
    for name in NUMERIC_PARAMETERS:
        value = getattr(parameters, name)
        spec = capabilities.parameters.get(name)
        if value is None or spec is None:
            continue  # a parameter that the engine lacks is not sent, and the panel says so
        label = name.replace("_", " ")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"{label} must be a number, not {value!r}.", hint="Use the slider or type a number.")
        if value != value or not spec.min <= value <= spec.max:
            raise BadInput(
                f"{label} is {_shown(value)}; {capabilities.title} on {capabilities.engine_title} takes {spec.min:g} to {spec.max:g}.",
                hint="Move it into the range, or reset the parameters.",
            )
        if spec.integer and value != int(value):
            raise BadInput(f"{label} must be a whole number, not {_shown(value)}.", hint="Leave out the decimals.")
    if len(parameters.stop) > capabilities.max_stop > 0:
        raise BadInput(
            f"{len(parameters.stop)} stop strings; {capabilities.engine_title} takes at most {capabilities.max_stop}.",
            hint="Remove some of them.",
        )
    if request.continue_last and not capabilities.can_continue:
        raise BadInput(
            f"{capabilities.engine_title} cannot write on from an unfinished answer.",
            hint="Regenerate it, or ask it to go on in a new turn.",
        )


def _shown(value: int | float) -> str:
    return f"{value:g}" if abs(value) < 1e15 else f"{str(value)[:12]}…"  # whole numbers may have any length


def _check_extras(request: ChatRequest, capabilities: Capabilities) -> None:
    """Tools, JSON, log-probabilities, plain completion: what is asked for and not there is refused, since the answer would be another."""
    on, thinks = f"{capabilities.title} on {capabilities.engine_title}", capabilities.thinks(request.parameters)
    while_thinking = " while it thinks" if thinks else ""
    if request.tools is not None:
        if not capabilities.takes_tools:
            raise BadInput(f"{on} cannot call tools.", hint="Choose a model that can, or remove the tools.")
        choices = capabilities.tool_choices_thinking if thinks else capabilities.tool_choices
        if request.tools.choice not in choices:
            hint = f"It takes {', '.join(choices)}."
            raise BadInput(f'{on} takes no tool choice "{request.tools.choice}"{while_thinking}.', hint=hint)
    if request.format is not None:
        wanted: Format = "json_object" if request.format.schema is None else "json_schema"
        formats = capabilities.formats_thinking if thinks else capabilities.formats
        if wanted not in formats:
            hint = f"It takes {', '.join(formats)}." if formats else "Ask for JSON in the prompt, or choose another model."
            raise BadInput(f"{on} cannot be held to {wanted}{while_thinking}.", hint=hint)
    if request.detail is not None and capabilities.max_alternatives is None:
        raise BadInput(f"{on} tells no log-probabilities.", hint="Ask without them.")
    if request.detail is not None and request.detail.alternatives > (capabilities.max_alternatives or 0):
        raise BadInput(f"{on} tells at most {capabilities.max_alternatives} alternatives a token.", hint="Ask for fewer.")
    if request.prompt is not None and not capabilities.can_complete:
        raise BadInput(f"{on} takes no plain text to write on from.", hint="Send messages, or choose a model on this machine.")
