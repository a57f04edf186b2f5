"""Office files, books, notebooks and web pages as Markdown, and what is done to files that are made to harm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest

from backend import document_reader, documents
from backend.attachments import Attachment, as_prompt, read_attachment
from backend.document_reader import MAX_COLUMNS, MAX_ENTRIES, MAX_PART_BYTES, MAX_UNPACKED_BYTES, ROWS_AT_ONCE
from backend.errors import BadInput
from backend.file_kinds import WRITTEN_BY_HAND_CHARS
from tests.backend.office import LAUGHS, SECRET, WORD, changed, docx, epub, far_cells, paragraph, pptx, xlsx, zipped

NOTEBOOK = {
    "nbformat": 4,
    "metadata": {"language_info": {"name": "julia"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "source": "print(1)\n",
            "outputs": [
                {"output_type": "stream", "text": ["1\n", "\x1b[31m2\x1b[0m\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBOR" * 500, "text/plain": ["<Figure>"]}},
                {"output_type": "display_data", "data": {"image/png": "iVBOR" * 500}},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m: v"]},
            ],
        },
    ],
}
OLD_NOTEBOOK = {
    "nbformat": 3,
    "worksheets": [{"cells": [{"cell_type": "code", "input": ["x"], "outputs": [{"output_type": "pyout", "text": ["7"]}]}]}],
}
SAVED = "<!DOCTYPE html>\n<!-- saved from url=(0020)https://example.com/ -->\n<html><head><style>a{b:c}</style><script>var x</script></head>{}</html>"
BODY = "<body><h1>News</h1><p>It <b>rains</b>.<img src='data:image/png;base64,AAAA'></p><table><tr><th>a|b</th></tr><tr><td>1</td></tr></table></body>"
FORMULA = (
    "<m:oMath><m:f><m:num><m:r><m:t>1</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e>"
    "<m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup><m:rad><m:deg/><m:e><m:r><m:t>y</m:t></m:r></m:e></m:rad></m:oMath>"
)

READ: dict[str, tuple[bytes, str, str, int | None, str]] = {
    "Word": (
        docx(paragraph("Report", "Heading1") + paragraph("a &amp; b_c * &lt;d&gt;") + "<w:tbl><w:tr><w:tc>" + paragraph("1|2") + "</w:tc></w:tr></w:tbl>"),
        "a.docx", "docx", None, "# Report\n\na & b_c * <d>\n\n| 1\\|2 |\n| --- |",
    ),
    "Word under another name": (docx(paragraph("text")), "a.txt", "docx", None, "text"),
    "Word with a formula": (docx(f"<w:p><w:r><w:t>Area </w:t></w:r>{FORMULA}<w:r><w:t> m</w:t></w:r></w:p>"), "a.docx", "docx", None,
                            "Area $\\frac{1}{2}{x}^{2}\\sqrt{y}$ m"),
    "Excel": (
        xlsx(Sales=[["Plan"], [], ["Task", None, "Due"], ["a|b\nc", None, datetime(2024, 5, 1), 0.5, 3.0, True]], Secret=[["x", date(2024, 1, 2)]], None_=[]),
        "a.xlsx", "xlsx", None,
        "## Sales\n\n| Plan |  |  |  |  |  |\n| --- | --- | --- | --- | --- | --- |\n| Task |  | Due |  |  |  |\n| a\\|b c |  | 2024-05-01 | 0.5 | 3 | TRUE |\n\n"
        "## Secret (hidden)\n\n| x | 2024-01-02 |\n| --- | --- |\n\n## None_\n\nEmpty.",
    ),
    "PowerPoint": (
        pptx(), "a.pptx", "pptx", 2,
        "## Slide 1: Plan\n\n- Build\n  - Test\n\nNotes: Speak slowly\n\n## Slide 2\n\n| a |  |\n| --- | --- |\n|  | d |\n\n"
        "|  | Q1 |\n| --- | --- |\n| East | 1.5 |\n| West | 2 |",
    ),
    "book": (epub("<h1>One</h1><p>Once</p>", "<p>Two</p><nav>All</nav>"), "a.epub", "epub", None, "# One\n\nOnce\n\nTwo\n\nAll"),
    "notebook": (
        json.dumps(NOTEBOOK).encode(), "a.ipynb", "ipynb", None,
        "# Title\ntext\n\n```julia\nprint(1)\n```\n\nOutput:\n\n```text\n1\n2\n<Figure>\n(image/png)\nE: v\n```",
    ),
    "notebook of old": (json.dumps(OLD_NOTEBOOK).encode(), "a.ipynb", "ipynb", None,
                                           "```python\nx\n```\n\nOutput:\n\n```text\n7\n```"),
    "notebook under another name": (json.dumps({**NOTEBOOK, "cells": NOTEBOOK["cells"][:1]}).encode(), "a.txt", "ipynb", None, "# Title\ntext"),
    "saved page": (SAVED.replace("{}", BODY).encode(), "a.html", "html", None, "# News\n\nIt **rains**.\n\n| a\\|b |\n| --- |\n| 1 |"),
    "page of a program": (b'<html><head><meta name="generator" content="X"></head><body><p>y</p></body></html>', "a.htm", "html", None, "y"),
}  # fmt: skip


@pytest.fixture
def given(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(("data", "name", "kind", "pages", "text"), READ.values(), ids=READ)
async def test_a_document_is_read_as_markdown(data, name, kind, pages, text, given):
    read = await read_attachment(given(data), name=name)
    assert (read.text, read.kind, read.pages, read.truncated, read.encoding, read.replaced) == (text, kind, pages, False, None, 0)
    assert as_prompt([read], "?").startswith(f"File: {name}" + (" (2 slides)" if kind == "pptx" else "") + "\n```")


STAYS: dict[str, tuple[str, str]] = {
    "a page of one's own": ("<!doctype html>\n<html><body><h1>Hi</h1></body></html>", "index.html"),
    "a template": ("{% extends 'a' %}\n<html><!-- saved from url= --></html>", "a.html"),
    "a component": ("<template><p>Hi</p></template>\n<script>export default {}</script>", "b.vue"),
    "a picture in XML": ('<svg xmlns="http://www.w3.org/2000/svg"><text>t</text></svg>', "c.svg"),
    "a notebook that is none": ('{"cells": 3}', "a.ipynb"),
    "a notebook cut off": ('{"nbformat": 4, "cells": [', "a.ipynb"),
    "JSON": ('{"cells": []}', "a.json"),
}


@pytest.mark.parametrize(("text", "name"), STAYS.values(), ids=STAYS)
async def test_code_stays_as_it_was_written(text, name, given):
    read = await read_attachment(given(text.encode()), name=name)
    assert (read.text, read.kind) == (text, "text")


@pytest.mark.parametrize(("more", "kind"), [(0, "text"), (1, "html")])
async def test_html_longer_than_anybody_writes_is_a_page(more, kind, given):
    page = "<html><body><p>word</p>{}</body></html>"
    page = page.format("<!-- -->" + " " * (WRITTEN_BY_HAND_CHARS - len(page) - 6 + more))
    assert len(page) == WRITTEN_BY_HAND_CHARS + more
    assert (await read_attachment(given(page.encode()), name="a.html")).kind == kind


async def test_a_saved_page_in_another_encoding_says_so(given):
    page = SAVED.replace("{}", "<body><p>こんにちは、世界！</p></body>")
    read = await read_attachment(given(page.encode("cp932")), name="a.html")
    assert (read.text, read.kind, read.encoding) == ("こんにちは、世界！", "html", "Shift-JIS")


DEEP = "<w:tbl><w:tr><w:tc>" * 4000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 4000
LAUGHING_CELL = (
    f'<!DOCTYPE d [{LAUGHS}]><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
    '<c r="A1" t="inlineStr"><is><t>&a9;</t></is></c></row></sheetData></worksheet>'
).encode()
SHEET = "xl/worksheets/sheet1.xml"
HARMFUL: dict[str, tuple[bytes, str, str]] = {
    "zip bomb": (docx(paragraph("x"), **{"word/media/a.bin": b"\0" * MAX_UNPACKED_BYTES}), "a.docx", "too large when it is unpacked"),
    "zip bomb in a workbook": (
        changed(xlsx(A=[["x"]]), SHEET, b"<sheetData>", b" " * MAX_UNPACKED_BYTES + b"<sheetData>"),
        "a.xlsx",
        "too large when",
    ),
    "tree bomb": (docx("<w:p/>" * (MAX_PART_BYTES // 6)), "a.docx", "too large when it is unpacked"),
    "many entries": (docx(paragraph("x"), **{f"e{n}": "" for n in range(MAX_ENTRIES)}), "a.docx", "too large when it is unpacked"),
    "entities in Word": (docx(paragraph("&a9;"), entities=LAUGHS), "a.docx", "broken Word document"),
    "entities in Excel": (changed(xlsx(A=[["x"]]), SHEET, b"<worksheet", LAUGHING_CELL + b"<worksheet"), "a.xlsx", "broken Excel workbook"),
    "entities in PowerPoint": (
        changed(pptx(), "ppt/slides/slide1.xml", b"<p:sld ", f"<!DOCTYPE d [{LAUGHS}]><p:sld ".encode()),
        "a.pptx",
        "",
    ),
    "entities in a book": (epub("x", entities=LAUGHS), "a.epub", "broken EPUB book"),
    "tables in tables": (docx(DEEP), "a.docx", "broken Word document"),
    "cut": (docx(paragraph("word " * 900))[:-30], "a.docx", "a broken ZIP archive or Office file"),
    "an entry cut": (changed(xlsx(A=[["x"]]), SHEET, b"</worksheet>", b""), "a.xlsx", "broken Excel workbook"),
    "no text": (docx("<w:p/>"), "a.docx", "has no text in it"),
    "no slides": (zipped({"[Content_Types].xml": "", "ppt/presentation.xml": "<p/>"}), "a.pptx", "broken PowerPoint file"),
}


@pytest.mark.parametrize(("data", "name", "says"), HARMFUL.values(), ids=HARMFUL)
async def test_a_harmful_or_broken_document_is_refused_by_name_and_soon(data, name, says, given):
    began_s = time.monotonic()
    if not says:  # its entities are declared and never used, which is no harm
        assert "Plan" in (await read_attachment(given(data), name=name, max_bytes=10**8)).text
        return
    with pytest.raises(BadInput, match=says) as caught:
        await read_attachment(given(data), name=name, max_bytes=10**8)
    assert name in caught.value.message and caught.value.hint
    assert time.monotonic() - began_s < documents.TIME_S


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.pptx", "a.epub"])
async def test_no_file_outside_is_read(name, given):
    data = {
        "a.docx": docx(paragraph("here &a9;"), entities=SECRET),
        "a.xlsx": changed(xlsx(A=[["here"]]), SHEET, b"<worksheet", f"<!DOCTYPE d [{SECRET}]><worksheet".encode()),
        "a.pptx": changed(
            changed(pptx(), "ppt/slides/slide1.xml", b"<p:sld ", f"<!DOCTYPE d [{SECRET}]><p:sld ".encode()),
            "ppt/slides/slide1.xml",
            b"Plan",
            b"P&a9;",
        ),
        "a.epub": epub("here", entities=SECRET),
    }[name]
    try:
        text = (await read_attachment(given(data), name=name)).text
    except BadInput as error:
        text = error.message
    assert "root:" not in text


async def test_the_largest_archive_is_read(given):
    less = docx(paragraph("x"), **{"word/media/a.bin": b"\0" * (MAX_UNPACKED_BYTES - 2000)})
    assert (await read_attachment(given(less), name="a.docx")).text == "x"


def test_each_limit_of_an_archive_holds_and_one_more_is_refused(monkeypatch):
    data = zipped({"a.xml": "x" * 100, "b.bin": "y" * 50})
    for name, value in (("MAX_UNPACKED_BYTES", 150), ("MAX_PART_BYTES", 100), ("MAX_ENTRIES", 2)):
        with monkeypatch.context() as patched:
            patched.setattr(document_reader, name, value)
            document_reader._archive(data)
            patched.setattr(document_reader, name, value - 1)
            with pytest.raises(document_reader._Refused, match="unpacked"):
                document_reader._archive(data)
    with monkeypatch.context() as patched:
        patched.setattr(document_reader, "MAX_PART_BYTES", 1)
        document_reader._archive(data, in_trees=False)  # sheets are read row by row


async def test_two_cells_at_the_ends_of_a_sheet_cost_nothing_and_the_far_one_is_said_to_be_left_out(given):
    began_s = time.monotonic()
    read = await read_attachment(given(far_cells()), name="a.xlsx")
    assert "near" in read.text and "far" not in read.text and read.truncated
    assert time.monotonic() - began_s < documents.TIME_S


@pytest.mark.parametrize(("columns", "cut"), [(MAX_COLUMNS, False), (MAX_COLUMNS + 1, True)])
async def test_a_sheet_has_so_many_columns_and_one_more_is_cut(columns, cut, given):
    read = await read_attachment(given(xlsx(A=[["x"] * columns])), name="a.xlsx")
    assert read.truncated is cut and read.text.splitlines()[2].count("x") == MAX_COLUMNS


@pytest.mark.parametrize("rows", [ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE + 1])
async def test_rows_that_are_read_in_parts_stay_one_table(rows, given):
    read = await read_attachment(given(xlsx(A=[[n] for n in range(rows)])), name="a.xlsx")
    assert read.text.splitlines()[4:] == [f"| {n} |" for n in range(1, rows)] and not read.truncated


async def test_a_sheet_with_more_than_the_model_can_take_is_cut_and_says_so(given):
    read = await read_attachment(given(xlsx(A=[[n, "x" * 50] for n in range(3000)])), name="a.xlsx", max_chars=5000)
    assert len(read.text) == 5000 and read.truncated


async def test_a_slow_document_gives_what_was_read_in_time(given, monkeypatch):
    monkeypatch.setattr(documents, "TIME_S", 0.0)
    read = await read_attachment(given(pptx()), name="a.pptx")
    assert "Plan" in read.text and "Slide 2" not in read.text and read.truncated


async def test_a_process_that_never_ends_is_killed(given, monkeypatch, tmp_path):
    script = tmp_path / "document_reader.py"
    script.write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    monkeypatch.setattr(documents, "__file__", str(tmp_path / "documents.py"))
    monkeypatch.setattr(documents, "TIME_S", 0.2)
    monkeypatch.setattr(documents, "GRACE_S", 0.3)
    with pytest.raises(BadInput, match="takes too long"):
        await read_attachment(given(pptx()), name="a.pptx")


def test_a_formula_of_every_kind():
    from xml.etree.ElementTree import fromstring

    run = "<m:r><m:t>{}</m:t></m:r>".format
    matrix = f"<m:m><m:mr><m:e>{run('a')}</m:e><m:e>{run('b')}</m:e></m:mr><m:mr><m:e>{run('c')}</m:e><m:e>{run('d')}</m:e></m:mr></m:m>"
    for given_xml, latex in [
        (f"<m:rad><m:deg>{run('3')}</m:deg><m:e>{run('x')}</m:e></m:rad>", "\\sqrt[3]{x}"),
        (
            f"<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{run('i')}</m:sub><m:sup>{run('n')}</m:sup><m:e>{run('i')}</m:e></m:nary>",
            "∑_{i}^{n} i",
        ),
        (f"<m:nary><m:sub/><m:sup/><m:e>{run('f')}</m:e></m:nary>", "∫ f"),
        (f"<m:sSubSup><m:e>{run('x')}</m:e><m:sub>{run('1')}</m:sub><m:sup>{run('2')}</m:sup></m:sSubSup>", "{x}_{1}^{2}"),
        (f"<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=']'/></m:dPr><m:e>{run('a')}</m:e><m:e>{run('b')}</m:e></m:d>", "[a|b]"),
        (matrix, "\\begin{matrix}a & b \\\\ c & d\\end{matrix}"),
        (f"<m:func><m:fName>{run('sin')}</m:fName><m:e>{run('x')}</m:e></m:func>", "sinx"),
    ]:
        assert document_reader._latex(fromstring(f"<m:oMath {WORD}>{given_xml}</m:oMath>")) == latex


def test_a_document_in_a_prompt():
    shown = as_prompt([Attachment("scan.pdf", "x", "pdf", pages=12, pages_without_text=3)], "Q")
    assert shown.startswith("File: scan.pdf (12 pages, 3 of them without text)\n```\n")
