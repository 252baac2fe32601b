"""The log stores that all tests of this folder share."""

from tests.fakes.log_stores import clickhouse, embedded_store, project, served_store, store

__all__ = ["clickhouse", "embedded_store", "project", "served_store", "store"]
