"""Uploaded sets of prompts: every format, quoting, encodings, wrong rows that are named and left out, and the bounds."""

from __future__ import annotations

import csv
import io
import json
import time
import unicodedata
from collections import Counter

import pytest

from backend.compare import prompt_sets
from backend.compare.prompt_sets import LONGEST_PROMPT_CHARS, MOST_BYTES, MOST_PROMPTS, Prompt, PromptSet, read, shipped
from backend.errors import BadInput

VIETNAMESE = "Giải thích vì sao bầu trời có màu xanh, và viết một câu về hoa sữa Hà Nội."
CHINESE = "请解释为什么天空是蓝色的，并写一首关于秋天的短诗。"


def read_text(text: str, name: str) -> PromptSet:
    return read(text.encode(), name)


def lines(*items: object) -> str:
    return "".join((item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)) + "\n" for item in items)


def refused(raw: bytes | str, name: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(raw.encode() if isinstance(raw, str) else raw, name)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("name", "text", "given"),
    [
        ("a.txt", "one\n\n  two  \r\nthree", ["one", "two", "three"]),
        ("A.TXT", "one\n--\ntwo", ["one", "--", "two"]),
        ("a.md", "# one\nmore\n---\n\ntwo\n-----\t \nthree\n", ["# one\nmore", "two", "three"]),
        ("a.txt", "---\none\n---\n---\ntwo\n---\n", ["one", "two"]),
        ("a.txt", "a --- b\n--- c\n- - -", ["a --- b", "--- c", "- - -"]),
        ("a.txt", "a\u2028b\x0cc\n", ["a\u2028b\x0cc"]),  # only line feeds end a line, as in an editor
        ("a.csv", "prompt\none\n\ntwo\n", ["one", "two"]),
        ("a.csv", 'prompt,tag\n"one, ""two""\nthree",x\n', ['one, "two"\nthree']),
        ("a.csv", "tag; Prompt ;note\nx;one, two;n\n", ["one, two"]),
        ("a.csv", '"tag";"prompt"\n"x";"one; two"\n', ["one; two"]),
        ("a.csv", 'tag;prompt\n"x";"one; two"\n', ["one; two"]),
        ("a.csv", "prompt\ttag\none, two; three\tx\n", ["one, two; three"]),
        ("a.csv", "prompt|tag\none, two\tthree|x\n", ["one, two\tthree"]),
        ("a.csv", 'tag, prompt\nx, "one, two"\n', ["one, two"]),
        ("a.csv", "prompt,tag,prompt\none,x,two\n", ["one"]),
        ("a.csv", "prompt,tag\n one ,x,,\n,,,\n", ["one"]),
        ("a.csv", "note,QUESTION\nx,one\n", ["one"]),
        ("a.csv", "text,question\nanswer,one\n", ["one"]),
        ("a.csv", "instruction,input,output\nTranslate,hello,xin chào\nSing,,la\n", ["Translate\n\nhello", "Sing"]),
        ("a.csv", "\n\none\ntwo\n", ["one", "two"]),  # no known header: it is a prompt too
        ("a.csv", '"one, two"\nName it; then | say why\n"three"\n', ["one, two", "Name it; then | say why", "three"]),
        ("a.csv", "Name it; then say why\nthree\n", ["Name it; then say why", "three"]),
        ("a.csv", "Name it; then say why", ["Name it; then say why"]),
        ("a.tsv", 'prompt\ttag\n"one\ttwo"\tx\nthree, four\t\n', ["one\ttwo", "three, four"]),
        ("a.tsv", "prompt,one\nthree, four\n", ["prompt,one", "three, four"]),  # a comma separates nothing there
        ("a.jsonl", lines("", '"one"', {"prompt": " two "}, {"Question": "three"}, {"text": "four"}), ["one", "two", "three", "four"]),
        ("a.jsonl", '"a\u2028b"', ["a\u2028b"]),
        ("a.ndjson", lines({"input": "one"}, {"instruction": "two"}, {"instruction": "three", "input": "x"}), ["one", "two", "three\n\nx"]),
        ("a.json", '[\n"one",\n{"prompt": "two"}]', ["one", "two"]),
    ],
)
def test_every_format_gives_its_prompts(name, text, given):
    found = read_text(text, name)
    assert [prompt.text for prompt in found.prompts] == given
    assert found.problems == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Prompt,System Prompt,CATEGORY\none,Be brief.,vi\n"),
        ("a.csv", "topic,input,system\nvi,one,Be brief.\n"),
        ("a.jsonl", lines({"prompt": "one", "system": "Be brief.", "tag": "vi", "id": 7, "x": None})),
        ("a.jsonl", lines({"Text": "one", "system_prompt": " Be brief.", "Language": "vi"})),
        ("a.json", '[{"question": "one", "system": "Be brief.", "label": "vi"}]'),
        ("a.jsonl", lines({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}], "tag": "vi"})),
    ],
)
def test_system_prompt_and_tag_come_along_under_any_of_their_names(name, text):
    assert read_text(text, name).prompts == (Prompt("one", "Be brief.", "vi"),)


