"""The tiny model's tokenizer: single digits, the words of the problems, and bytes for everything else.

Byte-level BPE without merges: a word is one token where the vocabulary holds it whole, else it is its bytes. So the letters of a
word to be counted are tokens of their own, and any text in any script can still be read and written.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from backend.local.tiny import FOLDER
from backend.local.tiny.problems import TASKS, make
from backend.local.tiny.wording import WORDING

if TYPE_CHECKING:
    from collections.abc import Iterable

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VOCABULARY = 768  # a multiple of 64
_LETTER = re.compile("Ġ?[A-Za-z]")  # stays two tokens with its space, so that a letter is always the same one
_FEWEST_TIMES = 40  # in the sample; a rarer word stays bytes
_SAMPLE = 40_000

# A digit; a Chinese character; a word with its space; marks with the spaces around them; line breaks; spaces.
_PIECES = r"[0-9]|\p{Han}| ?[\p{L}\p{M}&&[^\p{Han}]]+| ?[^\s\p{L}0-9]+ ?|\n+| +"

TEMPLATE = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
"""As Qwen3's thinking checkpoints: earlier traces are dropped, the new one is opened in the prompt; tools as Qwen3-Next has them."""


def build(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer for the problems that `seed` makes."""
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    vocabulary = {token: place for place, token in enumerate((PAD, START, END, "<think>", "</think>"))}
    for piece in (*sorted(pre_tokenizers.ByteLevel.alphabet()), *_words(pieces, _texts(seed))):
        if len(vocabulary) < VOCABULARY:
            vocabulary.setdefault(piece, len(vocabulary))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    made.pre_tokenizer = pieces
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([PAD, START, END])
    made.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PAD, chat_template=TEMPLATE, clean_up_tokenization_spaces=False
    )


def _texts(seed: int) -> Iterable[str]:
    chosen = random.Random(seed)  # nosec B311: texts, not secrets
    for _ in range(_SAMPLE):
        problem = make(chosen.choice(TASKS), chosen.choice(list(WORDING)), chosen)
        yield from (problem.question, problem.steps, problem.answer)
    yield from [role for role in ("user\n", "assistant\n", "system\n") for _ in range(_SAMPLE)]


def _words(pieces: pre_tokenizers.PreTokenizer, texts: Iterable[str]) -> list[str]:
    """The pieces that come often, most frequent first. The words to be spelled are many, and so each of them is rare."""
    times = Counter(piece for text in texts for piece, _ in pieces.pre_tokenize_str(text))
    return [piece for piece, n in times.most_common() if n >= _FEWEST_TIMES and not _LETTER.fullmatch(piece)]
