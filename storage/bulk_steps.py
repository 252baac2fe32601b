"""Steps of a bulk job: items are finished, or the job ends, and the counters change in the same transaction.

An item is finished once: whoever comes later with the same item changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Row, Table, bindparam, exists, or_, select, update
from sqlalchemy.orm import Session

from jobs.bulk import CANCELED_STATUS
from jobs.bulk_progress import BulkCounters
from storage.models import BulkItem, BulkJob, JobRow

_COUNTED: Final = ("done", "succeeded", "failed", "canceled", "cached", "duplicates", "llm_calls", "tokens")
_JOBS: Final = cast("Table", BulkJob.__table__)
_ITEMS: Final = cast("Table", BulkItem.__table__)
_JOB_ROWS: Final = cast("Table", JobRow.__table__)

# The statements of a step, made once: a step is short, and making them takes as long as running them.
_TAKE_STEP: Final = (
    update(_JOBS)
    .where(_JOBS.c.job_id == bindparam("job"), _JOBS.c.ended.is_(False))
    .values(revision=_JOBS.c.revision + 1)
    .returning(_JOBS.c.revision)
)
_UNFINISHED_AMONG: Final = select(_ITEMS.c.position).where(
    _ITEMS.c.job_id == bindparam("job"),
    _ITEMS.c.position.in_(bindparam("some", expanding=True)),
    _ITEMS.c.status.is_(None),
)
_WRITE_ROW: Final = (
    update(_ITEMS)
    .where(_ITEMS.c.job_id == bindparam("job"), _ITEMS.c.position == bindparam("at"))
    .values(status=bindparam("ended_as"), outcome=bindparam("row"), revision=bindparam("step"))
)
# What succeeded is not asked again, so the customer's data goes; unless an equal item has failed. Equal items
# are in one chunk, which has an index: else every item would be compared with all of the job.
_EQUAL: Final = _ITEMS.alias("equal")
_DROP_CONTENTS: Final = (
    update(_ITEMS)
    .where(
        _ITEMS.c.job_id == bindparam("job"),
        _ITEMS.c.position.in_(bindparam("some", expanding=True)),
        ~exists().where(
            _EQUAL.c.job_id == _ITEMS.c.job_id,
            _EQUAL.c.chunk == _ITEMS.c.chunk,
            _EQUAL.c.leader == _ITEMS.c.position,
            or_(_EQUAL.c.status.is_(None), _EQUAL.c.status >= 400),
        ),
    )
    .values(content=None)
)
_COUNT: Final = (
    update(_JOBS)
    .where(_JOBS.c.job_id == bindparam("job"))
    .values({name: _JOBS.c[name] + bindparam(f"more_{name}") for name in (*_COUNTED, "cost_usd", "unpriced")})
    .returning(*_JOBS.c)
)
_SHOW: Final = (
    update(_JOB_ROWS)
    .where(_JOB_ROWS.c.id == bindparam("job"))
    .values(progress=bindparam("shown"), partial_failure=bindparam("any_failed"))
)


@dataclass(frozen=True, slots=True)
class FinishedItem:
    """`cost_usd` None: something was paid for a model without a price. `outcome` is packed."""

    position: int
    status: int
    outcome: bytes
    cached: bool = False
    duplicate: bool = False
    llm_calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """The counters after a step, and its number."""

    counters: BulkCounters
    revision: int


def finish(session: Session, job_id: str, items: Sequence[FinishedItem]) -> Step | None:
    """Write these rows, those that are not there yet. None when the job has ended: nothing is written."""
    revision = session.execute(_TAKE_STEP, {"job": job_id}).scalar()
    if revision is None:
        return None
    fresh = _unfinished_among(session, job_id, items)
    if fresh:
        _write_rows(session, job_id, fresh, revision)
    return _publish(session, job_id, _counted(session, job_id, fresh))


def end(session: Session, job_id: str) -> Step | None:
    """No row is written any more: what is left was canceled. None when there is no such job."""
    left = BulkJob.total - BulkJob.done
    session.execute(
        update(BulkJob)
        .where(BulkJob.job_id == job_id, BulkJob.ended.is_(False))
        .values(
            ended=True, revision=BulkJob.revision + 1, canceled=BulkJob.canceled + left, done=BulkJob.total
        )
    )
    step = state_of(session, job_id)
    return None if step is None else _publish(session, job_id, step)


def state_of(session: Session, job_id: str) -> Step | None:
    row = session.get(BulkJob, job_id, populate_existing=True)
    return None if row is None else _step(row)


def _unfinished_among(session: Session, job_id: str, items: Sequence[FinishedItem]) -> list[FinishedItem]:
    wanted = {item.position: item for item in items}
    found = session.execute(_UNFINISHED_AMONG, {"job": job_id, "some": list(wanted)})
    return [wanted[position] for position in found.scalars()]


def _write_rows(session: Session, job_id: str, items: Sequence[FinishedItem], revision: int) -> None:
    common = {"job": job_id, "step": revision}
    session.connection().execute(
        _WRITE_ROW,
        [{**common, "at": item.position, "ended_as": item.status, "row": item.outcome} for item in items],
    )
    done = [item.position for item in items if item.status < 400 and not item.duplicate]
    if done:
        session.execute(_DROP_CONTENTS, {"job": job_id, "some": done})


def _counted(session: Session, job_id: str, items: Sequence[FinishedItem]) -> Step:
    """The counters with these items."""
    added = {
        "done": len(items),
        "succeeded": sum(item.status < 400 for item in items),
        "failed": sum(item.status >= 400 and item.status != CANCELED_STATUS for item in items),
        "canceled": sum(item.status == CANCELED_STATUS for item in items),
        "cached": sum(item.cached for item in items),
        "duplicates": sum(item.duplicate for item in items),
        "llm_calls": sum(item.llm_calls for item in items),
        "tokens": sum(item.tokens for item in items),
        "cost_usd": sum(item.cost_usd or 0.0 for item in items),
        "unpriced": sum(item.cost_usd is None for item in items),
    }
    more = {f"more_{name}": value for name, value in added.items()}
    return _step(session.execute(_COUNT, {"job": job_id, **more}).one())


def _publish(session: Session, job_id: str, step: Step) -> Step:
    """The counters also go to the job's row for those who list it."""
    shown = {"shown": step.counters.to_json(), "any_failed": step.counters.failed > 0}
    session.execute(_SHOW, {"job": job_id, **shown})
    return step


def _step(row: BulkJob | Row[Any]) -> Step:
    counters = {name: getattr(row, name) for name in _COUNTED}
    cost = None if row.unpriced else row.cost_usd
    return Step(BulkCounters(total=row.total, cost_usd=cost, **counters), row.revision)
