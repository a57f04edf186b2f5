"""What can be called: the operations of the document, with their texts and answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backend.api.requests import OF_NO_MATTER, SERVERS_ONLY

ENGINE_ERRORS = (400, 401, 403, 404, 429, 500, 502, 503, 504)
_CHAT = """Writes the next turn of a chat: whole, or with `stream: true` as server-sent events, one JSON chunk a `data:` line and
`data: [DONE]` last. A comment line (`: waiting`) comes every ten seconds, also while a model loads. An error before the first line has its
own status; after it, the stream ends with a `data:` line that holds `error`, and no `[DONE]`.

Other fields are kept for the engine: a server gets them as they are. On the other engines {ignored} make no difference, {refused} are
refused because they would change the answer, and all else is left out and named in `x-ignored-parameters`."""
_COMPLETE = """Writes on from `prompt`, without a chat template: only for models on this machine. One prompt a request. Streams as
`/v1/chat/completions` does. Other fields are treated as there; `echo` and `suffix` are refused."""


def paths() -> dict[str, Any]:
    extra = {"ignored": _listed(OF_NO_MATTER), "refused": _listed(SERVERS_ONLY)}
    name = {
        "name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "example": "dashscope:qwen3-next-80b-a3b-thinking",
        "description": "As /v1/models lists it; a slash in it may stay or be sent as %2F",
    }  # fmt: skip
    nothing = {"application/json": {"schema": {"type": "object"}}}
    figures = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/v1/chat/completions": _answering("createChatCompletion", "Answer a chat", _CHAT.format(**extra), "Chat", "ChatCompletion"),
        "/v1/completions": _answering("createCompletion", "Continue a text", _COMPLETE, "Completion", "Completion"),
        "/v1/models": {
            "get": _operation(
                "listModels", "Models", "List models", "What this host can use now: servers are asked, a key must be there for the rest.",
                {"200": _ok("The models", json_content("ModelList")), **_errors(ENGINE_ERRORS)},
            )
        },
        "/v1/models/{name}": {
            "parameters": [name],
            "get": _operation(
                "getModel", "Models", "Look up a model", "Limits, abilities, and the range and default of each parameter.",
                {"200": _ok("The model", json_content("Model")), **_errors(ENGINE_ERRORS)},
            ),
        },
        "/v1/embeddings": {
            "post": {
                **_operation(
                    "createEmbeddings", "Answers", "There are no embeddings", "Always answers 404: the models of this app write text.",
                    _errors((401, 403, 404)),
                ),
                "requestBody": {"required": False, "content": nothing},
            }
        },
        "/healthz": {
            "get": {
                **_operation("getHealth", "Host", "Health", "Needs no token.", {"200": _ok("This host is up", json_content("Health"))}),
                "security": [],
            }
        },
        "/metrics": {
            "get": _operation(
                "getMetrics", "Host", "Figures", "In Prometheus' text format: requests by engine and end, times, tokens.",
                {"200": _ok("The figures", figures), **_errors((401, 403))},
            )
        },
    }  # fmt: skip


def _answering(operation: str, summary: str, description: str, kind: str, whole: str) -> dict[str, Any]:
    event = {"oneOf": [ref("schemas", f"{kind}Chunk"), ref("schemas", "Error")], "description": "The JSON of one `data:` line"}
    content = {**json_content(whole), "text/event-stream": {"schema": event}}
    ok = _ok("The answer: whole, or a stream where `stream` is true", content)
    ok["headers"]["x-ignored-parameters"] = ref("headers", "IgnoredParameters")
    made = _operation(operation, "Answers", summary, description, {"200": ok, **_errors(sorted({*ENGINE_ERRORS, 413}))})
    return {"post": {**made, "requestBody": {"required": True, "content": json_content(f"{kind}Body")}}}


def _operation(operation: str, tag: str, summary: str, description: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": operation, "tags": [tag], "summary": summary, "description": description, "responses": responses}


def _ok(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "headers": {"x-request-id": ref("headers", "RequestId")}, "content": content}


def json_content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": ref("schemas", schema)}}


def ref(part: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{part}/{name}"}


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): ref("responses", f"Error{status}") for status in statuses}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
