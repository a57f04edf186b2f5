"""The API's own description: OpenAPI 3.1, built from what answers. Bodies and replies are the pydantic models, errors the table of
`errors.py`, notes the catalogue, examples recorded calls, so that none of them is written twice and can disagree.

Kept to plain constructs, for Postman and Apidog: an `enum` of one word in place of `const`, no `$defs`, discriminators with their mapping.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from backend.api import replies
from backend.api.bodies import ChatBody, CompletionBody
from backend.api.errors import CODES, Kind
from backend.api.examples import Example, recording, shown
from backend.api.notes import model_notes
from backend.api.operations import json_content, paths, ref

VERSION = "1.0.0"  # of what /v1 takes and answers
_MODELS: tuple[type[BaseModel], ...] = (
    ChatBody, CompletionBody, replies.ChatCompletion, replies.ChatChunk, replies.Completion, replies.CompletionChunk, replies.Model,
    replies.ModelList, replies.Error, replies.Health,
)  # fmt: skip
_ABOUT = """Every engine of this app (DashScope, OpenAI-compatible servers, models on this machine) behind OpenAI's `/v1`. Clients for
OpenAI work when they are told this address; a trace comes beside the answer as `reasoning_content`, as from DashScope, vLLM and DeepSeek.

Callers have no history here: what is asked over HTTP appears in nobody's chats.

**Who may call.** Where the host has a token (`PLAYGROUND_API_TOKEN`), it is sent as `Authorization: Bearer TOKEN`. Without one only
programs on the host's own machine may call. This document, `/docs` and `/healthz` are open to all."""


class _Schemas(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # a field's name says it already
        return False


def document(address: str = "") -> dict[str, Any]:
    """The whole document. `address` is where this host is reached, up to the path; without it, links stay relative."""
    made = copy.deepcopy(_document())
    made["servers"] = [{"url": address or "/"}]
    return made


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    made = _without_examples()
    for path, item in made["paths"].items():
        for method in ("get", "post"):
            for example in recording().of(method, path):
                _add(example, item[method], made["components"]["responses"])
    return made


def _add(example: Example, operation: dict[str, Any], shared: dict[str, Any]) -> None:
    """Puts a recorded call where viewers look for it: beside the body and beside the answer of its status."""
    told = {"summary": example.title, "description": f"{example.note} Recorded on {recording().recorded}."}
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"].setdefault("examples", {})[example.name] = {**told, "value": example.body}
    answer = operation["responses"][str(example.reply.status)]
    if "$ref" in answer:
        answer = shared[answer["$ref"].rpartition("/")[2]]
    value = example.reply.body if example.reply.lines is None else shown(example.reply.lines)
    answer["content"][example.reply.media_type].setdefault("examples", {})[example.name] = {**told, "value": value}


def _without_examples() -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Qwen3-Next Playground",
            "version": VERSION,
            "summary": "Qwen3-Next on whichever engine this host has, behind OpenAI's API.",
            "description": "\n\n".join((_ABOUT, model_notes(), _error_notes())),
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [],
        "security": [{"bearer": []}, {}],
        "tags": [
            {"name": "Answers", "description": "Models write."},
            {"name": "Models", "description": "What there is, and what each takes."},
            {"name": "Host", "description": "Whether it is up, and its figures."},
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "PLAYGROUND_API_TOKEN of this host"}},
            "headers": _headers(),
            "responses": {f"Error{status}": _error(status) for status in sorted({kind.status for kind in CODES.values()})},
            "schemas": _schemas(),
        },
    }


def _headers() -> dict[str, Any]:
    def header(description: str, **schema: Any) -> dict[str, Any]:
        return {"description": description, "schema": {"type": "string", **schema}}

    return {
        "RequestId": header("This request's name; quote it when you report something"),
        "IgnoredParameters": header(
            "Fields that the engine lacks and that were left out, with commas between; missing where there are none"
        ),
        "ShouldRetry": header("Whether trying again can help; OpenAI's clients heed it", enum=["true", "false"]),
        "RetryAfter": header("Seconds to wait, where known"),
    }


# ---- errors
def codes_of(status: int) -> list[Kind]:
    """The kinds of error that have this status."""
    return [kind for kind in CODES.values() if kind.status == status]


def _error(status: int) -> dict[str, Any]:
    meanings = "; ".join(f"`{kind.code}`: {kind.meaning}" for kind in codes_of(status))
    names = {"x-request-id": "RequestId", "x-should-retry": "ShouldRetry", "retry-after": "RetryAfter"}
    headers = {name: ref("headers", header) for name, header in names.items()}
    return {"description": f"{HTTPStatus(status).phrase}. {meanings}.", "headers": headers, "content": json_content("Error")}


def _error_notes() -> str:
    rows = "\n".join(
        f"| {kind.status} | `{kind.type}` | `{kind.code}` | {kind.meaning} |" for kind in sorted(CODES.values(), key=lambda k: k.status)
    )
    return f"""## Errors

Always `{{"error": {{"message", "type", "param", "code"}}}}`. Act on `code`; `x-should-retry` says whether trying again can help.

| status | type | code | meaning |
| --- | --- | --- | --- |
{rows}"""


# ---- schemas
def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    return {name: _plain(schema) for name, schema in found["$defs"].items()}


def _plain(node: Any) -> Any:
    """A schema without what says nothing (titles, null as a default), `const` as an `enum` of one."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _plain(value) for key, value in node.items() if key not in ("title", "const", "properties")}
    if "properties" in node:  # names of fields, which may be any word
        made["properties"] = {name: _plain(field) for name, field in node["properties"].items()}
    if "const" in node:
        made["enum"] = [node["const"]]
    if made.get("default", ...) is None:
        del made["default"]
    return made
