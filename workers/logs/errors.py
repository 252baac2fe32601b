"""What can go wrong between us and the log store; messages never hold SQL, table names or values."""

from __future__ import annotations

from jobs.errors import InternalError, TimedOut, Unavailable, ValidationFailed


class QueryTooLarge(ValidationFailed):
    """The query hit its bound on memory or on what it may read; a narrower one may pass."""

    code = "query_too_large"


class QueryTimeout(TimedOut):
    """The query did not end in its time."""

    code = "query_timeout"


class QueryCanceled(TimedOut):
    """The query was stopped on request, for example because its caller has left."""

    code = "query_timeout"


class StoreBusy(Unavailable):
    """The store has more work than it can take right now."""

    code = "service_busy"


class StoreUnavailable(Unavailable):
    """The store cannot be reached, is starting, or is not writable."""

    code = "service_busy"


class StoreInUse(StoreUnavailable):
    """Another process owns the embedded store's folder."""


class StoreFault(InternalError):
    """The store refused something that we built: a fault of ours."""
