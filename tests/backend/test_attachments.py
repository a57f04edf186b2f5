"""Attached files: text in many encodings, PDF, what is refused and why, and how their text goes into a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from backend import attachments, documents
from backend.attachments import Attachment, as_prompt, read_attachment
from backend.display import display_name
from backend.errors import BadInput
from backend.tokens import count_tokens

VIETNAMESE = "Mô hình ngôn ngữ lớn trả lời câu hỏi.\n"
CHINESE = "大型语言模型在海量文本上训练，它们可以回答问题、编写代码。\n"
RUSSIAN = "Большая языковая модель обучается на огромных объёмах текста.\n"


def pdf(*pages: str) -> bytes:
    """A PDF whose pages hold the given ASCII lines; an empty string makes a page without text."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode() if text else b""
        resources = "<< /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Resources {resources} /Contents {5 + 2 * i} 0 R >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    return bytes(out)


def locked_pdf(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf("secret"))))
    writer.encrypt(password, owner_password="owner")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.fixture
def given(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (VIETNAMESE.encode(), VIETNAMESE),
        (b"\xef\xbb\xbf" + VIETNAMESE.encode(), VIETNAMESE),
        (VIETNAMESE.encode("utf-16"), VIETNAMESE),
        (VIETNAMESE.encode("utf-32"), VIETNAMESE),
        ((CHINESE * 5).encode("gb18030"), CHINESE * 5),
        ((RUSSIAN * 5).encode("cp1251"), RUSSIAN * 5),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        (b"\x1b[31mred\x1b[0m log line\n", "\x1b[31mred\x1b[0m log line\n"),
        (b'MARK = b"%PDF-"  # source code that speaks of PDF\n', 'MARK = b"%PDF-"  # source code that speaks of PDF\n'),
    ],
    ids=["utf-8", "utf-8 mark", "utf-16", "utf-32", "gb18030", "cp1251", "line ends", "terminal colours", "code about PDF"],
)
async def test_text_is_read_whatever_its_encoding(data, text, given):
    attachment = await read_attachment(given(data), name="notes.txt")
    assert (attachment.name, attachment.text, attachment.kind, attachment.pages) == ("notes.txt", text, "text", None)
    assert (attachment.truncated, attachment.tokens, attachment.replaced) == (False, await count_tokens(text), 0)


async def test_a_pdf_gives_the_text_of_its_pages_and_their_number(given):
    attachment = await read_attachment(given(pdf("First page", "", "Third page")), name="paper.pdf")
    assert (attachment.kind, attachment.pages, attachment.truncated) == ("pdf", 3, False)
    assert attachment.text == "First page\n\nThird page"
    assert attachment.tokens == await count_tokens(attachment.text)


async def test_a_pdf_encrypted_with_an_empty_password_is_read(given):
    assert (await read_attachment(given(locked_pdf("")), name="a.pdf")).text == "secret"


REFUSED = {
    "empty": (b"", "a.txt", "empty"),
    "blanks": (b" \n\t ", "a.txt", "empty"),
    "blanks of other scripts": ("\u3000\u2003".encode(), "a.txt", "nothing but blanks"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8, "a.png", "not a text file"),
    "random": (bytes((i * 7919) % 251 + 1 for i in range(5000)), "a.bin", "not a text file"),
    "text with NULs": (b"abc\0\0\0\0def" * 50, "a.txt", "not a text file"),
    "control characters": (b"\x01\x02\x03abc" * 50, "a.txt", "not a text file"),
    "office document": (b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(range(256)) * 4, "a.docx", "not a text file"),
    "locked pdf": (locked_pdf("geheim"), "a.pdf", "locked with a password"),
    "scan": (pdf("", ""), "a.pdf", "only pictures of pages"),
    "cut pdf": (pdf("x")[:60], "a.pdf", "broken PDF"),
    "junk pdf": (b"%PDF-1.7\n" + bytes(range(1, 255)) * 20, "a.pdf", "broken PDF"),
}


