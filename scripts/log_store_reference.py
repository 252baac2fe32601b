"""Write `docs/reference/log-store.md` from the tables' definition; `--check` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from workers.logs.migrations import MIGRATIONS, Target, versions_ddl

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "log-store.md"
CLUSTER = Target("logs_cluster", "default")

HEAD = """\
# Tables of the log store

The logs worker makes these tables itself when it starts, by numbered migrations that may be repeated; its
user must be allowed to. This page is made from `workers/logs/migrations.py` by
`python scripts/log_store_reference.py`."""

ONE_NODE = """\
## One node

The embedded chDB, and a ClickHouse server (`CLICKHOUSE_URL`)."""

ON_CLUSTER = """\
## Cluster

With `TRACEGIST_CLICKHOUSE_CLUSTER`, here `logs_cluster`: the name of the cluster in the servers'
`remote_servers`. They need ClickHouse Keeper and the macros `{shard}` and `{replica}`.

- Each table is replicated in its shard (`..._local`) under a `Distributed` one; views stay in their shard.
- The token of a block picks its shard (`insert_shard_id`, in the foreground), so that a repeated block meets
  its first copy. For reads after writes on replicas set `insert_quorum = 'auto'` in the user's settings
  profile.
- A second wall between projects: row policies on `project_id` for users who read the tables themselves."""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, ONE_NODE, _ddl(Target()), ON_CLUSTER, _ddl(CLUSTER)]
    return "\n\n".join(parts) + "\n"


def _ddl(target: Target) -> str:
    statements = [
        versions_ddl(target),
        *(text for migration in MIGRATIONS for text in migration.statements(target)),
    ]
    return "```sql\n" + ";\n\n".join(map(_formatted, statements)) + ";\n```"


def _formatted(statement: str) -> str:
    """Columns and clauses on lines of their own."""
    text = re.sub(
        r" (ENGINE|PARTITION BY|ORDER BY|SETTINGS|TO|AS SELECT|FROM|GROUP BY) ", r"\n\1 ", statement
    )
    head, opened, rest = text.partition(" (project_id UInt32, ")
    if not opened:
        return text
    columns, _, tail = rest.partition(")\nENGINE")
    parts = re.split(r", (?=(?:[a-z_]+ [A-Z]|INDEX ))", f"project_id UInt32, {columns}")
    return f"{head} (\n  " + ",\n  ".join(parts) + f"\n)\nENGINE{tail}"


if __name__ == "__main__":
    page = reference()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page else f"{PAGE} is out of date")
    PAGE.write_text(page, encoding="utf-8")
