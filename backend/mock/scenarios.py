"""What the emulator answers: scripted scenarios, chosen by `[[markers]]` in the last user turn or a
system prompt, or by words in that turn, and recordings.

    [[scenario:NAME]]   one of SCENARIOS              [[recording:NAME]]  a recorded run with its own timing
    [[words:N]]         an answer of N tokens         [[think:N]]         a trace of N tokens (where the model thinks)
    [[rate:R]]          R tokens a second             [[first:S]]         first token after S seconds
    [[chunk:N]]         N tokens a frame on average   [[style:NAME]]      how /v1 sends the trace (config.SERVER_STYLES)
    [[echo]]            the request body as received  [[fault:NAME]]      see faults.py
    [[tool]]            calls the request's first tool; see calls.py for more

A name that is not known is answered with those that are. Knows no wire format and no clock.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from backend.catalogue import ModelCard
from backend.mock import texts
from backend.mock.call import Call, text_of
from backend.mock.calls import ToolCall, as_text, calls_of, in_text, sample
from backend.mock.config import MockConfig
from backend.mock.pacing import Chunk, Kind, Pace, Part, paced, tokens
from backend.recording import Recording
from backend.types import FinishReason, TextDelta, ThinkingDelta

SCENARIOS: Mapping[str, tuple[str, str]] = {
    "markdown": (texts.SHORT_THOUGHT, texts.MARKDOWN),
    "table": (texts.SHORT_THOUGHT, texts.TABLE),
    "code": (texts.SHORT_THOUGHT, texts.CODE),
    "maths": (texts.MATHS_THOUGHT, texts.MATHS),
    "unicode": (texts.SHORT_THOUGHT, texts.UNICODE),
    "html": ("<b>Is this bold?</b> It must not be.", texts.HTML),
    "empty": ("", ""),
    "thoughtful": (texts.SHORT_THOUGHT, ""),
}
KEYWORDS: Mapping[str, str] = {"17 * 24": "maths", "python": "code", "a table": "table", "markdown": "markdown"}
MOST_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """One answer, ready to be sent: chunks in order of `at_s`, then the reason. `calls` are those that the chunks hold in parts."""

    chunks: Sequence[Chunk]
    reason: FinishReason
    calls: Sequence[ToolCall] = ()

    def text(self, kind: Kind) -> str:
        return "".join(c.text for c in self.chunks if c.kind == kind)

    def tokens(self, kind: Kind) -> int:
        return sum(c.tokens for c in self.chunks if c.kind == kind)


def compose(call: Call, card: ModelCard, config: MockConfig, recordings: Mapping[str, Recording], rng: random.Random) -> Script:
    """The answer to a valid call, cut to its thinking budget, stop strings and `max_tokens`."""
    thinks, marked = call.thinks(card), call.markers
    recording = recordings.get(marked.get("recording", ""))
    recorded = _replayed(recording, thinks) if recording is not None else []
    wanted = calls_of(call)
    if recording is not None:
        trace, said = ([t for c in recorded if c.kind == kind for t in tokens(c.text)] for kind in ("thinking", "answer"))
    else:
        thinking, answer = _texts(call, recordings)
        trace, said = tokens(thinking) if thinks else [], tokens(answer)
    if thinks and "think" in marked:
        trace = _filled(_number(marked["think"], 0))
    if "words" in marked:
        said = _filled(_number(marked["words"], 0))
    uncut = len(trace), len(said)
    if wanted:
        said = tokens(as_text(wanted)) if in_text(call) else []
    trace, said, reason = _limited(call, trace, said)
    if recorded and not marked.keys() & {"rate", "think", "words"} and (len(trace), len(said)) == uncut:
        return Script(recorded, reason)
    pace = Pace(
        first_token_s=_number(marked.get("first"), config.first_token_s),
        tokens_per_s=max(0.1, _number(marked.get("rate"), config.tokens_per_s)),
        jitter=config.jitter,
        chunk_tokens=max(1, int(_number(marked.get("chunk"), config.chunk_tokens))),
    )
    parts = [Part("thinking", trace), Part("answer", said)]
    if wanted and not in_text(call):
        reason = "tool_calls"
        parts += [Part("call", tokens(one.arguments), n, one.name) for n, one in enumerate(wanted)]
    return Script(list(paced(parts, pace, rng)), reason, [] if in_text(call) else wanted)


def _texts(call: Call, recordings: Mapping[str, Recording]) -> tuple[str, str]:
    marked, prompt = call.markers, call.prompt
    if "echo" in marked:
        return texts.SHORT_THOUGHT, f"```json\n{json.dumps(call.body, ensure_ascii=False, indent=2)}\n```\n"
    if _asks_for_json(call):
        return texts.SHORT_THOUGHT, json.dumps(_json_answer(call, prompt), ensure_ascii=False)
    wanted = marked.get("scenario")
    if wanted is None and "recording" not in marked:
        wanted = next((name for word, name in KEYWORDS.items() if word in prompt.casefold()), None)
    if wanted is not None and wanted in SCENARIOS:
        return SCENARIOS[wanted]
    if wanted is not None or "recording" in marked:
        return "", f"Scenarios: {', '.join(SCENARIOS)}. Recordings: {', '.join(sorted(recordings)) or 'none'}.\n"
    results = [text_of(m.get("content")) for m in call.messages if m.get("role") == "tool"]
    if results and call.messages[-1].get("role") == "tool":
        return texts.SHORT_THOUGHT, f"The tool returned: {results[-1]}\n"
    short = " ".join(prompt.split())[:200]
    turns = sum(m.get("role") in ("user", "assistant") for m in call.messages)
    return texts.THOUGHT.format(prompt=short), texts.ANSWER.format(prompt=short, model=call.model, turns=turns)


def _json_answer(call: Call, prompt: str) -> object:
    """What fits the schema that was asked for; without one, an object that says what it is."""
    wanted = call.parameters["response_format"].get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return {"emulated": True, "prompt": prompt} if schema is None else sample(schema)


def _asks_for_json(call: Call) -> bool:
    wanted = call.parameters.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _filled(size: float) -> list[str]:
    return list(islice(cycle(tokens(texts.FILLER)), min(int(size), MOST_TOKENS)))


def _number(text: object, default: float) -> float:
    try:
        value = float(str(text))
    except ValueError:
        return default
    return value if 0 <= value < 1e9 else default


def _limited(call: Call, trace: list[str], said: list[str]) -> tuple[list[str], list[str], FinishReason]:
    """DashScope gives the trace its own budget; a vLLM-like server counts it against `max_tokens`."""
    budget, most = call.parameters.get("thinking_budget"), call.parameters.get("max_tokens")
    if call.surface == "server":
        most = call.parameters.get("max_completion_tokens", most)
    elif isinstance(budget, int):
        trace = trace[:budget]
    said = _stopped(call, said)
    if not isinstance(most, int):
        return trace, said, "stop"
    if call.surface == "server":
        if len(trace) >= most:
            return trace[:most], [], "length"
        most -= len(trace)
    return (trace, said[:most], "length") if len(said) > most else (trace, said, "stop")


def _stopped(call: Call, said: list[str]) -> list[str]:
    stop = call.parameters.get("stop")
    words = [w for w in ([stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []) if isinstance(w, str) and w]
    text = "".join(said)
    ends = [at for at in (text.find(w) for w in words) if at >= 0]
    return tokens(text[: min(ends)]) if ends else said


def _replayed(recording: Recording, thinks: bool) -> list[Chunk]:
    """A recording's deltas at their own times; without its trace, the answer moves to where the trace began."""
    chunks = [
        Chunk(at_s, "thinking" if isinstance(event, ThinkingDelta) else "answer", event.text, len(tokens(event.text)))
        for at_s, event in recording.events
        if isinstance(event, ThinkingDelta | TextDelta) and event.text
    ]
    if thinks or not chunks:
        return chunks
    answer = [c for c in chunks if c.kind == "answer"]
    earlier_s = answer[0].at_s - chunks[0].at_s if answer else 0.0
    return [Chunk(c.at_s - earlier_s, c.kind, c.text, c.tokens) for c in answer]
