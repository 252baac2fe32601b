"""Answers on their way to the database: none of a large bulk is dropped, none is noted twice."""

from __future__ import annotations

from typing import Any

import pytest

from cache.answered import MAX_BATCH, AnsweredLog
from cache.connection import coordination_client
from jobs.answered import STREAM, AnsweredSummary, read_entry
from tests.integration.cache.support import Server

pytestmark = pytest.mark.anyio


def _answer(number: int) -> AnsweredSummary:
    return AnsweredSummary(
        answer_id=f"{number}",
        project_id=1,
        created_at=0.0,
        summarize_type="trace",
        mode="minimal",
        model="extractive",
        engine="extractive",
        status="hit",
        cached=True,
        latency_ms=0.0,
        text_repr_length=1,
        total_tokens=0,
        cost_usd=0.0,
    )


async def test_many_answers_are_noted_in_several_entries(server: Server) -> None:
    redis = coordination_client(server.url)
    noted = AnsweredLog(redis)
    noted.add_all(_answer(number) for number in range(2 * MAX_BATCH + 7))

    await noted.flush()
    await noted.flush()

    kept: Any = await redis.xrange(STREAM)
    entries = [read_entry(fields[b"entry"]) for _, fields in kept]
    await redis.aclose()
    assert [len(entry) for entry in entries] == [MAX_BATCH, MAX_BATCH, 7]
    assert [answer.answer_id for entry in entries for answer in entry] == [
        f"{number}" for number in range(2 * MAX_BATCH + 7)
    ]
