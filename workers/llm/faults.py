"""One failed attempt, classified: worth another? bad for the breaker? what does the caller get?

The rows of the table are tried one after the other in `tests/unit/llm/test_faults.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import aiohttp
import openai

from workers.llm import errors
from workers.llm.limits import Verdict
from workers.llm.wire import exhausted_for_s, retry_delay_s

_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_FILTER_CODES = {"content_filter", "content_policy_violation"}
_TOO_LONG = re.compile(
    r"maximum context length|context (length|window|size)|prompt is too long", re.IGNORECASE
)
_UNTOLD_PAUSE_S = 0.5


class Fault(Exception):
    """One attempt that brought no accepted answer. Never leaves this package.

    `delay_s` is what the server asked for; `pause_s` is for all workers. `content` marks paid answers that
    could not be used, which get fewer attempts.
    """

    def __init__(
        self,
        error: type[errors.LLMError],
        reason: str,
        *,
        retry: bool,
        verdict: Verdict = "neutral",
        delay_s: float | None = None,
        pause_s: float = 0.0,
        content: bool = False,
        truncated: bool = False,
    ) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.retry = retry
        self.verdict = verdict
        self.delay_s = delay_s
        self.pause_s = pause_s
        self.content = content
        self.truncated = truncated


def unusable(reason: str) -> Fault:
    """A paid answer that cannot be used: another may be better."""
    return Fault(errors.BadResponse, reason, retry=True, verdict="success", content=True)


def truncated() -> Fault:
    """The output cap cut the answer off."""
    return Fault(errors.BadResponse, "truncated", retry=True, verdict="success", content=True, truncated=True)


def refused(reason: str) -> Fault:
    """The same question gets the same refusal."""
    return Fault(errors.Refused, reason, retry=False, verdict="success", content=True)


def timed_out() -> Fault:
    return Fault(errors.LLMTimeout, "timeout", retry=True, verdict="failure")


def unreachable() -> Fault:
    return Fault(errors.LLMUnavailable, "connection", retry=True, verdict="failure")


def lost() -> Fault:
    """The provider does not know the call that it answers in the background any more."""
    return Fault(errors.LLMUnavailable, "lost", retry=True)


def of_failed_response(error: object) -> Fault:
    """A call in the background that ended without an answer; the error is None when it was stopped."""
    words = _words(error)
    if "rate_limit_exceeded" in words:
        return _too_many(error, {})
    if not words or "server_error" in words:
        return Fault(errors.LLMUnavailable, "response_failed", retry=True, verdict="failure")
    return _rejected(400, error)


def of_exception(error: Exception) -> Fault | None:
    """What an exception of the SDK or its transport means; None when it is a fault of ours."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.body, error.response.headers)
    if isinstance(error, openai.APITimeoutError):
        return unreachable() if _lost_connection(error) else timed_out()
    if isinstance(error, TimeoutError):
        return timed_out()
    if isinstance(error, (openai.APIConnectionError, aiohttp.ClientError, OSError)):
        return unreachable()
    return None


def _lost_connection(error: BaseException) -> bool:
    """The aiohttp transport reports refused and closed connections as timeouts; the cause tells."""
    return any(
        isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def of_status(status: int, body: object, headers: Mapping[str, str]) -> Fault:
    fault = _by_status(status, body, headers)
    told = headers.get("x-should-retry")
    if told in ("true", "false") and not issubclass(fault.error, errors.ContextTooLong):
        fault.retry = told == "true"
    return fault


def _by_status(status: int, body: object, headers: Mapping[str, str]) -> Fault:
    if status == 429:
        return _too_many(body, headers)
    if status >= 500:
        delay = retry_delay_s(headers)
        return Fault(errors.LLMUnavailable, f"http_{status}", retry=True, verdict="failure", delay_s=delay)
    if status in (408, 409):
        delay = retry_delay_s(headers)
        return Fault(errors.LLMUnavailable, f"http_{status}", retry=True, delay_s=delay)
    if status in (401, 403, 404):
        return Fault(errors.Misconfigured, f"http_{status}", retry=False, verdict="fatal")
    if status == 402:
        return Fault(errors.Misconfigured, "quota", retry=False)
    return _rejected(status, body)


def _too_many(body: object, headers: Mapping[str, str]) -> Fault:
    if _words(body) & _QUOTA_CODES:
        return Fault(errors.Misconfigured, "quota", retry=False)
    delay = retry_delay_s(headers)
    pause = delay if delay is not None else exhausted_for_s(headers) or _UNTOLD_PAUSE_S
    return Fault(errors.LLMUnavailable, "rate_limited", retry=True, delay_s=delay, pause_s=pause)


def _rejected(status: int, body: object) -> Fault:
    words = _words(body)
    if words & _FILTER_CODES:
        return Fault(errors.Refused, "content_filter", retry=False)
    too_long = "context_length_exceeded" in words or (status in (400, 413) and _says_too_long(body))
    if too_long:
        return Fault(errors.ContextTooLong, "context_length", retry=False)
    return Fault(errors.Rejected, f"http_{status}", retry=False)


def _words(body: object) -> set[str]:
    """Code and type of an error body; the SDK has taken off the outer `error` key where there was one."""
    found = body if isinstance(body, dict) else {}
    return {value for key in ("code", "type") if isinstance(value := found.get(key), str)}


def _says_too_long(body: object) -> bool:
    message = body.get("message") if isinstance(body, dict) else body
    return isinstance(message, str) and bool(_TOO_LONG.search(message))
