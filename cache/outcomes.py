"""What `get_or_compute` answers, and the form in which a leader hands it to those who wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cache import entries
from cache.entries import Entry
from jobs.errors import InternalError, JobFailure, TimedOut, TracegistError, Unavailable, UpstreamBadAnswer
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.records import format_time
from jobs.summarization import CacheFacts, CacheStatus, Generation

_ERRORS: dict[int, type[TracegistError]] = {502: UpstreamBadAnswer, 503: Unavailable, 504: TimedOut}

# How the leader's result was stored: as the entry, not at all, or it is an old entry in place of an error.
Handing = Literal["stored", "unstored", "stale"]
_MARKS: dict[Handing, bytes] = {"stored": b"E", "unstored": b"U", "stale": b"S"}
_HANDINGS = {mark: handing for handing, mark in _MARKS.items()}
_FAILURE = b"F"


class RememberedFailure(UpstreamBadAnswer):
    """The same request failed a moment ago and would fail again; no call was made."""

    def __init__(self, failure: JobFailure) -> None:
        detail, attr, code, extra = _parts(failure)
        super().__init__(detail, attr=attr, code=code, extra=extra)
        self.failure = failure
        self.headers["X-Cache"] = "negative"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer. Times are UNIX seconds; `age_s` and `expires_at` are None for what was not stored.

    `discarded`: this execution paid for an answer that was not allowed to become the entity's summary; a
    newer one was there, or the entity was invalidated meanwhile.
    """

    generation: Generation
    status: CacheStatus
    age_s: float | None = None
    expires_at: float | None = None
    discarded: bool = False

    def facts(self) -> CacheFacts:
        """The same for the answer's metadata."""
        return facts(self.status, age_s=self.age_s, expires_at=self.expires_at)


def facts(status: CacheStatus, *, age_s: float | None, expires_at: float | None) -> CacheFacts:
    age = None if age_s is None else max(0, int(age_s))
    return CacheFacts(status, age, format_time(expires_at))


@dataclass(frozen=True, slots=True)
class Handed:
    """A leader's result as those who waited receive it."""

    entry: Entry
    handing: Handing


def hand_over(entry: Entry, handing: Handing, *, body: bytes | None = None) -> bytes:
    """`body` is the encoded entry, when the caller has it."""
    return _MARKS[handing] + (entries.encode(entry) if body is None else body)


def hand_over_failure(failure: JobFailure) -> bytes:
    return _FAILURE + encode_failure(failure)


def take_over(raw: bytes) -> Handed | JobFailure | None:
    """None when the bytes cannot be read, as after an upgrade of the leader."""
    mark, body = raw[:1], raw[1:]
    if mark == _FAILURE:
        return decode_failure(body)
    try:
        return Handed(entries.decode(body), _HANDINGS[mark])
    except (entries.Undecodable, KeyError):
        return None


def encode_failure(failure: JobFailure) -> bytes:
    return dump_json({"status": failure.status, "body": failure.body, "headers": failure.headers})


def decode_failure(raw: bytes) -> JobFailure | None:
    """None when the bytes are not a failure."""
    try:
        wire = load_json(raw)
    except JsonSyntaxError:
        return None
    match wire:
        case {"status": int(status), "body": dict(body), "headers": dict(headers)}:
            return JobFailure(status, body, headers)
    return None


def error_of(failure: JobFailure) -> TracegistError:
    """The error that a leader failed with, to be raised by those who waited."""
    detail, attr, code, extra = _parts(failure)
    retry_after = failure.headers.get("Retry-After", "")
    kind = _ERRORS.get(failure.status, InternalError)
    retry_after_s = int(retry_after) if retry_after.isdecimal() else None
    return kind(detail, attr=attr, code=code, retry_after_s=retry_after_s, extra=extra)


def _parts(failure: JobFailure) -> tuple[str, str | None, str, dict[str, object]]:
    common = {"type", "code", "detail", "attr"}
    extra = {name: value for name, value in failure.body.items() if name not in common}
    attr = failure.body.get("attr")
    detail = str(failure.body.get("detail", ""))
    return detail, None if attr is None else str(attr), str(failure.body.get("code", "error")), extra
