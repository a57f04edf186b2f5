"""One request on a loaded model, from its prompt to its usage, as stream events; runs in the engine's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from backend.errors import ContextTooLong
from backend.local import grammar
from backend.local.answer import Answer
from backend.local.decoding import Chosen, Decoder
from backend.local.facts import CLOSE
from backend.local.model import LoadedModel
from backend.local.prompt import build
from backend.local.sampling import Sampling
from backend.tool_calls import CallSplitter
from backend.types import ChatRequest, Detail, Event, Finished, GenerationParameters, TextDelta, TokenDetail, Usage, Waiting

_CLOSING = f"\n{CLOSE}\n\n"  # what ends a trace whose budget is spent, as a model itself ends it


def generate(loaded: LoadedModel, request: ChatRequest, max_tokens: int, stopped: Callable[[], bool]) -> Iterator[Event]:
    """`Waiting("reading")`, deltas, `Finished`; ends without `Finished` once `stopped()` is true, looked at before each forward pass.

    `max_tokens` holds where the request sets none; either is cut to what the context still takes. Raises `ContextTooLong`
    where that is nothing, `BadInput` where a schema cannot be enforced.
    """
    events = _generated(loaded, request, max_tokens, stopped)
    return events if request.tools is None or request.tools.choice == "none" else _with_calls(events)


def _generated(loaded: LoadedModel, request: ChatRequest, max_tokens: int, stopped: Callable[[], bool]) -> Iterator[Event]:
    tokenizer, parameters = loaded.tokenizer, request.parameters
    prompt = build(tokenizer, request, loaded.think)
    room = _room(loaded, len(prompt.ids), parameters.max_tokens or max_tokens)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    rules = _rules(loaded, request)
    answer = Answer(decode, prompt, think=loaded.think, end_ids=loaded.end_ids, stops=parameters.stop)
    decoder = Decoder(
        loaded,
        prompt.ids,
        Sampling.of(parameters, loaded.model.generation_config),
        borders=prompt.borders,
        drafts=0 if rules is not None else _drafts(loaded, parameters),
        detail=request.detail is not None,
        grammar=rules,
    )
    closing = tokenizer(_CLOSING, add_special_tokens=False)["input_ids"] if parameters.thinking_budget is not None else []
    yield Waiting("reading", share=0.0)
    for share in decoder.read():
        if stopped():
            return
        yield Waiting("reading", share=share)
    while answer.tokens < room and not (answer.finished or decoder.complete):
        if stopped():
            return
        decoder.free = answer.thinking
        found = decoder.next()
        for place, chosen in enumerate(found, start=1):
            if request.detail is not None:
                yield _detail(chosen, request.detail, decode)
            yield from answer.take(chosen.token)
            if answer.finished or answer.tokens == room:
                decoder.cut(len(found) - place)
                break
            if answer.thinking and closing and answer.reasoning_tokens >= (parameters.thinking_budget or 0):
                forced = closing[: room - answer.tokens]
                decoder.cut(len(found) - place)
                decoder.force(forced)
                for token in forced:
                    yield from answer.take(token)
                break
    yield from answer.end()
    _learn(loaded, decoder)
    yield Finished("stop" if answer.finished or decoder.complete else "length", _usage(answer.usage(loaded.thinking), decoder))


def _rules(loaded: LoadedModel, request: ChatRequest) -> grammar.Grammar | None:
    """What the answer has to keep to, from its first token after a trace; `None` where it is free."""
    if request.tools is not None and request.tools.choice in ("required", "named"):
        lark = grammar.of_calls(loaded.tokenizer, request.tools)
    elif request.format is not None:
        lark = grammar.of_format(request.format)
    else:
        return None
    return grammar.Grammar(loaded.grammar_tokenizer(), lark, loaded.network.device, loaded.network.vocabulary)


def _with_calls(events: Iterator[Event]) -> Iterator[Event]:
    """The events, with calls taken out of the text."""
    calls = CallSplitter()
    for event in events:
        if isinstance(event, TextDelta):
            yield from (replace(piece, tokens=event.tokens) if isinstance(piece, TextDelta) else piece for piece in calls.feed(event.text))
        elif isinstance(event, Finished):
            yield from calls.close()
            yield replace(event, reason="tool_calls") if calls.found and event.reason == "stop" else event
        else:
            yield event


def _drafts(loaded: LoadedModel, parameters: GenerationParameters) -> int:
    """How many tokens to guess ahead: what was asked for, else what was measured to be fastest. The text is the same."""
    if parameters.draft_tokens is not None:
        return parameters.draft_tokens
    return 0 if loaded.drafting is None else loaded.drafting.best()


def _learn(loaded: LoadedModel, decoder: Decoder) -> None:
    if loaded.drafting is not None:
        loaded.drafting.learn(decoder.first_drafted, decoder.first_accepted)


def _usage(usage: Usage, decoder: Decoder) -> Usage:
    told = replace(usage, cached_tokens=decoder.reused)
    if decoder.drafted:
        told = replace(told, drafted_tokens=decoder.drafted, accepted_tokens=decoder.accepted, forward_passes=decoder.forwards)
    return told


def _detail(chosen: Chosen, asked: Detail, decode: Callable[[list[int]], str]) -> TokenDetail:
    """Log-probabilities of the model itself, before penalties, temperature and limits."""
    assert chosen.scores is not None  # nosec B101: for the type checker
    logprobs = chosen.scores.log_softmax(-1)
    best = logprobs.topk(asked.alternatives) if asked.alternatives else None
    return TokenDetail(
        token=decode([chosen.token]),
        logprob=float(logprobs[chosen.token]),
        alternatives=()
        if best is None
        else tuple((decode([int(token)]), float(value)) for value, token in zip(best.values, best.indices, strict=True)),
        experts=tuple(tuple(zip(ids[-1].tolist(), weights[-1].tolist(), strict=True)) for ids, weights in (chosen.routings or ()))
        if asked.experts
        else (),
    )


def _room(loaded: LoadedModel, prompt_tokens: int, wanted: int) -> int:
    limit = loaded.context_tokens
    if limit is None:
        return wanted
    if prompt_tokens >= limit:
        raise ContextTooLong(
            f"The conversation is {prompt_tokens:,} tokens long; this model reads at most {limit:,}, with its answer.",
            hint="Shorten the prompt or an attachment, or start a new chat.",
        )
    return min(wanted, limit - prompt_tokens)
