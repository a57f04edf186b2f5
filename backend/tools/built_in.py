"""The tools that come with the app: sums, time, units, the chat's files, and a sample. None of them leaves this machine.

Each takes arguments that fit its schema, which the loop has checked, and gives text, or `ToolFailed` with a sentence by which the model
can mend its call. What may take more than a few milliseconds runs in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rapidfuzz import process, utils

from backend.tools.calculator import calculate
from backend.tools.file_search import search_files
from backend.tools.running import RunTool, ToolContext, ToolFailed
from backend.tools.units import convert_units
from backend.types import Tool

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")  # strftime speaks the host's language
_SKIES = ("clear", "cloudy", "fog", "rain", "thunderstorms")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    tool: Tool
    run: RunTool


async def _current_time(arguments: Mapping[str, Any], context: ToolContext) -> str:
    return await asyncio.to_thread(_time_in, arguments.get("time_zone", "UTC"))


def _time_in(asked: str) -> str:
    zones = {name.casefold(): name for name in zoneinfo.available_timezones()}
    name = zones.get(asked.strip().replace(" ", "_").casefold())
    if name is None:
        near = process.extract(asked[:100], zones.values(), processor=utils.default_process, limit=3)
        raise ToolFailed(f"There is no IANA time zone {asked[:60]!r}. Similar names: {', '.join(each[0] for each in near)}.")
    now = datetime.now(zoneinfo.ZoneInfo(name))
    return f"{now.isoformat(timespec='seconds')} ({_DAYS[now.weekday()]}, time zone {name})"


async def _weather_sample(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """The same for a city every time, so that a prompt can be tried again."""
    city = " ".join(arguments["city"].split())[:80]
    seed = hashlib.sha256(city.casefold().encode(errors="replace")).digest()
    sample = {"city": city, "temperature_celsius": seed[0] % 36, "sky": _SKIES[seed[1] % len(_SKIES)], "wind_km_h": seed[2] % 50}
    note = "A made-up sample for trying tools; this is not the real weather. Say so to the user."
    return json.dumps({**sample, "note": note}, ensure_ascii=False)


def _tool(name: str, description: str, required: int = -1, /, **properties: dict[str, Any]) -> Tool:
    """`required`: how many of the properties, all where it is not said."""
    needed = list(properties)[: len(properties) if required < 0 else required]
    return Tool(name, description, {"type": "object", "properties": properties, "required": needed, "additionalProperties": False})


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_ALL = (
    BuiltIn(
        _tool(
            "calculator",
            "Works out an arithmetic expression exactly. Use it for every sum that is not trivial.",
            expression=_string("Such as 2 * (3 + 4) ** 2 or sqrt(2) / factorial(5). Operators: + - * / // % **."),
        ),
        calculate,
    ),
    BuiltIn(
        _tool("current_time", "Date, time and weekday now.", 0, time_zone=_string("IANA name such as Asia/Ho_Chi_Minh; UTC by default.")),
        _current_time,
    ),
    BuiltIn(
        _tool(
            "convert_units",
            "Converts a value between units of length, mass, temperature, speed, energy, data and others.",
            value={"type": "number"},
            from_unit=_string("Such as km/h, degC, lb, kWh, MiB."),
            to_unit=_string("A unit of the same kind."),
        ),
        convert_units,
    ),
    BuiltIn(
        _tool(
            "search_files",
            "Finds the passages of the files attached to this chat that fit a query best.",
            query=_string("Words that the passage is likely to hold, in the language of the file."),
        ),
        search_files,
    ),
    BuiltIn(
        _tool(
            "weather_sample", "Sample weather of a city, made up: for trying tools, not the real weather.", city=_string("Name of a city.")
        ),
        _weather_sample,
    ),
)
BUILT_IN: Mapping[str, BuiltIn] = {each.tool.name: each for each in _ALL}
