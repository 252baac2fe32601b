"""Small uploads of logs: each belongs to one gathering, and a gathering is known until it is stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session, sessionmaker

from storage import log_uploads

Sessions = sessionmaker[Session]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def claim(sessions: Sessions, gathering: str, *digests: bytes, now: datetime = NOW) -> set[bytes]:
    with sessions.begin() as session:
        mine = log_uploads.claim(session, gathering, digests, now=now)
        if mine:
            log_uploads.write_down(session, gathering, gathering.encode(), now=now)
        return mine


def on_their_way(sessions: Sessions, *digests: bytes) -> list[str]:
    with sessions() as session:
        return log_uploads.on_their_way(session, digests)


def test_an_upload_belongs_to_the_first_gathering_that_claims_it(sessions: Sessions) -> None:
    first = claim(sessions, "one", b"a", b"b")
    second = claim(sessions, "two", b"b", b"c")

    assert (first, second) == ({b"a", b"b"}, {b"c"})
    assert on_their_way(sessions, b"b") == ["one"]


def test_of_many_that_claim_at_once_one_gets_it(sessions: Sessions) -> None:
    digests = [b"%d" % number for number in range(8)]

    with ThreadPoolExecutor(6) as threads:
        claims = list(
            threads.map(
                lambda place: claim(sessions, f"g{place}", *(digests if place % 2 else digests[::-1])),
                range(6),
            )
        )

    assert sorted(digest for mine in claims for digest in mine) == digests


def test_a_stored_gathering_is_on_its_way_no_longer_and_its_uploads_stay_known(sessions: Sessions) -> None:
    claim(sessions, "one", b"a")
    with sessions.begin() as session:
        log_uploads.note_stored(session, "one")

    with sessions() as session:
        left = log_uploads.unstored(session)
    assert left == on_their_way(sessions, b"a") == []
    assert claim(sessions, "two", b"a") == set()


def test_the_uploads_of_a_gathering_that_is_given_up_can_be_claimed(sessions: Sessions) -> None:
    claim(sessions, "one", b"a")
    with sessions.begin() as session:
        log_uploads.give_up(session, "one")

    assert claim(sessions, "two", b"a") == {b"a"}
    with sessions() as session:
        assert log_uploads.unstored(session) == ["two"]
        assert log_uploads.content_of(session, "one") is None


def test_old_ones_are_removed(sessions: Sessions) -> None:
    claim(sessions, "old", b"a")
    claim(sessions, "new", b"b", now=NOW + timedelta(hours=1))
    with sessions.begin() as session:
        log_uploads.remove_older_than(session, NOW + timedelta(minutes=1))

    with sessions() as session:
        assert log_uploads.unstored(session) == ["new"]
    assert claim(sessions, "again", b"a", b"b") == {b"a"}
