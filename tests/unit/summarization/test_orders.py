"""How long the provider is waited for."""

from __future__ import annotations

import pytest

from jobs.summarization_request import parse_summarization
from workers.orders import Order, patience_s

BODY = {"summarize_type": "event", "data": {"event": {"id": "e"}}}
REQUEST = parse_summarization(BODY, default_model="m", models=())


def _order(*, wait_s: float | None) -> Order:
    return Order(REQUEST, 100, 1, "job", 1000.0, None, lambda: None, wait_s=wait_s)


def test_the_deadline_holds_when_nobody_waits_for_a_stand_in() -> None:
    assert patience_s(_order(wait_s=None), 120, now=1030.0) == 120


@pytest.mark.parametrize(
    ("wait_s", "now", "left_s"),
    [(60, 1000.0, 58), (60, 1030.0, 28), (4, 1000.0, 3), (60, 1090.0, 0), (300, 1000.0, 120)],
)
def test_a_stand_in_is_made_while_its_caller_waits(wait_s: float, now: float, left_s: float) -> None:
    assert patience_s(_order(wait_s=wait_s), 120, now=now) == left_s
