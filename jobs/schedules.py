"""What a schedule is made of, and the checks of its fields in the order in which their errors are reported.

When it is due is `jobs/due_times.py`; storing it is `storage/schedules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from jobs.due_times import MAX_INTERVAL_S, MIN_INTERVAL_S, BadCron, Timing, check_cron, zone_names
from jobs.errors import ValidationFailed
from jobs.fields import SURROGATE, Fields
from jobs.kinds import LOGS_SPARKLINE, JobKind
from jobs.log_payloads import question
from jobs.logs import parse_sparkline
from jobs.packing import pack
from jobs.records import JobRecord, new_id, new_job_id

MAX_NAME: Final = 100
MAX_CRON: Final = 256
MAX_ZONE: Final = 64
FAILURES_UNTIL_PAUSED: Final = 5
SOURCE: Final = "schedule"


@dataclass(frozen=True, slots=True)
class Schedulable:
    """A kind that can be scheduled.

    `check` is that of a call's body; `payload` makes of it what the worker gets. Both as asked at a time.
    """

    kind: JobKind
    check: Callable[[object, datetime], object]
    payload: Callable[[object, datetime], bytes]


def _check_sparkline(request: object, now: datetime) -> object:
    return parse_sparkline(request, now=now, timezone=UTC)


def _sparkline_payload(request: object, now: datetime) -> bytes:
    # Fresh: what a run stores must not be made of what an earlier one stored.
    return pack(question(request, now=now, options={"fresh": True}))


SCHEDULABLE: Final = {LOGS_SPARKLINE.name: Schedulable(LOGS_SPARKLINE, _check_sparkline, _sparkline_payload)}


@dataclass(frozen=True, slots=True)
class ScheduleFields:
    """The fields of a schedule that its owner sets, checked."""

    name: str
    kind: str
    request: dict[str, Any]
    timing: Timing
    enabled: bool = True


def new_schedule_id() -> str:
    return new_id("sch_")


def kind_of(body: Mapping[str, object]) -> JobKind | None:
    """The kind that the body names, when there is such a one: its scopes are checked before any field."""
    named = body.get("kind")
    return SCHEDULABLE[named].kind if isinstance(named, str) and named in SCHEDULABLE else None


def run_record(
    kind: JobKind, schedule_id: str, *, project_id: int, user_id: int, now: datetime, result_ttl_s: float
) -> JobRecord:
    """A new run of a schedule, whose row is written before its message is sent."""
    created_at = now.timestamp()
    return JobRecord(
        id=new_job_id(),
        project_id=project_id,
        user_id=user_id,
        kind=kind.name,
        queue=kind.queue,
        created_at=created_at,
        source=SOURCE,
        schedule_id=schedule_id,
        expires_at=created_at + result_ttl_s,
        max_attempts=kind.max_attempts,
        promised=True,
        request_id=schedule_id,
    )


def parse_schedule(body: Mapping[str, object], *, now: datetime) -> ScheduleFields:
    """The fields of a new schedule.

    Raises:
        ValidationFailed: with the first field that is not acceptable.
    """
    fields = Fields(body)
    name = _name(fields)
    kind = fields.choice("kind", SCHEDULABLE)
    return ScheduleFields(
        name=name,
        kind=kind,
        request=_request(fields, kind, now=now),
        timing=_timing(fields, Timing(), now=now),
        enabled=bool(fields.flag("enabled", True)),
    )


def parse_change(body: Mapping[str, object], present: ScheduleFields, *, now: datetime) -> ScheduleFields:
    """The fields of a schedule after a change that names some of them.

    Naming one of `interval_seconds` and `cron` takes the place of the other.

    Raises:
        ValidationFailed: with the first field that is not acceptable.
    """
    fields = Fields(body)
    changed = present
    if "name" in body:
        changed = replace(changed, name=_name(fields))
    if "kind" in body:
        changed = replace(changed, kind=fields.choice("kind", SCHEDULABLE))
    if "request" in body or changed.kind != present.kind:
        changed = replace(changed, request=_request(fields, changed.kind, now=now))
    if {"interval_seconds", "cron", "timezone"} & body.keys():
        changed = replace(changed, timing=_timing(fields, present.timing, now=now))
    return replace(changed, enabled=bool(fields.flag("enabled", present.enabled)))


def _name(fields: Fields) -> str:
    if "name" not in fields.source:
        raise fields.fail("name", "required", "This field is required.")
    name = fields.text("name", default=None, max_length=MAX_NAME)
    if not name:
        raise fields.fail("name", "blank", "This field may not be blank.")
    return name


def _request(fields: Fields, kind: str, *, now: datetime) -> dict[str, Any]:
    request = fields.obj("request")
    if (found := _unstorable(request)) is not None:
        raise fields.fail(f"request{found[0]}", found[1], "This text cannot be stored.")
    try:
        SCHEDULABLE[kind].check(request, now)
    except ValidationFailed as error:
        attr = "request" if error.attr is None else f"request__{error.attr}"
        raise ValidationFailed(error.detail, attr=attr, code=error.code) from None
    return request


def _timing(fields: Fields, present: Timing, *, now: datetime) -> Timing:
    """The timing that the named members make of the present one; an explicit null counts as not named."""
    given = fields.source
    interval = _interval(fields) if given.get("interval_seconds") is not None else None
    cron = _cron(fields, now=now) if given.get("cron") is not None else None
    zone = _zone(fields, present.timezone)
    if interval is not None and cron is not None:
        raise fields.fail("cron", "invalid_input", "Give interval_seconds or cron, not both.")
    if interval is None and cron is None:
        interval = None if "interval_seconds" in given else present.interval_seconds
        cron = None if "cron" in given else present.cron
    if interval is None and cron is None:
        raise fields.fail("interval_seconds", "required", "Give interval_seconds or cron.")
    return Timing(interval_seconds=interval, cron=cron, timezone=zone)


def _interval(fields: Fields) -> int | None:
    seconds = fields.natural("interval_seconds", None) or 0
    if seconds < MIN_INTERVAL_S:
        detail = f"Ensure this value is greater than or equal to {MIN_INTERVAL_S}."
        raise fields.fail("interval_seconds", "min_value", detail)
    if seconds > MAX_INTERVAL_S:
        detail = f"Ensure this value is less than or equal to {MAX_INTERVAL_S}."
        raise fields.fail("interval_seconds", "max_value", detail)
    return seconds


def _cron(fields: Fields, *, now: datetime) -> str:
    cron = fields.text("cron", default="", max_length=MAX_CRON) or ""
    if not cron:
        raise fields.fail("cron", "blank", "This field may not be blank.")
    try:
        return check_cron(cron, now=now)
    except BadCron as error:
        raise fields.fail("cron", "invalid_input", str(error)) from None


def _zone(fields: Fields, default: str) -> str:
    zone = fields.text("timezone", default=default, max_length=MAX_ZONE) or ""
    if not zone:
        raise fields.fail("timezone", "blank", "This field may not be blank.")
    if zone not in zone_names():
        raise fields.fail("timezone", "invalid_choice", "An IANA name such as Europe/Berlin is required.")
    return zone


def _unstorable(request: Mapping[str, object]) -> tuple[str, str] | None:
    """Where a text of the request holds what a database refuses (as `__name__0`), and the error's code."""
    left: list[tuple[str, object]] = [("", request)]
    while left:
        attr, value = left.pop()
        if isinstance(value, dict):
            for name, item in value.items():
                left += [(attr, name), (f"{attr}__{name}" if name.isidentifier() else attr, item)]
        elif isinstance(value, list):
            left += [(f"{attr}__{place}", item) for place, item in enumerate(value)]
        elif isinstance(value, str) and "\0" in value:
            return attr, "null_characters_not_allowed"
        elif isinstance(value, str) and SURROGATE.search(value):
            return attr, "surrogate_characters_not_allowed"
    return None
