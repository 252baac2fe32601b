"""The DDL for one node and for a cluster."""

from __future__ import annotations

from workers.logs.migrations import MIGRATIONS, Target, versions_ddl

CLUSTER = Target("the'cluster", "logs_db")


def statements(target: Target) -> list[str]:
    return [text for migration in MIGRATIONS for text in migration.statements(target)]


def test_numbers_grow() -> None:
    numbers = [migration.number for migration in MIGRATIONS]

    assert numbers == sorted(set(numbers))


def test_every_statement_may_be_repeated() -> None:
    repeatable = (" IF NOT EXISTS ", " MODIFY SETTING ", " MATERIALIZE PROJECTION IF EXISTS ")
    for target in (Target(), CLUSTER):
        assert all(
            any(form in text for form in repeatable) for text in [*statements(target), versions_ddl(target)]
        )


def test_one_node_has_plain_engines_and_remembers_tokens() -> None:
    found = statements(Target())

    assert not any("Replicated" in text or "ON CLUSTER" in text or "_local" in text for text in found)
    tables = [text for text in found if text.startswith("CREATE TABLE")]
    assert len(tables) == 3
    assert all(text.endswith("SETTINGS non_replicated_deduplication_window = 100000") for text in tables)


def test_a_cluster_has_replicated_tables_and_a_distributed_one_over_each() -> None:
    found = statements(CLUSTER)

    assert all(" ON CLUSTER 'the\\'cluster'" in text for text in [*found, versions_ddl(CLUSTER)])
    logs, over_logs = found[:2]
    assert logs.startswith("CREATE TABLE IF NOT EXISTS logs_local ON CLUSTER")
    assert "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/logs', '{replica}')" in logs
    assert "replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 86400" in logs
    assert over_logs == (
        "CREATE TABLE IF NOT EXISTS logs ON CLUSTER 'the\\'cluster' AS logs_local"
        " ENGINE = Distributed('the\\'cluster', 'logs_db', logs_local)"
    )
    assert sum("ENGINE = ReplicatedAggregatingMergeTree(" in text for text in found) == 2


def test_views_on_a_cluster_stay_in_their_shard() -> None:
    views = [text for text in statements(CLUSTER) if text.startswith("CREATE MATERIALIZED VIEW")]

    assert len(views) == 3
    assert all("FROM logs_local GROUP BY" in text for text in views)
    assert all(" TO logs_minute_local " in text or " TO logs_attr_keys_local " in text for text in views)


def test_hours_are_kept_in_each_shard_and_made_of_what_is_there() -> None:
    changes = [text for text in statements(CLUSTER) if text.startswith("ALTER TABLE")]

    assert all(text.startswith("ALTER TABLE logs_minute_local ON CLUSTER") for text in changes)
    assert changes[-1].endswith(" MATERIALIZE PROJECTION IF EXISTS hours")


def test_versions_are_one_table_for_all_shards() -> None:
    assert "ReplicatedMergeTree('/clickhouse/tables/logs_migrations', '{replica}')" in versions_ddl(CLUSTER)
