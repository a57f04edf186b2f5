"""What a connection is made with: a key that fits into a header, an address and a service's words that may be shown. Opens none."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr

from backend.display import display_name
from backend.errors import AuthError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 300.0  # DashScope itself gives up after 300 s
_LONGEST_QUOTE = 600  # characters; some services quote the whole request back
_LONGEST_READ = 100_000


def key_text(key: SecretStr | None) -> str | None:
    """The key for a header, `None` where there is none. Raises `AuthError` for one that no header can hold.

    Checked before it is used, since an HTTP client quotes the whole header in its own error.
    """
    text = key.get_secret_value() if key is not None else ""
    if not all("!" <= character <= "~" for character in text):
        raise AuthError("The API key holds a space or a character that no key has.", hint="Copy it again, without quotes and line breaks.")
    return text or None


def shown_address(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
    return display_name(address, _LONGEST_QUOTE)


def quoted(message: object, key: str | None) -> str:
    """A service's own sentence, without the key, on one line, and not longer than a paragraph."""
    text = str(message or "")[:_LONGEST_READ]
    return display_name(text.replace(key, "[key]") if key else text, _LONGEST_QUOTE)
