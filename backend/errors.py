"""Every error that leaves the backend, in one tree. Each carries a sentence for people and a hint what to do.

BackendError              message, hint, retryable, retry_after_s, request_id, code
  ConfigError             missing key, unknown region, bad setting: mended by whoever runs the app
  BadInput                what the user gave cannot be sent: empty prompt, value out of range, broken file
  AuthError               401, 403; DashScope keys belong to a region
  RequestRejected         400, 404, 422 and the like
    UnknownModel          no such model, or not for this key
    ContextTooLong        prompt and answer do not fit
    ContentFiltered       the service's content inspection refused prompt or answer
  RateLimited             429, retryable, with retry_after_s where told
  QuotaExhausted          429, 403 or 400 by code: free quota, arrears; waiting does not help
  Unavailable             5xx, no connection: retryable before the first token
    TimedOut              408, a service's or our own time is up: retryable once, since each try may take minutes
  StreamBroken            cut after the first delta; the partial text stays
  ProtocolError           the answer was not understood (HTML, no finish reason, bad JSON)
  LocalModelError         a model on this machine
    ModelLoadError        folder, weights or format
    OutOfMemory           does not fit in memory
      ModelTooLarge       the model itself does not, whatever it is asked
  StorageError            the history database cannot be read or written

Classified by type, status and code, never by searching a message's text (documented exceptions: where one of
DashScope's codes means two things, "Free allocated quota exceeded" and "Range of input length"; see dashscope_errors.py;
and the names of fields that a strict server does not know; see unknown_fields.py).
"""

from __future__ import annotations


class BackendError(Exception):
    """`str(error)` is the sentence for people. `code` is the service's own word, for logs and reports."""

    retryable = False
    most_attempts = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class ConfigError(BackendError):
    pass


class BadInput(BackendError):
    pass


class AuthError(BackendError):
    pass


class RequestRejected(BackendError):
    pass


class UnknownModel(RequestRejected):
    pass


class ContextTooLong(RequestRejected):
    pass


class ContentFiltered(RequestRejected):
    pass


class RateLimited(BackendError):
    retryable = True


class QuotaExhausted(BackendError):
    pass


class Unavailable(BackendError):
    retryable = True


class TimedOut(Unavailable):
    most_attempts = 2


class StreamBroken(BackendError):
    pass


class ProtocolError(BackendError):
    pass


class LocalModelError(BackendError):
    pass


class ModelLoadError(LocalModelError):
    pass


class OutOfMemory(LocalModelError):
    pass


class ModelTooLarge(OutOfMemory):
    pass


class StorageError(BackendError):
    pass
