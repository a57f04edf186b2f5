"""Reads the text of one document in a process of its own, which can be killed: a file of a few kilobytes may unpack into millions of steps.

`python document_reader.py KIND MAX_CHARS SECONDS < FILE` writes JSON lines: how many pages or slides there are, the text of each part, then
`end`, or why there is none. Run by its path, so that nothing of the app is imported. No macro is run, no picture is looked at, and nothing
outside the file is opened.
"""

from __future__ import annotations

import json
import re
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from datetime import time as time_of_day
from io import BytesIO
from itertools import islice
from typing import Any
from urllib.parse import unquote

MAX_MEMORY_BYTES = 2 << 30  # of addresses
MAX_UNPACKED_BYTES = 100_000_000  # of all that a document's archive holds
MAX_PART_BYTES = 20_000_000  # of a part that is read as a tree, which takes a hundred times the room
MAX_ENTRIES = 10_000
ROWS_AT_ONCE = 500  # of a sheet: what was read by then is kept when time is up
MAX_COLUMNS = 500
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_MATHS = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_Found = dict[str, object]


class _Refused(Exception):
    """Why there is no text: the word that the app knows."""


def read(kind: str, data: bytes, max_chars: int, limit_s: float) -> None:
    """Tells what it finds until that is all, more than `max_chars`, or `limit_s` have passed."""
    until_s, chars = time.monotonic() + limit_s, 0
    try:
        for found in _READERS[kind](data):
            _tell(found)
            chars += len(str(found.get("text", ""))) + 2 * ("text" in found)
            if "text" in found and (chars > max_chars or time.monotonic() > until_s):
                return
        _tell({"end": True})
    except _Refused as error:
        _tell({"error": str(error)})
    except MemoryError:
        _tell({"error": "unpacked"})
    except Exception as error:  # the libraries let out what a broken file trips over: KeyError, RecursionError, ValueError ...
        _tell({"error": type(error).__name__})


def _tell(found: _Found) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _pdf(data: bytes) -> Iterator[_Found]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):  # many are "encrypted" with an empty password
            raise _Refused("locked")
        yield {"pages": len(reader.pages)}
        for page in reader.pages:
            yield {"text": page.extract_text().strip()}
    except (DependencyError, FileNotDecryptedError) as error:
        raise _Refused("locked") from error


