"""What a file is, by its bytes and not by its name: a document that is read by a library, or which of the things that hold no text."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from typing import Literal

Kind = Literal["text", "pdf", "docx", "pptx", "xlsx", "html", "ipynb", "epub"]

# first bytes -> what a person calls it
_MAGIC = (
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"....ftyp(?:heic|heix|heim|heis|mif1|msf1|avif|avis)", "an image"),
    (rb"BM.{4}\0\0\0\0", "a BMP image"),
    (rb"II\*\0|MM\0\*", "a TIFF image"),
    (rb"\0\0[\x01\x02]\0[\x01-\xff]\0", "an icon"),
    (rb"8BPS", "a Photoshop image"),
    (rb"\0\0\0\x0cjP  |\xff\x0a|\0\0\0\x0cJXL ", "an image"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "an MP3 audio file"),
    (rb"RIFF....WAVE|FORM....AIF", "an audio file"),
    (rb"OggS|fLaC|#!AMR|MThd|\xff[\xf0\xf1\xf8\xf9]|....ftypM4[AB]", "an audio file"),
    (rb"....ftyp|....moov|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|\0\0\x01[\xb3\xba]|\x30\x26\xb2\x75|G.{187}G", "a video"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\x1f[\x9d\xa0]", "a compressed file"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|MSCF\0|!<arch>|.{257}ustar", "an archive"),
    (rb"MZ|\x7fELF|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\0asm|\xca\xfe\xba\xbe|dex\n", "a program"),
    (rb".{2}\r\r?\n\0\0\0\0", "compiled Python"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"PAR1|Obj\x01|ARROW1|\x89HDF|\x93NUMPY|CDF[\x01\x02]|\x80[\x02-\x05][}\]\x95(c]|GGUF", "a binary data file"),
    (rb"\0\x01\0\0|OTTO|wOF[F2]|ttcf|true", "a font"),
    (rb"%!PS-Adobe|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (rb"bplist", "a binary property list"),
    (rb"\x4c\0\0\0\x01\x14\x02\0", "a Windows shortcut"),
)
_KNOWN = tuple((re.compile(magic, re.DOTALL), what) for magic, what in _MAGIC)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# streams that an old Office file names in UTF-16 -> what it is
_OLE_STREAMS = (
    ("EncryptedPackage", "locked"),
    ("WordDocument", "an old Word document (.doc)"),
    ("Workbook", "an old Excel workbook (.xls)"),
    ("Book", "an old Excel workbook (.xls)"),
    ("PowerPoint Document", "an old PowerPoint file (.ppt)"),
    ("__properties_version1.0", "an Outlook message"),
)
_PARTS: tuple[tuple[str, Kind], ...] = (("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx"), ("ppt/presentation.xml", "pptx"))
_ZIPPED = (  # entries of an archive, by how they begin -> what it is
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)"),
    ("Index/", "an iWork document"),
    ("AndroidManifest.xml", "a program"),
    ("META-INF/MANIFEST.MF", "a program"),
)
_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
# what browsers and SingleFile write into a page that they save, and programs into a page that they make
_MADE = re.compile(r"""<!--\s*saved from url=|Page saved with SingleFile|<meta[^>]+name=["']?generator\b""", re.IGNORECASE)
_HEAD_CHARS = 4096
WRITTEN_BY_HAND_CHARS = 50_000


def document_kind(data: bytes, name: str) -> Kind | None:
    """PDF, Office and EPUB files; `None` for all else."""
    if data.lstrip().startswith(b"%PDF-") or (name.lower().endswith(".pdf") and b"%PDF-" in data[:1024]):
        return "pdf"
    names = _entries(data)
    if "mimetype" in names and b"mimetypeapplication/epub+zip" in data[:100]:
        return "epub"
    if "[Content_Types].xml" in names:
        return next((kind for part, kind in _PARTS if part in names), None)
    return "epub" if "META-INF/container.xml" in names and any(entry.endswith(".opf") for entry in names) else None


def text_kind(text: str, name: str) -> Kind:
    """A notebook, and a web page that somebody read rather than wrote. HTML that was written by hand stays as it is: whoever attaches
    their own page asks about its code, and a model reads tags, while a page saved by a browser is mostly scripts and styles."""
    head = text[:_HEAD_CHARS]
    if head.lstrip().startswith("{") and (name.lower().endswith(".ipynb") or ('"nbformat"' in text and '"cells"' in text)):
        return "ipynb"
    if _PAGE.match(head) and (_MADE.search(head) or len(text) > WRITTEN_BY_HAND_CHARS):
        return "html"
    return "text"


def what_it_is(data: bytes) -> str | None:
    """Of a file without text: what a person calls it, "locked" for an encrypted Office file, `None` where its bytes do not tell."""
    if data.startswith(_OLE):
        return next((what for stream, what in _OLE_STREAMS if stream.encode("utf-16-le") in data), "an old Office file")
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        names = _entries(data)
        if "mimetype" in names and b"mimetypeapplication/vnd.oasis" in data[:100]:
            return "an OpenDocument file"
        zipped = next((what for start, what in _ZIPPED if any(entry.startswith(start) for entry in names)), None)
        return zipped or ("a ZIP archive" if names else "a broken ZIP archive or Office file")
    return next((what for magic, what in _KNOWN if magic.match(data)), None)


def _entries(data: bytes) -> frozenset[str]:
    if not data.startswith(b"PK"):
        return frozenset()
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RecursionError):
        return frozenset()
