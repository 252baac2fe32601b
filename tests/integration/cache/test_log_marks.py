"""Marks of projects' log records, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cache.log_marks import LogMarks
from tests.integration.cache.support import Server


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as opened:
        yield opened


def test_a_mark_stays_while_nothing_changes(client: redis.Redis) -> None:
    marks = LogMarks(client)

    first = marks.settled(1, quiet_s=0)

    assert first is not None
    assert marks.settled(1, quiet_s=0) == first
    assert marks.settled(2, quiet_s=0) != first


def test_a_change_replaces_the_mark_before_it_begins_and_after_it_ends(client: redis.Redis) -> None:
    marks = LogMarks(client)
    before, elsewhere = marks.settled(1, quiet_s=0), marks.settled(2, quiet_s=0)

    with marks.changing(1):
        during = marks.settled(1, quiet_s=0)
    after = marks.settled(1, quiet_s=0)

    assert len({before, during, after}) == 3
    assert marks.settled(2, quiet_s=0) == elsewhere


def test_a_change_that_fails_replaces_the_mark_as_well(client: redis.Redis) -> None:
    marks = LogMarks(client)
    seen = []

    def fail() -> None:
        with marks.changing(1):
            seen.append(marks.settled(1, quiet_s=0))
            raise ValueError

    with pytest.raises(ValueError):
        fail()

    assert marks.settled(1, quiet_s=0) not in seen


def test_a_new_epoch_voids_all_marks(client: redis.Redis) -> None:
    marks = LogMarks(client)
    before = [marks.settled(project, quiet_s=0) for project in (1, 2)]

    marks.new_epoch()

    assert not {marks.settled(project, quiet_s=0) for project in (1, 2)} & set(before)


def test_a_mark_that_is_younger_than_asked_is_not_told(client: redis.Redis) -> None:
    marks = LogMarks(client)
    with marks.changing(1):
        pass

    assert marks.settled(1, quiet_s=60) is None
