"""The tables of the log store and their columns.

Both rollups are sums of signed parts: a repair adds the difference, which may be negative. So a reader
always groups, sums, and leaves out groups whose sum is 0 (`HAVING count > 0`).
"""

from __future__ import annotations

from typing import Final, Literal

Table = Literal["logs", "logs_minute", "logs_attr_keys"]

# How the rollups cut time. toStartOfMinute and its kin end in 2106; records may be as late as 2262.
MINUTE: Final = "toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), 60000000) * 60, 0, 'UTC')"
TEN_MINUTES: Final = "toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), 600000000) * 600, 0, 'UTC')"
# Of a row of the minute rollup. A query uses the projection by hours when it names the hour in these words.
HOUR_OF_MINUTE: Final = "toDateTime64(intDiv(toUnixTimestamp64Second(minute), 3600) * 3600, 0, 'UTC')"

LOGS_COLUMNS: Final = (
    ("project_id", "UInt32", ""),
    ("timestamp", "DateTime64(6, 'UTC')", "CODEC(Delta(8), ZSTD(1))"),
    ("observed_timestamp", "DateTime64(6, 'UTC')", "CODEC(Delta(8), ZSTD(1))"),
    ("uuid", "UUID", "CODEC(ZSTD(1))"),
    ("service_name", "LowCardinality(String)", ""),
    ("severity_text", "LowCardinality(String)", ""),
    ("severity_number", "UInt8", ""),
    ("body", "String", "CODEC(ZSTD(1))"),
    ("trace_id", "String", "CODEC(ZSTD(1))"),  # 32 upper-case hex digits, zeros when absent
    ("span_id", "String", "CODEC(ZSTD(1))"),  # 16 likewise
    ("trace_flags", "UInt8", ""),
    ("instrumentation_scope", "LowCardinality(String)", ""),
    ("event_name", "LowCardinality(String)", ""),
    ("attributes", "Map(LowCardinality(String), String)", "CODEC(ZSTD(1))"),
    ("resource_attributes", "Map(LowCardinality(String), String)", "CODEC(ZSTD(1))"),
    ("resource_fingerprint", "UInt64", "CODEC(ZSTD(1))"),
    ("bytes", "UInt32", "CODEC(ZSTD(1))"),
)
LOGS_INDEXES: Final = (
    "body3 lowerUTF8(body) TYPE ngrambf_v1(3, 25000, 2, 0) GRANULARITY 1",
    "trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1",
    "observed observed_timestamp TYPE minmax GRANULARITY 1",
    "akeys mapKeys(attributes) TYPE bloom_filter(0.01) GRANULARITY 1",
    "avals mapValues(attributes) TYPE bloom_filter(0.01) GRANULARITY 1",
)
MINUTE_COLUMNS: Final = (
    ("project_id", "UInt32", ""),
    ("minute", "DateTime64(0, 'UTC')", "CODEC(Delta(8), ZSTD(1))"),
    ("service_name", "LowCardinality(String)", ""),
    ("severity_text", "LowCardinality(String)", ""),
    ("count", "SimpleAggregateFunction(sum, Int64)", ""),
    ("bytes", "SimpleAggregateFunction(sum, Int64)", ""),
)
ATTR_KEYS_COLUMNS: Final = (
    ("project_id", "UInt32", ""),
    ("attribute_type", "LowCardinality(String)", ""),  # "log" or "resource"
    ("bucket", "DateTime64(0, 'UTC')", "CODEC(Delta(8), ZSTD(1))"),  # 10 minutes
    ("attribute_key", "LowCardinality(String)", ""),
    ("service_name", "LowCardinality(String)", ""),
    ("severity_text", "LowCardinality(String)", ""),
    ("count", "SimpleAggregateFunction(sum, Int64)", ""),
)

MINUTE_SELECT: Final = (
    f"SELECT project_id, {MINUTE} AS minute, service_name, severity_text,"
    " toInt64(count()) AS count, toInt64(sum(bytes)) AS bytes"
    " FROM {source} GROUP BY project_id, minute, service_name, severity_text"
)
HOURS_SELECT: Final = (
    f"SELECT project_id, {HOUR_OF_MINUTE}, service_name, severity_text, sum(count), sum(bytes)"
    f" GROUP BY project_id, {HOUR_OF_MINUTE}, service_name, severity_text"
)
ATTR_KEYS_SELECT: Final = (
    "SELECT project_id, '{kind}' AS attribute_type, "
    f"{TEN_MINUTES} AS bucket,"
    " arrayJoin(mapKeys({map})) AS attribute_key, service_name, severity_text, toInt64(count()) AS count"
    " FROM {source} GROUP BY project_id, attribute_type, bucket, attribute_key, service_name, severity_text"
)
