"""Tokens of the Qwen vocabulary, counted on this machine: exactly for requests and files, cheaply while text streams in.

The vocabulary is the file inside the `dashscope` package; it is found without importing that package (0.8 s) and read in a
thread at first use (about 0.5 s). It gives the ids of Qwen3's tokenizer on plain text; its tags for thinking and tools
are none of its own, so `<think>` counts as ordinary text. Counts are estimates of what an engine will report, never usage.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from backend.composing import composed
from backend.tool_calls import tool_json
from backend.types import Message, Tools

if TYPE_CHECKING:
    from tiktoken import Encoding

log = logging.getLogger(__name__)

# Qwen's pre-tokenizer, as in dashscope/tokenizers/qwen_tokenizer.py
_PATTERN = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# The ChatML template of Qwen's chat models: `<|im_start|>`, role, newline, text, `<|im_end|>`, newline
TOKENS_A_MESSAGE = 5
# ... and the opening of the answer: `<|im_start|>`, `assistant`, newline
TOKENS_TO_ANSWER = 3
EXACT_UP_TO_CHARS = 2_000_000  # about 0.3 s of counting; beyond, an estimate is as good as anyone needs
_AT_ONCE_CHARS = 50_000  # longer runs of blanks overflow the stack of the vocabulary's matcher
_LIVE_TAIL_CHARS = 160
_ROUGH_CHARS = 20_000

# tokens a character of Qwen's vocabulary, fitted on prose, code, Markdown and JSON: within a fifth on each
_RATES = (
    (re.compile(r"[A-Za-z ]+"), 0.19),
    (re.compile(r"[0-9]+"), 1.0),
    (re.compile(r"[!-/:-@\[-`{-~]+"), 0.62),
    (re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+"), 0.6),
    (re.compile(r"[\uac00-\ud7af]+"), 0.95),
    (re.compile(r"[\U00010000-\U0010ffff]+"), 1.7),
)
_OTHER_RATE = 0.42  # line ends, the marked letters of Vietnamese, Cyrillic and the rest
_loading = threading.Lock()


@cache
def _read() -> Encoding | None:
    """The vocabulary, read once; `None` (and estimates from then on) where the package does not bring it."""
    from tiktoken import Encoding

    spec = importlib.util.find_spec("dashscope")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder, "resources", "qwen.tiktoken")
        if path.is_file():
            lines = (line.split() for line in path.read_bytes().splitlines() if line)
            ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
            return Encoding("qwen", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})
    log.warning("no Qwen vocabulary in the dashscope package: token counts are estimates")
    return None


_vocabulary: Encoding | None = None


def load() -> bool:
    """Reads the vocabulary if that was not done yet (blocks; call it in a thread). Whether counts are exact from now on."""
    global _vocabulary
    with _loading:
        if _vocabulary is None:
            _vocabulary = _read()
    return _vocabulary is not None


async def count_tokens(text: str) -> int:
    """Tokens of a text, tags such as `<|im_end|>` as the ordinary text they are. Over `EXACT_UP_TO_CHARS` an estimate."""
    return await asyncio.to_thread(_count, text)


async def count_messages(messages: Sequence[Message], *, with_thinking: bool = False, tools: Tools | None = None) -> int:
    """About what a request with these messages holds: their texts and calls, the template around each, the tools that are offered, the
    opening of the answer."""
    texts = [m.content for m in messages] + [f"{call.name} {call.arguments}" for m in messages for call in m.calls]
    if tools is not None and tools.choice != "none":
        texts += [json.dumps(tool_json(tool), ensure_ascii=False) for tool in tools.offered]
    if with_thinking:
        texts += [m.thinking for m in messages if m.thinking]
    counted = await asyncio.to_thread(lambda: sum(map(_count, texts)))
    return counted + TOKENS_A_MESSAGE * len(messages) + TOKENS_TO_ANSWER


def rough_tokens(text: str) -> int:
    """About the tokens of a text, from its characters alone: no vocabulary, nothing to load."""
    if not text:
        return 0
    if len(text) > _ROUGH_CHARS:  # its beginning tells enough, and a search through all of it would hold up every thread
        return round(rough_tokens(text[:_ROUGH_CHARS]) * len(text) / _ROUGH_CHARS)
    others, total = len(text), 0.0
    for pattern, rate in _RATES:
        found = sum(map(len, pattern.findall(text)))
        others -= found
        total += found * rate
    return max(1, round(total + others * _OTHER_RATE))


class LiveCounter:
    """Counts a text while it streams in: each piece once, so a long trace costs no more a token than a short one.

    Exact to a few tokens once the vocabulary is in memory, from characters until then. Never goes down.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._settled = 0
        self._tail = ""

    def feed(self, delta: str) -> int:
        """Takes new text; returns the tokens so far."""
        if len(delta) > _ROUGH_CHARS:  # this is called where nothing may take long
            self._settled += rough_tokens(delta)
            delta = ""
        self._tail += delta
        if len(self._tail) > _LIVE_TAIL_CHARS:
            # words begin with their blank in this vocabulary: a cut before one splits no token
            cut = self._tail.rfind(" ", 1)
            cut = cut if cut > 0 else len(self._tail) - 8
            self._settled += _count_now(self._tail[:cut])
            self._tail = self._tail[cut:]
        self.tokens = max(self.tokens, self._settled + _count_now(self._tail))
        return self.tokens


def _count_now(text: str) -> int:
    return rough_tokens(text) if _vocabulary is None else _exact(_vocabulary, text)


def _count(text: str) -> int:
    if len(text) > EXACT_UP_TO_CHARS or not load() or _vocabulary is None:
        return rough_tokens(text)
    return _exact(_vocabulary, text)


def _exact(vocabulary: Encoding, text: str) -> int:
    text = composed(text)  # as both Qwen tokenizers do
    return sum(len(vocabulary.encode_ordinary(part)) for part in _parts(text))


def _parts(text: str) -> Iterator[str]:
    """A long text in parts that end, where that can be had, after a line or a word: no token spans such a cut."""
    start = 0
    while len(text) - start > _AT_ONCE_CHARS:
        end = start + _AT_ONCE_CHARS
        line, blank = text.rfind("\n", start, end), text.rfind(" ", start + 1, end)
        cut = line + 1 if line > start else blank if blank > start else end
        yield text[start:cut]
        start = cut
    yield text[start:]
