"""`/docs`: the document as a page of HTML for people, which loads nothing. What it shows is escaped by the template engine."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]

from backend.api.examples import Example, recording, shown
from backend.api.openapi import document
from backend.api.schema_tables import named, rows_of, type_of
from backend.api.snippets import VARIABLE, snippets
from backend.catalogue import ASSETS

_FOLDER = ASSETS / "api"
_STYLE, _SCRIPT = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("docs.css", "docs.js"))
_PLACEHOLDER = "http://address.invalid"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (  # its own style and script and nothing else: no picture, no font, no call, no frame
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(address: str) -> str:
    """The page for a host that is reached at `address`, which `described.address_of` has checked: it holds nothing that HTML or code would
    read as its own. So the page is drawn once, whatever callers name as their host."""
    return _page().replace(_PLACEHOLDER, address)


@lru_cache(maxsize=1)
def _page() -> str:
    told = document(_PLACEHOLDER)
    about, _, rest = told["info"]["description"].partition("\n## ")
    notes, headings = _notes(f"## {rest}")
    found = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return found.get_template("docs.html").render(
        style=Markup(_STYLE),  # nosec B704: our own file
        script=Markup(_SCRIPT),  # nosec B704: our own file
        info=told["info"],
        address=_PLACEHOLDER,
        variable=VARIABLE,
        about=Markup(_markdown().render(about)),  # nosec B704: own documents
        notes=notes,
        headings=headings,
        recorded=recording().recorded,
        operations=[_operation(told, path, method) for path, item in told["paths"].items() for method in ("get", "post") if method in item],
        schemas=[(name, _inline(schema.get("description", "")), rows_of(schema)) for name, schema in told["components"]["schemas"].items()],
    )  # fmt: skip


# ---- one operation
def _operation(told: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    item = told["paths"][path]
    operation = item[method]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = named(body)
    in_path = [(p["name"], type_of(p["schema"]), p["required"], _inline(p["description"])) for p in item.get("parameters", ())]
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": Markup(_markdown().render(operation["description"])),  # nosec B704: own documents
        "parameters": in_path,
        "body": rows_of(told["components"]["schemas"][name]) if name else [],
        "responses": [_response(told, status, answer) for status, answer in operation["responses"].items()],
        "examples": [_example(example) for example in recording().of(method, path)],
    }


def _response(told: dict[str, Any], status: str, answer: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in answer:
        answer = told["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    contents = [(media, type_of(content["schema"])) for media, content in answer["content"].items()]
    return {"status": status, "description": _inline(answer["description"]), "contents": contents, "headers": list(answer["headers"])}


def _example(example: Example) -> dict[str, Any]:
    reply = example.reply
    answer = _json(reply.body) if reply.lines is None else _coloured(shown(reply.lines), "text")
    request = f"{example.method} {example.path} HTTP/1.1\n{_head(example.request_headers)}"
    return {
        "name": example.name,
        "title": example.title,
        "note": example.note,
        "request": _escaped(request) + ("" if example.body is None else "\n") + _json(example.body),
        "status": reply.status,
        "reply": _escaped(f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\n{_head(reply.headers)}\n") + answer,
        "snippets": [] if reply.status >= 400 else [(s.title, _coloured(s.text, s.language)) for s in snippets(example, _PLACEHOLDER)],
    }


def _head(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in headers.items())


# ---- text to HTML
def _escaped(text: str) -> Markup:
    return Markup(html.escape(text))  # nosec B704: escaped in it


def _json(value: Any) -> Markup:
    return Markup("") if value is None else _coloured(json.dumps(value, ensure_ascii=False, indent=2), "json")


def _coloured(text: str, language: str) -> Markup:
    return Markup(highlight(text, get_lexer_by_name(language), HtmlFormatter(nowrap=True)))  # nosec B704: Pygments escapes


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    made.add_render_rule("table_open", lambda *_: '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>')
    made.add_render_rule("table_close", lambda *_: "</table></div>")
    return made


def _inline(text: str) -> Markup:
    return Markup(_markdown().renderInline(text))  # nosec B704: own documents


def _notes(text: str) -> tuple[Markup, list[tuple[str, str]]]:
    """The notes, and their headings as (id, words)."""
    tokens = _markdown().parse(text)
    headings = list(_headings(tokens))
    return Markup(_markdown().renderer.render(tokens, _markdown().options, {})), headings  # nosec B704: own documents


def _headings(tokens: Sequence[Token]) -> Iterable[tuple[str, str]]:
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            name = "-".join("".join(c if c.isalnum() else " " for c in content.content.casefold()).split())
            token.attrSet("id", name)
            yield name, content.content
