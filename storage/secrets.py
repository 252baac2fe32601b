"""Seal stored credentials, open them, and change the key that seals.

A sealed text also holds the project and the external id of its row, and opening checks both: a text that was
copied to another row is useless there. The keys come from the settings; `tracegist up`, which is for one
machine, makes one in its data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session

from config.settings import Settings, SettingsError, load_settings
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from storage.models import IdempotencyKey, Integration, Revocation, Webhook

KEY_FILE: Final = "encryption.key"

# What `rotate` seals again: every column with sealed texts, of tables that have an `id`.
_SEALED_COLUMNS: Final = (Integration.sealed, Revocation.sealed, IdempotencyKey.sealed, Webhook.sealed)


class Unreadable(Exception):
    """No key opens the text, or it was sealed for another row. Says nothing about the content."""


class Vault:
    """Seals with the first of the keys, opens with all of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secrets: Mapping[str, object], *, project_id: int, external_id: str) -> str:
        text = {"project": project_id, "external_id": external_id, "secrets": dict(secrets)}
        return self._fernet.encrypt(dump_json(text)).decode()

    def open(self, sealed: str, *, project_id: int, external_id: str) -> dict[str, Any]:
        """
        Raises:
            Unreadable: another key, another row, or not a sealed text.
        """
        try:
            text = load_json(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, JsonSyntaxError):
            raise Unreadable from None
        if not isinstance(text, dict) or not isinstance(text.get("secrets"), dict):
            raise Unreadable
        if (text.get("project"), text.get("external_id")) != (project_id, external_id):
            raise Unreadable
        secrets: dict[str, Any] = text["secrets"]
        return secrets

    def opens(self, sealed: str, *, project_id: int, external_id: str) -> bool:
        try:
            self.open(sealed, project_id=project_id, external_id=external_id)
        except Unreadable:
            return False
        return True

    def seal_again(self, sealed: str) -> str:
        """The same text under the first key.

        Raises:
            Unreadable: no key opens it.
        """
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise Unreadable from None


def open_vault(settings: Settings) -> Vault:
    """The vault of the settings' keys, else of the key in the data folder.

    Raises:
        SettingsError: there is no key.
    """
    keys = settings.encryption_keys or _kept_keys(settings.data_dir)
    if not keys:
        raise SettingsError(
            "TRACEGIST_ENCRYPTION_KEYS: stored secrets need a key; "
            "make one with `openssl rand -base64 32 | tr +/ -_`."
        )
    return Vault(keys)


def make_key(data_dir: Path) -> None:
    """Write a key to the data folder, for its owner's eyes only, unless there is one."""
    try:
        file = os.open(data_dir / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(file, "w") as opened:
        os.fchmod(file, 0o600)  # whatever the umask says
        opened.write(Fernet.generate_key().decode() + "\n")


def _kept_keys(data_dir: Path) -> tuple[str, ...]:
    """The keys in the data folder; checked as those of the environment are."""
    file = data_dir / KEY_FILE
    if not file.exists():
        return ()
    return load_settings({"TRACEGIST_ENCRYPTION_KEYS_FILE": str(file)}).encryption_keys


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many texts are sealed with the first key now, and how many no key opens."""

    sealed: int
    unreadable: int


def rotate(session: Session, vault: Vault) -> Rotated:
    """Seal everything again with the first key. A text that somebody else changes meanwhile is left alone."""
    sealed = unreadable = 0
    for column in _SEALED_COLUMNS:
        table = column.class_.__table__
        assert isinstance(table, Table)  # noqa: S101 - every model here has one
        kept = table.c[column.key]
        for number, text in session.execute(select(table.c.id, kept).where(kept.is_not(None))).all():
            try:
                again = vault.seal_again(text)
            except Unreadable:
                unreadable += 1
                continue
            same = (table.c.id == number) & (kept == text)
            session.execute(update(table).where(same).values({kept: again}))
            sealed += 1
    return Rotated(sealed, unreadable)
