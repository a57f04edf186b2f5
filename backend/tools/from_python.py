"""A tool out of the head of a Python function: its annotations as JSON Schema, its docstring as descriptions. Nothing is executed.

Only the syntax tree is read, so names mean what they usually mean: `List` is typing's, whatever the text imports.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import Any

from griffe import Docstring, DocstringSectionKind

from backend.errors import BadInput
from backend.tools.definitions import check_tools
from backend.types import Tool

MOST_CHARS = 100_000
_SHAPE = 'Write def name(city: str, days: int = 3) -> str: """What it does.""" with a type for each parameter.'

_PLAIN: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "Decimal": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "UUID": {"type": "string", "format": "uuid"},
}
_ANYTHING = frozenset(["Any", "object"])
_LISTS = frozenset("list List Sequence Iterable Collection tuple Tuple set Set frozenset FrozenSet".split())
_DICTS = frozenset("dict Dict Mapping MutableMapping".split())
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf"}
_KIND_OF = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_QUIET: Any = {style: {"warnings": False} for style in ("google", "numpy", "sphinx")}  # else a log line for each parameter without a type
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def tool_from_python(source: str) -> Tool:
    """The tool that the first function describes; its body may be missing. Raises `BadInput`."""
    tree = _tree(source)
    function = next((node for node in tree.body if isinstance(node, _Function)), None)
    if function is None:
        raise BadInput("The Python text defines no function.", hint=_SHAPE)
    arguments = function.args
    starred = arguments.vararg or arguments.kwarg
    if starred is not None:
        mark = "*" if starred is arguments.vararg else "**"
        message = f"{function.name} takes {mark}{starred.arg}; a tool's parameters each have a name."
        raise BadInput(message, hint="Name them one by one, or take one list or dict.")
    summary, told = _docstring(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument, default in _parameters(arguments):
        schema = _schema(argument.annotation)
        if argument.arg in told:
            schema["description"] = told[argument.arg]
        if default is None:
            required.append(argument.arg)
        else:
            schema |= _default(default, typed=argument.annotation is not None)
        properties[argument.arg] = schema
    parameters = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    tool = Tool(function.name, summary, json.loads(json.dumps(parameters)))
    check_tools([tool])
    return tool


def _tree(source: str) -> ast.Module:
    if len(source) > MOST_CHARS:
        raise BadInput(f"The Python text is longer than {MOST_CHARS:,} characters.", hint="Paste the function alone.")
    text = dedent(source.removeprefix("\ufeff").expandtabs()).strip("\n")
    try:
        try:
            return ast.parse(text)
        except SyntaxError:  # perhaps the head alone, with its colon or without
            for head in (f"{text.rstrip()}\n    ...", f"{text.rstrip()}: ..."):
                try:
                    return ast.parse(head)
                except SyntaxError:
                    continue
            raise
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        raise BadInput(f"The Python text has an error{line}: {error.msg}.", hint=_SHAPE) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise BadInput("The Python text cannot be read: it holds broken characters or is nested too deeply.", hint=_SHAPE) from error


def _parameters(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Each with its default. A method's `self` is none of them."""
    positional = arguments.posonlyargs + arguments.args
    defaults: Sequence[ast.expr | None] = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    for place, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        if place or argument.arg not in ("self", "cls"):
            yield argument, default
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _docstring(function: _Function) -> tuple[str, dict[str, str]]:
    """The text before the first section, and what is said of each parameter: Google's, NumPy's and Sphinx's styles."""
    whole = ast.get_docstring(function) or ""
    docstring = Docstring(whole)
    sections = docstring.parse("sphinx", warnings=False) if ":param" in whole else docstring.parse("auto", per_style_options=_QUIET)
    text, told = "", dict[str, str]()
    for section in sections:
        if section.kind is DocstringSectionKind.text and not text:
            text = section.value.strip()
        elif section.kind in (DocstringSectionKind.parameters, DocstringSectionKind.other_parameters):
            told |= {found.name.lstrip("*"): " ".join(found.description.split()) for found in section.value if found.description}
    return text, told


def _schema(node: ast.expr | None) -> dict[str, Any]:
    """Of an annotation. One that says nothing here, as a class of the program's own, is told in the description."""
    match node:
        case None:
            return {}
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str() as quoted):
            try:
                return _schema(ast.parse(quoted, mode="eval").body)
            except SyntaxError:
                return {"description": quoted[:200]}
        case ast.BinOp(op=ast.BitOr()):
            return _any_of(_alternatives(node))
        case ast.Subscript(value=generic, slice=inside):
            return _generic(_last_name(generic), inside.elts if isinstance(inside, ast.Tuple) else [inside], node)
        case _:
            return _named(_last_name(node)) or ({} if _last_name(node) in _ANYTHING else {"description": ast.unparse(node)[:200]})


def _named(name: str) -> dict[str, Any]:
    if name in _LISTS:
        return {"type": "array", "items": {}}
    return {"type": "object"} if name in _DICTS else dict(_PLAIN.get(name, {}))


def _generic(name: str, inside: list[ast.expr], node: ast.expr) -> dict[str, Any]:
    if name == "Optional":
        return _any_of([*inside, ast.Constant(None)])
    if name == "Union":
        return _any_of(inside)
    if name == "Literal":
        values = [ast.literal_eval(each) for each in inside if isinstance(each, ast.Constant | ast.UnaryOp)]
        kinds = {_KIND_OF.get(type(value)) for value in values}
        return {**({"type": kinds.pop()} if len(kinds) == 1 and None not in kinds else {}), "enum": values}
    if name == "Annotated":
        return _annotated(_schema(inside[0]), inside[1:])
    if name in ("tuple", "Tuple") and not (len(inside) == 2 and isinstance(inside[1], ast.Constant) and inside[1].value is ...):
        return {"type": "array", "prefixItems": [_schema(each) for each in inside], "minItems": len(inside), "maxItems": len(inside)}
    if name in _LISTS:
        return {"type": "array", "items": _schema(inside[0])}
    if name in _DICTS:
        return {"type": "object", "additionalProperties": _schema(inside[-1])}
    return {"description": ast.unparse(node)[:200]}


def _annotated(schema: dict[str, Any], notes: Sequence[ast.expr]) -> dict[str, Any]:
    """A text beside the type, and what `Field(...)` says."""
    for note in notes:
        if isinstance(note, ast.Constant) and isinstance(note.value, str):
            schema["description"] = note.value
        elif isinstance(note, ast.Call):
            for keyword in note.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in ("description", "doc", "pattern") and isinstance(value, str):
                    schema["pattern" if keyword.arg == "pattern" else "description"] = value
                elif keyword.arg in _BOUNDS and isinstance(value, int | float):
                    schema[_BOUNDS[keyword.arg]] = value
    return schema


def _any_of(nodes: Sequence[ast.expr]) -> dict[str, Any]:
    schemas = [_schema(node) for node in nodes]
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _default(node: ast.expr, *, typed: bool) -> dict[str, Any]:
    """The default, where JSON can hold it, and its type where no annotation says one."""
    try:
        value = ast.literal_eval(node)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return {}
    kind = _KIND_OF.get(type(value))
    return {"default": value, **({"type": kind} if not typed and kind and value is not None else {})}


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
