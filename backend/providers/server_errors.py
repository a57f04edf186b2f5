"""Refusals of OpenAI-compatible servers to the error tree: by code, then by status. Knows no transport."""

from __future__ import annotations

from backend.errors import (
    AuthError,
    BackendError,
    ContentFiltered,
    ContextTooLong,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    TimedOut,
    Unavailable,
    UnknownModel,
)

_SHORTEN = "Begin a new chat, or trim the files."
_BY_CODE: dict[str, tuple[type[BackendError], str]] = {
    "context_length_exceeded": (ContextTooLong, _SHORTEN),
    "exceed_context_size_error": (ContextTooLong, _SHORTEN),  # llama.cpp's type
    "model_not_found": (UnknownModel, "Choose a model from the server's list."),
    "invalid_api_key": (AuthError, "Check the server's key under Connect."),
    "insufficient_quota": (QuotaExhausted, "Look at the account of this server."),
    "content_filter": (ContentFiltered, "Word it differently."),
}


def server_error(
    *, where: str, status: int | None, code: str | None, message: str, request_id: str | None, retry_after_s: float | None
) -> BackendError:
    """The error for a refusal; a server's own sentence is passed on, since only it knows what it disliked."""
    told = f"{where} says: {message}" if message else f"{where} refused the request."
    kind, hint = _BY_CODE.get(code or "") or _by_status(status)
    return kind(told, hint=hint, code=code, request_id=request_id, retry_after_s=retry_after_s)


def _by_status(status: int | None) -> tuple[type[BackendError], str]:
    match status:
        case 401 | 403:
            return AuthError, "Check the server's key under Connect."
        case 402:
            return QuotaExhausted, "Look at the account of this server."
        case 404:
            return UnknownModel, "Choose a model from the server's list, and check that the address ends in /v1."
        case 413:
            return ContextTooLong, _SHORTEN
        case 429:
            return RateLimited, "The server is busy. Try again in a moment."
        case 408:
            return TimedOut, "The server did not answer in time. Try again."
        case int() if status >= 500:
            return Unavailable, "The server had a fault of its own. Try again."
        case int() if 400 <= status < 500:
            return RequestRejected, "Reset the parameters: the server may not take one of them."
        case _:
            return ProtocolError, "What arrived is kept; regenerate to try again."