def test_what_a_row_leaves_open_is_empty():
    text = lines({"prompt": "one", "system": None, "tag": None}, {"messages": [{"role": "user", "content": "two"}]})
    assert read_text(text, "a.jsonl").prompts == (Prompt("one"), Prompt("two"))
    assert read_text("prompt,system,tag\none\n", "a.csv").prompts == (Prompt("one"),)


def test_a_tag_becomes_one_short_line():
    (prompt,) = read_text(lines({"prompt": "x", "tag": "two\nlines \u202e" + "t" * 100}), "a.jsonl").prompts
    assert prompt.tag.startswith("two lines tt")
    assert len(prompt.tag) == prompt_sets.LONGEST_TAG_CHARS


@pytest.mark.parametrize(("name", "title"), [("hard ones.v2.csv", "hard ones.v2"), ("C:\\sets\\a.csv", "a"), ("x/y/\u202ea.csv", "a")])
def test_the_title_is_the_name_without_folder_and_ending(name, title):
    assert read_text("prompt\none\n", name).title == title


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
@pytest.mark.parametrize(("name", "text"), [("a.csv", f"prompt,tag\n{CHINESE},zh\n"), ("a.jsonl", lines({"prompt": CHINESE, "tag": "zh"}))])
def test_chinese_is_kept_exactly_in_any_encoding(name, text, encoding):
    assert read(text.encode(encoding), name).prompts == (Prompt(CHINESE, tag="zh"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_vietnamese_is_kept_exactly_composed_or_not(encoding, form):
    text = unicodedata.normalize(form, VIETNAMESE)
    assert read(f'prompt;tag\n"{text}";vi\n'.encode(encoding), "a.csv").prompts == (Prompt(text, tag="vi"),)


def test_vietnamese_of_old_windows_is_read():
    tones = "\u0300\u0301\u0303\u0309\u0323"  # windows-1258 writes vowel and tone apart
    letters = []
    for letter in VIETNAMESE:
        parts = unicodedata.normalize("NFD", letter)
        letters.append(unicodedata.normalize("NFC", "".join(c for c in parts if c not in tones)) + "".join(c for c in parts if c in tones))
    (prompt,) = read("".join(letters).encode("cp1258"), "a.txt").prompts
    assert unicodedata.normalize("NFC", prompt.text) == VIETNAMESE


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"prompt": "x"', "not valid JSON: Expecting ',' delimiter at character 15"),
        ("hello", "not valid JSON"),
        ("12", "the prompt is not a text"),
        ("[]", "the prompt is not a text"),
        ("null", "the prompt is empty"),
        ('"  "', "the prompt is empty"),
        ('{"prompt": ""}', "the prompt is empty"),
        ('{"prompt": "", "text": "an answer"}', "the prompt is empty"),
        ('{"prompt": ["x"]}', "the prompt is not a text"),
        ('{"prompt": "x", "system": {}}', "the system is not a text"),
        ('{"prompt": "x", "label": 1}', "the label is not a text"),
        ('{"instruction": "x", "input": 1}', "the input is not a text"),
        ('{"promt": "x"}', "no prompt; its name can be prompt, question, text, instruction, input or messages"),
        ("{}", "no prompt"),
        (json.dumps({"prompt": "x" * (LONGEST_PROMPT_CHARS + 1)}), "the prompt is too long: 200,001 characters, the most is 200,000"),
        (json.dumps({"prompt": "x", "system": "x" * (LONGEST_PROMPT_CHARS + 1)}), "the system is too long"),
        (json.dumps({"instruction": "x" * 150_000, "input": "x" * 150_000}), "the prompt is too long: 300,002"),
        ('{"messages": "x"}', "exactly one user turn"),
        ('{"messages": []}', "exactly one user turn"),
        ('{"messages": ["x"]}', "exactly one user turn"),
        ('{"messages": ["x", {"role": "user", "content": "x"}]}', "exactly one user turn"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "exactly one user turn"),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}',
            "exactly one user turn and at most one system turn",
        ),
        ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}', "exactly one user turn"),
        ('{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}', "the prompt is not a text"),
        ('{"messages": [{"role": "user"}]}', "the prompt is empty"),
        ("[" * 100_000, "the JSON is nested too deeply"),
        ('{"prompt": ' * 100_000, "the JSON is nested too deeply"),
    ],
    ids=lambda value: value[:40],
)
def test_a_wrong_row_of_json_lines_is_named_by_its_line_and_the_rest_stays(row, problem):
    found = read_text(lines('"first"', "", row, '"last"'), "a.jsonl")
    assert [prompt.text for prompt in found.prompts] == ["first", "last"]
    (sentence,) = found.problems
    assert sentence.startswith(f"row 3: {problem}" if not problem.startswith("exactly") else "row 3: of messages, ")
    assert problem in sentence


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", 'prompt,tag\n"first\n\nline",x\n ,x\nlast,x\n', "row 3: the prompt is empty"),
        ("a.csv", "tag,prompt\nx,first\nx\n,last", "row 3: the prompt is empty"),
        ("a.csv", "prompt\nfirst\n\nHello, you\nlast\n", "row 4: 2 cells where 1 belong"),
        ("a.csv", "first\nHello, you\nlast\n", "row 2: 2 cells where 1 belong"),
        ("a.csv", f"prompt,tag\nfirst,x\n{'x' * 300_000},x\nlast,x\n", "row 3: the prompt is too long"),
        ("a.json", '["first",\n\n7, "last"]', "row 2: the prompt is not a text"),
        ("a.txt", f"\nfirst\n{'x' * 200_001}\nlast", "row 3: the prompt is too long"),
        ("a.txt", f"\nfirst\n---\n\n{'x' * 200_001}\n---\nlast", "row 5: the prompt is too long"),
    ],
)
def test_a_wrong_row_is_named_as_an_editor_counts_it_and_the_rest_stays(name, text, problem):
    found = read_text(text, name)
    assert [(prompt.text.split()[0], prompt.text.split()[-1]) for prompt in found.prompts] in (
        [("first", "first"), ("last", "last")],
        [("first", "line"), ("last", "last")],
    )
    assert len(found.problems) == 1
    assert found.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("wrong", "told", "last"),
    [
        (200, 200, "row 201: not valid JSON: Expecting value at character 1"),
        (201, 201, "and 1 more row"),
        (5_000, 201, "and 4,800 more rows"),
    ],
)
def test_two_hundred_problems_are_told_and_the_others_counted(wrong, told, last):
    found = read_text(lines('"one"', *["?"] * wrong), "a.jsonl")
    assert len(found.problems) == told
    assert found.problems[0].startswith("row 2: ")
    assert found.problems[-1] == last


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_ten_thousand_prompts_are_taken_in_a_second_and_one_more_is_refused(name):
    def text(rows: int) -> str:
        prompts = [f"Prompt {n}" for n in range(rows)]
        if name == "a.csv":
            out = io.StringIO()
            csv.writer(out).writerows([["prompt", "tag"], *([f'{p}, "so"\nit goes', "x"] for p in prompts)])
            return out.getvalue()
        if name == "a.json":
            return json.dumps(prompts)
        return lines(*(prompts if name == "a.txt" else [{"prompt": p, "tag": "x"} for p in prompts]))

    start = time.process_time()
    found = read_text(text(MOST_PROMPTS), name)
    assert time.process_time() - start < 2  # a tenth of it here
    assert (len(found.prompts), found.prompts[-1].text.split(",")[0], found.problems) == (10_000, "Prompt 9999", ())
    assert "more than 10,000 prompts" in refused(text(MOST_PROMPTS + 1), name).message


