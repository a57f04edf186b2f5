"""The words of attached files, in English."""

from __future__ import annotations


class FilesEnglish:
    file_kinds = {
        "text": "Text", "pdf": "PDF", "docx": "Word", "pptx": "PowerPoint", "xlsx": "Excel", "html": "Web page", "ipynb": "Notebook",
        "epub": "EPUB",
    }  # fmt: skip
    file_read_as = "read as {encoding}"
    file_unreadable_one = "1 character could not be read"
    file_unreadable = "{n} characters could not be read"
    file_without_text = "{n} of {pages} pages have no text"
    file_cut = "only the beginning"
    file_gone = "{name} is not here any more."
    file_gone_hint = "Attach it again."
