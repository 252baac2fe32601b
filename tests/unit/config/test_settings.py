"""Settings come from the environment once, and a wrong one is named without its value."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import WELL_KNOWN, Settings, SettingsError, load_settings, variable_of


def test_nothing_set_gives_the_embedded_stack() -> None:
    settings = load_settings({})

    assert settings.redis_url == settings.effective_broker_url == settings.effective_cache_url == ""
    assert settings.effective_database_url == f"sqlite:///{Path('data').resolve()}/tracegist.db"
    assert settings.default_model == "extractive"


def test_own_settings_have_a_prefix_and_well_known_ones_none() -> None:
    names = {variable_of(name) for name in Settings.model_fields}

    assert {"REDIS_URL", "DATABASE_URL", "OPENAI_API_KEY", "TRACEGIST_SUMMARY_MODEL"} <= names
    assert sum(not name.startswith("TRACEGIST_") for name in names) == len(WELL_KNOWN)


def test_values_are_parsed_into_their_types() -> None:
    settings = load_settings(
        {
            "TRACEGIST_SYNC_WAIT_S": "2.5",
            "TRACEGIST_MAX_QUEUED": "7",
            "TRACEGIST_SUMMARY_MODELS": "gpt-4o, gpt-4.1,",
            "TRACEGIST_LLM_PRICES": '{"gpt-4o": {"input": 2.5, "output": 10}}',
        }
    )

    assert (settings.sync_wait_s, settings.max_queued) == (2.5, 7)
    assert settings.summary_models == ("gpt-4o", "gpt-4.1")
    assert settings.llm_prices["gpt-4o"].output == 10


def test_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"REDIS_URL": "", "TRACEGIST_MAX_QUEUED": ""}) == load_settings({})


def test_override_goes_before_the_environment() -> None:
    settings = load_settings({"TRACEGIST_DATA_DIR": "one"}, data_dir=Path("two"))

    assert settings.data_dir == Path("two")


def test_broker_and_cache_are_the_store_unless_named() -> None:
    shared = load_settings({"REDIS_URL": "redis://store/0"})
    apart = load_settings(
        {
            "REDIS_URL": "redis://store/0",
            "TRACEGIST_BROKER_URL": "amqp://broker//",
            "TRACEGIST_SUMMARY_CACHE_URL": "redis://cache/1",
        }
    )

    assert shared.effective_broker_url == shared.effective_cache_url == "redis://store/0"
    assert apart.effective_broker_url == "amqp://broker//"
    assert apart.effective_cache_url == "redis://cache/1"


def test_value_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-file\n")

    settings = load_settings({"OPENAI_API_KEY_FILE": str(file)})

    assert settings.openai_api_key == "sk-from-file"


def test_variable_goes_before_its_file() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-direct", "OPENAI_API_KEY_FILE": "/not/there"})

    assert settings.openai_api_key == "sk-direct"


def test_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^OPENAI_API_KEY_FILE: the file cannot be read$"):
        load_settings({"OPENAI_API_KEY_FILE": "/not/there"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRACEGIST_MAX_QUEUED", "many-secret"),
        ("TRACEGIST_JOB_LEASE_S", "-1"),
        ("TRACEGIST_LOG_LEVEL", "secret"),
        ("TRACEGIST_LLM_PRICES", "{secret"),
        ("TRACEGIST_LLM_PRICES", '{"gpt-4o": {"input": "secret"}}'),
        ("TRACEGIST_LLM_WINDOWS", "{}"),
        ("REDIS_URL", "secret-host:6379"),
        ("REDIS_URL", "redis://host:secret/0"),
        ("TRACEGIST_SUMMARY_CACHE_URL", "http://secret"),
        ("DATABASE_URL", "secret"),
        ("DATABASE_URL", "mysql://secret@host/db"),
        ("DATABASE_URL", "postgresql://host:secret/db"),
    ],
)
def test_value_of_the_wrong_form_is_named_and_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value})

    assert str(caught.value).startswith(f"{variable}: ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "redis://:p%40ss@host:6379/0"),
        ("REDIS_URL", "rediss://[::1]:6380/1"),
        ("REDIS_URL", "unix:///run/valkey.sock?db=0"),
        ("DATABASE_URL", "postgresql+psycopg://user:p%40ss@host/name"),
        ("DATABASE_URL", "postgres://user@/name?host=/run/postgresql"),
        ("DATABASE_URL", "sqlite:////var/lib/tracegist/rows.db"),
    ],
)
def test_address_of_a_service_is_taken_as_it_is(variable: str, value: str) -> None:
    settings = load_settings({variable: value})

    assert value in (settings.redis_url, settings.database_url)


def test_settings_do_not_change() -> None:
    settings = load_settings({})

    with pytest.raises(ValidationError):
        settings.max_queued = 1  # type: ignore[misc]
