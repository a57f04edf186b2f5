"""DashScope's errors, native and compatible, to the error tree: one table keyed by code, then by status.

Source: the table of error codes in Alibaba's documentation, read Dec 2025 to Oct 2026. Two documented exceptions look at the
text, because one code means two things: `insufficient_quota` / `Throttling.AllocationQuota` with "Free allocated quota
exceeded" is final while the others pass by themselves, and an over-long prompt shares the code of every other bad parameter.
"""

from __future__ import annotations

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
    Unavailable,
    UnknownModel,
)

_KEY = "Keys belong to a region: this one was used in {region}. Check the key, or choose its region under Connect."
_BILLING = "Look at the account's balance and bills in the Model Studio console."
_FREE = 'The free quota is used up: switch off "free tier only" in the Model Studio console, or use another model.'
_ACCESS = "Ask the owner of the workspace for this model, or choose another one."
_LATER = "The service is busy. Trying again usually helps within a minute."
_FAULT = "The service had a fault of its own. Try again."

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
_TIMEOUT: Row = (Unavailable, "DashScope did not answer in time.", _FAULT)
_CAPACITY: Row = (Unavailable, "DashScope has no capacity for this model right now.", _LATER)
_MODEL: Row = (
    UnknownModel,
    "DashScope does not know this model in {region}.",
    "Check its name; not every model is in every region.",
)
_WRONG_KEY: Row = (AuthError, "DashScope did not accept the API key.", _KEY)

CODES: Mapping[str, Row] = {
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
_INSPECTION = "datainspectionfailed"


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
    said = message.casefold()
    row = CODES.get(code or "")
    if row is _TOKENS and _FREE_QUOTA in said:
        row = (QuotaExhausted, "The free quota of this model is used up.", _FREE)
    elif row is None and _INSPECTION in said.replace(".", ""):
        row = _INSPECTED  # nested as "<400> InternalError.Algo.DataInspectionFailed: ..."
    elif row is None and _INPUT_LENGTH in said:
        row = (
            ContextTooLong,
            f"The prompt is too long for this model. DashScope says: {message}",
            "Begin a new chat, or trim the files.",
        )
    if row is None:
        row = _by_status(status, message)
    kind, sentence, hint = row
    return kind(
        sentence.format(region=region) if "{region}" in sentence else sentence,
        hint=hint.format(region=region) if "{region}" in hint else hint,
        code=code,
        request_id=request_id,
        retry_after_s=retry_after_s,
    )


def _by_status(status: int | None, message: str) -> Row:
    said = f"DashScope refused the request: {message}" if message else "DashScope refused the request."
    match status:
        case 401 | 403:
            return (AuthError, said, _KEY)
        case 404:
            return _MODEL
        case 408:
            return _TIMEOUT
        case 429:
            return _SLOW
        case int() if status >= 500:
            return _BROKEN
        case int() if 400 <= status < 500:
            return (RequestRejected, said, "Change what it names, or reset the parameters.")
        case _:
            return (ProtocolError, f"DashScope answered with an error that is not documented: {message}", _FAULT)
