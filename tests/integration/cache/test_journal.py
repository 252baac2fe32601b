from __future__ import annotations

import pytest
import redis

from cache.connection import FaultCounter, StoreGate, coordination_client
from cache.journal import LIFE_S, StoredJournals
from tests.integration.cache.support import Server

pytestmark = pytest.mark.anyio


def _gate() -> StoreGate:
    return StoreGate(limit_s=2, faults=FaultCounter(skip_s=1))


async def test_journal_keeps_answers_by_attempt_for_an_hour(server: Server) -> None:
    client = coordination_client(server.url)
    await StoredJournals(client, gate=_gate()).open("j").write(2, b"second")
    successor = StoredJournals(client, gate=_gate()).open("j")

    answers = [await successor.read(1), await successor.read(2)]

    await client.aclose()
    with redis.Redis.from_url(server.url) as looking:
        left_s = looking.ttl("j")
    assert answers == [None, b"second"]
    assert left_s == LIFE_S
