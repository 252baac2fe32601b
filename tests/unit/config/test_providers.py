"""The OAuth provider table and what settings change of it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from config.providers import KINDS, OAuthOptions, provider
from config.settings import SettingsError, load_settings, oauth_variable


def test_the_table_has_the_documented_kinds() -> None:
    assert KINDS == (
        "slack",
        "linear",
        "jira",
        "hubspot",
        "intercom",
        "google-sheets",
        "clickup",
        "salesforce",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_calls_by_https(kind: str) -> None:
    row = provider(kind, {})

    addresses = [row.authorize_url, row.token_url, row.identity_url, row.revoke_url]
    assert {urlsplit(address).scheme for address in addresses if address} == {"https"}
    assert not row.has_client


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_every_row_can_be_set(kind: str) -> None:
    values = {
        name: f"https://{name.replace('_', '-')}.example/" if name.endswith("url") else name
        for name in OAuthOptions.model_fields
    }
    settings = load_settings({oauth_variable(kind, name): value for name, value in values.items()})

    row = provider(kind, settings.oauth)

    assert {name: getattr(row, name) for name in values} == values
    assert row.has_client


def test_dashes_of_a_kind_become_underscores() -> None:
    assert oauth_variable("google-sheets", "client_id") == "TRACEGIST_GOOGLE_SHEETS_CLIENT_ID"


def test_other_addresses_follow_the_token_address() -> None:
    settings = load_settings({"TRACEGIST_SLACK_TOKEN_URL": "http://127.0.0.1:9/api/oauth.v2.access"})

    assert provider("slack", {}).revoke_url == "https://slack.com/api/auth.revoke"
    assert provider("slack", settings.oauth).revoke_url == "http://127.0.0.1:9/api/auth.revoke"
    assert provider("linear", {}).identity_url == "https://api.linear.app/graphql"


@pytest.mark.parametrize("value", ["slack.com/api", "ftp://slack.com", "https://"])
def test_a_wrong_address_is_named(value: str) -> None:
    with pytest.raises(SettingsError, match="TRACEGIST_SLACK_TOKEN_URL"):
        load_settings({"TRACEGIST_SLACK_TOKEN_URL": value})


@pytest.mark.parametrize("value", ["app.example.com", "https://app.example.com/", "https://", "//x"])
def test_a_wrong_redirect_origin_is_named(value: str) -> None:
    with pytest.raises(SettingsError, match="TRACEGIST_REDIRECT_ORIGINS"):
        load_settings({"TRACEGIST_REDIRECT_ORIGINS": value})
