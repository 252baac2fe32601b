from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import make_url

from storage.folders import new_folder_id
from storage.models import UtcDateTime

SQLITE, POSTGRESQL = make_url("sqlite://").get_dialect()(), make_url("postgresql+psycopg://").get_dialect()()
NOON_IN_INDIA = datetime(2026, 1, 2, 17, 30, 0, 123456, timezone(timedelta(hours=5, minutes=30)))


def test_a_time_is_bound_in_utc_on_both_databases() -> None:
    in_utc = NOON_IN_INDIA.astimezone(UTC)

    on_sqlite = UtcDateTime().process_bind_param(NOON_IN_INDIA, SQLITE)
    on_postgresql = UtcDateTime().process_bind_param(NOON_IN_INDIA, POSTGRESQL)

    assert on_sqlite == in_utc.replace(tzinfo=None)
    assert (on_postgresql, on_postgresql and on_postgresql.tzinfo) == (in_utc, UTC)


def test_a_time_is_read_in_utc_whatever_zone_the_server_answers_in() -> None:
    read = UtcDateTime().process_result_value(NOON_IN_INDIA, POSTGRESQL)

    assert read is not None
    assert read.tzinfo is UTC
    assert read == NOON_IN_INDIA


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), SQLITE)  # noqa: DTZ001


def test_folder_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    before = datetime.now(UTC).timestamp() * 1000 - 1

    made = [new_folder_id() for _ in range(100)]

    assert {(folder_id.version, folder_id.variant) for folder_id in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 100
    assert all((folder_id.int >> 80) >= before for folder_id in made)
