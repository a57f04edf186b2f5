"""Headers that a person gives for an address of theirs, mostly with a key: read, checked, and told to nobody else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import SecretStr

from backend.errors import BadInput

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[\x20-\x7e]*\Z")


def headers_from(text: str) -> dict[str, SecretStr]:
    """`Name: value`, one a line. Raises `BadInput`, which repeats no value."""
    found: dict[str, SecretStr] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon:
            raise BadInput("The header has no colon.", hint="It looks like Authorization: Bearer KEY.")
        found[name.strip()] = SecretStr(value.strip())
    plain_headers(found)
    return found


def plain_headers(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Checked here, since an HTTP library's own complaint repeats a value. Raises `BadInput` without one."""
    plain = {name.strip(): value.get_secret_value().strip() for name, value in headers.items()}
    for name, value in plain.items():
        if not _NAME.match(name) or not _VALUE.match(value):
            raise BadInput(f"The header {name[:40]!r} cannot be sent.", hint="Names and values are plain letters, digits and signs.")
    return plain
