"""Composed as Unicode says, in time that grows with the text's length only."""

from __future__ import annotations

import unicodedata

import pytest

from backend import composing
from backend.composing import composed
from backend.history.schema import folded

TEXTS = [
    "plain",
    "tiếng Việt " * 300,
    "ngữ nghĩa",
    "한국어 " * 400,
    "中文" * 800,
    "हिन्दी " * 300,
    "a\u0315\u0300b" * 500,
    "ﬁ ½ Å " * 300,
    "🙂‍↔️" * 400,
]


@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFKD"])
@pytest.mark.parametrize("before", ["NFC", "NFD"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_it_is_what_unicode_says(text, before, form):
    text = unicodedata.normalize(before, text)
    assert composed(text, form) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("text", ["a" + "\u0315\u0300" * 2_000, "\u1161" * 4_000, "\u0300" * 4_000])
def test_no_long_piece_is_composed_at_once_and_nothing_is_lost(monkeypatch, text):
    lengths = []
    whole = unicodedata.normalize
    monkeypatch.setattr(composing.unicodedata, "normalize", lambda form, piece: (lengths.append(len(piece)), whole(form, piece))[1])
    shown = composed(text)
    assert max(lengths) <= 500 and sorted(whole("NFD", shown)) == sorted(whole("NFD", text))
    folded(text)
    assert max(lengths) <= 500
