"""Models' names, `provider:model`: how recordings are called, and what of a name may leave this machine. Opens no file."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

REPLAY, OWN = "replay:", "own/"
# Until recordings were called own/NAME, they were called by their path, in which a hash stood for the owner.
_BY_PATH = re.compile(r".*[\\/]recordings[\\/](?P<folder>[0-9a-f]{32})[\\/](?P<name>.+)", re.DOTALL)
_PLACE = re.compile(r"local:|server:[^/]*/")
_PART = re.compile(r"(?!\.+\Z)[A-Za-z0-9._-]{1,100}\Z")


def own_recording(name: str, folder: Path | None) -> Path | None:
    """The file of what follows `replay:`, in its owner's folder; `None` where that cannot be, for whatever reason."""
    by_path = _BY_PATH.fullmatch(name)
    if folder is None or not (name.startswith(OWN) or (by_path and by_path["folder"] == folder.name)):
        return None
    parts = recording_name(name).removeprefix(OWN).split("/")
    path = folder.joinpath(*parts[:-1], f"{parts[-1]}.jsonl")
    return path if all(map(_PART.match, parts)) and path.is_file() else None


def recording_name(name: str) -> str:
    """What follows `replay:` as it is called today: own/NAME for what was called by a path."""
    if name.startswith(OWN) or not re.search(r"[\\/]", name):
        return name
    by_path = _BY_PATH.fullmatch(name)
    rest = by_path["name"].replace("\\", "/") if by_path else PureWindowsPath(name).name
    return OWN + rest.removesuffix(".jsonl")


def current_name(model: str) -> str:
    """A stored model's full name as it is called today."""
    return REPLAY + recording_name(model.removeprefix(REPLAY)) if model.startswith(REPLAY) else model


def portable_name(model: str) -> str:
    """A full name, or what follows `provider:`, as it may stand in a file for others: a folder of a machine only by its last part."""
    if model.startswith(REPLAY):
        return current_name(model)
    place = found[0] if (found := _PLACE.match(model)) else ""
    rest = model.removeprefix(place)
    if PurePosixPath(rest).is_absolute() or PureWindowsPath(rest).is_absolute() or rest.startswith(("~", "..")):
        return place + (PureWindowsPath(rest).name or "folder")
    return model
