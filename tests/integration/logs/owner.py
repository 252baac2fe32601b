"""A process of its own that opens an embedded store, for the tests of crashes, restarts and second owners.

python -m tests.integration.logs.owner FOLDER insert FROM TO   prints "stored N" after each batch
python -m tests.integration.logs.owner FOLDER verify TO        prints the counts as JSON
python -m tests.integration.logs.owner FOLDER hold             prints "open", waits for its input to end
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from jobs.errors import TracegistError
from tests.integration.logs.rows import at, counts, read, rows
from workers.logs.batches import Batch
from workers.logs.statement import Statement
from workers.logs.store import LogStore

PROJECT = 7
BATCH_ROWS = 2000


def main(folder: str, command: str, *numbers: str) -> None:
    try:
        store = LogStore.open(f"chdb://{folder}")
    except TracegistError as error:
        print(type(error).__name__, error.detail, flush=True)
        sys.exit(3)
    store.migrate()
    if command == "insert":
        _insert(store, *(int(number) for number in numbers))
    elif command == "verify":
        print(json.dumps(_verify(store)), flush=True)
    else:
        print("open", flush=True)
        sys.stdin.read()
    store.close()


def _insert(store: LogStore, first: int, last: int) -> None:
    records = rows(BATCH_ROWS)
    for number in range(first, last):
        store.insert(PROJECT, Batch.of(PROJECT, b"%d" % number), records)
        print("stored", number, flush=True)


def _verify(store: LogStore) -> dict[str, object]:
    drifts = store.check_rollups(PROJECT, at(0), at(86_400))
    mended = store.rebuild_rollup(PROJECT, at(0), at(86_400))
    raw, rollups = counts(store, PROJECT)
    ids = read(store, PROJECT, Statement("logs", "uniqExact(uuid)"))
    return {"raw": raw, "rollups": rollups, "ids": ids[0][0], "drifts": len(drifts), "mended": mended}


def command(folder: object, *arguments: object) -> Sequence[str]:
    module = "tests.integration.logs.owner"
    return [sys.executable, "-m", module, str(folder), *(str(argument) for argument in arguments)]


if __name__ == "__main__":
    main(*sys.argv[1:])
