"""Sealed texts open for their own row and with a known key only."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from config.settings import Settings, SettingsError, load_settings
from storage.secrets import KEY_FILE, Unreadable, Vault, make_key, open_vault

ONE, TWO = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))
SECRETS = {"auth_token": "tw-canary"}


def test_what_is_sealed_can_be_opened_and_not_be_read() -> None:
    sealed = Vault([ONE]).seal(SECRETS, project_id=7, external_id="AC1")

    assert "tw-canary" not in sealed
    assert Vault([ONE]).open(sealed, project_id=7, external_id="AC1") == SECRETS


def test_the_sealed_text_names_its_project_and_account() -> None:
    sealed = Vault([ONE]).seal(SECRETS, project_id=7, external_id="AC1")

    text = json.loads(Fernet(ONE).decrypt(sealed.encode()))

    assert text == {"project": 7, "external_id": "AC1", "secrets": SECRETS}


@pytest.mark.parametrize(("project_id", "external_id"), [(8, "AC1"), (7, "AC2"), (7, "")])
def test_a_text_of_another_row_cannot_be_opened(project_id: int, external_id: str) -> None:
    sealed = Vault([ONE]).seal(SECRETS, project_id=7, external_id="AC1")

    with pytest.raises(Unreadable):
        Vault([ONE]).open(sealed, project_id=project_id, external_id=external_id)


@pytest.mark.parametrize("sealed", ["", "x", "gAAAA", "é", Fernet(ONE).encrypt(b"[]").decode()])
def test_what_is_no_sealed_text_cannot_be_opened(sealed: str) -> None:
    assert not Vault([ONE]).opens(sealed, project_id=7, external_id="AC1")


def test_the_first_key_seals_and_all_open() -> None:
    sealed = Vault([ONE]).seal(SECRETS, project_id=7, external_id="AC1")

    both = Vault([TWO, ONE])
    again = both.seal_again(sealed)

    assert both.open(sealed, project_id=7, external_id="AC1") == SECRETS
    assert Vault([TWO]).open(again, project_id=7, external_id="AC1") == SECRETS
    assert not Vault([ONE]).opens(again, project_id=7, external_id="AC1")
    with pytest.raises(Unreadable):
        Vault([TWO]).seal_again(sealed)


def test_a_made_key_is_its_owners_only_and_is_kept(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        make_key(tmp_path)
    finally:
        os.umask(mask)
    made = (tmp_path / KEY_FILE).read_text()
    make_key(tmp_path)

    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert (tmp_path / KEY_FILE).read_text() == made


def test_the_made_key_opens_what_it_sealed(tmp_path: Path) -> None:
    make_key(tmp_path)
    sealed = open_vault(Settings(data_dir=tmp_path)).seal(SECRETS, project_id=1, external_id="x")

    assert open_vault(Settings(data_dir=tmp_path)).opens(sealed, project_id=1, external_id="x")


def test_keys_of_the_settings_go_before_the_made_one(tmp_path: Path) -> None:
    make_key(tmp_path)
    sealed = open_vault(Settings(data_dir=tmp_path, encryption_keys=(ONE,))).seal(
        SECRETS, project_id=1, external_id="x"
    )

    assert Vault([ONE]).opens(sealed, project_id=1, external_id="x")


def test_without_any_key_there_is_no_vault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRACEGIST_ENCRYPTION_KEYS"):
        open_vault(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("keys", ["short", ONE[:-4], f"{ONE},x", "é" * 44])
def test_a_key_of_another_form_is_refused_without_showing_it(keys: str) -> None:
    with pytest.raises(SettingsError, match="TRACEGIST_ENCRYPTION_KEYS") as raised:
        load_settings({"TRACEGIST_ENCRYPTION_KEYS": keys})

    assert keys not in str(raised.value)


def test_settings_do_not_show_their_secrets() -> None:
    settings = load_settings(
        {"TRACEGIST_ENCRYPTION_KEYS": f"{ONE},{TWO}", "TRACEGIST_SLACK_CLIENT_SECRET": "cs-canary"}
    )

    assert settings.encryption_keys == (ONE, TWO)
    assert settings.oauth["slack"].client_secret == "cs-canary"
    assert ONE not in repr(settings)
    assert "cs-canary" not in repr(settings)