def _archive(data: bytes, *, in_trees: bool = True) -> BytesIO:
    """The document, if it does not unpack into more than anybody writes: `zipfile` never reads more of an entry than the archive says."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise _Refused("unpacked")
    if in_trees and any(entry.file_size > MAX_PART_BYTES and entry.filename.endswith((".xml", ".rels")) for entry in entries):
        raise _Refused("unpacked")
    return BytesIO(data)


def _docx(data: bytes) -> Iterator[_Found]:
    import mammoth

    document = _with_formulas(_archive(data))
    yield {"text": _markdown(mammoth.convert_to_html(document, convert_image=mammoth.images.img_element(lambda image: {})).value)}


def _with_formulas(document: BytesIO) -> BytesIO:
    """The document with its formulas as LaTeX in the text: mammoth leaves them out without a word."""
    with zipfile.ZipFile(document) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name.endswith((".xml", ".rels"))}
    body = parts.get("word/document.xml", b"")
    if b"oMath" not in body:
        return document
    from xml.etree.ElementTree import Element, tostring  # nosec B405: to build; defusedxml parses

    from defusedxml.ElementTree import fromstring

    root = fromstring(body)
    for parent in list(root.iter()):
        for n, child in enumerate(parent):
            if child.tag in (f"{_MATHS}oMath", f"{_MATHS}oMathPara"):
                sign = "$$" if child.tag.endswith("Para") else "$"
                run, text = Element(f"{_WORD}r"), Element(f"{_WORD}t")
                text.text, run.tail = f"{sign}{_latex(child).strip()}{sign}", child.tail
                run.append(text)
                parent[n] = run
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, part in {**parts, "word/document.xml": tostring(root)}.items():
            archive.writestr(name, part)
    return written


def _latex(node: Any) -> str:
    """A formula of Word in LaTeX: fractions, powers, roots, sums, brackets and matrices; of all else the letters in their order."""

    def part(name: str) -> str:
        child = node.find(f"{_MATHS}{name}")
        return _latex(child) if child is not None else ""

    def sign(name: str, usual: str) -> str:
        found = node.find(f"{_MATHS}{kind}Pr/{_MATHS}{name}")
        return usual if found is None else found.get(f"{_MATHS}val", "")

    kind = node.tag.removeprefix(_MATHS)
    if kind in ("r", "t"):
        return "".join(text.text or "" for text in node.iter(f"{_MATHS}t"))
    script = "".join(f"{mark}{{{part(name)}}}" for mark, name in (("_", "sub"), ("^", "sup")) if part(name))
    if kind == "f":
        return f"\\frac{{{part('num')}}}{{{part('den')}}}"
    if kind in ("sSup", "sSub", "sSubSup"):
        return f"{{{part('e')}}}{script}"
    if kind == "rad":
        degree = f"[{part('deg')}]" if part("deg") else ""
        return f"\\sqrt{degree}{{{part('e')}}}"
    if kind == "nary":
        return f"{sign('chr', '∫')}{script} {part('e')}"
    if kind == "d":
        return sign("begChr", "(") + sign("sepChr", "|").join(map(_latex, node.findall(f"{_MATHS}e"))) + sign("endChr", ")")
    if kind == "m":
        rows = (" & ".join(map(_latex, row.findall(f"{_MATHS}e"))) for row in node.findall(f"{_MATHS}mr"))
        return "\\begin{matrix}" + " \\\\ ".join(rows) + "\\end{matrix}"
    return "".join(map(_latex, node))


def _pptx(data: bytes) -> Iterator[_Found]:
    from pptx import Presentation

    slides = Presentation(_archive(data)).slides
    yield {"pages": len(slides)}
    for number, slide in enumerate(slides, 1):
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None else ""
        parts = [f"## Slide {number}" + (f": {heading}" if heading else "")]
        parts += filter(None, (_shape(shape) for shape in slide.shapes if title is None or shape.shape_id != title.shape_id))
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
            parts.append(f"Notes: {frame.text.strip()}")
        yield {"text": "\n\n".join(parts)}


def _shape(shape: Any) -> str:
    if hasattr(shape, "shapes"):  # a group
        return "\n\n".join(filter(None, map(_shape, shape.shapes)))
    if getattr(shape, "has_table", False):
        return _table([[cell.text for cell in row.cells] for row in shape.table.rows])
    if getattr(shape, "has_chart", False):
        plots = [(plot, [str(category) for category in plot.categories]) for plot in shape.chart.plots]
        tables = ([[""] + [str(each.name) for each in plot.series]]
                  + [[category, *(_cell(each.values[n]) for each in plot.series)] for n, category in enumerate(categories)]
                  for plot, categories in plots)  # fmt: skip
        return "\n\n".join(map(_table, tables))
    if getattr(shape, "has_text_frame", False):
        lines = ((p.level, "".join(run.text for run in p.runs).strip()) for p in shape.text_frame.paragraphs)
        return "\n".join(f"{'  ' * level}- {line}" for level, line in lines if line)
    return ""


def _xlsx(data: bytes) -> Iterator[_Found]:
    from openpyxl import load_workbook

    for sheet in load_workbook(_archive(data, in_trees=False), read_only=True, data_only=True, keep_links=False).worksheets:
        sheet.reset_dimensions()  # what the file says of its size may be a million empty rows
        rows = ([_cell(value) for value in row] for row in sheet.iter_rows(values_only=True))
        rows = (row for row in rows if any(row))
        title = f"\n## {sheet.title}" + ("" if sheet.sheet_state == "visible" else " (hidden)")
        first = list(islice(rows, ROWS_AT_ONCE))
        yield {"text": f"{title}\n\n{_table(first) or 'Empty.'}", "cut": _is_wide(first)}
        while more := list(islice(rows, ROWS_AT_ONCE)):
            yield {"text": "\n".join(_row(row[:MAX_COLUMNS]) for row in more), "cut": _is_wide(more)}


def _is_wide(rows: list[list[str]]) -> bool:
    return any(any(row[MAX_COLUMNS:]) for row in rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time_of_day():
        return value.date().isoformat()
    return str(value)


def _table(rows: list[list[str]]) -> str:
    """In Markdown, with the first row as its head."""
    width = max((n for row in rows for n, cell in enumerate(row[:MAX_COLUMNS], 1) if cell), default=0)
    if not width:
        return ""
    head, *others = [(row + [""] * width)[:width] for row in rows]
    return "\n".join([_row(head), "|" + " --- |" * width, *map(_row, others)])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _html(data: bytes) -> Iterator[_Found]:
    yield {"text": _markdown(data.decode())}


def _markdown(html: str, *, navigation: bool = False) -> str:
    from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

    clean = PreprocessingOptions(remove_navigation=not navigation, remove_forms=not navigation)
    options = ConversionOptions(extract_metadata=False, skip_images=True, compact_tables=True, br_in_tables=True, preprocessing=clean)
    return (convert(html, options).content or "").strip()


def _epub(data: bytes) -> Iterator[_Found]:
    from defusedxml.ElementTree import fromstring

    with zipfile.ZipFile(_archive(data)) as archive:
        container = fromstring(archive.read("META-INF/container.xml"))
        package_path = next(e.get("full-path") for e in container.iter() if e.tag.endswith("}rootfile"))
        package = fromstring(archive.read(package_path))
        files = {e.get("id"): e.get("href", "") for e in package.iter() if e.tag.endswith("}item")}
        folder, names = package_path.rpartition("/")[0], set(archive.namelist())
        for chapter in (e.get("idref") for e in package.iter() if e.tag.endswith("}itemref")):
            path = f"{folder}/{unquote(files.get(chapter, ''))}".lstrip("/")
            if path in names:
                yield {"text": _markdown(archive.read(path).decode("utf-8", "replace"), navigation=True)}


def _ipynb(data: bytes) -> Iterator[_Found]:
    notebook = json.loads(data)
    about = notebook.get("metadata") or {}
    language = (about.get("language_info") or {}).get("name") or (about.get("kernelspec") or {}).get("language") or "python"
    cells = notebook["cells"] if "cells" in notebook else [c for sheet in notebook["worksheets"] for c in sheet["cells"]]  # format 3
    for cell in cells:
        source = _joined(cell.get("source", cell.get("input")))
        if cell.get("cell_type") != "code":
            yield {"text": source.strip()}
            continue
        outputs = "\n".join(filter(None, map(_output, cell.get("outputs") or ()))).strip("\n")
        yield {"text": _fenced(source, str(language)) + (f"\n\nOutput:\n\n{_fenced(outputs, 'text')}" if outputs else "")}


def _output(output: dict[str, Any]) -> str:
    if output.get("output_type") in ("error", "pyerr"):
        lines = output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"]
        return _ANSI.sub("", "\n".join(map(str, lines)))
    if "text" in output:  # what was printed; in format 3 any text
        return _ANSI.sub("", _joined(output["text"])).rstrip("\n")
    kinds = output.get("data") or {}
    for kind in ("text/markdown", "text/latex", "text/plain"):
        if kind in kinds and not (kind == "text/markdown" and "data:image" in _joined(kinds[kind])):
            return _ANSI.sub("", _joined(kinds[kind])).rstrip("\n")
    return f"({next(iter(kinds))})" if kinds else ""


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


_READERS: dict[str, Any] = {"pdf": _pdf, "docx": _docx, "pptx": _pptx, "xlsx": _xlsx, "html": _html, "epub": _epub, "ipynb": _ipynb}


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def main(arguments: Iterable[str]) -> None:
    kind, max_chars, limit_s = arguments
    _limit_memory()
    read(kind, sys.stdin.buffer.read(), int(max_chars), float(limit_s))


if __name__ == "__main__":
    main(sys.argv[1:])