def test_wrong_rows_do_not_count_as_prompts():
    assert len(read_text(lines(*['"x"'] * MOST_PROMPTS, "?"), "a.jsonl").prompts) == MOST_PROMPTS


def test_a_file_of_nothing_but_wrong_rows_is_given_up_early():
    start = time.process_time()
    assert "wrong rows, the first is row 1: no prompt" in refused("{}\n" * 2_000_000, "a.jsonl").message
    assert time.process_time() - start < 4  # reading on to the end takes some 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "-" * 500_000 + " " * 500_000 + "x"),
        ("a.csv", "prompt,tag\n" + '""' * 500_000 + "\n"),
        ("a.csv", "a," * 1_000_000 + "\n"),
        ("a.csv", "prompt" + ",x" * 5_000 + "\n" + "\n".join(["?,y"] * 10_001)),
        ("a.jsonl", '{"a": ' * 200_000),
        ("a.json", "[" * 1_000_000),
    ],
    ids=["dashes", "quotes", "cells", "columns", "lines nested", "list nested"],
)
def test_no_text_of_a_megabyte_takes_long(name, text):
    start = time.process_time()
    refused(text, name)
    assert time.process_time() - start < 2


def test_a_file_over_twenty_megabytes_is_refused_before_it_is_read():
    found = read(b"x" + b" " * (MOST_BYTES - 1), "a.txt")
    assert found.prompts == (Prompt("x"),)
    assert "too large: 20.0 MB, the most is 20 MB" in refused(b"\0" * (MOST_BYTES + 1), "a.txt").message


