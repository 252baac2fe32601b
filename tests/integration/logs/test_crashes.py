"""Sudden death, restarts and second owners of an embedded store, each in processes of their own.

TRACEGIST_TEST_LOG_KILLS: how often the inserting process is killed (default 3).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.logs.owner import BATCH_ROWS, command

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("TRACEGIST_TEST_LOG_KILLS", "3"))


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


def verify(folder: Path) -> dict[str, Any]:
    done = run(folder, "verify")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *arguments), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def insert_until_killed(folder: Path, first: int, delay_s: float) -> int:
    """Insert from batch `first` on, kill the process `delay_s` after that one; returns the next batch."""
    process = start(folder, "insert", first, first + 10_000)
    assert process.stdout is not None
    assert process.stdout.readline() == f"stored {first}\n"
    time.sleep(delay_s)
    process.kill()
    last = [line for line in process.stdout.read().splitlines() if line.startswith("stored ")]
    process.wait()
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()
    return int(last[-1].split()[1]) + 1 if last else first + 1


@pytest.mark.timeout(100 + 30 * KILLS)
def test_no_acknowledged_batch_is_lost_and_none_is_doubled_by_kills(tmp_path: Path) -> None:
    following = 0
    for _ in range(KILLS):
        # The batch in whose midst the last process died is sent again, as its client would.
        following = insert_until_killed(tmp_path, following, random.uniform(0.0, 0.3))
    assert run(tmp_path, "insert", following, following + 1).returncode == 0
    # Everything once more: the tokens outlive the processes.
    assert run(tmp_path, "insert", 0, min(following, 10)).returncode == 0

    found = verify(tmp_path)

    stored = (following + 1) * BATCH_ROWS
    assert found["raw"][0] == stored
    assert found["ids"] == stored
    assert found["raw"] == found["rollups"]


def test_a_block_whose_token_is_noted_and_whose_rows_are_lost_is_stored_by_the_retry(tmp_path: Path) -> None:
    assert run(tmp_path, "insert", 0, 3).returncode == 0
    # The engine notes the token first: killed just then, it knows the block and does not have it.
    shutil.rmtree(newest_part(tmp_path))

    assert run(tmp_path, "insert", 2, 3).returncode == 0
    assert run(tmp_path, "insert", 0, 3).returncode == 0
    found = verify(tmp_path)

    assert found["raw"][0] == found["ids"] == 3 * BATCH_ROWS
    assert found["raw"] == found["rollups"]
    assert (found["drifts"], found["mended"]) == (0, 0)


def newest_part(folder: Path) -> Path:
    """Of the records: their parts are named by the week of arrival, and by the blocks that they hold."""
    parts = {part: re.fullmatch(r"\d{8}_\d+_(\d+)_\d+", part.name) for part in folder.glob("store/*/*/*")}
    return max((part for part, found in parts.items() if found), key=lambda part: int(parts[part][1]))  # type: ignore[index]


def test_a_crash_without_a_retry_is_repaired_by_a_rebuild(tmp_path: Path) -> None:
    insert_until_killed(tmp_path, 0, 0.1)

    found = verify(tmp_path)

    assert found["raw"] == found["rollups"]
    assert found["raw"][0] % BATCH_ROWS == 0


def test_a_second_owner_is_told_why_it_cannot_open(tmp_path: Path) -> None:
    holder = start(tmp_path, "hold")
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "open\n"

    second = run(tmp_path, "hold")
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()

    assert second.returncode == 3
    assert second.stdout.startswith("StoreInUse ")
    assert "another process has it open" in second.stdout
    assert str(tmp_path) not in second.stdout
    assert verify(tmp_path)["raw"][0] == 0