@pytest.mark.parametrize(("data", "name", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_holds_no_text_is_refused_with_a_reason_and_a_hint(data, name, says, given):
    with pytest.raises(BadInput, match=says) as caught:
        await read_attachment(given(data), name=name)
    assert name in caught.value.message
    assert caught.value.hint


async def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(BadInput, match="could not be read"):
            await read_attachment(path, name="a.txt")


async def test_a_file_over_the_limit_is_refused_with_both_sizes(given):
    with pytest.raises(BadInput, match=r"2\.0 MB, the most is 1\.0 MB"):
        await read_attachment(given(b"a" * 2_000_000), name="a.txt", max_bytes=1_000_000)


async def test_a_long_text_is_cut_and_says_so(given):
    attachment = await read_attachment(given(b"abcdefghij" * 10), name="a.txt", max_chars=15)
    assert (attachment.text, attachment.truncated) == ("abcdefghijabcde", True)


async def test_reading_a_pdf_ends_once_there_is_enough_text(given):
    attachment = await read_attachment(given(pdf(*["a page of words"] * 50)), name="a.pdf", max_chars=20)
    assert attachment.truncated
    assert (len(attachment.text), attachment.pages) == (20, 50)


async def test_a_slow_pdf_gives_what_was_read_in_time(given, monkeypatch):
    monkeypatch.setattr(documents, "TIME_S", 0.0)
    attachment = await read_attachment(given(pdf("first", "second")), name="a.pdf")
    assert (attachment.text, attachment.pages, attachment.truncated) == ("first", 2, True)


async def test_a_page_that_never_ends_is_killed_and_what_was_read_before_is_kept(given, monkeypatch):
    monkeypatch.setattr(documents, "GRACE_S", 2.0)
    monkeypatch.setattr(documents, "TIME_S", 1.0)
    endless = ") Tj (".join(["a"] * 2_000_000)  # a small file where it is packed
    with pytest.raises(BadInput, match="takes too long to read"):
        await read_attachment(given(pdf(endless)), name="bomb.pdf", max_bytes=10**9)
    attachment = await read_attachment(given(pdf("first", endless)), name="a.pdf", max_bytes=10**9)
    assert (attachment.text, attachment.pages, attachment.truncated) == ("first", 2, True)


async def test_the_event_loop_is_free_while_a_file_is_read(given, monkeypatch):
    entered, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: object) -> Attachment:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
        return Attachment("a.txt", "text")

    monkeypatch.setattr(attachments, "_read", slow)
    reading = asyncio.create_task(read_attachment(given(b"x"), name="a.txt"))
    async with asyncio.timeout(30):
        await entered.wait()
    release.set()
    assert (await reading).text == "text"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\notes.txt", "notes.txt"),
        ("evil\u202efdp.exe", "evilfdp.exe"),
        ("a\nb\x07c.txt", "a b c.txt"),
        ("báo cáo quý 3.pdf", "báo cáo quý 3.pdf"),
        ("👨‍👩‍👧.txt", "👨‍👩‍👧.txt"),
        ("\u2066\u2069\x00", "file"),
        ("", "file"),
    ],
)
async def test_names_are_safe_to_show(name, shown, given):
    assert (await read_attachment(given(b"x"), name=name)).name == shown


def test_long_names_are_cut():
    assert display_name("a" * 500) == "a" * 119 + "…"


def test_a_prompt_without_files_is_the_question_as_typed():
    assert as_prompt([], "  Why?\n") == "  Why?\n"


def test_files_stand_before_the_question_under_their_names():
    files = [
        Attachment("app.py", "print('hi')\n"),
        Attachment("paper.pdf", "Abstract", "pdf", pages=12, truncated=True),
    ]
    assert as_prompt(files, "Explain.") == (
        "File: app.py\n```py\nprint('hi')\n```\n\nFile: paper.pdf (12 pages, only the beginning)\n```\nAbstract\n```\n\nExplain."
    )
    assert as_prompt(files[:1], " ") == "File: app.py\n```py\nprint('hi')\n```"


@pytest.mark.parametrize("text", ["```py\nx\n```", "a ````` b", "no fence", "`" * 40])
def test_no_file_can_close_its_own_fence(text):
    prompt = as_prompt([Attachment("a.md", text)], "Q")
    opening = prompt.splitlines()[1]
    fence = opening.rstrip("md")
    assert set(fence) == {"`"}
    assert fence not in text
    assert prompt.endswith(f"\n{fence}\n\nQ")
