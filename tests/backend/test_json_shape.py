"""How much a file may be before anything parses it."""

from __future__ import annotations

import pytest

from backend.compare import prompt_sets, runfile
from backend.errors import BadInput
from backend.history import exchange, markdown
from backend.json_shape import MAX_FILE_VALUES, check_file
from backend.recording import loads as recording
from backend.tools.openapi_file import read_document

FLOOD = "{}," * (MAX_FILE_VALUES // 2 + 1)


@pytest.mark.parametrize(("values", "taken"), [(MAX_FILE_VALUES, True), (MAX_FILE_VALUES + 1, False)])
def test_as_many_values_as_may_be_and_not_one_more(values, taken):
    text = "[" + ",".join(["1"] * values) + "]"
    if taken:
        check_file(text, "a.json")
    else:
        with pytest.raises(BadInput, match=r"a\.json holds more than 500,000 values"):
            check_file(text, "a.json")


def test_what_is_in_quotes_does_not_count():
    check_file('["' + "{}," * 10 * MAX_FILE_VALUES + '"]', "a.json")


@pytest.mark.parametrize(
    "read",
    [
        lambda: exchange.from_text(f'{{"format":"qwen3-next-playground chats","version":1,"conversations":[{FLOOD}1]}}', "a"),
        lambda: runfile.loads(f'{{"a":[{FLOOD}1]}}', "a"),
        lambda: recording(f'{{"a":[{FLOOD}1]}}', "a"),
        lambda: list(prompt_sets._json_list_rows(f"[{FLOOD}1]", "a")),
        lambda: read_document(f'{{"a":[{FLOOD}1]}}'),
        lambda: read_document("a:\n" + "- b\n" * (MAX_FILE_VALUES + 1)),
    ],
    ids=["chats", "run file", "recording", "prompts", "openapi json", "openapi yaml"],
)
def test_every_kind_of_file_is_counted_first(read, monkeypatch):
    """Parsing such a text lets nothing else run for seconds."""
    with pytest.raises(BadInput, match="holds more than"):
        read()


@pytest.mark.parametrize(("lines", "taken"), [(prompt_sets.MAX_LINES, True), (prompt_sets.MAX_LINES + 1, False)])
def test_a_prompt_set_has_so_many_lines_and_not_one_more(lines, taken):
    raw = b"prompt\nhello" + b"\n" * (lines - 1)
    if taken:
        assert len(prompt_sets.read(raw, "a.csv").prompts) == 1
    else:
        with pytest.raises(BadInput, match="more than 500,000 lines"):
            prompt_sets.read(raw, "a.csv")


def test_a_comment_of_a_markdown_chat_is_counted_too():
    with pytest.raises(BadInput, match="holds more than"):
        markdown._values(f'{{"a":[{FLOOD}1]}}', "line 1")


def test_an_import_of_too_many_chats_or_turns_is_refused_before_it_is_checked():
    chat = '{"nodes":[]}'
    many = f'{{"format":"qwen3-next-playground chats","version":1,"conversations":[{",".join([chat] * (exchange.MAX_CHATS + 1))}]}}'
    with pytest.raises(BadInput, match="the most is 5,000"):
        exchange.from_text(many, "a")
    turns = '{"nodes":[' + ",".join(["1"] * (exchange.MAX_TURNS + 1)) + "]}"
    with pytest.raises(BadInput, match="20,001 turns"):
        exchange.from_text(f'{{"format":"qwen3-next-playground chats","version":1,"conversations":[{turns}]}}', "a")
