"""Token ids as they are generated -> stream events: trace and answer told apart by token id, stop strings, exact counts.

Knows no model and no torch. `</think>` is looked for as a token, never as text, so an answer may quote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from backend.catalogue import Thinking
from backend.local.detokenise import Decode, Detokeniser, StopStrings
from backend.local.prompt import Prompt, ThinkTokens
from backend.types import AnswerWasThinking, Event, FinishReason, TextDelta, ThinkingDelta, Usage


class Answer:
    """One answer in the making. `finished` is set by an end token or a stop string; the counts are of tokens generated.

    Stop strings are looked for in the answer only: in a trace they would end nearly every run before it began to answer.
    Tokens of the trace are those up to and with `</think>`.
    """

    def __init__(
        self,
        decode: Decode,
        prompt: Prompt,
        *,
        think: ThinkTokens | None,
        knows: Thinking,
        end_ids: Set[int],
        stops: Sequence[str],
    ) -> None:
        self._decode, self._prompt = decode, prompt
        self._think, self._knows, self._end_ids = think, knows, end_ids
        self._text = Detokeniser(decode)
        self._stops = StopStrings(stops)
        self._thinking = prompt.thinking
        self._said = prompt.goes_on  # whether there is text in the present part: its first white space is dropped
        self._traces = int(prompt.thinking)
        self._reasoning = 0
        self.tokens = 0
        self.finished = False

    def take(self, token: int) -> Iterator[Event]:
        """The events that one more token makes, often none."""
        self.tokens += 1
        self._reasoning += self._thinking
        if token in self._end_ids:
            self.finished = True
        elif self._think and token == self._think.open and not self._thinking and not self._said:
            self._reasoning += 1
            self._traces += 1
            self._part(thinking=True)
        elif self._think and token == self._think.close and self._thinking:
            yield from self._say(self._text.end())
            self._part(thinking=False)
        elif self._think and token == self._think.close and self._unknown_trace():
            yield from self._say(self._text.end() + self._stops.end())
            yield AnswerWasThinking()
            self._reasoning = self.tokens
            self._traces += 1
            self._part(thinking=False)
        else:
            yield from self._say(self._text.push(token))

    def end(self) -> Iterator[Event]:
        """What was held back. A text that stopped at a stop string holds nothing back any more."""
        if not self.finished or not self._met_stop:
            yield from self._say(self._text.end())
            if not self._thinking and not self._met_stop and (rest := self._stops.end()):
                yield TextDelta(rest)
