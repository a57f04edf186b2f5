"""Plays recorded runs as an engine: with their own timing, faster, or at once. `replay:FILE` names a recording.

FILE is a name in the recordings' folder, or own/NAME, one of the asking visitor's. Knows the recording format only
through recording.py, and no page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path

from backend.catalogue import Capabilities, Thinking, catalogue
from backend.display import display_name
from backend.errors import BadInput, StreamBroken, UnknownModel
from backend.model_names import REPLAY, current_name, own_recording, recording_name
from backend.provider import ListedModel, ModelList
from backend.recording import Recording, load
from backend.types import ChatRequest, Event, ThinkingDelta

SUFFIX = ".jsonl"
_TURN_EVERY = 64  # events played at once between two looks at the other tasks


class ReplayProvider:
    """Plays from `recordings` by name, or from files of a folder. `speed`: 1 = as recorded, 4 = four times as fast, `None` =
    at once; a request's `parameters.extra["replay_speed"]` (a number, or 0 or null for "at once") goes before it.

    `own` is the folder of whoever asks; without one there are no recordings but those of `recordings`.
    """

    def __init__(
        self,
        recordings: Mapping[str, Recording] | Path,
        speed: float | None = 1.0,
        *,
        own: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._recordings, self._speed = recordings, _checked(speed)
        self._own = own
        self._clock, self._sleep = clock, sleep

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Raises `UnknownModel` or `BadInput` where there is nothing to play, `StreamBroken` where the recorded run broke off."""
        extra = request.parameters.extra
        speed = _checked(extra["replay_speed"]) if "replay_speed" in extra else self._speed
        recording = await self._find(request.model)
        start_s = self._clock()
        for place, (at_s, event) in enumerate(recording.events):
            wait_s = 0.0 if speed is None else start_s + at_s / speed - self._clock()
            if wait_s > 0:
                await self._sleep(wait_s)
            elif place % _TURN_EVERY == 0:
                await asyncio.sleep(0)
            yield event
        if recording.end == "failed":
            raise StreamBroken(recording.error or "The recorded run failed here.", hint="The recording holds a run that failed.")
        if recording.end == "stopped":
            raise StreamBroken("The recorded run was stopped here.", hint="The recording holds what had arrived by then.")

    async def capabilities(self, model: str) -> Capabilities:
        """A recording takes no parameters; whether it thinks is read from it."""
        recording = await self._find(model)
        header = recording.header
        thinking: Thinking = "always" if any(isinstance(e, ThinkingDelta) for _, e in recording.events) else "never"
        made = "Written by hand, no model ran." if header.scripted else f"Recorded from {header.model} on {header.recorded_at}."
        found = catalogue().capabilities("replay", model, name=current_name(f"{REPLAY}{model}"), thinking=thinking)
        return found.model_copy(update={"title": header.title, "known": True, "note": " ".join([made, header.source]).strip()})

    async def list_models(self) -> ModelList:
        """The recordings that are there now, by name."""
        return ModelList(ListedModel(name) for name in await asyncio.to_thread(self._names))

    async def aclose(self) -> None:
        """Nothing is held."""

    def _names(self) -> list[str]:
        if isinstance(self._recordings, Path):
            return sorted(path.stem for path in self._recordings.glob(f"*{SUFFIX}"))
        return sorted(self._recordings)

    async def _find(self, model: str) -> Recording:
        if not isinstance(self._recordings, Path):
            found = self._recordings.get(model) or self._recordings.get(model.removesuffix(SUFFIX))
            if found is not None:
                return found
        return await asyncio.to_thread(self._open, model)

    def _open(self, model: str) -> Recording:
        name = model.removesuffix(SUFFIX)
        if isinstance(self._recordings, Path) and name in self._names():
            return load(self._recordings / f"{name}{SUFFIX}")
        path = own_recording(model, self._own)
        if path is None:
            shown = display_name(recording_name(model))
            raise UnknownModel(f"There is no recording named {shown!r}.", hint=f"There are: {', '.join(self._names()) or 'none'}.")
        return load(path)


def _checked(speed: object) -> float | None:
    known = speed is None or (isinstance(speed, int | float) and not isinstance(speed, bool) and speed >= 0)
    if not known:
        raise BadInput(f"Replay speed must be a positive number, not {speed!r}.", hint="1 plays as recorded, 0 at once.")
    return float(speed) if isinstance(speed, int | float) and speed else None
