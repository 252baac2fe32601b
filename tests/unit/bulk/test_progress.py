"""The progress of a bulk job adds up, whatever moments its parts are of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.bulk_progress import BulkCounters, bulk_progress


@given(st.integers(1, 50), st.integers(0, 50), st.integers(-5, 80), st.booleans())
def test_total_is_always_queued_and_running_and_done(
    total: int, done: int, in_hand: int, ended: bool
) -> None:
    done = min(done, total)
    counters = BulkCounters(total, done=done, succeeded=done).to_json()

    shown = bulk_progress(counters, in_hand=in_hand, ended=ended)

    assert shown["total"] == shown["queued"] + shown["running"] + shown["done"]
    assert shown["done"] == shown["succeeded"] + shown["failed"] + shown["canceled"]
    assert min(shown["queued"], shown["running"]) >= 0


def test_what_is_left_at_the_end_was_canceled() -> None:
    counters = BulkCounters(10, done=4, succeeded=3, failed=1).to_json()

    shown = bulk_progress(counters, in_hand=2, ended=True)

    assert (shown["done"], shown["canceled"], shown["running"]) == (10, 6, 0)


def test_cost_without_a_price_is_not_guessed() -> None:
    assert bulk_progress(BulkCounters(1, cost_usd=None).to_json(), in_hand=0, ended=False)["cost_usd"] is None
