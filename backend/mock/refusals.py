"""What the emulator refuses with: status, both surfaces' codes, and DashScope's own texts, as its error pages print them.

Knows no envelope: native.py, compatible.py and vllm.py write these down.
"""

from __future__ import annotations

from dataclasses import dataclass

_LATER = "please try again later"
_INTERNAL = f"An internal error has occured, {_LATER} or contact service support."  # sic


@dataclass(frozen=True, slots=True)
class Refusal:
    """`native` and `compatible` are the codes on each surface; `type` is the compatible envelope's, `None`: as its code."""

    status: int
    native: str
    compatible: str
    message: str
    type: str | None = None
    compatible_message: str | None = None
    retry_after_s: int | None = None

    @property
    def compatible_text(self) -> str:
        return self.compatible_message or self.message

    @property
    def compatible_type(self) -> str:
        return self.type or self.compatible


def invalid(message: str, *, native: str = "InvalidParameter") -> Refusal:
    code = native if native.startswith("InvalidParameter.") else "invalid_parameter_error"
    return Refusal(400, native, code, message, "invalid_request_error")


def unknown_model(model: str) -> Refusal:
    said = f"The model `{model}` does not exist or you do not have access to it."
    return Refusal(404, "ModelNotFound", "model_not_found", "Model can not be found.", "invalid_request_error", said)


WRONG_KEY = Refusal(
    401,
    "InvalidApiKey",
    "invalid_api_key",
    "Invalid API-key provided.",
    "invalid_request_error",
    "Incorrect API key provided. For details, see: https://help.aliyun.com/zh/model-studio/error-code#apikey-error",
)
WRONG_BODY = invalid("Required body invalid, please check the request body format.")
NO_MODEL = Refusal(
    400,
    "BadRequest.EmptyModel",
    "invalid_request_error",
    "Required parameter missing: model.",
    "invalid_request_error",
    "you must provide a model parameter.",
)
OUTPUT_INSPECTION = Refusal(400, "DataInspectionFailed", "data_inspection_failed", "Output data may contain inappropriate content.")

BY_FAULT: dict[str, Refusal] = {
    "401": WRONG_KEY,
    "403": Refusal(403, "AccessDenied", "access_denied", "Access denied."),
    "403-unpurchased": Refusal(
        403,
        "AccessDenied.Unpurchased",
        "access_denied",
        "Access to model denied. Please make sure you are eligible for using the model.",
    ),
    "403-model": Refusal(403, "Model.AccessDenied", "Model.AccessDenied", "Model access denied."),
    "403-workspace": Refusal(403, "Workspace.AccessDenied", "Workspace.AccessDenied", "Workspace access denied."),
    "free-tier": Refusal(
        403,
        "AllocationQuota.FreeTierOnly",
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, "
        'please disable the "use free tier only" mode in the management console.',
    ),
    "404": Refusal(404, "ModelNotFound", "model_not_found", "Model can not be found.", "invalid_request_error"),
    "404-workspace": Refusal(404, "WorkSpaceNotFound", "WorkSpaceNotFound", "WorkSpace can not be found."),
    "429": Refusal(429, "Throttling", "Throttling", "Requests throttling triggered."),
    "429-after": Refusal(429, "Throttling", "Throttling", "Requests throttling triggered.", retry_after_s=1),
    "429-rate": Refusal(429, "Throttling.RateQuota", "limit_requests", f"Requests rate limit exceeded, {_LATER}."),
    "429-burst": Refusal(
        429,
        "Throttling.BurstRate",
        "limit_burst_rate",
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests "
        "more smoothly over time.",
    ),
    "429-quota": Refusal(
        429,
        "Throttling.AllocationQuota",
        "insufficient_quota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    "429-free": Refusal(429, "Throttling.AllocationQuota", "insufficient_quota", "Free allocated quota exceeded."),
    "429-unpurchased": Refusal(429, "CommodityNotPurchased", "CommodityNotPurchased", "Commodity has not purchased yet."),
    "429-prepaid": Refusal(429, "PrepaidBillOverdue", "PrepaidBillOverdue", "The prepaid bill is overdue."),
    "429-postpaid": Refusal(429, "PostpaidBillOverdue", "PostpaidBillOverdue", "The postpaid bill is overdue."),
    "arrearage": Refusal(400, "Arrearage", "Arrearage", "Access denied, please make sure your account is in good standing."),
    "inspection": Refusal(400, "DataInspectionFailed", "data_inspection_failed", "Input data may contain inappropriate content."),
    "500": Refusal(500, "InternalError", "internal_error", _INTERNAL),
    "500-algo": Refusal(500, "InternalError.Algo", "internal_error", _INTERNAL),
    "500-timeout": Refusal(500, "RequestTimeOut", "RequestTimeOut", f"Request timed out, {_LATER}."),
    "503": Refusal(503, "ModelUnavailable", "ModelUnavailable", f"Model is unavailable, {_LATER}."),
    "503-busy": Refusal(
        503,
        "ModelServingError",
        "ModelServingError",
        "Too many requests. Your requests are being throttled due to system capacity limits. Please try again later.",
    ),
}
