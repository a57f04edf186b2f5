"""Models small enough for any test: a byte-level tokenizer trained on a few sentences, random checkpoints, scripted models."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import DynamicCache, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from backend.local.facts import thinking_of
from backend.local.model import LoadedModel
from backend.local.network import Network
from backend.local.network.plain import Plain
from backend.local.prefixes import Prefixes
from backend.local.processor import Processor
from backend.local.prompt import think_tokens
from backend.types import ChatRequest, Event, GenerationParameters, Message, TextDelta, ThinkingDelta

SENTENCES = (
    "Hello, how are you today? The capital of France is Paris.",
    "Xin chào, thủ đô của Việt Nam là Hà Nội. Tôi đang nghĩ về câu hỏi của bạn.",
    "你好,中国的首都是北京。让我想一想这个问题。",
    "One, two, three. The end of the story. 👩‍🚀🇻🇳",
)
END = "<|im_end|>"
_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
PLAIN = _TURNS + "{% endif %}"
OPENS = _TURNS.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}") + "<think>\n{% endif %}"
HYBRID = _TURNS + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
SILENT = _TURNS.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}") + "{% endif %}"  # thinks? nobody knows


@lru_cache
def tokenizer(template: str = PLAIN, *, tags: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level, so that Vietnamese, Chinese and emoji take several tokens a character."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", END]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    if tags:
        made.add_tokens(["<think>", "</think>"])  # as in Qwen3: single tokens, but not special ones
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, chat_template=template)


def config(**changes: object) -> LlamaConfig:
    options = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": tokenizer().eos_token_id,
        "tie_word_embeddings": False,
    }
    return LlamaConfig(**{**options, **changes})


def checkpoint(folder: Path, template: str = PLAIN, **changes: object) -> Path:
    """A random Llama in fp32 with its tokenizer, as people have it on disk."""
    torch.manual_seed(7)
    model = LlamaForCausalLM(config(initializer_range=0.3, **changes))
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


class Script:
    """Stands where a model stands and "generates" the given ids: each call over one token gives the next, one over several reads.

    `gate` holds each forward until it is released.
    """

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, ids: Sequence[int], *, gate: threading.Semaphore | None = None) -> None:
        self.config = config()
        self.generation_config = GenerationConfig()
        self._ids, self._gate = tuple(ids), gate
        self._step = 0
        self.forwards = 0
        self.fails_with: Exception | None = None

    def __call__(self, input_ids: torch.Tensor, cache: DynamicCache, **_: object) -> SimpleNamespace:
        if self._gate is not None:
            assert self._gate.acquire(timeout=20), "the test never opened the gate"
        if self.fails_with is not None:
            raise self.fails_with
        if cache.get_seq_length() == 0:  # a new run
            self._step = 0
        places = torch.zeros(1, 1, input_ids.shape[1], 1)
        cache.update(places, places, 0)
        self.forwards += 1
        logits = torch.zeros(1, 1, self.config.vocab_size)
        if input_ids.shape[1] == 1:
            logits[0, 0, self._ids[self._step % len(self._ids)]] = 50.0
            self._step += 1
        return SimpleNamespace(logits=logits)


def ids_of(text: str, *, template: str = PLAIN) -> list[int]:
    return tokenizer(template)(text, add_special_tokens=False)["input_ids"]


def scripted(
    text: str | Sequence[int],
    template: str = PLAIN,
    *,
    tags: bool = True,
    gate: threading.Semaphore | None = None,
    context_tokens: int | None = 512,
    chunk_tokens: int = 512,
    name: str = "demo",
) -> LoadedModel:
    """A loaded model that says `text`, tags and end token included."""
    words = tokenizer(template, tags=tags)
    ids = words(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text
    script = Script(ids, gate=gate)
    return LoadedModel(
        name=name,
        model=script,
        tokenizer=words,
        end_ids=frozenset({words.eos_token_id}),
        context_tokens=context_tokens,
        think=think_tokens(words),
        thinking=thinking_of(template),
        chunk_tokens=chunk_tokens,
        network=Plain(script),
        prefixes=Prefixes(1 << 20),
        processor=Processor(),
    )


def around(network: Network, template: str = PLAIN, *, ends: bool = True, **changes: object) -> LoadedModel:
    """A loaded model of any network over this tokenizer's vocabulary; without `ends` it writes on for as long as it is let."""
    words = tokenizer(template)
    options = {
        "name": "demo",
        "model": SimpleNamespace(generation_config=GenerationConfig()),
        "tokenizer": words,
        "end_ids": frozenset({words.eos_token_id} if ends else ()),
        "context_tokens": None,
        "think": think_tokens(words),
        "thinking": thinking_of(template),
        "chunk_tokens": 16,
        "network": network,
        "prefixes": Prefixes(1 << 30),
        "processor": Processor(),
    }
    return LoadedModel(**{**options, **changes})


def ask(question: str = "Hello?", *, model: str = "demo", **parameters: object) -> ChatRequest:
    return ChatRequest(model, (Message("user", question),), GenerationParameters(**{"temperature": 0.0, **parameters}))


def said(events: Sequence[Event]) -> tuple[str, str]:
    """(trace, answer) of a stream."""
    trace = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    return trace, "".join(e.text for e in events if isinstance(e, TextDelta))
