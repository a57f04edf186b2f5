"""What travels between the engines and the page: messages, requests, usage, and the closed union of stream events.

Knows nothing of any engine, wire format or page. A recording is these events as JSON lines (see `recording.py`).
Unknown is `None`, never 0; times are seconds on a monotonic clock, counts are tokens as the engine reported them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "unknown"]
WaitStage = Literal["queued", "loading", "reading"]
ToolChoice = Literal["auto", "none", "required", "named"]
CallState = Literal["called", "asking", "waiting", "running", "done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model made. `arguments` is the text it wrote: JSON if all went well, which nobody has checked."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call; `parameters` is the JSON Schema of its arguments. `strict` is passed on where a caller set it."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What a request offers, and whether the model is to use it. `name` says which one where `choice` is "named"; `parallel`
    whether several calls may come in one turn, `None`: as the engine likes."""

    offered: tuple[Tool, ...]
    choice: ToolChoice = "auto"
    name: str | None = None
    parallel: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """JSON in place of text: any object, or with `schema` one that keeps to it."""

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `thinking` is the trace that came with an assistant's turn; it is sent again only on request.

    `calls` are an assistant's; the turns of role "tool" after it bring the results, each with the id of its call in `answers`.
    """

    role: Role
    content: str
    thinking: str | None = None
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationParameters:
    """What the user set. `None` means "not set": the field is not sent and the engine's own default holds.

    `thinking_budget` and `max_tokens` are tokens; `enable_thinking` is for hybrid models only; `extra` is raw JSON
    that goes into the request's body as it is, where the engine takes it. `draft_tokens` is how many tokens a model's MTP head
    guesses ahead, 0 none; not set, the engine takes what it measured to be fastest.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    thinking_budget: int | None = None
    draft_tokens: int | None = None
    enable_thinking: bool | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detail:
    """What is told of each token, as `TokenDetail`: so many `alternatives`, and with `experts` the routing of every layer."""

    alternatives: int = 0
    experts: bool = False


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of one model. `model` is the engine's own name for it, without the `provider:` part.

    With `continue_last` the last message is an assistant's unfinished turn and the engine writes on from its end
    (only where `Capabilities.can_continue`). With `prompt` there are no messages: the engine writes on from that text, without
    any template (only where `Capabilities.can_complete`).
    """

    model: str
    messages: tuple[Message, ...]
    parameters: GenerationParameters = field(default_factory=GenerationParameters)
    resend_thinking: bool = False
    continue_last: bool = False
    detail: Detail | None = None
    tools: Tools | None = None
    format: AnswerFormat | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the engine reported them. `output_tokens` includes `reasoning_tokens`.

    `cached_tokens` of the input were not read again. `drafted_tokens` were guessed ahead, `accepted_tokens` of them came true, in
    `forward_passes` of the model.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    forward_passes: int | None = None

    @property
    def acceptance(self) -> float | None:
        """The share of guessed tokens that came true."""
        if not self.drafted_tokens or self.accepted_tokens is None:
            return None
        return self.accepted_tokens / self.drafted_tokens

    @property
    def answer_tokens(self) -> int | None:
        """Output tokens that are not thinking; `None` unless the engine told both counts."""
        if self.output_tokens is None or self.reasoning_tokens is None:
            return None
        return self.output_tokens - self.reasoning_tokens


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, measured where the run is held: t0 = request made, t1 = first non-empty delta, tn = last delta.

    `ttft_s` = t1 - t0; `thinking_s` = first answer delta (or the end) - t1 where there was a trace;
    `answer_s` = tn - first answer delta; `decode_s` = tn - t1; `total_s` = stream closed - t0.
    """

    ttft_s: float | None = None
    thinking_s: float | None = None
    answer_s: float | None = None
    decode_s: float | None = None
    total_s: float | None = None

    def decode_tokens_per_s(self, usage: Usage) -> float | None:
        """(N - 1) / (tn - t1), N = output tokens from usage: the inverse of inter-token latency (as guidellm)."""
        if self.decode_s is None or self.decode_s <= 0 or usage.output_tokens is None or usage.output_tokens < 2:
            return None
        return (usage.output_tokens - 1) / self.decode_s


@dataclass(frozen=True, slots=True)
class Started:
    """The run exists. Always the first event, sent before any waiting."""

    model: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing to read yet: a place in a queue (1 = next), a share loaded in 0..1, or the prompt being read."""

    stage: WaitStage
    position: int | None = None
    share: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Retrying:
    """An attempt failed before its first token; the next one (`attempt`, from 2) starts in `wait_s`."""

    attempt: int
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """New text of the trace. `tokens` is the engine's own count of thinking tokens so far, where it tells."""

    text: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text of the answer. `tokens` is the engine's own count of all output tokens so far, where it tells."""

    text: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerWasThinking:
    """Everything sent as answer so far was thinking: a model that nobody knew opened its trace in the prompt."""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; pieces with one `index` belong together, `arguments` are joined in order."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The model's turn ended with calls; what comes after their results is another turn of the same answer. Figures of this turn alone."""

    usage: Usage = field(default_factory=Usage)
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """What became of the call `id`: "asking" for permission, "waiting" for somebody to type the result, or at its end with its result
    or the reason why there is none. `problem`: what is wrong with its arguments."""

    id: str
    state: CallState
    result: str | None = None
    elapsed_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TokenDetail:
    """Log-probability of one token and its alternatives, where asked for; comes before the text that the token makes.

    `experts` has one entry for each layer with experts, the chosen ones with their weights, of the forward pass that led to the token.
    """

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()
    experts: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The run ended by itself. Always the last event of a stream that raised nothing."""

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    timing: Timing | None = None
    request_id: str | None = None


Event = (
    Started
    | Waiting
    | Retrying
    | ThinkingDelta
    | TextDelta
    | AnswerWasThinking
    | ToolCallDelta
    | StepFinished
    | ToolProgress
    | TokenDetail
    | Finished
)
