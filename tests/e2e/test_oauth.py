"""OAuth flows: start, finish with a key or in the browser that started it, refresh, revoke."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.e2e.matching import error_faults
from tests.fakes.connected import ConnectedServices, connected_services
from tests.fakes.http_service import Reply
from tests.fakes.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuth, slack_grant
from tests.running import RunningStack

REFRESH_S = 60  # beat looks every 10 s


@pytest.fixture(scope="module")
def services() -> Iterator[ConnectedServices]:
    with connected_services() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(services: ConnectedServices) -> Mapping[str, str]:
    return services.settings(TRACEGIST_REDIRECT_ORIGINS="https://app.example.com,http://localhost:3000")


@pytest.fixture
def oauth(services: ConnectedServices) -> Iterator[FakeOAuth]:
    services.oauth.script.clear()
    services.oauth.received.clear()
    yield services.oauth
    services.oauth.script.clear()


@pytest.fixture
def browser(stack: RunningStack) -> Iterator[httpx2.Client]:
    """Without a key and without cookies of its own."""
    with httpx2.Client(base_url=stack.url, timeout=60) as opened:
        yield opened


def start(client: httpx2.Client, **params: str) -> httpx2.Response:
    return client.get("/integrations/authorize/", params={"kind": "slack", **params})


def state_of(client: httpx2.Client, **params: str) -> str:
    answer = start(client, redirect="false", **params)
    assert answer.status_code == 200, answer.text
    state: str = answer.json()["state"]
    return state


def grant(oauth: FakeOAuth, **more: object) -> tuple[str, str, str]:
    """A code that the provider will exchange, once; the token that it gives, and the team."""
    code, token, team = (f"{word}-{secrets.token_hex(8)}" for word in ("code", "xoxb", "T"))
    oauth.grants[code] = slack_grant(team=team, token=token, **more)
    return code, token, team


def finish(client: httpx2.Client, code: str, state: str, *, kind: str = "slack") -> httpx2.Response:
    return client.post("/integrations/", json={"kind": kind, "config": {"code": code, "state": state}})


def code_of(answer: httpx2.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    assert list(error_faults(body)) == []
    return answer.status_code, body["code"], body["attr"]


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def callback(
    browser: httpx2.Client, cookie: str | None, kind: str = "slack", **params: str
) -> httpx2.Response:
    headers = {} if cookie is None else {"Cookie": f"tg_oauth_state={cookie}"}
    return browser.get(f"/integrations/{kind}/callback", params=params, headers=headers)


def eventually(holds: Callable[[], bool], *, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


# starting ---------------------------------------------------------------------------------------------


def test_a_browser_is_sent_to_the_provider(
    stack: RunningStack, services: ConnectedServices, client: httpx2.Client
) -> None:
    answer = start(client, next="/after")

    address = answer.headers["location"]
    query = query_of(address)
    cookie = SimpleCookie(answer.headers["set-cookie"])["tg_oauth_state"]
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert address.startswith(f"{services.oauth.url}/oauth/v2/authorize?")
    assert query == {
        "client_id": CLIENT_ID,
        "scope": "channels:read,groups:read,chat:write,chat:write.customize",
        "redirect_uri": f"{stack.url}/integrations/slack/callback",
        "response_type": "code",
        "state": query["state"],
    }
    assert cookie.value == query["state"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/integrations")
    assert (cookie["max-age"], cookie["secure"]) == ("600", "")


def test_other_callers_get_the_address_in_a_body(client: httpx2.Client) -> None:
    answer = start(client, redirect="false")

    shown = answer.json()
    assert list(shown) == ["authorize_url", "state", "expires_at"]
    assert query_of(shown["authorize_url"])["state"] == shown["state"]
    assert len(base64.urlsafe_b64decode(shown["state"])) == 33
    assert "set-cookie" not in answer.headers
    assert CLIENT_SECRET not in answer.text


def test_a_provider_that_takes_pkce_gets_a_challenge(client: httpx2.Client) -> None:
    answer = start(client, kind="linear", redirect="false")

    query = query_of(answer.json()["authorize_url"])
    assert query["code_challenge_method"] == "S256"
    assert len(query["code_challenge"]) == 43
    assert query["actor"] == "application"


@pytest.mark.parametrize(
    ("params", "code", "attr"),
    [
        ({}, "required", "kind"),
        ({"kind": ""}, "invalid_choice", "kind"),
        ({"kind": "twilio"}, "invalid_choice", "kind"),
        ({"kind": "Slack"}, "invalid_choice", "kind"),
        ({"kind": "jira"}, "not_configured", "kind"),
        ({"kind": "jira", "next": "//evil.example"}, "not_configured", "kind"),
        ({"kind": "slack", "next": "/" + "x" * 2048}, "max_length", "next"),
    ],
)
def test_what_cannot_be_started_is_named(
    client: httpx2.Client, params: dict[str, str], code: str, attr: str
) -> None:
    assert code_of(client.get("/integrations/authorize/", params=params)) == (400, code, attr)


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "/%2Fevil.example",
        "/%5cevil.example",
        "/a\r\nSet-Cookie: x=1",
        "",
    ],
)
def test_next_does_not_lead_elsewhere(client: httpx2.Client, address: str) -> None:
    assert code_of(start(client, next=address)) == (400, "invalid_input", "next")


# with a key -------------------------------------------------------------------------------------------


def test_a_code_becomes_an_integration(stack: RunningStack, client: httpx2.Client, oauth: FakeOAuth) -> None:
    code, token, team = grant(oauth)

    answer = finish(client, code, state_of(client))

    shown = answer.json()
    assert answer.status_code == 201
    assert (shown["kind"], shown["display_name"], shown["errors"]) == ("slack", f"Team {team}", "")
    assert shown["config"] == {
        "team": {"id": team, "name": f"Team {team}"},
        "app_id": "A1",
        "bot_user_id": "U1",
        "external_id": team,
        "name": f"Team {team}",
        "scopes": ["channels:read", "chat:write"],
        "expires_at": None,
    }
    assert token not in answer.text
    (call,) = oauth.received
    assert call.form == {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "code": code,
        "redirect_uri": f"{stack.url}/integrations/slack/callback",
        "grant_type": "authorization_code",
    }


def test_the_same_team_again_keeps_its_id(client: httpx2.Client, oauth: FakeOAuth) -> None:
    code, _, team = grant(oauth)
    first = finish(client, code, state_of(client)).json()
    again = f"code-{secrets.token_hex(8)}"
    oauth.grants[again] = slack_grant(team=team, token="xoxb-second")

    second = finish(client, again, state_of(client)).json()

    assert second["id"] == first["id"]


def test_the_verifier_answers_the_challenge(client: httpx2.Client, oauth: FakeOAuth) -> None:
    code, _, _ = grant(oauth)
    started = start(client, kind="linear", redirect="false").json()
    oauth.challenges[code] = query_of(started["authorize_url"])["code_challenge"]
    organization = {"id": f"org-{code}", "name": "Acme"}
    oauth.identities["/graphql"] = {"data": {"viewer": {"organization": organization}}}

    answer = finish(client, code, started["state"], kind="linear")

    assert answer.status_code == 201, answer.text
    assert (answer.json()["display_name"], answer.json()["config"]["external_id"]) == ("Acme", f"org-{code}")
    (looked_up,) = oauth.calls("POST", "/graphql")
    assert looked_up.headers["authorization"].startswith("Bearer xoxb-")


def test_a_state_works_once(client: httpx2.Client, oauth: FakeOAuth) -> None:
    state = state_of(client)
    first = finish(client, grant(oauth)[0], state)

    second = finish(client, grant(oauth)[0], state)

    assert first.status_code == 201
    assert code_of(second) == (400, "invalid_input", "config__state")
    assert len(oauth.received) == 1


def test_of_many_at_once_one_gets_the_state(client: httpx2.Client, oauth: FakeOAuth) -> None:
    state = state_of(client)
    codes = [grant(oauth)[0] for _ in range(12)]

    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(lambda code: finish(client, code, state).status_code, codes))

    assert statuses == [201] + [400] * 11
    assert len(oauth.received) == 1


def test_a_state_is_used_up_by_a_refused_code(client: httpx2.Client, oauth: FakeOAuth) -> None:
    state = state_of(client)

    refused = finish(client, "spent", state)
    again = finish(client, grant(oauth)[0], state)

    assert code_of(refused) == (400, "oauth_exchange_failed", None)
    assert refused.json()["type"] == "validation_error"
    assert "spent" not in refused.text
    assert code_of(again) == (400, "invalid_input", "config__state")


def test_a_state_is_of_one_project_user_and_kind(
    stack: RunningStack, client: httpx2.Client, oauth: FakeOAuth
) -> None:
    state = state_of(client)
    elsewhere = f"{stack.url}/api/environments/{stack.projects['flag_off']}/integrations/"
    body = {"kind": "slack", "config": {"code": "c", "state": state}}

    with stack.client("other_user") as other:
        stolen = finish(other, "c", state)
    moved = client.post(elsewhere, json=body)
    mixed = finish(client, "c", state, kind="linear")
    own = finish(client, grant(oauth)[0], state)

    assert [code_of(answer) for answer in (stolen, moved, mixed)] == [
        (400, "invalid_input", "config__state")
    ] * 3
    assert own.status_code == 201  # those who guessed did not end the flow


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(200, {"ok": False, "error": "invalid_code"}), 400, "oauth_exchange_failed"),
        (Reply(200, {"ok": True}), 400, "oauth_exchange_failed"),
        (Reply(200, {"ok": False, "access_token": "x", "team": {"id": "T"}}), 400, "oauth_exchange_failed"),
        (Reply(200, {"access_token": "a b", "team": {"id": "T"}}), 400, "oauth_exchange_failed"),
        (Reply(200, b"<html>"), 400, "oauth_exchange_failed"),
        (Reply(400, {"error": "invalid_grant"}), 400, "oauth_exchange_failed"),
        (Reply(401, {"error": "invalid_client"}), 400, "oauth_exchange_failed"),
        (Reply(302, {}, {"Location": "http://127.0.0.1:1/"}), 400, "oauth_exchange_failed"),
        (Reply(200, {"access_token": "x"}), 502, "upstream_bad_response"),
        (Reply(500, {}), 503, "upstream_unavailable"),
        (Reply(429, {}), 503, "upstream_unavailable"),
        (Reply(drop=True), 503, "upstream_unavailable"),
    ],
)
def test_a_code_is_sent_once_whatever_is_answered(
    client: httpx2.Client, oauth: FakeOAuth, reply: Reply, status: int, code: str
) -> None:
    oauth.play(reply)

    answer = finish(client, "c", state_of(client))

    assert code_of(answer) == (status, code, None)
    assert len(oauth.received) == 1


# in a browser -----------------------------------------------------------------------------------------


def test_the_browser_that_started_finishes(
    client: httpx2.Client, browser: httpx2.Client, oauth: FakeOAuth
) -> None:
    code, _, team = grant(oauth)
    state = query_of(start(client, next="/settings?tab=a#b").headers["location"])["state"]

    answer = callback(browser, state, code=code, state=state)

    address = urlsplit(answer.headers["location"])
    made = client.get(f"/integrations/{query_of(answer.headers['location'])['integration_id']}/").json()
    assert (answer.status_code, address.scheme, address.netloc) == (302, "", "")
    assert (address.path, address.fragment, query_of(answer.headers["location"])["tab"]) == (
        "/settings",
        "b",
        "a",
    )
    assert made["display_name"] == f"Team {team}"
    assert made["created_by"]["email"] == "ada@example.com"
    assert "Max-Age=0" in answer.headers["set-cookie"]


def test_without_next_the_browser_goes_home(
    client: httpx2.Client, browser: httpx2.Client, oauth: FakeOAuth
) -> None:
    state = query_of(start(client).headers["location"])["state"]

    answer = browser.get(
        "/integrations/slack/callback/",
        params={"code": grant(oauth)[0], "state": state},
        headers={"Cookie": f"tg_oauth_state={state}"},
    )

    assert answer.headers["location"].startswith("/?integration_id=")


def test_an_allowed_origin_may_be_next(
    client: httpx2.Client, browser: httpx2.Client, oauth: FakeOAuth
) -> None:
    state = query_of(start(client, next="https://app.example.com/x").headers["location"])["state"]

    answer = callback(browser, state, code=grant(oauth)[0], state=state)

    assert answer.headers["location"].startswith("https://app.example.com/x?integration_id=")


@pytest.mark.parametrize("cookie", [None, "", "another-state"])
def test_another_browser_exchanges_nothing(
    client: httpx2.Client, browser: httpx2.Client, oauth: FakeOAuth, cookie: str | None
) -> None:
    code, _, _ = grant(oauth)
    state = state_of(client)

    answer = callback(browser, cookie, code=code, state=state)
    afterwards = finish(client, code, state)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert code not in answer.text
    assert state not in answer.text
    assert afterwards.status_code == 201  # the way that the page tells of
    assert len(oauth.received) == 1


def test_a_flow_is_not_finished_twice(
    client: httpx2.Client, browser: httpx2.Client, oauth: FakeOAuth
) -> None:
    state = query_of(start(client).headers["location"])["state"]
    callback(browser, state, code=grant(oauth)[0], state=state)

    again = callback(browser, state, code=grant(oauth)[0], state=state)

    assert code_of(again) == (400, "invalid_input", "state")
    assert len(oauth.received) == 1


def test_refusal_in_the_browser_is_passed_on(client: httpx2.Client, browser: httpx2.Client) -> None:
    state = query_of(start(client, next="/after?a=1").headers["location"])["state"]

    answer = callback(browser, state, error="access_denied", state=state, error_description="<script>")
    odd = callback(browser, state, error="<script>", state=state)

    assert (answer.status_code, answer.headers["location"]) == (302, "/after?a=1&error=access_denied")
    assert odd.headers["location"] == "/?error=server_error"  # the flow is over, its `next` forgotten


def test_refusal_without_a_state_goes_to_the_start_page(browser: httpx2.Client) -> None:
    answer = browser.get("/integrations/slack/callback", params={"error": "access_denied"})

    assert (answer.status_code, answer.headers["location"]) == (302, "/?error=access_denied")


def test_a_refused_code_in_the_browser_is_an_error(client: httpx2.Client, browser: httpx2.Client) -> None:
    state = query_of(start(client).headers["location"])["state"]

    assert code_of(callback(browser, state, code="spent", state=state)) == (
        400,
        "oauth_exchange_failed",
        None,
    )


@pytest.mark.parametrize(
    ("kind", "params", "status"),
    [
        ("twilio", {"code": "c", "state": "s"}, 404),
        ("odd", {"code": "c", "state": "s"}, 404),
        ("slack", {"state": "s"}, 400),
        ("slack", {"code": "c"}, 400),
        ("slack", {"code": "c", "state": "s" * 5000}, 400),
        ("jira", {"code": "c", "state": "s"}, 400),
    ],
)
def test_odd_callbacks_are_refused(
    browser: httpx2.Client, kind: str, params: dict[str, str], status: int
) -> None:
    answer = callback(browser, "s", kind, **params)

    assert answer.status_code == status
    assert list(error_faults(answer.json())) == []


# tokens -----------------------------------------------------------------------------------------------


def _integration(client: httpx2.Client, made: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = client.get(f"/integrations/{made['id']}/").json()
    return shown


@pytest.mark.timeout(240)
def test_tokens_that_end_soon_are_refreshed_or_marked(client: httpx2.Client, oauth: FakeOAuth) -> None:
    lives, ends, lasting = (f"refresh-{secrets.token_hex(8)}" for _ in range(3))
    # Longer than the ten minutes: once refreshed it is not due again.
    oauth.lives[lives] = {"ok": True, "access_token": "xoxb-new", "expires_in": 43_200}
    made = {
        token: finish(client, grant(oauth, refresh_token=token, expires_in=life)[0], state_of(client)).json()
        for token, life in ((lives, 300), (ends, 300), (lasting, 43_200))
    }
    before = made[lives]["config"]["expires_at"]

    eventually(
        lambda: _integration(client, made[ends])["errors"] == "TOKEN_REFRESH_FAILED", within_s=REFRESH_S
    )
    eventually(lambda: _integration(client, made[lives])["config"]["expires_at"] > before, within_s=REFRESH_S)

    used = [
        call.form["refresh_token"]
        for call in oauth.received
        if call.form.get("grant_type") == "refresh_token"
    ]
    assert _integration(client, made[lives])["errors"] == ""
    assert _integration(client, made[lasting]) == made[lasting]
    assert (used.count(lives), used.count(ends), used.count(lasting)) == (1, 1, 0)


def test_tokens_of_a_removed_integration_are_revoked(client: httpx2.Client, oauth: FakeOAuth) -> None:
    code, token, _ = grant(oauth)
    made = finish(client, code, state_of(client)).json()

    removed = client.delete(f"/integrations/{made['id']}/")

    assert removed.status_code == 204
    eventually(lambda: bool(oauth.calls("POST", "/auth.revoke")))
    (call,) = oauth.calls("POST", "/auth.revoke")
    assert call.headers["authorization"] == f"Bearer {token}"


def test_a_failed_revocation_keeps_nothing(client: httpx2.Client, oauth: FakeOAuth) -> None:
    made = finish(client, grant(oauth)[0], state_of(client)).json()
    oauth.received.clear()
    oauth.play(Reply(500, {}))

    removed = client.delete(f"/integrations/{made['id']}/")

    assert removed.status_code == 204
    assert client.get(f"/integrations/{made['id']}/").status_code == 404
    eventually(lambda: len(oauth.received) == 1)


def test_challenge_is_the_digest_of_the_verifier(client: httpx2.Client, oauth: FakeOAuth) -> None:
    started = start(client, kind="linear", redirect="false").json()

    finish(client, "c", started["state"], kind="linear")

    verifier = oauth.received[0].form["code_verifier"]
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert query_of(started["authorize_url"])["code_challenge"] == digest
