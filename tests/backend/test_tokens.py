"""Token counts: exact against the vendor's tokenizer, cheap estimates near it, and nothing that a text can break."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dashscope import get_tokenizer

from backend import tokens
from backend.tokens import LiveCounter, count_messages, count_tokens, rough_tokens
from backend.types import Message

ENGLISH = "The router sends each token to 10 of 512 experts; a load-balancing loss keeps them all busy. " * 6
VIETNAMESE = "Mô hình ngôn ngữ lớn được huấn luyện trên lượng văn bản khổng lồ, kể cả tiếng Việt có dấu. " * 6
CHINESE = "大型语言模型在海量文本上训练，它们可以回答问题、编写代码，并在多种语言之间进行翻译。" * 6
CODE = "def quicksort(items):\n    if len(items) <= 1:\n        return items\n    return [x for x in items[1:] if x < 3]\n" * 6
EMOJI = "Good 👍🏽 family 👨‍👩‍👧 rocket 🚀 flag 🇻🇳 " * 6
TEXTS = {"english": ENGLISH, "vietnamese": VIETNAMESE, "chinese": CHINESE, "code": CODE, "emoji": EMOJI}


@pytest.fixture(scope="module")
def vendor():
    return get_tokenizer("qwen-plus")


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "_vocabulary", None)


@pytest.mark.parametrize("text", [*TEXTS.values(), "", " ", "\n\n\n", "e\u0301 is not \u00e9 until composed"], ids=repr)
async def test_counts_are_those_of_the_vendors_tokenizer(text, vendor):
    assert await count_tokens(text) == len(vendor.encode(text))


@pytest.mark.parametrize("tag", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|extra_7|>", "<think>"])
async def test_tags_in_a_users_text_count_as_ordinary_text(tag, vendor):
    expected = len(vendor.encode(f"a {tag} b", allowed_special=set(), disallowed_special=()))
    assert await count_tokens(f"a {tag} b") == expected
    assert expected > 4


@pytest.mark.parametrize(
    "text",
    [" " * 300_000, "a" * 300_000, "\n" * 300_000, "好" * 150_000, "x\ud800y"],
    ids=["blanks", "letters", "lines", "chinese", "lone surrogate"],
)
async def test_texts_that_break_the_matcher_at_once_are_counted(text):
    assert await count_tokens(text) > 0


async def test_a_long_text_counts_like_the_sum_of_its_lines(vendor):
    whole = CODE * 200  # longer than what is encoded at once
    assert len(whole) > 2 * tokens._AT_ONCE_CHARS
    assert await count_tokens(whole) == 200 * len(vendor.encode(CODE))


async def test_beyond_the_limit_the_count_is_an_estimate(monkeypatch):
    monkeypatch.setattr(tokens, "EXACT_UP_TO_CHARS", 100)
    assert await count_tokens(ENGLISH) == rough_tokens(ENGLISH)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [  # as Qwen3's own tokenizer.json and chat template count them, opening of the answer included
        ([Message("user", "Xin chào")], 11),
        (
            [
                Message("system", "You are helpful."),
                Message("user", "Hi"),
                Message("assistant", "Hello!"),
                Message("user", "def f():\n  pass\n"),
            ],
            36,
        ),
    ],
)
async def test_a_request_counts_as_the_chat_template_makes_it(messages, expected):
    assert await count_messages(messages) == expected


async def test_thinking_counts_only_where_it_is_sent_again():
    messages = [Message("user", "Hi"), Message("assistant", "Hello!", thinking=ENGLISH)]
    assert await count_messages(messages, with_thinking=True) - await count_messages(messages) == await count_tokens(ENGLISH)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_estimates_are_within_a_quarter(text):
    exact = await count_tokens(text)
    assert abs(rough_tokens(text) - exact) <= exact / 4


def test_an_estimate_of_nothing_is_nothing_and_of_something_something():
    assert rough_tokens("") == 0
    assert rough_tokens("a") == 1


@pytest.mark.parametrize("piece_chars", [1, 3, 50, 1000])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_live_counts_end_near_the_exact_one_and_never_go_down(text, piece_chars):
    exact = await count_tokens(text)
    counter = LiveCounter()
    seen = [counter.feed(text[i : i + piece_chars]) for i in range(0, len(text), piece_chars)]
    assert seen == sorted(seen)
    assert seen[-1] == counter.tokens
    assert abs(counter.tokens - exact) <= 2 + exact / 50


def test_live_counting_works_before_the_vocabulary_is_there(nothing_loaded):
    counter = LiveCounter()
    counter.feed(ENGLISH)
    assert abs(counter.tokens - rough_tokens(ENGLISH)) <= 2
    assert tokens._vocabulary is None


async def test_live_counting_looks_at_each_piece_once(monkeypatch):
    tokens.load()
    looked_at = 0

    def count(text: str) -> int:
        nonlocal looked_at
        looked_at += len(text)
        return rough_tokens(text)

    monkeypatch.setattr(tokens, "_count_now", count)
    counter, pieces = LiveCounter(), 4000
    for _ in range(pieces):
        counter.feed("word ")
    assert looked_at <= pieces * 2 * tokens._LIVE_TAIL_CHARS  # a constant for each piece, however long the text is


async def test_without_the_vocabulary_counts_are_estimates(monkeypatch, nothing_loaded):
    monkeypatch.setattr(tokens, "_read", lambda: None)
    assert await count_tokens(ENGLISH) == rough_tokens(ENGLISH)
    assert tokens.load() is False


def test_counting_does_not_import_the_vendors_package():
    code = "import sys; from backend import tokens; assert tokens.load(); print('dashscope' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_a_long_estimate_is_made_from_its_beginning(monkeypatch):
    monkeypatch.setattr(tokens, "_ROUGH_CHARS", 100)
    text = "some words and 12 " * 50
    assert tokens.rough_tokens(text) == pytest.approx(sum(tokens.rough_tokens(text[at : at + 90]) for at in range(0, 900, 90)), rel=0.1)


def test_live_counting_looks_closely_at_no_long_piece(monkeypatch):
    lengths = []
    monkeypatch.setattr(tokens, "_count_now", lambda text: lengths.append(len(text)) or len(text))
    counter = tokens.LiveCounter()
    about = counter.feed("word " * 200_000)
    assert max(lengths) < 1000 and about == pytest.approx(200_000, rel=0.3)
    assert counter.feed(" more") > about
