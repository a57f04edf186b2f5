"""Token ids as they are generated -> stream events: trace and answer told apart by token id, stop strings, exact counts.

Knows no model and no torch. `</think>` is looked for as a token, never as text, so an answer may quote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from backend.catalogue import Thinking
from backend.local.detokenise import Decode, Detokeniser, StopStrings
from backend.local.prompt import Prompt, ThinkTokens
from backend.types import AnswerWasThinking, Event, TextDelta, ThinkingDelta, Usage


class Answer:
    """One answer in the making. `finished` is set by an end token or a stop string.

    Stop strings are looked for in the answer only: in a trace they would end nearly every run before it began to answer.
    Line breaks at the beginning of a part are dropped, since models write them between the tags and the text.
    """

    def __init__(self, decode: Decode, prompt: Prompt, *, think: ThinkTokens | None, end_ids: Set[int], stops: Sequence[str]) -> None:
        self._prompt, self._think, self._end_ids = prompt, think, end_ids
        self._text = Detokeniser(decode)
        self._stops = StopStrings(stops)
        self._thinking = self._thought = prompt.thinking
        self._begun = prompt.goes_on
        self._cut = False
        self.tokens = self.reasoning_tokens = 0
        self.finished = False

    @property
    def thinking(self) -> bool:
        """Whether the next token belongs to the trace."""
        return self._thinking and not self.finished

    def take(self, token: int) -> Iterator[Event]:
        """The events that one more token makes, often none."""
        self.tokens += 1
        self.reasoning_tokens += self._thinking
        if token in self._end_ids:
            self.finished = True
        elif self._think is not None and token == self._think.open and not (self._thinking or self._begun):
            self.reasoning_tokens += 1
            self._thinking = self._thought = True
        elif self._think is not None and token == self._think.close and self._ends_a_trace():
            yield from self._say(self._text.end())
            if not self._thinking:  # the trace was opened in a prompt that does not show it
                yield from self._say_held()
                yield AnswerWasThinking()
                self.reasoning_tokens = self.tokens
            self._thinking, self._thought, self._begun = False, True, False
        else:
            yield from self._say(self._text.push(token))

    def end(self) -> Iterator[Event]:
        """What was held back, to be asked for once after the last token."""
        yield from self._say(self._text.end())
        yield from self._say_held()

    def usage(self, knows: Thinking) -> Usage:
        """Tokens generated: all, with the end token, and those of the trace, with its tags.

        `knows` is what the model is known to do; `reasoning_tokens` is `None` where it may have thought and nothing tells.
        """
        certain = self._thought or knows == "never" or (knows != "unknown" and self._think is not None)
        return Usage(
            input_tokens=len(self._prompt.ids),
            output_tokens=self.tokens,
            reasoning_tokens=self.reasoning_tokens if certain else None,
        )

    def _ends_a_trace(self) -> bool:
        return self._thinking or not (self._thought or self._prompt.closed or self._prompt.goes_on)

    def _say(self, text: str) -> Iterator[Event]:
        if not self._begun:
            text = text.lstrip("\n")
        if not text or self._cut:
            return
        self._begun = True
        if self._thinking:
            yield ThinkingDelta(text, tokens=self.reasoning_tokens)
            return
        text, self._cut = self._stops.push(text)
        self.finished |= self._cut
        if text:
            yield TextDelta(text, tokens=self.tokens)

    def _say_held(self) -> Iterator[Event]:
        if text := self._stops.end():
            yield TextDelta(text, tokens=self.tokens)
