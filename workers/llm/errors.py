"""How a call to a model fails, in the words that a caller may read.

Nothing that the provider wrote gets in here: no message, no key, no prompt.
"""

from __future__ import annotations

from typing import ClassVar

from jobs.errors import TracegistError
from jobs.summarization import Usage


class UnusableContent(Exception):
    """Raised by `accept`: the content cannot be used, and asking again may help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LLMError(TracegistError):
    """A summary could not be generated. Says what was spent on the attempt."""

    default_detail: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        attempts: int = 0,
        usage: Usage | None = None,
        cost_usd: float | None = 0.0,
        latency_ms: float = 0.0,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(
            detail or self.default_detail,
            retry_after_s=retry_after_s,
            extra={"error": "Failed to generate summary", "attempts": attempts},
        )
        self.attempts = attempts
        self.usage = usage or Usage()
        self.cost_usd = cost_usd
        self.latency_ms = latency_ms


class BadResponse(LLMError):
    """The provider answered, but nothing usable came of it."""

    status, code = 502, "llm_bad_response"
    default_detail = "The language model gave no usable answer, also when asked again. Try again in a minute."


class Refused(LLMError):
    """The model refused, or a content filter stopped it."""

    status, code = 502, "llm_refused"
    default_detail = "The language model refused to answer. The same request will be refused again."


class Rejected(LLMError):
    """The provider did not accept the request."""

    status, code = 502, "llm_rejected"
    default_detail = (
        "The language model provider rejected the request. An operator should check what the model takes "
        "(TRACEGIST_LLM_PROFILE)."
    )


class ContextTooLong(Rejected):
    """The input does not fit the window of the model; a shorter one may."""

    default_detail = (
        "The text is too long for the language model, also cut down. Name a model with a larger window."
    )


class LLMUnavailable(LLMError):
    """The provider is down, overloaded, or not asked at the moment."""

    status, code = 503, "llm_unavailable"
    default_detail = "The language model is not available right now. Try again later."


class OutOfQuota(LLMUnavailable):
    """Our own rate limits leave no room in time. No call was made: the work may go back to the queue."""

    default_detail = "The rate limit of the language model is used up for now. Try again later."


class Misconfigured(LLMError):
    """Key, model name, permissions or quota are wrong; only an operator can help."""

    status, code = 503, "llm_misconfigured"
    default_detail = (
        "The language model is not set up correctly. An operator has to check its key, name and quota."
    )


class BudgetExceeded(LLMError):
    """The call could pass a spend cap, so it was not made."""

    status, code = 503, "budget_exceeded"
    default_detail = (
        "The spend cap for language model calls is reached. Raise it, or try again on another day (UTC)."
    )


class LLMTimeout(LLMError):
    """No answer in time."""

    status, code = 504, "llm_timeout"
    default_detail = "The language model did not answer in time. Try again."
