"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` with the status that its clients act on.

`CODES` is the only place where a code, its status and its meaning are written: answers are made from it, and `/openapi.json` and `/docs`
show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend import errors
from backend.errors import BackendError


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code stands for. `type` is OpenAI's word where it has one."""

    code: str
    status: int
    type: str
    meaning: str


def _table(*kinds: Kind) -> dict[str, Kind]:
    return {kind.code: kind for kind in kinds}


_ASKED, _MAY, _SERVER = "invalid_request_error", "permission_error", "server_error"
CODES: Mapping[str, Kind] = _table(
    # what this API itself refuses
    Kind("invalid_json", 400, _ASKED, "the body is no JSON object"),
    Kind("invalid_value", 400, _ASKED, "a field is missing, of the wrong type or out of the model's range; `param` names it where it can"),
    Kind("unsupported_parameter", 400, _ASKED, "a field that would change the answer, and that this engine cannot heed"),
    Kind("missing_api_key", 401, "authentication_error", "this host asks for its token and none came"),
    Kind("invalid_api_key", 401, "authentication_error", "the token is wrong"),
    Kind("api_closed", 403, _MAY, "no token is set on this host, and without one only programs on its own machine may call"),
    Kind("host_refused", 403, _MAY, "this host does not answer to the name it was called by, or not to the web page that called"),
    Kind("not_found", 404, _ASKED, "no such path, or embeddings, which there are none of"),
    Kind("method_not_allowed", 405, _ASKED, "the path does not take this method; the `allow` header has those that it takes"),
    Kind("body_too_large", 413, _ASKED, "the body is larger than this host takes"),
    Kind("rate_limit_exceeded", 429, "rate_limit_error", "too many answers at once here, or the engine's own limit"),
    Kind("internal_error", 500, _SERVER, "something went wrong inside this app; its log has the details"),
    # what engines refuse or fail at
    Kind("model_not_found", 404, _ASKED, "no such model, or not for this host's key"),
    Kind("context_length_exceeded", 400, _ASKED, "prompt and answer do not fit into the model's context"),
    Kind("content_filter", 400, _ASKED, "the service's content inspection refused prompt or answer"),
    Kind("request_rejected", 400, _ASKED, "the engine refused the request for another reason, which the message gives"),
    Kind("insufficient_quota", 429, "insufficient_quota", "free quota spent or payment due: waiting does not help"),
    Kind("engine_refused_key", 403, _MAY, "the engine refused the key that this host holds for it"),
    Kind("not_configured", 403, _MAY, "this host has no key for that engine, or a setting of it is wrong"),
    Kind("timeout", 504, _SERVER, "the engine did not answer in time"),
    Kind("model_too_large", 503, _SERVER, "the model does not fit into this machine's memory"),
    Kind("out_of_memory", 503, _SERVER, "this request does not fit into this machine's memory"),
    Kind("unavailable", 503, _SERVER, "the engine cannot be reached or is failing"),
    Kind("stream_broken", 502, _SERVER, "the engine broke off in the middle of its answer"),
    Kind("engine_not_understood", 502, _SERVER, "the engine answered with something that is no answer"),
    Kind("local_model_failed", 500, _SERVER, "a model on this machine cannot be loaded or run"),
)
_OF_BACKEND: tuple[tuple[type[BackendError], str], ...] = (  # the first that fits
    (errors.UnknownModel, "model_not_found"),
    (errors.ContextTooLong, "context_length_exceeded"),
    (errors.ContentFiltered, "content_filter"),
    (errors.BadInput, "invalid_value"),
    (errors.RequestRejected, "request_rejected"),
    (errors.RateLimited, "rate_limit_exceeded"),
    (errors.QuotaExhausted, "insufficient_quota"),
    (errors.AuthError, "engine_refused_key"),
    (errors.ConfigError, "not_configured"),
    (errors.TimedOut, "timeout"),
    (errors.ModelTooLarge, "model_too_large"),
    (errors.OutOfMemory, "out_of_memory"),
    (errors.Unavailable, "unavailable"),
    (errors.StreamBroken, "stream_broken"),
    (errors.ProtocolError, "engine_not_understood"),
    (errors.LocalModelError, "local_model_failed"),
)


@dataclass(eq=False)
class ApiError(Exception):
    """What a caller is told. `code` is one of `CODES`; `param` is the field that is wrong, as a path in the body."""

    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def body(self) -> bytes:
        error = {"message": self.message, "type": CODES[self.code].type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")


def from_backend(error: BackendError) -> ApiError:
    """The engine's error for the caller. Clients are told not to try again where that cannot help, whatever the status."""
    code = next((code for kind, code in _OF_BACKEND if isinstance(error, kind)), "internal_error")
    headers = {"x-should-retry": "true" if error.retryable else "false"}  # the openai clients act on it
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:.0f}"
    return ApiError(code, f"{error.message} {error.hint}".strip(), headers=headers)


INTERNAL = ApiError("internal_error", "Something went wrong inside the app. The log has the details.")
