"""Refusals of OpenAI-compatible servers become the tree's errors: by code where OpenAI defines one, else by status."""

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
)
from backend.providers.server_errors import server_error


def refused(status: int | None = 400, code: str | None = None, message: str = "No.", retry_after_s: float | None = None):
    return server_error(where="The server at h", status=status, code=code, message=message, request_id="r-1", retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, RequestRejected, False),
        (401, AuthError, False),
        (403, AuthError, False),
        (404, UnknownModel, False),
        (405, RequestRejected, False),
        (408, TimedOut, True),
        (413, ContextTooLong, False),
        (422, RequestRejected, False),
        (429, RateLimited, True),
        (500, Unavailable, True),
        (502, Unavailable, True),
        (503, Unavailable, True),
        (529, Unavailable, True),
        (302, ProtocolError, False),
        (None, ProtocolError, False),
    ],
)
@pytest.mark.parametrize("code", [None, "something_else", ""])
def test_by_status(status, code, kind, retryable):
    error = refused(status, code)
    assert type(error) is kind and error.retryable is retryable and error.hint


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("context_length_exceeded", ContextTooLong),
        ("exceed_context_size_error", ContextTooLong),
        ("model_not_found", UnknownModel),
        ("invalid_api_key", AuthError),
        ("insufficient_quota", QuotaExhausted),
        ("content_filter", ContentFiltered),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 429, None])
def test_a_code_that_openai_defines_goes_before_the_status(code, kind, status):
    error = refused(status, code)
    assert type(error) is kind and error.code == code and error.hint


@pytest.mark.parametrize("message", ["maximum context length is 10", "Invalid API key", "Rate limit reached", "model not found"])
def test_the_wording_of_a_message_decides_nothing(message):
    assert type(refused(400, None, message)) is RequestRejected


def test_the_servers_own_sentence_and_numbers_are_passed_on():
    error = refused(429, None, "Slow down.", 7.5)
    assert error.message == "The server at h says: Slow down." and (error.retry_after_s, error.request_id) == (7.5, "r-1")


def test_a_refusal_without_a_word_still_has_a_sentence():
    assert refused(500, None, "").message == "The server at h refused the request."