@pytest.mark.parametrize("name", ["a.xlsx", "a", ".csv", "a.csv.pdf"])
def test_other_kinds_of_files_are_refused_with_those_that_are_taken(name):
    error = refused("prompt\none\n", name)
    assert name in error.message
    assert ".csv" in error.hint and ".jsonl" in error.hint


def test_what_is_not_text_is_refused():
    error = refused(b"PK\x03\x04" + bytes(range(256)) * 20, "a.csv")
    assert error.message == "a.csv is not a text file."
    assert ".csv" in error.hint and "PDF" not in error.hint


def test_several_columns_without_one_of_prompts_are_listed():
    error = refused("Frage;Thema\neins;x\nzwei;y\n", "a.csv")
    assert '"Frage", "Thema"' in error.message
    assert '"prompt"' in error.hint
    assert "no column of prompts" in refused("x," * prompt_sets.MOST_COLUMNS + "prompt\n", "a.csv").message  # too far right


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "no prompt that can be used."),
        ("a.txt", "---\n\n---\n", "no prompt that can be used."),
        ("a.csv", "prompt,tag\n", "no prompt that can be used."),
        ("a.csv", "prompt,tag\n,x\n,y\n", "no prompt that can be used: row 2: the prompt is empty."),
        ("a.jsonl", '{"q": 1}\n"', "no prompt that can be used: row 1: no prompt;"),
        ("a.json", "[]", "no prompt that can be used."),
        ("a.json", '{"prompt": "x"}', "cannot be read: it is not a list."),
        ("a.json", '["x",\n?]', "not valid JSON: Expecting value at line 2, character 1."),
        ("a.json", '["x", ' + "[" * 100_000, "the JSON is nested too deeply."),
        ("a.csv", 'prompt,tag\none,x\n"two,x\nthree,x\n', "row 3: unexpected end of data."),
        ("a.csv", 'prompt,tag\n"one"\n"two" and,x\n', "row 3: ',' expected after '\"'."),
    ],
)
def test_a_file_without_prompts_or_broken_as_a_whole_is_refused_with_the_place(name, text, message):
    error = refused(text, name)
    assert error.message.startswith(f"{name} ")
    assert message in error.message


def test_long_prompts_pass_the_csv_module_whatever_its_limit_was():
    before = csv.field_size_limit(1_000)
    try:
        found = read_text(f'prompt\n"{"x" * LONGEST_PROMPT_CHARS}"\n', "a.csv")
    finally:
        csv.field_size_limit(before)
    assert [len(prompt.text) for prompt in found.prompts] == [LONGEST_PROMPT_CHARS]


@pytest.mark.parametrize(
    ("name", "raw"), [("a.txt", b"a\0b" + b"c" * 200), ("a.csv", b"prompt\na\0b" + b"c" * 200), ("a.jsonl", rb'"a\u0000b"')]
)
def test_nul_is_replaced(name, raw):
    (prompt,) = read(raw, name).prompts
    assert prompt.text.startswith("a\ufffdb")


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_kept():
    found = read(rb'{"prompt": "a\ud83d", "system": "\udc00", "tag": "\ud83d\ude00"}', "a.jsonl")
    assert found.prompts == (Prompt("a\ufffd", "\ufffd", "\U0001f600"),)


@pytest.mark.parametrize("number", ["9" * 100_000, "-1." + "9" * 100_000, "1e999", "NaN"])
def test_numbers_of_any_length_do_no_harm(number):
    assert read_text(f'{{"prompt": "one", "id": {number}}}', "a.jsonl").prompts == (Prompt("one"),)


def test_the_shipped_set_has_four_prompts_of_each_tag():
    found = shipped()
    assert found.problems == ()
    assert Counter(prompt.tag for prompt in found.prompts) == dict.fromkeys(["english", "vietnamese", "chinese", "maths", "code"], 4)
    assert len({prompt.text for prompt in found.prompts}) == 20
    for prompt in found.prompts:
        assert 1 <= prompt.text.count("\n") + 1 <= 6
        assert unicodedata.is_normalized("NFC", prompt.text)
        assert (prompt.tag == "chinese") == any("\u4e00" <= c <= "\u9fff" for c in prompt.text)
        assert (prompt.tag == "vietnamese") == any(c in "ảạấầậếệộợữđịọ" for c in prompt.text)
