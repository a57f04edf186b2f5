"""What a local model's name asks for: the demo, the tiny model, a folder or a hub id, and whether in 4 bit. Opens no file.

`demo`, `qwen3-next-tiny`, `Qwen/Qwen3-0.6B`, `./models/mine`, each also with `@4bit` at its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.errors import UnknownModel
from backend.local import tiny
from backend.model_names import portable_name

DEMO = "demo"
FOUR_BIT = "@4bit"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


@dataclass(frozen=True, slots=True)
class Asked:
    """`name` is what the user wrote, for sentences, which files and other people may get to see: of a folder the last part. `place` is the
    folder's path or the hub id, without `@4bit`."""

    name: str
    kind: Literal["demo", "tiny", "folder", "hub"]
    place: str
    four_bit: bool = False


def parse(name: str, *, only: frozenset[str] | None = None, whole: bool = False) -> Asked:
    """`whole`: only whoever wrote the name sees the sentences, which then show all of it. Raises `UnknownModel` for what is no name, and
    for what is not among `only` (the models of a public host's owner): a visitor could otherwise read the host's folders and fill its
    disk from the hub."""
    if only is not None and name not in only:
        raise UnknownModel("This host runs only the local models that its owner chose.", hint="Choose one from the list.")
    four_bit = name.endswith(FOUR_BIT)
    place, name = name.removesuffix(FOUR_BIT), name if whole else portable_name(name)
    if place == DEMO:
        return Asked(name, "demo", place, four_bit)
    if place == tiny.NAME:
        return Asked(name, "tiny", place, four_bit)
    # a hub id may also be the name of a folder here, which then is meant
    if _HUB_ID.fullmatch(place) is not None and ".." not in place and not _is_folder(place):
        return Asked(name, "hub", place, four_bit)
    if not place.strip():
        raise UnknownModel("No local model was named.", hint="Names look like local:demo or local:Qwen/Qwen3-0.6B.")
    try:
        return Asked(name, "folder", str(Path(place).expanduser()), four_bit)
    except RuntimeError as error:
        raise UnknownModel(f"{name} names the home of a user whom this machine does not know.", hint="Write the whole path.") from error


def _is_folder(place: str) -> bool:
    try:
        return Path(place).is_dir()
    except OSError:  # too long a name, or below a folder that may not be read
        return False
