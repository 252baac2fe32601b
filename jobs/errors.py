"""The error tree, and the form in which an error crosses the queue.

Messages are safe to show to a caller: no credential, path, SQL or library text ever goes into them.
`api_shim/errors.py` adds headers; `workers/base.py` decides between retry and failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from jobs.json_text import dump_json


class TracegistError(Exception):
    """Base of everything raised on purpose; the message is safe to show to a caller."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "error"

    def __init__(
        self,
        detail: str,
        *,
        attr: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.attr = attr
        self.retry_after_s = retry_after_s
        self.extra: dict[str, object] = dict(extra or {})
        self.headers: dict[str, str] = {}
        if code is not None:
            self.code = code

    def body(self) -> dict[str, object]:
        """The common error object: `type, code, detail, attr`, then what the endpoint adds."""
        return {"type": self.type, "code": self.code, "detail": self.detail, "attr": self.attr, **self.extra}


class InvalidRequest(TracegistError):
    """The request cannot be read at all."""

    status, type, code = 400, "invalid_request", "parse_error"


class ValidationFailed(TracegistError):
    """A field of the request is not acceptable; `attr` names it."""

    status, type, code = 400, "validation_error", "invalid_input"


class NotAuthenticated(TracegistError):
    """No key was sent (`not_authenticated`), or one that is not valid (`authentication_failed`)."""

    status, type, code = 401, "authentication_error", "not_authenticated"


class PermissionDenied(TracegistError):
    """The key is valid but may not do this."""

    status, type, code = 403, "authentication_error", "permission_denied"


class NotFound(TracegistError):
    status, type, code = 404, "invalid_request", "not_found"


class MethodNotAllowed(TracegistError):
    status, type, code = 405, "invalid_request", "method_not_allowed"


class Conflict(TracegistError):
    status, type, code = 409, "invalid_request", "conflict"


class Gone(TracegistError):
    status, type, code = 410, "invalid_request", "result_expired"


class RequestTooLarge(TracegistError):
    status, type, code = 413, "invalid_request", "request_too_large"


class UnsupportedMediaType(TracegistError):
    status, type, code = 415, "invalid_request", "unsupported_media_type"


class Unprocessable(TracegistError):
    """Well-formed and allowed, but it contradicts an earlier request."""

    status, type, code = 422, "invalid_request", "idempotency_key_reused"


class Throttled(TracegistError):
    status, type, code = 429, "throttled_error", "throttled"


class InternalError(TracegistError):
    """A fault of ours."""

    status, type, code = 500, "server_error", "error"


class UpstreamBadAnswer(TracegistError):
    """A service that we depend on answered, but not with anything usable."""

    status, type, code = 502, "server_error", "upstream_bad_response"


class Unavailable(TracegistError):
    """Something that the work needs is not there right now; trying again may help."""

    status, type, code = 503, "server_error", "upstream_unavailable"


class TimedOut(TracegistError):
    """The wait, or the deadline of the work, is over."""

    status, type, code = 504, "server_error", "wait_timeout"


@dataclass(frozen=True, slots=True)
class JobFailure:
    """How a job failed: what a waiting caller gets, and what the job record keeps."""

    status: int
    body: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: TracegistError) -> JobFailure:
        headers = dict(error.headers)
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, error.retry_after_s))
        return cls(error.status, error.body(), headers)

    def of_job(self, job_id: str) -> JobFailure:
        """The same, saying which job it was; `attempts` stays the last member."""
        body = {**self.body, "job_id": job_id}
        if "attempts" in body:
            body["attempts"] = body.pop("attempts")
        return replace(self, body=body)

    def content(self) -> bytes:
        return dump_json(self.body)
