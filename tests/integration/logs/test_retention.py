"""Old records go by the week in which they arrived, whatever time they tell; the rollups go along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.logs.rows import at, counts, read, rows
from workers.logs.batches import Batch
from workers.logs.instants import micros_of
from workers.logs.statement import Statement
from workers.logs.store import LogStore
from workers.logs.upkeep import RollupCare

MONDAY = datetime(2020, 3, 2, tzinfo=UTC)  # long before anything that other tests insert
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


def insert(store: LogStore, project: int, count: int, *, arrived: datetime) -> None:
    """Records of the same times, that arrived at another."""
    then = LogStore(store._engine, clock=lambda: micros_of(arrived), checkpoint_margin_s=0)
    then.insert(project, Batch.of(project, repr(arrived).encode()), rows(count))


def stored(store: LogStore, project: int) -> object:
    return read(store, project, Statement("logs", "count()"))[0][0]


def test_weeks_that_were_over_are_removed_from_records_and_rollups(store: LogStore, project: int) -> None:
    insert(store, project, 700, arrived=MONDAY + 3 * HOUR)
    insert(store, project, 500, arrived=MONDAY + WEEK - HOUR)
    insert(store, project, 300, arrived=MONDAY + WEEK)

    removed = store.remove_observed_before(MONDAY + WEEK + HOUR, settle_s=0)

    raw, rolled_up = counts(store, project)
    assert "2020-03-02" in removed
    assert raw == rolled_up
    assert stored(store, project) == 300
    assert store.check_rollups(project, at(0), at(86_400)) == []


def test_a_week_that_is_not_over_stays_whole(store: LogStore, project: int) -> None:
    insert(store, project, 100, arrived=MONDAY + 2 * WEEK)

    removed = store.remove_observed_before(MONDAY + 3 * WEEK - HOUR, settle_s=0)

    assert "2020-03-16" not in removed
    assert stored(store, project) == 100


def test_a_removal_that_broke_off_is_finished_by_the_next(
    store: LogStore, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(store, project, 700, arrived=MONDAY + 4 * WEEK)
    whole = RollupCare.leave_out

    def break_off(care: RollupCare, before: int, *, settle_s: float) -> None:
        whole(care, before, settle_s=settle_s)
        raise KeyboardInterrupt

    monkeypatch.setattr(RollupCare, "leave_out", break_off)
    with pytest.raises(KeyboardInterrupt):
        store.remove_observed_before(MONDAY + 5 * WEEK, settle_s=0)
    monkeypatch.undo()
    halfway = stored(store, project)

    store.remove_observed_before(MONDAY + 5 * WEEK, settle_s=0)

    assert (halfway, stored(store, project)) == (700, 0)
    assert counts(store, project) == ((0, 0, 0, 0), (0, 0, 0, 0))


def test_records_of_old_times_that_came_late_live_on(store: LogStore, project: int) -> None:
    insert(store, project, 100, arrived=MONDAY + 7 * WEEK)  # their own times do not matter

    store.remove_observed_before(MONDAY + 6 * WEEK, settle_s=0)

    assert stored(store, project) == 100
