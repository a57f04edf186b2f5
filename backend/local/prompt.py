"""A conversation as the token ids a model reads, by its own chat template; and whether the answer begins inside a trace.

Three things happen to the text around the template: control tokens that a person typed (`<|im_end|>`, `</think>`) are cut in
two so that they stay text; traces that are sent again are set in after rendering, since many templates drop them; an
unfinished answer is appended to the generation prompt, which also works where a template would rewrite an assistant's turn.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from backend.errors import BadInput, RequestRejected
from backend.local.facts import CLOSE, OPEN, SWITCH
from backend.tool_calls import tool_json
from backend.types import ChatRequest, Message, ToolCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_BORDERS = 8  # looked for in one prompt; each costs a rendering


@dataclass(frozen=True, slots=True)
class ThinkTokens:
    """The ids that begin and end a trace."""

    open: int
    close: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """`thinking`: the answer begins inside a trace; `closed`: right after one (a hybrid that was asked not to think).

    `goes_on`: it continues a text, so its first line breaks count. `borders` are the places after people's messages, where the
    next turn's prompt still begins in the same way.
    """

    ids: list[int]
    thinking: bool = False
    closed: bool = False
    goes_on: bool = False
    borders: tuple[int, ...] = ()


def think_tokens(tokenizer: PreTrainedTokenizerBase) -> ThinkTokens | None:
    """`None` where the tags are no single tokens: then nothing is split, since text alone does not tell a tag from a quote."""
    opening, closing = _encode(tokenizer, OPEN), _encode(tokenizer, CLOSE)
    if len(opening) != 1 or len(closing) != 1 or opening == closing:
        return None
    return ThinkTokens(opening[0], closing[0])


def build(tokenizer: PreTrainedTokenizerBase, request: ChatRequest, think: ThinkTokens | None) -> Prompt:
    """Raises `RequestRejected` where the template refuses the conversation, `BadInput` where there is no answer to go on with."""
    quote = _Quote(tokenizer)
    if request.prompt is not None:
        return Prompt(_tokens(tokenizer, quote(request.prompt), quote), goes_on=True)
    messages, partial = request.messages, None
    if request.continue_last:
        if not messages or messages[-1].role != "assistant":
            raise BadInput("There is no unfinished answer to go on with.", hint="Send the conversation as a new turn.")
        messages, partial = messages[:-1], messages[-1]
    turns: list[dict[str, Any]] = []
    tools = None
    if request.tools is not None and request.tools.choice != "none":
        tools = [quote.each(tool_json(tool)) for tool in request.tools.offered]
    asked = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    traces: dict[str, str] = {}
    for place, message in enumerate(messages):
        content = quote(message.content)
        steps = place > asked and bool(message.calls)  # between two calls a model goes on with the same thought
        if (request.resend_thinking or steps) and think and message.role == "assistant" and message.thinking:
            mark = f"{quote.cut}{place}{quote.cut}"
            traces[mark] = f"{OPEN}\n{quote(message.thinking)}\n{CLOSE}\n\n"
            content = mark + content
        turn: dict[str, Any] = {"role": message.role, "content": content}
        if message.calls:
            turn["tool_calls"] = [{"type": "function", "id": c.id, "function": _function(c, quote)} for c in message.calls]
        if message.answers is not None:
            turn["tool_call_id"] = message.answers
        turns.append(turn)
    text = _render(tokenizer, turns, request.parameters.enable_thinking, tools)
    text = _set_in(text, traces)
    thinking = think is not None and text.rstrip().endswith(OPEN)
    tail = ""
    if partial is not None:
        tail, thinking = _tail(partial, quote, opened=thinking, can_think=think is not None)
    ids = _tokens(tokenizer, text + tail, quote)
    return Prompt(
        ids,
        thinking,
        closed=(text + tail).rstrip().endswith(CLOSE),
        goes_on=bool(tail),
        borders=_borders(tokenizer, turns, tools, traces, text, quote, ids),
    )


def _set_in(text: str, traces: dict[str, str]) -> str:
    for mark, trace in traces.items():
        text = text.replace(mark, trace)
    return text


def _borders(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, Any]],
    tools: list[Any] | None,
    traces: dict[str, str],
    text: str,
    quote: _Quote,
    ids: list[int],
) -> tuple[int, ...]:
    """Where the last few messages of people end, by rendering the conversation up to each of them without asking for an answer."""
    found = []
    for place in [n for n, turn in enumerate(turns) if turn["role"] in ("user", "tool")][-_MOST_BORDERS:]:
        try:
            until = _set_in(_render(tokenizer, turns[: place + 1], None, tools, asks=False), traces)
        except RequestRejected:
            continue
        if text.startswith(until):
            begun = _tokens(tokenizer, until, quote)
            if ids[: len(begun)] == begun:
                found.append(len(begun))
    return tuple(found)


class _Quote:
    """Marks the places where control tokens in people's text are to be cut; the pieces are encoded one by one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.cut = f"\ue000{secrets.token_hex(8)}\ue001"
        template = tokenizer.get_chat_template()
        control = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if len(token.content) > 1 and (token.special or token.content in template) and not token.content.isspace()
        } | {OPEN, CLOSE}
        self._control = re.compile("|".join(re.escape(c) for c in sorted(control, key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        return self._control.sub(lambda found: found[0][0] + self.cut + found[0][1:], text)

    def each(self, value: Any) -> Any:
        """The same in every string of a JSON value."""
        if isinstance(value, dict):
            return {self(str(name)): self.each(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.each(item) for item in value]
        return self(value) if isinstance(value, str) else value


def _function(call: ToolCall, quote: _Quote) -> dict[str, Any]:
    """Arguments as an object, which templates write out themselves; as the model's own text where they are none."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return {"name": quote(call.name), "arguments": quote.each(arguments if isinstance(arguments, dict) else call.arguments)}


def _tail(partial: Message, quote: _Quote, *, opened: bool, can_think: bool) -> tuple[str, bool]:
    """What an unfinished answer adds to the generation prompt, and whether the model then is still inside its trace.

    A trace counts as ended once there is any content, so that a content of white space asks for the answer now.
    """
    trace = partial.thinking if can_think else None
    if not opened and not trace:
        return quote(partial.content), False
    text = ("" if opened else f"{OPEN}\n") + quote(trace or "")
    if not partial.content:
        return text, True
    return f"{text}\n{CLOSE}\n\n{quote(partial.content.lstrip())}", False


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, quote: _Quote) -> list[int]:
    return [token for piece in text.split(quote.cut) if piece for token in _encode(tokenizer, piece)]


def _render(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, Any]],
    enable_thinking: bool | None,
    tools: list[Any] | None = None,
    *,
    asks: bool = True,
) -> str:
    switch: dict[str, Any] = {} if tools is None else {"tools": tools}
    if enable_thinking is not None and SWITCH in tokenizer.get_chat_template():
        switch[SWITCH] = enable_thinking
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks, **switch)
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        raise RequestRejected(
            f"The model's chat template refuses this conversation: {error}",
            hint="Some templates take no system prompt, or ask for user and assistant in turns.",
        ) from error
    return str(text)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
