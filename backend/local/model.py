"""A model in memory, as the decoding loop and the prompt need it, however it was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.catalogue import Thinking
from backend.local.prompt import ThinkTokens

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from backend.local.drafting import Drafting
    from backend.local.network import Network
    from backend.local.network.state import State
    from backend.local.prefixes import Prefixes
    from backend.local.processor import Processor
    from backend.local.sizing import Plan


@dataclass(frozen=True)
class LoadedModel:
    """`end_ids` end an answer; `think` is `None` where the tokenizer has no tags; `context_tokens` where the config has none.

    `chunk_tokens` is how much of a prompt is read at once, between two looks at the stop flag. It depends on model and machine
    only, never on the clock, so that one seed gives one text.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    context_tokens: int | None
    think: ThinkTokens | None
    thinking: Thinking
    chunk_tokens: int
    network: Network
    prefixes: Prefixes
    processor: Processor
    drafting: Drafting | None = None
    plan: Plan | None = None
    _working: list[State] = field(default_factory=list)
    _grammars: list[LLTokenizer] = field(default_factory=list)

    def working_state(self, room: int) -> State:
        """The one state that all answers use in turn, so that its tensors keep their addresses."""
        if not self._working:
            self._working.append(self.network.new_state(room))
        return self._working[0]

    def grammar_tokenizer(self) -> LLTokenizer:
        """Made when the first answer is to keep to a grammar."""
        if not self._grammars:
            from backend.local.grammar import grammar_tokenizer

            self._grammars.append(grammar_tokenizer(self.tokenizer, self.end_ids, self.network.vocabulary))
        return self._grammars[0]
