"""Arithmetic as a tool. The expression is a stranger's: simpleeval walks it, and every step is bounded, so that none takes long."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import InvalidExpression, OperatorNotDefined, SimpleEval  # type: ignore[import-untyped]

from backend.tools.running import ToolContext, ToolFailed

Number = int | float
MOST_EXPRESSION_CHARS = 300
MOST_BITS = 3_321  # a thousand digits: longer ones help nobody, and powers of them would take minutes
MOST_COUNTED = 10_000  # of what factorial, comb and perm go through one by one

_FULL_WIDTH = {chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}  # as Chinese keyboards write them
_SIGNS = str.maketrans({"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-", "²": "**2", "³": "**3", "π": "pi"} | _FULL_WIDTH | {"＾": "**"})
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and (abs(base).bit_length() - 1) * exponent > MOST_BITS:
        raise ToolFailed("A power in the expression is too large to write out: it has more than 1,000 digits.")
    value: Number | complex = base**exponent
    if isinstance(value, complex):
        raise ToolFailed("The root of a negative number is no real number.")
    return value


def _round(value: Number, digits: int = 0) -> Number:
    if not -30 <= digits <= 30:
        raise ToolFailed("round rounds to at most 30 digits.")
    return round(value, digits)


def _counted(function: Callable[..., int]) -> Callable[..., int]:
    def bounded(*numbers: int) -> int:
        if any(number > MOST_COUNTED for number in numbers):
            raise ToolFailed(f"{function.__name__} takes numbers up to {MOST_COUNTED:,}.")
        return function(*numbers)

    return bounded


def _bounded(function: Callable[..., Any]) -> Callable[..., Number]:
    """Numbers in, a number out, which the next step can take."""

    def checked(*numbers: Any) -> Number:
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
            raise ToolFailed("The expression holds something that is no number.")
        value: Number = function(*numbers)
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ToolFailed("A number in the expression is too large to write out: it has more than 1,000 digits.")
        if isinstance(value, float) and not math.isfinite(value):
            raise OverflowError
        return value

    return checked


_UNBOUNDED_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_OPERATORS = {kind: _bounded(function) for kind, function in _UNBOUNDED_OPERATORS.items()}
_OF_MATH = """acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh degrees exp floor fmod gcd hypot isqrt lcm log log10 log2 radians
sin sinh sqrt tan tanh trunc""".split()
_UNBOUNDED: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in _OF_MATH},
    "abs": abs,
    "comb": _counted(math.comb),
    "factorial": _counted(math.factorial),
    "ln": math.log,
    "max": lambda *numbers: max(numbers),
    "min": lambda *numbers: min(numbers),
    "perm": _counted(math.perm),
    "pow": _power,
    "round": _round,
    "sum": lambda *numbers: sum(numbers),
}
_FUNCTIONS = {name: _bounded(function) for name, function in _UNBOUNDED.items()}

# of what simpleeval walks: an f-string, above all, makes a text of any length out of a short expression
_NODES = (ast.Expr, ast.Constant, ast.UnaryOp, ast.BinOp, ast.Name, ast.Call)
_SHAPE = (
    "Write an expression as 2 * (3 + 4) ** 2, without words, units or thousands separators. "
    f"Functions: {', '.join(sorted(_FUNCTIONS))}; constants: {', '.join(_CONSTANTS)}."
)


async def calculate(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """The value of `expression`, to 15 digits: 0.1 + 0.2 is 0.3, not what its binary fraction is."""
    expression = " ".join(re.sub(r"\bmath\.", "", arguments["expression"].translate(_SIGNS)).split())
    if len(expression) > MOST_EXPRESSION_CHARS:
        raise ToolFailed(f"The expression is too long: {len(expression):,} characters, at most {MOST_EXPRESSION_CHARS}. Split it up.")
    try:
        evaluator = SimpleEval(dict(_OPERATORS), dict(_FUNCTIONS), dict(_CONSTANTS))
        evaluator.nodes = {kind: walk for kind, walk in evaluator.nodes.items() if kind in _NODES}
        value = _bounded(lambda number: number)(evaluator.eval(expression))
    except ZeroDivisionError as error:
        raise ToolFailed("The expression divides by zero.") from error
    except OverflowError as error:
        raise ToolFailed("A number in the expression becomes too large.") from error
    except (RecursionError, MemoryError) as error:
        raise ToolFailed("The expression is nested too deeply.") from error
    except (InvalidExpression, SyntaxError, ValueError, TypeError, LookupError, AttributeError) as error:
        foreign = isinstance(error, LookupError | OperatorNotDefined)
        what = "it holds an operator that is none of arithmetic" if foreign else str(error).rstrip(".")
        raise ToolFailed(f"This cannot be worked out: {what}. {_SHAPE}") from error
    return str(value) if isinstance(value, int) else f"{value:.15g}"
