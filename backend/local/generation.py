"""One request on a loaded model, from its prompt to its usage, as stream events; runs in the engine's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backend.errors import ContextTooLong
from backend.local.answer import Answer
from backend.local.decoding import Decoder, Sampling
from backend.local.model import LoadedModel
from backend.local.prompt import build
from backend.types import ChatRequest, Event, Finished, Waiting


def generate(loaded: LoadedModel, request: ChatRequest, max_tokens: int, stopped: Callable[[], bool]) -> Iterator[Event]:
    """`Waiting("reading")`, deltas, `Finished`; ends without `Finished` once `stopped()` is true, looked at before each token.

    `max_tokens` holds where the request sets none; either is cut to what the context still takes. Raises `ContextTooLong`
    where that is nothing.
    """
    tokenizer, parameters = loaded.tokenizer, request.parameters
    prompt = build(tokenizer, request, loaded.think)
    room = _room(loaded, len(prompt.ids), parameters.max_tokens or max_tokens)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    answer = Answer(decode, prompt, think=loaded.think, end_ids=loaded.end_ids, stops=parameters.stop)
    decoder = Decoder(loaded, prompt.ids, Sampling.of(parameters, loaded.model.generation_config), room)
    yield Waiting("reading", share=0.0)
    for share in decoder.read():
        if stopped():
            return
        yield Waiting("reading", share=share)
    for _ in range(room):
        if stopped():
            return
        yield from answer.take(decoder.next())
        if answer.finished:
            break
    yield from answer.end()
    yield Finished("stop" if answer.finished else "length", answer.usage(loaded.thinking))


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
