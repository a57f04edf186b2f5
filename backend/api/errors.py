"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` with the status that its clients act on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from backend import errors
from backend.errors import BackendError


@dataclass(eq=False)
class ApiError(Exception):
    """What a caller is told. `param` is the field that is wrong, as a path in the body."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")


_KNOWN: tuple[tuple[type[BackendError], int, str, str], ...] = (  # the first that fits; OpenAI's words where it has one
    (errors.UnknownModel, 404, "invalid_request_error", "model_not_found"),
    (errors.ContextTooLong, 400, "invalid_request_error", "context_length_exceeded"),
    (errors.ContentFiltered, 400, "invalid_request_error", "content_filter"),
    (errors.BadInput, 400, "invalid_request_error", "invalid_value"),
    (errors.RequestRejected, 400, "invalid_request_error", "request_rejected"),
    (errors.RateLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
    (errors.QuotaExhausted, 429, "insufficient_quota", "insufficient_quota"),
    (errors.AuthError, 403, "permission_error", "engine_refused_key"),
    (errors.ConfigError, 403, "permission_error", "not_configured"),
    (errors.TimedOut, 504, "server_error", "timeout"),
    (errors.ModelTooLarge, 503, "server_error", "model_too_large"),
    (errors.OutOfMemory, 503, "server_error", "out_of_memory"),
    (errors.Unavailable, 503, "server_error", "unavailable"),
    (errors.StreamBroken, 502, "server_error", "stream_broken"),
    (errors.ProtocolError, 502, "server_error", "engine_not_understood"),
    (errors.LocalModelError, 500, "server_error", "local_model_failed"),
)


def from_backend(error: BackendError) -> ApiError:
    """The engine's error for the caller. Clients are told not to try again where that cannot help, whatever the status."""
    _, status, kind, code = next((known for known in _KNOWN if isinstance(error, known[0])), (None, 500, "server_error", "internal_error"))
    headers = {"x-should-retry": "true" if error.retryable else "false"}  # the openai clients act on it
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:.0f}"
    message = f"{error.message} {error.hint}".strip()
    return ApiError(status, message, kind, code, headers=headers)


INTERNAL = ApiError(500, "Something went wrong inside the app. The log has the details.", "server_error", "internal_error")
