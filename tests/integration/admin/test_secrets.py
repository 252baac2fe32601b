"""`tracegist admin secrets rotate`, as it is run with the keys of the environment."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from storage.migrations import upgrade
from storage.secrets import KEY_FILE, Vault, make_key
from tracegist.cli.admin import app

ONE, TWO, THREE = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
ROW = {"project_id": 1, "external_id": "T1"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "TRACEGIST_DATA_DIR", "TRACEGIST_ENCRYPTION_KEYS"):
        monkeypatch.delenv(name, raising=False)
    upgrade(f"sqlite:///{tmp_path / 'tracegist.db'}")
    return tmp_path


def _store(folder: Path, sealed: str) -> None:
    _execute(
        folder,
        "INSERT INTO revocations (project_id, kind, external_id, sealed, created_at) "
        "VALUES (1, 'slack', 'T1', :sealed, :now)",
        sealed=sealed,
        now=str(datetime.now(UTC).replace(tzinfo=None)),
    )


def _execute(folder: Path, statement: str, **values: object) -> list[str]:
    engine = create_engine(f"sqlite:///{folder / 'tracegist.db'}")
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        found = [row[0] for row in result] if result.returns_rows else []
    engine.dispose()
    return found


def _rotate(folder: Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["secrets", "rotate", "--data-dir", str(folder)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_everything_is_sealed_with_the_first_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _store(folder, Vault([ONE]).seal({"access_token": "canary"}, **ROW))  # type: ignore[arg-type]
    monkeypatch.setenv("TRACEGIST_ENCRYPTION_KEYS", f"{TWO},{ONE}")

    said = _rotate(folder)

    (sealed,) = _execute(folder, "SELECT sealed FROM revocations")
    assert said == "1 sealed with the first key.\n"
    assert Vault([TWO]).open(sealed, **ROW) == {"access_token": "canary"}  # type: ignore[arg-type]


def test_what_cannot_be_opened_is_told_and_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = Vault([THREE]).seal({}, **ROW)  # type: ignore[arg-type]
    _store(folder, strange)
    monkeypatch.setenv("TRACEGIST_ENCRYPTION_KEYS", f"{TWO},{ONE}")

    said = _rotate(folder, code=1)

    assert "1 can be opened with none of the keys" in said
    assert _execute(folder, "SELECT sealed FROM revocations") == [strange]


def test_the_key_of_the_folder_is_found(folder: Path) -> None:
    make_key(folder)
    _store(folder, Vault([(folder / KEY_FILE).read_text().strip()]).seal({}, **ROW))  # type: ignore[arg-type]

    assert _rotate(folder) == "1 sealed with the first key.\n"


def test_without_a_key_it_says_which_setting_is_missing(folder: Path) -> None:
    assert "TRACEGIST_ENCRYPTION_KEYS" in _rotate(folder, code=2)
