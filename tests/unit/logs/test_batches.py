"""Identity of batches, their pieces, and the ids of their records."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.logs import batches
from workers.logs.batches import Batch, pieces

TIME = 1_767_225_600_123_456


def test_a_batch_is_its_project_and_its_body() -> None:
    tokens = {
        Batch.of(project, body).token(piece)
        for project in (1, 2)
        for body in (b"a", b"b")
        for piece in (0, 1)
    }

    assert len(tokens) == 8
    assert Batch.of(1, b"a") == Batch.of(1, b"a")


def test_ids_have_the_layout_of_uuid_7() -> None:
    found = UUID(int=Batch.of(1, b"a").record_ids([TIME], start=0, total=1)[0])

    assert found.version == 7
    assert found.variant == "specified in RFC 4122"
    assert found.int >> 80 == TIME // 1000


@given(
    times=st.lists(st.integers(TIME, TIME + 3000), min_size=1, max_size=50),
    start=st.integers(0, 60_000),
    rest=st.integers(0, 40_000),
    body=st.binary(),
)
def test_time_and_id_keep_the_order_of_arrival(times: list[int], start: int, rest: int, body: bytes) -> None:
    total = start + len(times) + rest

    ids = Batch.of(1, body).record_ids(times, start=start, total=total)

    by_time = sorted(range(len(times)), key=lambda index: times[index])  # stable
    # As text, and as the store compares: second half first.
    assert sorted(range(len(times)), key=lambda index: (times[index], str(UUID(int=ids[index])))) == by_time
    assert sorted(range(len(times)), key=lambda index: (times[index], ids[index] % (1 << 64))) == by_time
    assert len(set(ids)) == len(ids)


def test_both_orders_agree_between_batches() -> None:
    ids = [Batch.of(1, b"%d" % n).record_ids([TIME] * 3, start=0, total=3)[n % 3] for n in range(300)]

    assert sorted(ids) == sorted(ids, key=lambda number: number % (1 << 64))


def test_ids_do_not_depend_on_the_cut() -> None:
    batch, times = Batch.of(1, b"a"), list(range(TIME, TIME + 10))

    whole = batch.record_ids(times, start=0, total=10)

    assert whole[4:] == batch.record_ids(times[4:], start=4, total=10)


@given(sizes=st.lists(st.integers(0, 40), max_size=60))
def test_pieces_are_the_rows_in_order_within_the_bounds(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "PIECE_ROWS", 7)
        patch.setattr(batches, "PIECE_BYTES", 100)
        rows = list(range(len(sizes)))

        cut = list(pieces(rows, sizes))

    assert [row for _, part in cut for row in part] == rows
    assert all(part[0] == start for start, part in cut)
    assert all(1 <= len(part) <= 7 for _, part in cut)
    assert all(len(part) == 1 or sum(sizes[row] for row in part) <= 100 for _, part in cut)
