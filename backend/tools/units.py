"""Conversion of units as a tool, with pint's definitions."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from backend.tools.running import ToolContext, ToolFailed

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

LONGEST_UNIT = 80
_PINT = threading.Lock()  # one registry: its caches are not written for several threads
_TEMPERATURE = re.compile(r"(?:°\s*|deg\s*)?([CFK])")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
# Names with one-digit powers, products and quotients: pint would work out any sum, and 9**9**9 keeps it busy for ever.
# Possessive: what fits is never tried in another way, which for a long word that does not fit would take for ever.
_UNIT = re.compile(r"(?:[^\W\d]\w*+(?:\^-?\d(?!\d))?|[°%]\w*+|[\s()*/·]|1(?=\s*/))++")


@cache
def _registry() -> UnitRegistry[Any]:
    from pint import UnitRegistry  # a third of a second with its definitions

    return UnitRegistry(autoconvert_offset_to_baseunit=True)


async def convert_units(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """`value` of `from_unit` in `to_unit`, both sides written out, to 10 digits."""
    return await asyncio.to_thread(_converted, arguments["value"], arguments["from_unit"], arguments["to_unit"])


def _converted(value: int | float, from_unit: str, to_unit: str) -> str:
    letters = [_TEMPERATURE.fullmatch(unit.strip()) for unit in (from_unit, to_unit)]
    if letters[0] and letters[1]:  # else C and F are coulomb and farad
        from_unit, to_unit = (f"deg{each[1]}" if each and each[1] != "K" else "kelvin" for each in letters)
    with _PINT:
        source, target = _unit(from_unit), _unit(to_unit)
        try:
            given = _registry().Quantity(float(value), source)
            found = given.to(target)
        except OverflowError as error:
            raise ToolFailed("The value is too large.") from error
        except Exception as error:  # pint's own, and what its formulas trip over
            raise ToolFailed(f"{source} cannot be converted to {target}: they measure different things.") from error
    if not math.isfinite(found.magnitude):
        raise ToolFailed("The result is too large.")
    return f"{given.magnitude:.10g} {source} = {found.magnitude:.10g} {target}"


def _unit(text: str) -> Unit:
    plain = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: f"^{found[0].translate(_SUPERSCRIPTS)}", text.strip()).replace("**", "^")
    plain = re.sub(r"°\s*([CFcf])", lambda found: f"deg{found[1].upper()}", plain)
    hint = "Write a unit as km/h, m^2, kWh, degC, ft or lb, without a number."
    if len(plain) > LONGEST_UNIT or not _UNIT.fullmatch(plain):
        raise ToolFailed(f"{text[:LONGEST_UNIT]!r} is no unit. {hint}")
    try:
        return _registry().Unit(plain)
    except Exception as error:  # pint's own, tokenize's, and KeyErrors of its tables
        raise ToolFailed(f"The unit {text[:LONGEST_UNIT]!r} is not known. {hint}") from error
