"""Office and EPUB files as bytes, built for tests: small, and as broken or as malicious as asked for."""

from __future__ import annotations

import zipfile
from io import BytesIO

from openpyxl import Workbook
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

WORD = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(10))
SECRET = '<!ENTITY a9 SYSTEM "file:///etc/passwd">'


def zipped(parts: dict[str, str | bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part, zipfile.ZIP_STORED if name == "mimetype" else None)
    return out.getvalue()


def changed(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """The archive with something replaced in one of its parts."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    assert old in bytes(parts[part])
    return zipped({**parts, part: bytes(parts[part]).replace(old, new, 1)})


def docx(body: str, *, entities: str = "", **more: str | bytes) -> bytes:
    doctype = f"<!DOCTYPE d [{entities}]>" if entities else ""
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{DOCUMENT}" Target="word/document.xml"/></Relationships>'
    )
    document = f"{doctype}<w:document {WORD}><w:body>{body}</w:body></w:document>"
    return zipped({"[Content_Types].xml": TYPES, "_rels/.rels": relations, "word/document.xml": document, **more})


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def xlsx(**sheets: list[list[object]]) -> bytes:
    book, out = Workbook(), BytesIO()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        if title == "Secret":
            sheet.sheet_state = "hidden"
    book.save(out)
    return out.getvalue()


def far_cells() -> bytes:
    """Two cells, as far from one another as a sheet allows."""
    book, out = Workbook(), BytesIO()
    book.active["A1"], book.active["XFD1048576"] = "near", "far"
    book.save(out)
    return out.getvalue()


def pptx() -> bytes:
    show, out = Presentation(), BytesIO()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text_frame.text = "Plan", "Build"
    line = slide.placeholders[1].text_frame.add_paragraph()
    line.text, line.level = "Test", 1
    slide.notes_slide.notes_text_frame.text = "Speak slowly"
    slide = show.slides.add_slide(show.slide_layouts[6])
    table = slide.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(2)).table
    table.cell(0, 0).text, table.cell(1, 1).text = "a", "d"
    chart = CategoryChartData()
    chart.categories = ["East", "West"]
    chart.add_series("Q1", (1.5, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(2), Inches(2), chart)
    show.save(out)
    return out.getvalue()


def epub(*chapters: str, entities: str = "", names: dict[str, str] | None = None) -> bytes:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="book/c.opf"/></rootfiles></container>'
    items = "".join(f'<item id="c{n}" href="ch%20{n}.xhtml"/>' for n in reversed(range(len(chapters))))
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    doctype = f"<!DOCTYPE d [{entities}]>" if entities else ""
    title = "<metadata>&a9;</metadata>" if entities else ""
    package = f'{doctype}<package xmlns="http://www.idpf.org/2007/opf">{title}<manifest>{items}</manifest><spine>{spine}</spine></package>'
    parts: dict[str, str | bytes] = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "book/c.opf": package}
    return zipped({**parts, **{f"book/ch {n}.xhtml": f"<html><body>{text}</body></html>" for n, text in enumerate(chapters)}})
