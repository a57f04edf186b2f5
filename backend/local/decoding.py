"""The decoding loop over a network: the prompt in chunks, then token by token, or several at once where an MTP head guesses ahead.

Our own rather than `generate`, so that a stop takes effect between any two tokens or chunks, nothing waits for a reader, known
beginnings are not read again, and a model whose state cannot be cropped drafts all the same. Knows token ids only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from backend.local.grammar import Grammar
from backend.local.model import LoadedModel
from backend.local.network.delta import LONGEST_STEP
from backend.local.network.experts import Routing
from backend.local.sampling import Sampler, Sampling

_KEPT_BORDERS = 3  # of one prompt; earlier ones are seldom gone back to
_FIRST_ROOM = 256
_MOST_LOOKS = 1 << 27  # tokens of a chunk x places they look at: the mask of so many takes 0.1 GB, and 0.3 GB in a product


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token of the answer, with the scores [vocabulary] it was chosen by and the routing of the token before it, if asked for."""

    token: int
    scores: torch.Tensor | None = None
    routings: list[Routing] | None = None


class Decoder:
    """One answer. `read` goes through the prompt, then each `next` gives at least one token.

    `borders` are places in the prompt where it may be taken up again. Chunks end there whether or not anything is known of the prompt,
    so that the same request computes the same numbers. `drafts` is how many tokens the MTP head guesses ahead; `detail` asks for
    scores and routings, and switches that off. A `grammar` says which tokens may come, but for the time that `free` is set.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        borders: Sequence[int] = (),
        drafts: int = 0,
        detail: bool = False,
        grammar: Grammar | None = None,
    ) -> None:
        self._net, self._chunk = loaded.network, loaded.chunk_tokens
        self._prefixes = loaded.prefixes if loaded.network.reusable else None
        self._prompt, self._borders = list(prompt), sorted({b for b in borders if 0 < b < len(prompt)})
        self._drafts = 0 if detail or not self._net.drafts else min(drafts, LONGEST_STEP - 1)
        self._detail = detail
        self._grammar, self.free = grammar, False
        self._state = loaded.working_state(_FIRST_ROOM)
        self._state.wants_hidden = self._net.drafts
        self._pending = self._prompt[-1]
        self._sampler = Sampler(sampling, prompt, self._net.vocabulary, self._net.device)
        self._before: torch.Tensor | None = None  # hidden states whose next token the head has not seen [tokens, width]
        self._recent: list[int] = []  # the tokens that they belong to
        self._found: list[int] = []
        self.reused = 0
        self.drafted = self.accepted = self.forwards = 0
        self.first_drafted = self.first_accepted = 0
        self._processor = loaded.processor

    @torch.inference_mode()
    def _begin(self) -> None:
        if self._prefixes is None:
            self._state.clear()
            return
        self.reused = self._prefixes.restore(self._prompt, self._state)
        if self.reused:
            self._before, self._recent = self._state.hidden, [self._prompt[self.reused - 1]]

    def read(self) -> Iterator[float]:
        """Reads the prompt but for its last token; after each chunk the share that has been read."""
        self._begin()
        end = len(self._prompt) - 1
        kept = {b for b in self._borders[-_KEPT_BORDERS:] if b > self.reused}
        while (start := self._state.length) < end:
            stop = min([b for b in self._borders if b > start] + [end, start + min(self._chunk, _MOST_LOOKS // (start + self._chunk))])
            with self._processor.reading():
                self._read(self._prompt[start:stop])
            if stop in kept and self._prefixes is not None:
                self._prefixes.keep(self._prompt[:stop], self._state)
            yield stop / len(self._prompt)
        if not self._drafts:
            self._state.wants_hidden = False

    def next(self) -> list[Chosen]:
        """Reads the last token and chooses those after it: one, or with drafts up to one more than were guessed."""
        with self._processor.stepping():
            found = self._step() if self._drafts == 0 else self._leap()
        self._found = [chosen.token for chosen in found]
        self._sampler.told(*self._found)
        self._pending = self._found[-1]
        return found

    @property
    def complete(self) -> bool:
        """Whether the grammar lets nothing follow."""
        return self._grammar is not None and self._grammar.ended

    def cut(self, unused: int) -> None:
        """The last `unused` tokens of what `next` just gave, fewer than all, are not taken. Guesses among them count for nothing."""
        if unused:
            self.drafted, self.accepted = self.drafted - unused, self.accepted - unused
            self._sampler.taken_back(unused)
            self._state.keep(self._state.stepped - unused)
            self._before, self._recent = self._state.hidden, self._recent[: self._state.stepped]
            self._pending = self._found[-1 - unused]

    def force(self, ids: Sequence[int]) -> None:
        """These tokens come next, chosen by nobody."""
        self._read([self._pending, *ids[:-1]])
        self.forwards += 1
        self._sampler.told(*ids)
        self._pending = ids[-1]

    @torch.inference_mode()
    def _read(self, ids: list[int]) -> None:
        """Into the state, and with the tokens after them into the head's part of it."""
        state, start = self._state, self._state.length
        if self._before is not None:
            self._before = self._before.clone()  # a captured step fills the same tensor again
        self._net(torch.tensor(ids, device=self._net.device), state)
        if state.hidden is None:
            return
        # the head reads a token together with the hidden state of the one before it
        before, after, first = state.hidden[:-1], ids[1:], start + 1
        if self._before is not None:
            before, after, first = torch.cat((self._before, before)), self._recent[1:] + ids, start + 1 - len(self._recent)
        if after:
            self._net.draft(torch.tensor(after, device=self._net.device), before, state, first)
        self._before, self._recent = state.hidden[-1:], ids[-1:]

    @torch.inference_mode()
    def _step(self) -> list[Chosen]:
        routings: list[Routing] | None = [] if self._detail else None
        scores = self._net(torch.tensor([self._pending], device=self._net.device), self._state, routings=routings)[0]
        self.forwards += 1
        grammar = None if self.free else self._grammar
        token = self._sampler.choose(scores if grammar is None else scores.masked_fill(~grammar.allowed(), -torch.inf))
        if grammar is not None:
            grammar.take(token)
        return [Chosen(token, scores, routings) if self._detail else Chosen(token)]

    @torch.inference_mode()
    def _leap(self) -> list[Chosen]:
        """Guesses ahead, verifies all guesses in one forward, and takes back what did not come true."""
        state, device = self._state, self._net.device
        drafts: list[int] = []
        if self._before is not None:
            ids, hidden = torch.tensor([*self._recent[1:], self._pending], device=device), self._before
            start = state.length + 1 - len(ids)
            for _ in range(self._drafts):
                scores, hidden = self._net.draft(ids, hidden, state, start)
                drafts.append(self._sampler.choose(scores, drafts))
                start, ids = start + len(ids), torch.tensor(drafts[-1:], device=device)
        scores = self._net(torch.tensor([self._pending, *drafts], device=device), state, logits=len(drafts) + 1)
        found = self._sampler.verify(scores, drafts)
        self.forwards, self.drafted, self.accepted = self.forwards + 1, self.drafted + len(drafts), self.accepted + len(found) - 1
        self.first_drafted += bool(drafts)
        self.first_accepted += len(found) > 1
        state.keep(len(found))
        self._before, self._recent = state.hidden, [self._pending, *found[:-1]]
        return [Chosen(token) for token in found]
