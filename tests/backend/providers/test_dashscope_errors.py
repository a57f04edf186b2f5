"""Every row of DashScope's error table, native and compatible, to its class."""

from __future__ import annotations

import pytest

from backend.errors import (
    AuthError,
    ContentFiltered,
    ContextTooLong,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    TimedOut,
    Unavailable,
    UnknownModel,
)  # fmt: skip
from backend.providers.dashscope_errors import dashscope_error

ROWS = [
    (400, "InvalidParameter", "Temperature should be in [0.0, 2.0)", RequestRejected),
    (400, "invalid_parameter_error", "Range of top_p should be (0.0, 1.0]", RequestRejected),
    (400, "InvalidParameter.NotSupportEnableThinking", "The model x does not support enable_thinking.", RequestRejected),
    (400, "Arrearage", "Access denied, please make sure your account is in good standing.", QuotaExhausted),
    (400, "DataInspectionFailed", "Input data may contain inappropriate content.", ContentFiltered),
    (400, "data_inspection_failed", "Output data may contain inappropriate content.", ContentFiltered),
    (400, "InternalError.Algo", "<400> InternalError.Algo.DataInspectionFailed: Input data may contain", ContentFiltered),
    (500, "InternalError.Algo.DataInspectionFailed", "Output data may contain inappropriate content.", ContentFiltered),
    (400, "InternalError.Algo.InvalidParameter", "Temperature should be in [0.0, 2.0)", RequestRejected),
    (400, "InvalidParameter", "Range of input length should be [1, 126976]", ContextTooLong),
    (400, "invalid_parameter_error", "<400> InternalError.Algo.DataInspectionFailed: Input data may", ContentFiltered),
    (400, "InternalError.Algo.InvalidParameter", "Range of input length should be [1, 129024]", ContextTooLong),
    (
        400,
        "invalid_parameter_error",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 9]",
        ContextTooLong,
    ),
    (400, "BadRequest.EmptyInput", "Required input is missing", RequestRejected),
    (400, "BadRequest.EmptyParameters", "Required parameter is missing", RequestRejected),
    (400, "BadRequest.EmptyModel", "Required parameter missing: model.", RequestRejected),
    (400, "BadRequest.IllegalInput", "The input parameter requires json format.", RequestRejected),
    (400, "invalid_request_error", "you must provide a model parameter.", RequestRejected),
    (401, "InvalidApiKey", "Invalid API-key provided.", AuthError),
    (401, "invalid_api_key", "Incorrect API key provided.", AuthError),
    (403, "AccessDenied", "Access denied.", AuthError),
    (403, "access_denied", "Access to model denied.", AuthError),
    (403, "AccessDenied.Unpurchased", "Access to model denied.", AuthError),
    (403, "Model.AccessDenied", "Model access denied.", AuthError),
    (403, "Workspace.AccessDenied", "Workspace access denied.", AuthError),
    (403, "AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted.", QuotaExhausted),
    (404, "ModelNotFound", "Model can not be found.", UnknownModel),
    (404, "model_not_found", "The model `x` does not exist or you do not have access to it.", UnknownModel),
    (404, "model_not_supported", "Unsupported model x for OpenAI compatibility mode.", UnknownModel),
    (404, "WorkSpaceNotFound", "WorkSpace can not be found.", AuthError),
    (429, "Throttling", "Requests throttling triggered.", RateLimited),
    (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.", RateLimited),
    (429, "limit_requests", "You have exceeded your current request limit.", RateLimited),
    (429, "Throttling.BurstRate", "Request rate increased too quickly.", RateLimited),
    (429, "limit_burst_rate", "Request rate increased too quickly.", RateLimited),
    (429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit.", RateLimited),
    (429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details.", RateLimited),
    (429, "insufficient_quota", "Free allocated quota exceeded.", QuotaExhausted),
    (429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", QuotaExhausted),
    (429, "CommodityNotPurchased", "not purchased", QuotaExhausted),
    (429, "PrepaidBillOverdue", "overdue", QuotaExhausted),
    (429, "PostpaidBillOverdue", "overdue", QuotaExhausted),
    (500, "InternalError", "An internal error has occured", Unavailable),
    (500, "InternalError.Algo", "An internal error has occured", Unavailable),
    (500, "SystemError", "An internal error has occured", Unavailable),
    (500, "ModelServiceFailed", "An internal error has occured", Unavailable),
    (500, "internal_error", "An internal error has occured", Unavailable),
    (500, "RequestTimeOut", "Request timed out, please try again later.", TimedOut),
    (500, "InternalError.Timeout", "Request timed out", TimedOut),
    (503, "ModelServingError", "Too many requests.", Unavailable),
    (503, "ModelUnavailable", "Model is unavailable, please try again later.", Unavailable),
    (418, "SomethingNew", "teapot", RequestRejected),
    (502, "SomethingNew", "bad gateway", Unavailable),
    (None, "SomethingNew", "in a stream", ProtocolError),
    (None, "Throttling", "in a stream", RateLimited),
    (None, "Throttling.SomethingNew", "in a stream", RateLimited),
    (None, "InvalidParameter.SomethingNew", "in a stream", RequestRejected),
    (None, "data_inspection_failed", "Output data may contain inappropriate content.", ContentFiltered),
    (400, None, "", RequestRejected),
    (400, "Throttling", "the SDK says 400 for every error in a stream", RateLimited),
]


@pytest.mark.parametrize(("status", "code", "message", "kind"), ROWS)
def test_row(status, code, message, kind):
    error = dashscope_error(status=status, code=code, message=message, region="singapore", request_id="r-1", retry_after_s=2.0)
    assert type(error) is kind
    assert error.message and error.hint and "{" not in error.message + error.hint
    assert (error.code, error.request_id, error.retry_after_s) == (code, "r-1", 2.0)
    assert error.retryable == (kind in (RateLimited, TimedOut, Unavailable))


def test_a_wrong_key_names_the_region_it_was_used_in():
    error = dashscope_error(status=401, code="InvalidApiKey", message="", region="beijing")
    assert "region" in error.hint and "beijing" in error.hint


def test_what_the_service_says_about_a_bad_request_is_passed_on_as_it_is():
    said = "thinking_budget {x} {region} must be a positive integer"
    assert said in dashscope_error(status=400, code="InvalidParameter", message=said, region="beijing").message
