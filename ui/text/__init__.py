"""Every word people read on the page, one class a language. A language that lacks a sentence inherits the English one."""

from ui.text.en import English

WORDS = English()

__all__ = ["WORDS", "English"]
