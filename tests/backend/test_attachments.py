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
from tests.backend.office import zipped

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


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512
BINARY = b"\0\x01\x02\x03" * 200


def ole(stream: str) -> bytes:
    return OLE + stream.encode("utf-16-le") + b"\0" * 100


REFUSED = {
    "empty": (b"", "a.txt", "empty"),
    "blanks": (b" \n\t ", "a.txt", "empty"),
    "blanks of other scripts": ("\u3000\u2003".encode(), "a.txt", "nothing but blanks"),
    "random": (bytes((i * 7919) % 251 + 1 for i in range(5000)), "a.bin", "is not a text file"),
    "text with NULs": (b"abc\0\0\0\0def" * 50, "a.txt", "is not a text file"),
    "NULs": (b"\0" * 500, "a.txt", "is not a text file"),
    "control characters": (b"\x01\x02\x03abc" * 50, "a.txt", "is not a text file"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8, "a.png", "is a PNG image, not a text file"),
    "picture under another name": (b"\xff\xd8\xff\xe0\0\x10JFIF" + BINARY, "a.txt", "is a JPEG image"),
    "GIF": (b"GIF89a" + BINARY, "a", "is a GIF image"),
    "WebP": (b"RIFF\x10\x20\0\0WEBPVP8 " + BINARY, "a", "is a WebP image"),
    "HEIC": (b"\0\0\0\x18ftypheic" + BINARY, "a", "is an image"),
    "BMP": (b"BM\x36\x10\0\0\0\0\0\0" + BINARY, "a", "is a BMP image"),
    "TIFF": (b"II*\0" + BINARY, "a", "is a TIFF image"),
    "MP3": (b"ID3\x04\0" + BINARY, "a", "is an MP3 audio file"),
    "MP3 without a head": (b"\xff\xfb\x90\x64" + BINARY, "a", "is an MP3 audio file"),
    "WAV": (b"RIFF\x10\x20\0\0WAVEfmt " + BINARY, "a", "is an audio file"),
    "FLAC": (b"fLaC" + BINARY, "a", "is an audio file"),
    "MP4": (b"\0\0\0\x20ftypisom" + BINARY, "a", "is a video"),
    "Matroska": (b"\x1aE\xdf\xa3" + BINARY, "a", "is a video"),
    "gzip": (b"\x1f\x8b\x08\0" + BINARY, "a.tar.gz", "is a compressed file"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + BINARY, "a", "is an archive"),
    "tar": (b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + BINARY, "a", "is an archive"),
    "zip": (zipped({"a.txt": "text"}), "a.zip", "is a ZIP archive"),
    "Java": (zipped({"META-INF/MANIFEST.MF": "x"}), "a.jar", "is a program"),
    "OpenDocument": (
        zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "x"}),
        "a.odt",
        "is an OpenDocument file",
    ),
    "binary Excel": (zipped({"[Content_Types].xml": "x", "xl/workbook.bin": "x"}), "a.xlsb", r"is a binary Excel workbook"),
    "ELF": (b"\x7fELF\x02" + BINARY, "a", "is a program"),
    "Windows program": (b"MZ\x90\0" + BINARY, "a.exe", "is a program"),
    "SQLite": (b"SQLite format 3\0" + BINARY, "a.db", "is an SQLite database"),
    "Parquet": (b"PAR1" + BINARY, "a", "is a binary data file"),
    "font": (b"wOF2" + BINARY, "a", "is a font"),
    "old Word": (ole("WordDocument"), "a.doc", r"is an old Word document \(\.doc\)"),
    "old Excel": (ole("Workbook"), "a.xls", r"is an old Excel workbook \(\.xls\)"),
    "old PowerPoint": (ole("PowerPoint Document"), "a.ppt", "is an old PowerPoint file"),
    "Outlook": (ole("__properties_version1.0"), "a.msg", "is an Outlook message"),
    "another of that kind": (OLE, "a.x", "is an old Office file"),
    "locked Office": (ole("EncryptedPackage"), "a.xlsx", "locked with a password"),
    "office document cut off": (
        b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(range(256)) * 4,
        "a.docx",
        "is a broken ZIP archive or Office file",
    ),
    "locked pdf": (locked_pdf("geheim"), "a.pdf", "locked with a password"),
    "scan": (pdf("", ""), "a.pdf", "only pictures of pages"),
    "cut pdf": (pdf("x")[:60], "a.pdf", "broken PDF"),
    "junk pdf": (b"%PDF-1.7\n" + bytes(range(1, 255)) * 20, "a.pdf", "broken PDF"),
}


@pytest.mark.parametrize(("data", "name", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_holds_no_text_is_refused_with_a_reason_and_a_hint(data, name, says, given):
    with pytest.raises(BadInput, match=says) as caught:
        await read_attachment(given(data), name=name)
    assert caught.value.message.startswith(f"{name} ")
    assert caught.value.hint


async def test_the_hint_says_what_the_model_takes_or_how_to_make_it_so(given):
    for key, hint in [
        ("picture", "reads text only"),
        ("old Word", ".docx"),
        ("zip", "Unpack"),
        ("OpenDocument", ".docx"),
        ("7z", "Unpack"),
    ]:
        with pytest.raises(BadInput) as caught:
            await read_attachment(given(REFUSED[key][0]), name="a")
        assert hint in caught.value.hint


NAMES = (
    "Dockerfile .env a.vue a.svg a.bat a.ps1 a.scala a.dart a.srt a.conf NOTES.TXT Makefile a.unknown a pasted.txt pasted-2.txt a.png a.rtf"
)


@pytest.mark.parametrize("name", NAMES.split())
async def test_text_is_text_whatever_its_name(name, given):
    read = await read_attachment(given(b"<a>one</a>\ntwo\n"), name=name)
    assert (read.name, read.text, read.kind, read.encoding, read.replaced) == (name, "<a>one</a>\ntwo\n", "text", None, 0)


@pytest.mark.parametrize(
    "text", ["GIF89a is how a picture begins\n", "BM and MZ\n", "ID3 tags\n", "PK is Pakistan\n", "true\n", "8BPS\n", "BZh\n"]
)
async def test_text_that_begins_as_something_else_does_is_text(text, given):
    assert (await read_attachment(given(text.encode()), name="a")).text == text


async def test_an_encoding_that_was_guessed_and_bytes_that_were_lost_are_told(given):
    read = await read_attachment(given("姓名,年龄\r\n张三,18\r\n".encode("gbk")), name="a.csv")
    assert (read.text, read.encoding, read.replaced) == ("姓名,年龄\n张三,18\n", "GB18030", 0)
    read = await read_attachment(given(VIETNAMESE.encode()[:-3]), name="a.txt")
    assert (read.encoding, read.replaced) == (None, 0)
    read = await read_attachment(given((VIETNAMESE + "à").encode()[:-1]), name="a.txt")
    assert (read.text, read.encoding, read.replaced) == (VIETNAMESE + "\ufffd", None, 1)


@pytest.mark.parametrize(("pages", "without"), [(("a", "b"), 0), (("a", "", "b", ""), 2)])
async def test_a_partly_scanned_pdf_says_how_many_pages_have_no_text(pages, without, given):
    read = await read_attachment(given(pdf(*pages)), name="a.pdf")
    assert (read.pages, read.pages_without_text, read.truncated) == (len(pages), without, False)


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
