"""Recorded examples: `assets/api/examples.json`, written by `python -m backend.api.record_examples`. Real requests with what came back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from backend.catalogue import ASSETS

FILE = ASSETS / "api" / "examples.json"
Answerer = Literal["emulator", "model", "api"]
ANSWERERS: dict[Answerer, str] = {
    "emulator": "Answered by the emulator of DashScope (python app.py mock): no model ran.",
    "model": "Answered by a real model, qwen3-next-tiny (2.6 million weights, in this repository), on a processor.",
    "api": "Answered by the API itself: no engine was asked.",
}
KEPT = 4  # chunks that are shown of a long stream, at either end


class _Recorded(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Call(_Recorded):
    """What is asked. `answered_by` is who answers, which a reader must know."""

    name: str
    title: str
    answered_by: Answerer
    method: Literal["GET", "POST"] = "POST"
    path: str = "/v1/chat/completions"
    body: dict[str, Any] | None = None


class Reply(_Recorded):
    """What came: `body` where it was JSON, `lines` where it was a stream."""

    status: int
    headers: dict[str, str]
    body: Any = None
    lines: list[str] | None = None

    @property
    def media_type(self) -> str:
        return self.headers["content-type"].partition(";")[0]

    def chunks(self) -> list[Any]:
        """The JSON of each `data:` line."""
        return [json.loads(line.removeprefix("data: ")) for line in self.lines or () if line.startswith("data: {")]


class Example(Call):
    request_headers: dict[str, str]
    reply: Reply

    @property
    def note(self) -> str:
        return ANSWERERS[self.answered_by]


class Recording(_Recorded):
    """All examples of one day."""

    recorded: str
    examples: tuple[Example, ...]

    def of(self, method: str, path: str) -> Iterator[Example]:
        """The examples of one operation; `path` as the document has it."""
        fixed, _, rest = path.partition("{")
        for example in self.examples:
            same = example.path.startswith(fixed) and example.path != fixed if rest else example.path == path
            if same and example.method.casefold() == method.casefold():
                yield example


@lru_cache(maxsize=1)
def recording(path: Path = FILE) -> Recording:
    """The shipped examples, read once."""
    return Recording.model_validate_json(path.read_bytes())


def shown(lines: Sequence[str]) -> str:
    """A stream as text, its middle left out, and said so as a comment, which every client of such streams skips."""
    frames = "\n".join(lines).strip("\n").split("\n\n")
    left_out = len(frames) - 2 * KEPT
    if left_out > 1:
        frames[KEPT:-KEPT] = [f": {left_out} chunks of the same kind are left out here"]
    return "\n\n".join(frames) + "\n\n"
