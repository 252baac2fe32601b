"""Turns of log queries, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cache.log_turns import LogTurns, turns_key
from tests.integration.cache.support import Server


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as opened:
        yield opened


def test_limit_holds_for_each_project_over_all_processes(client: redis.Redis) -> None:
    one, other = (LogTurns(client, limit=2, lease_s=30) for _ in range(2))

    first, second = one.take(1, patience_s=0), other.take(1, patience_s=0)
    third, elsewhere = one.take(1, patience_s=0.1), other.take(2, patience_s=0)

    assert first
    assert second
    assert third is None
    assert elsewhere


def test_turn_is_free_again_once_it_is_given_back(client: redis.Redis) -> None:
    turns = LogTurns(client, limit=1, lease_s=30)
    turn = turns.take(1, patience_s=0)
    assert turn

    turns.give_back(1, turn)

    assert turns.take(1, patience_s=0)


def test_refused_turn_does_not_end_those_of_others(client: redis.Redis) -> None:
    turns = LogTurns(client, limit=1, lease_s=30)
    turns.take(1, patience_s=0)

    assert turns.take(1, patience_s=0) is None
    assert turns.take(1, patience_s=0) is None


def test_turn_of_a_dead_worker_runs_out(client: redis.Redis) -> None:
    client.zadd(turns_key(1), {"of-a-dead-worker": 1.0})

    assert LogTurns(client, limit=1, lease_s=30).take(1, patience_s=0)
