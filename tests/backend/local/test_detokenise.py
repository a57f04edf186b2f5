"""Text as it comes: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import random

import pytest

from backend.local.detokenise import Detokeniser, StopStrings
from tests.backend.local.tiny import tokenizer

TEXTS = [
    "Xin chào Việt Nam, thủ đô là Hà Nội.",
    "中国的首都是北京。",
    "👩‍🚀 flies to 🇻🇳 and back ✈️",
    "  indented\n\ncode();\n",
    "mixed: nghĩ 想 think 🤔!",
]


def decode(ids):
    return tokenizer().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def by_bytes(text):
    """One token a byte: the worst way to cut a text."""
    vocabulary = tokenizer().get_vocab()
    from tokenizers.pre_tokenizers import ByteLevel

    letters = "".join(piece for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))
    return [vocabulary[letter] for letter in letters]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("cut", [by_bytes, lambda t: tokenizer()(t, add_special_tokens=False)["input_ids"]], ids=["bytes", "bpe"])
def test_pieces_are_whole_characters_and_join_to_the_text(text, cut):
    detokeniser = Detokeniser(decode)
    pieces = [detokeniser.push(token) for token in cut(text)]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + detokeniser.end() == text


def test_each_character_is_given_as_soon_as_its_last_byte_is_there():
    detokeniser = Detokeniser(decode)
    assert [detokeniser.push(token) for token in by_bytes("a中b")] == ["a", "", "", "中", "b"]


def test_a_token_costs_the_same_at_any_length():
    longest = 0

    def watched(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids)

    detokeniser = Detokeniser(watched)
    for token in by_bytes("Hello, 中国! " * 300):
        detokeniser.push(token)
    assert longest <= 10


def test_bytes_that_are_no_text_come_out_as_such_and_do_not_pile_up():
    broken = by_bytes("中")[:1] * 200
    longest = 0

    def watched(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids)

    detokeniser = Detokeniser(watched)
    text = "".join(detokeniser.push(token) for token in [*broken, *by_bytes("end")]) + detokeniser.end()
    assert set(text.removesuffix("end")) == {"\ufffd"}
    assert text.endswith("end")
    assert longest <= 20


def test_an_unfinished_character_at_the_end_is_left_out():
    detokeniser = Detokeniser(decode)
    assert [detokeniser.push(token) for token in by_bytes("a中")[:-1]] == ["a", "", ""]
    assert detokeniser.end() == ""


def test_a_decoder_that_drops_the_first_space_keeps_the_others():
    words = ["▁Hello", "▁world", "▁!"]
    detokeniser = Detokeniser(lambda ids: "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" "))
    assert "".join(detokeniser.push(i) for i in (0, 1, 2)) == "Hello world !"


@pytest.mark.parametrize(
    ("stops", "text", "shown"),
    [
        (["###"], "one ### two", "one "),
        (["###"], "one ## two", "one ## two"),
        (["aab"], "aaab", "a"),
        (["abab"], "ababab", ""),
        (["wx", "end"], "no word ends", "no word "),
        (["北京"], "首都是北京。", "首都是"),
        (["", "x"], "axb", "a"),
        ([], "all of it", "all of it"),
        (["never"], "almost neve", "almost neve"),
    ],
)
def test_text_ends_before_a_stop_string_however_it_is_cut(stops, text, shown):
    for seed in range(8):
        chance, stop_strings, out, met, place = random.Random(seed), StopStrings(stops), "", False, 0
        while place < len(text) and not met:
            size = chance.randint(1, 4) if seed else 1
            piece, met = stop_strings.push(text[place : place + size])
            out, place = out + piece, place + size
            assert shown.startswith(out)
        assert out + stop_strings.end() == shown
