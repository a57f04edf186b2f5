"""DashScope's errors, native and compatible, to the error tree: one table keyed by code, then by status.

Source: the table of error codes in Alibaba's documentation, read Dec 2025 to Oct 2026. A code may stand inside the text of
another ("<400> InternalError.Algo.DataInspectionFailed: ..."); the inner one says what happened. A code that is not listed
counts as its family ("Throttling.NewKind" as "Throttling"). Inside a stream only the code is known.

Two documented exceptions look at the text, because one code means two things: `insufficient_quota` and
`Throttling.AllocationQuota` with "Free allocated quota exceeded" are final while the others pass by themselves, and a prompt
that is too long shares the code of every other bad parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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

_KEY = "Keys belong to a region: this one was used in {region}. Check the key, or choose its region under Connect."
_BILLING = "Look at the account's balance and bills in the Model Studio console."
_FREE = 'The free quota is used up: switch off "free tier only" in the Model Studio console, or use another model.'
_ACCESS = "Ask the owner of the workspace for this model, or choose another one."
_LATER = "The service is busy. Trying again usually helps within a minute."
_FAULT = "The service had a fault of its own. Try again."

_MEND = "Change what it names, or reset the parameters."

Row = tuple[type[BackendError], str, str]
_INSPECTED: Row = (
    ContentFiltered,
    "The content inspection of DashScope refused the prompt or the answer.",
    "Word it differently.",
)
_ARREARS: Row = (QuotaExhausted, "The DashScope account is not in good standing (overdue payment).", _BILLING)
_UNPAID: Row = (QuotaExhausted, "This model has not been purchased, or a bill is overdue.", _BILLING)
_DENIED: Row = (AuthError, "This key may not use this model.", _ACCESS)
_SLOW: Row = (RateLimited, "DashScope is limiting the rate of requests.", _LATER)
_TOKENS: Row = (RateLimited, "DashScope is limiting the tokens a minute of this account.", _LATER)
_BROKEN: Row = (Unavailable, "DashScope had an internal error.", _FAULT)
_TIMEOUT: Row = (TimedOut, "DashScope did not answer in time.", _FAULT)
_CAPACITY: Row = (Unavailable, "DashScope has no capacity for this model right now.", _LATER)
_MODEL: Row = (
    UnknownModel,
    "DashScope does not know this model in {region}.",
    "Check its name; not every model is in every region.",
)
_REFUSED: Row = (RequestRejected, "", _MEND)
_TOO_LONG: Row = (ContextTooLong, "", "Begin a new chat, or trim the files.")
_WRONG_KEY: Row = (AuthError, "DashScope did not accept the API key.", _KEY)

CODES: Mapping[str, Row] = {
    "InvalidParameter": _REFUSED,
    "invalid_parameter_error": _REFUSED,
    "invalid_request_error": _REFUSED,
    "BadRequest": _REFUSED,
    "InternalError.Algo.InvalidParameter": _REFUSED,
    "InternalError.Algo.DataInspectionFailed": _INSPECTED,
    "Arrearage": _ARREARS,
    "DataInspectionFailed": _INSPECTED,
    "data_inspection_failed": _INSPECTED,
    "InvalidApiKey": _WRONG_KEY,
    "invalid_api_key": _WRONG_KEY,
    "AccessDenied": _DENIED,
    "access_denied": _DENIED,
    "AccessDenied.Unpurchased": _DENIED,
    "Model.AccessDenied": _DENIED,
    "Workspace.AccessDenied": _DENIED,
    "AllocationQuota.FreeTierOnly": (QuotaExhausted, "The free tier of this model is used up.", _FREE),
    "ModelNotFound": _MODEL,
    "model_not_found": _MODEL,
    "model_not_supported": (
        UnknownModel,
        "This model cannot be called in the OpenAI-compatible mode.",
        "Set DASHSCOPE_PROTOCOL=native.",
    ),
    "WorkSpaceNotFound": (AuthError, "The workspace of this key does not exist.", _KEY),
    "Throttling": _SLOW,
    "Throttling.RateQuota": _SLOW,
    "limit_requests": _SLOW,
    "Throttling.BurstRate": _SLOW,
    "limit_burst_rate": _SLOW,
    "Throttling.AllocationQuota": _TOKENS,
    "insufficient_quota": _TOKENS,
    "CommodityNotPurchased": _UNPAID,
    "PrepaidBillOverdue": _UNPAID,
    "PostpaidBillOverdue": _UNPAID,
    "InternalError": _BROKEN,
    "InternalError.Algo": _BROKEN,
    "SystemError": _BROKEN,
    "ModelServiceFailed": _BROKEN,
    "internal_error": _BROKEN,
    "RequestTimeOut": _TIMEOUT,
    "InternalError.Timeout": _TIMEOUT,
    "ModelServingError": _CAPACITY,
    "ModelUnavailable": _CAPACITY,
}
_FREE_QUOTA = "free allocated quota exceeded"
_INPUT_LENGTH = "range of input length"
_INNER = re.compile(r"<(?P<status>\d{3})> (?P<code>[A-Za-z]+(?:\.[A-Za-z]+)*): ")


def dashscope_error(
    *,
    status: int | None,
    code: str | None,
    message: str,
    region: str,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> BackendError:
    """The error for a DashScope answer. `status` may be `None` or wrong (in a stream the code alone decides)."""
    kind, sentence, hint = _row(status, code, message)
    said = f"DashScope refused the request: {message}" if message else "DashScope refused the request."
    return kind(
        sentence.replace("{region}", region) or said,
        hint=hint.replace("{region}", region),
        code=code,
        request_id=request_id,
        retry_after_s=retry_after_s,
    )


def _row(status: int | None, code: str | None, message: str) -> Row:
    inner = _INNER.match(message)
    row = _listed(inner["code"] if inner else None) or _listed(code)
    if row is None:
        return _by_status(status)
    if row is _TOKENS and _FREE_QUOTA in message.casefold():
        return (QuotaExhausted, "The free quota of this model is used up.", _FREE)
    return _TOO_LONG if row is _REFUSED and _INPUT_LENGTH in message.casefold() else row


def _listed(code: str | None) -> Row | None:
    """The row of a code, or of the family it belongs to."""
    while code and code not in CODES:
        code = code.rpartition(".")[0]
    return CODES.get(code or "")


def _by_status(status: int | None) -> Row:
    match status:
        case 401 | 403:
            return (AuthError, "", _KEY)
        case 404:
            return _MODEL
        case 408:
            return _TIMEOUT
        case 429:
            return _SLOW
        case int() if status >= 500:
            return _BROKEN
        case int() if 400 <= status < 500:
            return _REFUSED
        case _:
            return (ProtocolError, "", _FAULT)
