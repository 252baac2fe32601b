from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session, sessionmaker

from jobs.records import new_job_id
from storage import idempotency
from storage.idempotency import KEPT, Answer, Use
from storage.models import IdempotencyKey

Sessions = sessionmaker[Session]

NOW = datetime(2025, 11, 3, 9, 30, tzinfo=UTC)


def _use(key: str = "k", *, at: datetime = NOW, body: str = "b" * 64, user_id: int = 1) -> Use:
    found = idempotency.id_of(project_id=1, user_id=user_id, path="x/", key=key)
    return Use(found, 1, body, new_job_id(), at)


def _claim(sessions: Sessions, use: Use) -> IdempotencyKey | None:
    with sessions.begin() as session:
        return idempotency.claim(session, use)


def _remember(sessions: Sessions, use: Use, answer: Answer) -> None:
    with sessions.begin() as session:
        idempotency.remember(session, use, answer)


def test_first_use_is_kept_and_the_second_finds_it(sessions: Sessions) -> None:
    first, second = _use(), _use(body="c" * 64)

    assert _claim(sessions, first) is None
    known = _claim(sessions, second)

    assert known is not None
    assert (known.job_id, known.body_digest, known.status) == (first.job_id, first.body_digest, None)


def test_answer_is_found_by_later_uses(sessions: Sessions) -> None:
    first = _use()
    _claim(sessions, first)
    _remember(sessions, first, Answer(201, {"location": "x"}, has_job=False, sealed="sealed"))

    known = _claim(sessions, _use())

    assert known is not None
    assert (known.status, known.headers, known.has_job, known.sealed) == (
        201,
        {"location": "x"},
        False,
        "sealed",
    )


def test_users_and_keys_are_apart(sessions: Sessions) -> None:
    uses = [_use("a"), _use("b"), _use("a", user_id=2)]

    assert [_claim(sessions, use) for use in uses] == [None, None, None]


def test_one_of_many_at_once_is_the_first(sessions: Sessions) -> None:
    uses = [_use() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        known = list(pool.map(lambda use: _claim(sessions, use), uses))

    assert known.count(None) == 1
    assert {row.job_id for row in known if row} == {uses[known.index(None)].job_id}


def test_released_use_is_forgotten(sessions: Sessions) -> None:
    first = _use()
    _claim(sessions, first)
    with sessions.begin() as session:
        idempotency.release(session, first)

    assert _claim(sessions, _use()) is None


def test_key_is_forgotten_after_a_day(sessions: Sessions) -> None:
    first = _use()
    _claim(sessions, first)
    _remember(sessions, first, Answer(200, {}, has_job=True))

    just_before = _claim(sessions, _use(at=NOW + KEPT))
    after = replace(_use(at=NOW + KEPT + timedelta(seconds=1)), body_digest="d" * 64)
    taken = _claim(sessions, after)
    again = _claim(sessions, _use(at=NOW + KEPT + timedelta(seconds=2)))

    assert just_before is not None
    assert taken is None
    assert again is not None
    assert (again.body_digest, again.status, again.has_job) == ("d" * 64, None, False)


def test_abandoned_use_is_taken_over_by_one(sessions: Sessions) -> None:
    _claim(sessions, _use())
    known = _claim(sessions, _use())
    assert known is not None

    def take(use: Use) -> bool:
        with sessions.begin() as session:
            return idempotency.take_over(session, use, instead_of=known)

    assert [take(_use()) for _ in range(3)] == [True, False, False]


def test_late_answer_of_an_abandoned_use_changes_nothing(sessions: Sessions) -> None:
    slow = _use()
    _claim(sessions, slow)
    known = _claim(sessions, _use())
    assert known is not None
    with sessions.begin() as session:
        idempotency.take_over(session, _use(), instead_of=known)
    _remember(sessions, slow, Answer(200, {}, has_job=True))

    later = _claim(sessions, _use())

    assert later is not None
    assert later.status is None


def test_old_keys_are_removed(sessions: Sessions) -> None:
    _claim(sessions, _use("old", at=NOW - timedelta(days=2)))
    _claim(sessions, _use("new"))
    with sessions.begin() as session:
        removed = idempotency.remove_older_than(session, NOW - KEPT)

    assert removed == 1
    assert _claim(sessions, _use("new")) is not None
