"""Every other row of the provider table, from the start of the flow to the revocation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx2
import pytest

from config.providers import provider
from tests.e2e.test_oauth import code_of, eventually, finish, query_of, start
from tests.fakes.oauth_providers import ACCESS, REFRESH, SCRIPTS, FakeProviders
from tests.running import STACK_URL, RunningStack

ACCOUNTS = {
    "linear": ("org-7", "Acme"),
    "jira": ("cloud-7", "acme"),
    "hubspot": ("62515", "acme.example"),
    "intercom": ("814860", "ada@acme.example"),
    "google-sheets": ("1105", "ada@acme.example"),
    "clickup": ("182", "ada@acme.example"),
    "salesforce": ("https://acme.my.salesforce.example", "https://acme.my.salesforce.example"),
}
# Method, path, and what carries the token: the authorization header, a form, or the path itself.
REVOCATIONS = {
    "linear": ("POST", "/oauth/revoke", "bearer"),
    "hubspot": ("DELETE", f"/oauth/v1/refresh-tokens/{REFRESH.format(kind='hubspot')}", "path"),
    "google-sheets": ("POST", "/revoke", "form"),
    "salesforce": ("POST", "/services/oauth2/revoke", "form"),
}


@pytest.fixture(scope="module")
def providers() -> Iterator[FakeProviders]:
    with FakeProviders().serving() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(providers: FakeProviders) -> Mapping[str, str]:
    return {"TRACEGIST_PUBLIC_URL": STACK_URL, **providers.settings()}


@pytest.fixture
def fresh(providers: FakeProviders) -> FakeProviders:
    providers.received.clear()
    return providers


def connect(client: httpx2.Client, kind: str) -> httpx2.Response:
    started = start(client, kind=kind, redirect="false").json()
    return finish(client, f"code-of-{kind}", started["state"], kind=kind)


@pytest.mark.parametrize("kind", SCRIPTS)
def test_browser_is_sent_to_the_provider_with_what_it_asks_for(
    stack: RunningStack, client: httpx2.Client, kind: str
) -> None:
    row = provider(kind, {})

    query = query_of(start(client, kind=kind).headers["location"])

    expected = {
        "client_id": f"client-of-{kind}",
        "redirect_uri": f"{stack.url}/integrations/{kind}/callback",
        "response_type": "code",
        "state": query["state"],
        **row.extra,
        **({"scope": row.scopes} if row.scopes else {}),
    }
    challenge = {"code_challenge", "code_challenge_method"} if row.pkce else set()
    assert {name: query[name] for name in query.keys() - challenge} == expected
    assert query.keys() >= challenge


@pytest.mark.parametrize("kind", SCRIPTS)
def test_account_is_connected_and_shows_no_token(
    client: httpx2.Client, fresh: FakeProviders, kind: str
) -> None:
    external_id, name = ACCOUNTS[kind]

    answer = connect(client, kind)
    again = connect(client, kind)

    made = answer.json()
    assert answer.status_code == again.status_code == 201
    assert (made["kind"], made["display_name"], made["errors"]) == (kind, name, "")
    assert (made["config"]["external_id"], made["config"]["name"]) == (external_id, name)
    assert bool(made["config"]["expires_at"]) == ("expires_in" in SCRIPTS[kind].grant)
    assert again.json()["id"] == made["id"]
    shown = answer.text + client.get(f"/integrations/{made['id']}/").text
    assert not any(
        word in shown for word in (ACCESS.format(kind=kind), REFRESH.format(kind=kind), "eyJ", "c2lnb")
    )
    exchanged = fresh.received[0].form
    assert exchanged["grant_type"] == "authorization_code"
    assert ("code_verifier" in exchanged) == provider(kind, {}).pkce


@pytest.mark.parametrize("kind", SCRIPTS)
def test_refused_code_connects_nothing(client: httpx2.Client, kind: str) -> None:
    started = start(client, kind=kind, redirect="false").json()

    answer = finish(client, "spent", started["state"], kind=kind)

    assert code_of(answer)[:2] == (400, "oauth_exchange_failed")


@pytest.mark.parametrize("kind", REVOCATIONS)
def test_removal_revokes_where_the_provider_has_a_call_for_it(
    client: httpx2.Client, fresh: FakeProviders, kind: str
) -> None:
    number = connect(client, kind).json()["id"]
    fresh.received.clear()

    assert client.delete(f"/integrations/{number}/").status_code == 204

    method, path, carrier = REVOCATIONS[kind]
    eventually(lambda: bool(fresh.received))
    (call,) = fresh.received
    assert (call.method, call.path) == (method, path)
    if carrier == "bearer":
        assert call.headers["authorization"] == f"Bearer {ACCESS.format(kind=kind)}"
    elif carrier == "form":
        assert call.form == {"token": REFRESH.format(kind=kind)}
