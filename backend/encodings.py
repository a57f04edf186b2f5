"""Text from bytes in whatever encoding they are, by likelihood: what the bytes say themselves first, then UTF-8 as it mostly is, then the
guess of `chardetng`, the detector of Firefox. Says what it took and how much could not be read. Knows nothing of files and the page.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

MAX_CONTROL_SHARE = 0.01  # of the characters: text has hardly any control characters
MAX_NUL_SHARE = 0.1  # runs of NULs, which crashes and full disks leave in logs
MAX_REPLACED_SHARE = 0.02  # of the characters
MAX_ASCII_SHARE = 0.8  # of the bytes of text in a wide encoding: half of them say which script it is
LETTERS_PER_ERROR = 3  # UTF-8's multi-byte characters are no accident where there are so many to each that is broken
SAMPLE_CHARS = 100_000  # for counting what tells text from other things

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The detector's and other names (WHATWG's labels, lower case) -> the name shown, and the codecs that read the most of it
_ENCODINGS = {
    "gb18030": ("GB18030", ("gb18030",)),
    "big5": ("Big5", ("cp950", "big5hkscs")),
    "shift_jis": ("Shift-JIS", ("cp932",)),
    "euc-jp": ("EUC-JP", ("euc_jp", "euc_jis_2004")),
    "iso-2022-jp": ("ISO-2022-JP", ("iso2022_jp_ext",)),
    "euc-kr": ("EUC-KR", ("cp949",)),
    "windows-874": ("Windows-874", ("cp874",)),
    "ibm866": ("IBM866", ("cp866",)),
    "koi8-r": ("KOI8-R", ("koi8_r",)),
    "koi8-u": ("KOI8-U", ("koi8_u",)),
    **{f"windows-{n}": (f"Windows-{n}", (f"cp{n}",)) for n in range(1250, 1259)},
    **{f"iso-8859-{n}": (f"ISO-8859-{n}", (f"iso8859_{n}",)) for n in (2, 5, 6, 7, 8)},
}
_ALIASES = {
    "gbk": "gb18030", "gb2312": "gb18030", "cp936": "gb18030", "big5-hkscs": "big5", "cp950": "big5", "sjis": "shift_jis",
    "cp932": "shift_jis", "windows-31j": "shift_jis", "cp949": "euc-kr", "ks_c_5601-1987": "euc-kr", "tis-620": "windows-874",
    "cp874": "windows-874", "iso-8859-8-i": "iso-8859-8", "iso-8859-1": "windows-1252", "latin-1": "windows-1252",
    "latin1": "windows-1252", "iso-8859-9": "windows-1254", "cp866": "ibm866", **{f"cp{n}": f"windows-{n}" for n in range(1250, 1259)},
}  # fmt: skip
_MULTI_BYTE = frozenset(("gb18030", "big5", "shift_jis", "euc-jp", "euc-kr"))
_DECLARED = re.compile(rb"""(?:charset|encoding|coding)["']?[ \t]*[:=][ \t]*["']?([A-Za-z0-9._-]{3,20})""", re.IGNORECASE)
_DECLARED_IN_BYTES = 1024
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_NULS = re.compile("\0+")
_NO_SHIFT_JIS = re.compile("[\uf8f0-\uf8f3]")
_UKRAINIAN = re.compile(rb"[\xa4\xa6\xa7\xad\xb4\xb6\xb7\xbd]")
_LINE = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*")
# blanks, quotes and signs that all of Windows' code pages have at these places, and ISO-8859-2 letters
_SIGNS = re.compile(rb"[\xa0\xab\xbb\xa9\xae\xb0\xb7]|(?<![A-Za-z\x80-\xff])[\xa7\xb1\xb5\xb6](?![A-Za-z\x80-\xff])")
_BINARY_BYTE = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_ASCII_BYTE = re.compile(rb"[\x20-\x7e]")
_JAPANESE_MAIL = re.compile(rb"\x1b\$[@B][!-~]+\x1b\([BJ]")  # ISO-2022-JP, which is ASCII but for these
_NUL_BYTES = re.compile(rb"\0+")
_ODD_LETTER = re.compile(rb"[\x80-\xfe]")
_CUT = re.compile(rb"[\x80-\xbf]{0,3}(.*?)(?:[\xc2-\xf4][\x80-\xbf]{0,2})?", re.DOTALL)
# for wide encodings: signs of all scripts, and the letters of each
_NEUTRAL = re.compile(r"[\t\n\r\u0020-\u007e\u00a0-\u00bf\u2010-\u2027\u2030-\u205e\u20ac\ufeff]")
_SCRIPTS = tuple(
    re.compile(f"[{letters}]")
    for letters in (
        r"\u00c0-\u024f\u1e00-\u1eff", r"\u0370-\u03ff", r"\u0400-\u04ff", r"\u0590-\u05ff", r"\u0600-\u06ff", r"\u0e00-\u0e7f",
        r"\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef",
    )
)  # fmt: skip
MIN_SCRIPT_SHARE = 0.95  # of a text in a wide encoding: signs and letters of one script


@dataclass(frozen=True, slots=True)
class Decoded:
    """`encoding` is the name to show, `None` for UTF-8; `replaced`: how many U+FFFD stand for bytes that could not be read."""

    text: str
    encoding: str | None = None
    replaced: int = 0


def decode(data: bytes) -> Decoded | None:
    """The text of `data`, line ends as they are; `None` where it is none."""
    for mark, codec in _BOMS:
        if data.startswith(mark):
            return _clean(_read(data[len(mark) :], codec, _wide_name(codec)))
    try:
        plain = Decoded(data.decode())
    except UnicodeDecodeError:
        plain = None
    if plain is not None and _JAPANESE_MAIL.search(data):
        plain = _best(data, "iso-2022-jp")
    if plain is not None and _is_text(plain):
        return _clean(plain)
    if _looks_binary(data):
        found = _wide(data)
        return _clean(found) if found is not None else None
    return _clean(plain or _mostly_utf8(data) or _guessed(data))


def _looks_binary(data: bytes) -> bool:
    """No encoding but the wide ones has these bytes in text, save NULs by accident."""
    sample = data[: 4 * SAMPLE_CHARS]
    if len(_BINARY_BYTE.findall(sample)) > len(sample) * MAX_CONTROL_SHARE:
        return True
    return len(_NUL_BYTES.findall(sample)) > (len(sample) - sample.count(0)) * MAX_NUL_SHARE


def _read(data: bytes, codec: str, name: str | None) -> Decoded:
    """With U+FFFD for what the codec cannot read; those that the data itself holds are not counted."""
    try:
        return Decoded(data.decode(codec), name)
    except UnicodeDecodeError:
        text = data.decode(codec, "replace")
        own = data.count("\ufffd".encode(codec)) if codec.startswith("utf") else 0
        return Decoded(text, name, text.count("\ufffd") - own)


def _clean(found: Decoded) -> Decoded | None:
    """NULs go; what is no text after all is `None`."""
    if not _is_text(found):
        return None
    text, nuls = _NULS.subn("\ufffd", found.text) if "\0" in found.text else (found.text, 0)
    if found.encoding == "Windows-1258":
        text = unicodedata.normalize("NFC", text)  # its letters stand apart from their tone marks
    return Decoded(text, found.encoding, found.replaced + nuls)


def _is_text(found: Decoded) -> bool:
    sample = found.text[:SAMPLE_CHARS]
    if len(_CONTROL.findall(sample)) > len(sample) * MAX_CONTROL_SHARE:
        return False
    if len(_NULS.findall(sample)) > (len(sample) - sample.count("\0")) * MAX_NUL_SHARE:
        return False
    return found.replaced <= max(3, len(found.text) * MAX_REPLACED_SHARE)


def _mostly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 that was cut in the middle of a character, or has an odd byte here and there."""
    found = _read(data, "utf-8", None)
    letters = sum(c >= "\x80" for c in found.text) - found.text.count("\ufffd")
    cut = _CUT.fullmatch(data)
    only_cut = cut is not None and not _read(cut[1], "utf-8", None).replaced
    if letters and letters >= found.replaced * (1 if only_cut else LETTERS_PER_ERROR):
        return found
    # 0xFF is what empty memory holds, and a letter that hardly stands alone in any encoding
    return None if _ODD_LETTER.search(data) else found


def _wide(data: bytes) -> Decoded | None:
    """UTF-16 or UTF-32 without its mark, told by how much of what it gives is letters that people write."""
    sample = data[: 4 * SAMPLE_CHARS]
    if len(_ASCII_BYTE.findall(sample)) > len(sample) * MAX_ASCII_SHARE:
        return None
    best, most = None, 0.0
    for codec, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        try:
            text = sample[: len(sample) // width * width].decode(codec)
        except UnicodeDecodeError:
            continue
        neutral = len(_NEUTRAL.findall(text))
        known = neutral + max(len(script.findall(text)) for script in _SCRIPTS)
        # the wrong order of bytes turns ASCII into Chinese characters, so the signs count twice
        if text and known >= MIN_SCRIPT_SHARE * len(text) and known + neutral > most * len(text):
            best, most = codec, (known + neutral) / len(text)
    return _read(data, best, _wide_name(best)) if best is not None else None


def _wide_name(codec: str) -> str | None:
    return None if codec == "utf-8" else codec[:6].upper()


def _guessed(data: bytes) -> Decoded:
    """By the name that the text gives itself, else by the detector. A multi-byte encoding with a broken byte is none to the detector:
    then its lines are asked one by one."""
    declared = _DECLARED.search(data[:_DECLARED_IN_BYTES])
    if declared is not None:
        label = _known(declared[1].decode("ascii"))
        if label is not None and not (found := _best(data, label)).replaced:
            return found
    label = _detected(data)
    found = _best(data, label)
    if label in _MULTI_BYTE and not found.replaced:
        return found
    votes: Counter[str] = Counter()
    for line in _LINE.findall(data[: 4 * SAMPLE_CHARS]):
        votes[_detected(line)] += len(line)
    common = votes.most_common(1)[0][0] if votes else label
    if common in _MULTI_BYTE and common != label and votes[common] > 0.8 * votes.total() and len(votes) > 1:
        return _best(data, common)
    return found


def _detected(data: bytes) -> str:
    from chardetng_py import detect

    label = _known(detect(data, allow_utf8=False))
    if label is not None and label.startswith("iso-8859"):
        again = _known(detect(_SIGNS.sub(b" ", data), allow_utf8=False))
        label = again if again is not None and again.startswith("windows") else label
    return label or "windows-1252"


def _known(name: str) -> str | None:
    name = name.lower()
    name = _ALIASES.get(name, name)
    return name if name in _ENCODINGS else None


def _best(data: bytes, label: str) -> Decoded:
    if label == "koi8-u" and not _UKRAINIAN.search(data):
        label = "koi8-r"  # they differ in these letters, and the detector knows but one of them
    name, names = _ENCODINGS[label]
    if label == "shift_jis" and _NO_SHIFT_JIS.search(
        text := data.decode("cp932", "replace")
    ):  # bytes that Python takes for private letters
        text = _NO_SHIFT_JIS.sub("\ufffd", text)
        return Decoded(text, name, text.count("\ufffd"))
    return min((_read(data, codec, name) for codec in names), key=lambda found: found.replaced)
