"""Stored secrets need a key: `tracegist up` makes one for its folder, everything else has to be given one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.secrets import KEY_FILE
from tests.integration.cache.support import Server
from tests.launcher.conftest import Start
from tests.launcher.support import wait_until
from tests.running import clean_environ, free_port

CELERY = (
    "celery",
    "-A",
    "workers.app",
    "worker",
    "-P",
    "threads",
    "-c",
    "1",
    "--without-gossip",
    "--without-mingle",
)
SHIM = ("api_shim", "--port")


def _refuse(folder: Path, url: str, *command: str) -> str:
    """What a process without a key says when it ends."""
    environ = {**clean_environ(), "REDIS_URL": url, "TRACEGIST_DATA_DIR": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-m", *command], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    return ended.stdout + ended.stderr


def test_a_first_start_makes_a_key_for_its_owner_only(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data"

    launcher = start(folder)
    wait_until((folder / KEY_FILE).exists, launcher.text, seconds=30)

    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_start_with_keys_of_its_own_makes_none(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

    launcher = start(folder, settings={"TRACEGIST_ENCRYPTION_KEYS": key})
    wait_until(lambda: (folder / "tracegist.db").exists(), launcher.text, seconds=30)

    assert not (folder / KEY_FILE).exists()


def test_a_shim_without_a_key_does_not_start(own_server: Server, tmp_path: Path) -> None:
    said = _refuse(tmp_path, own_server.url, *SHIM, str(free_port()))

    assert "TRACEGIST_ENCRYPTION_KEYS" in said


@pytest.mark.parametrize("queues", ["maintenance", "llm,maintenance"])
def test_a_worker_that_opens_secrets_does_not_start_without_a_key(
    own_server: Server, tmp_path: Path, queues: str
) -> None:
    said = _refuse(tmp_path, own_server.url, *CELERY, "-Q", queues)

    assert "TRACEGIST_ENCRYPTION_KEYS" in said
