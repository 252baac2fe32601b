"""Integrations: connect a Twilio account, look, read its numbers, remove it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine, make_url, text

from tests.e2e.matching import error_faults
from tests.fakes.connected import ConnectedServices, connected_services
from tests.fakes.http_service import Reply
from tests.fakes.twilio import FakeTwilio, number
from tests.running import RunningStack

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def services() -> Iterator[ConnectedServices]:
    with connected_services(page_size=3) as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(services: ConnectedServices) -> Mapping[str, str]:
    return services.settings()


@pytest.fixture
def twilio(services: ConnectedServices) -> Iterator[FakeTwilio]:
    """The fake without faults and without a memory."""
    services.twilio.script.clear()
    services.twilio.received.clear()
    yield services.twilio
    services.twilio.script.clear()


@pytest.fixture
def sid(twilio: FakeTwilio) -> str:
    """An account of its own for each test, with seven numbers."""
    made = "AC" + secrets.token_hex(16)
    twilio.add(made, TOKEN, name="Support line", numbers=7)
    return made


def connect(client: httpx2.Client, sid: str, token: str = TOKEN, **more: str) -> httpx2.Response:
    config = {"account_sid": sid, "auth_token": token, **more}
    return client.post("/integrations/", json={"kind": "twilio", "config": config})


def connected(client: httpx2.Client, sid: str) -> dict[str, Any]:
    answer = connect(client, sid)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def numbers(client: httpx2.Client, integration_id: int, **params: str) -> httpx2.Response:
    return client.get(f"/integrations/{integration_id}/twilio_phone_numbers/", params=params)


def code_of(answer: httpx2.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    assert list(error_faults(body)) == []
    return answer.status_code, body["code"], body["attr"]


def execute(stack: RunningStack, statement: str, **values: object) -> None:
    """Change a row behind the stack's back."""
    url = stack.environ.get("DATABASE_URL") or f"sqlite:///{stack.data_dir / 'tracegist.db'}"
    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


# connecting -------------------------------------------------------------------------------------------


def test_a_connected_account_is_shown_without_its_secret(
    client: httpx2.Client, twilio: FakeTwilio, sid: str
) -> None:
    answer = connect(client, sid)
    shown = answer.json()

    assert answer.status_code == 201
    assert list(shown) == ["id", "kind", "config", "created_at", "created_by", "errors", "display_name"]
    assert (shown["kind"], shown["display_name"], shown["errors"]) == ("twilio", "Support line", "")
    assert shown["config"] == {"account_sid": sid}
    assert shown["created_by"]["email"] == "ada@example.com"
    assert TOKEN not in answer.text
    assert client.get(f"/integrations/{shown['id']}/").json() == shown
    assert [call.path for call in twilio.received] == [f"/2010-04-01/Accounts/{sid}.json"]


def test_a_connection_that_is_repeated_with_its_key_is_made_once(
    client: httpx2.Client, twilio: FakeTwilio, sid: str
) -> None:
    key = {"Idempotency-Key": f"connect-{sid}"}
    body = {"kind": "twilio", "config": {"account_sid": sid, "auth_token": TOKEN}}
    invalid = {"kind": "twilio", "config": {"account_sid": sid}}

    refused = client.post("/integrations/", json=invalid, headers=key)
    first, again = (client.post("/integrations/", json=body, headers=key) for _ in range(2))
    reused = client.post("/integrations/", json={**body, "more": 1}, headers=key)

    assert [answer.status_code for answer in (refused, first, again)] == [400, 201, 201]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert len(twilio.received) == 1
    assert code_of(reused) == (422, "idempotency_key_reused", None)


def test_the_same_account_again_keeps_its_id(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    first = connected(client, sid)
    twilio.names[sid] = "Renamed"
    twilio.accounts[sid] = {sid: "another-token"}

    second = connect(client, sid, "another-token").json()

    assert (second["id"], second["created_at"]) == (first["id"], first["created_at"])
    assert second["display_name"] == "Renamed"
    assert numbers(client, first["id"]).status_code == 200


def test_an_api_key_connects_too(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    key = "SK" + "0" * 32
    twilio.accounts[sid][key] = "key-secret"
    config = {"account_sid": sid, "api_key_sid": key, "api_key_secret": "key-secret"}

    answer = client.post("/integrations/", json={"kind": "twilio", "config": config})

    assert answer.status_code == 201
    assert "key-secret" not in answer.text
    assert len(numbers(client, answer.json()["id"]).json()["phone_numbers"]) == 7


def test_refused_credentials_make_no_row(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    before = client.get("/integrations/").json()["count"]

    answer = connect(client, sid, "wrong")

    assert code_of(answer) == (400, "integration_auth_failed", None)
    assert client.get("/integrations/").json()["count"] == before
    assert len(twilio.received) == 1


@pytest.mark.parametrize(
    "value", ["AC12", "ac" + "0" * 32, "AC" + "g" * 32, "AC" + "٣" * 32, 5, ["x"], "", "\0"]
)
def test_odd_account_sid_is_refused_before_any_job(
    client: httpx2.Client, twilio: FakeTwilio, value: object
) -> None:
    body = {"kind": "twilio", "config": {"account_sid": value, "auth_token": TOKEN}}

    answer = client.post("/integrations/", content=json.dumps(body))

    assert code_of(answer) == (400, "invalid_input", "config__account_sid")
    assert twilio.received == []


@pytest.mark.parametrize(
    "value",
    ["", " ", f"{TOKEN}\n", f" {TOKEN}", "a b", "a\tb", "a\x7fb", "a\0b", "\ud800", "x" * 257, 7, True, {}],
)
def test_odd_token_is_refused_and_not_trimmed(client: httpx2.Client, value: object) -> None:
    body = {"kind": "twilio", "config": {"account_sid": "AC" + "0" * 32, "auth_token": value}}

    answer = client.post("/integrations/", content=json.dumps(body))

    assert code_of(answer) == (400, "invalid_input", "config__auth_token")


@pytest.mark.parametrize(
    ("body", "code", "attr"),
    [
        ({}, "required", "kind"),
        ({"kind": None, "config": {}}, "null", "kind"),
        ({"kind": "Twilio", "config": {}}, "invalid_choice", "kind"),
        ({"kind": "webhook", "config": {}}, "invalid_choice", "kind"),
        ({"kind": "twilio"}, "required", "config"),
        ({"kind": "twilio", "config": None}, "null", "config"),
        ({"kind": "twilio", "config": []}, "invalid_input", "config"),
        ({"kind": "twilio", "config": {}}, "required", "config__account_sid"),
        ({"kind": "twilio", "config": {"account_sid": "AC" + "0" * 32}}, "required", "config__auth_token"),
        (
            {"kind": "twilio", "config": {"account_sid": "AC" + "0" * 32, "api_key_sid": "SK1"}},
            "invalid_input",
            "config__api_key_sid",
        ),
        ({"kind": "jira", "config": {}}, "not_configured", "kind"),
        ({"kind": "slack", "config": {}}, "required", "config__code"),
        ({"kind": "slack", "config": {"code": "c"}}, "required", "config__state"),
        ({"kind": "slack", "config": {"code": "c", "state": "s"}}, "invalid_input", "config__state"),
        ([], "invalid_input", None),
    ],
)
def test_first_field_at_fault_is_named(
    client: httpx2.Client, body: object, code: str, attr: str | None
) -> None:
    assert code_of(client.post("/integrations/", json=body)) == (400, code, attr)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(403, {"code": 20003}), 400, "integration_auth_failed"),
        (Reply(404, {}), 400, "integration_auth_failed"),
        (Reply(200, b"<html>"), 502, "upstream_bad_response"),
        (Reply(200, []), 502, "upstream_bad_response"),
        (Reply(200, {"sid": "AC1"}), 502, "upstream_bad_response"),
        (Reply(302, {}, {"Location": "http://127.0.0.1:1/"}), 502, "upstream_bad_response"),
    ],
)
def test_what_twilio_says_to_a_connect(
    client: httpx2.Client, twilio: FakeTwilio, sid: str, reply: Reply, status: int, code: str
) -> None:
    twilio.play(reply)

    answer = connect(client, sid)

    assert code_of(answer) == (status, code, None)
    assert len(twilio.received) == 1


def test_a_connect_can_be_waited_for_as_a_job(client: httpx2.Client, sid: str) -> None:
    body = {"kind": "twilio", "config": {"account_sid": sid, "auth_token": TOKEN}}

    accepted = client.post("/integrations/", json=body, headers={"Prefer": "respond-async"})
    job = client.get(f"/jobs/{accepted.json()['id']}/?wait=20").json()
    result = client.get(f"/jobs/{job['id']}/result/")

    assert accepted.status_code == 202
    assert (job["kind"], job["state"]) == ("integrations.connect", "succeeded")
    assert (result.status_code, result.json()["config"]) == (201, {"account_sid": sid})


# looking ----------------------------------------------------------------------------------------------


def test_list_is_a_page_oldest_first_of_one_kind(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    first = connected(client, sid)
    other = "AC" + secrets.token_hex(16)
    twilio.add(other, TOKEN)
    second = connected(client, other)

    ids = [
        item["id"]
        for item in client.get("/integrations/", params={"kind": "twilio", "limit": 1000}).json()["results"]
    ]

    assert ids == sorted(ids)
    assert {first["id"], second["id"]} <= set(ids)
    assert client.get("/integrations/?kind=slack").json()["results"] == []
    assert code_of(client.get("/integrations/?kind=odd")) == (400, "invalid_choice", "kind")


@pytest.mark.parametrize(
    "odd", ["0", "-1", "1.0", "abc", "٣", "007", "9" * 10, "9" * 30, "2147483648", "%00", "1'--", "null"]
)
@pytest.mark.parametrize("rest", ["", "twilio_phone_numbers/"])
def test_odd_and_unknown_ids_are_not_found(client: httpx2.Client, odd: str, rest: str) -> None:
    assert code_of(client.get(f"/integrations/{odd}/{rest}")) == (404, "not_found", None)
    if not rest:
        assert code_of(client.delete(f"/integrations/{odd}/")) == (404, "not_found", None)


def test_integrations_of_another_project_are_not_found(
    stack: RunningStack, client: httpx2.Client, sid: str
) -> None:
    mine = connected(client, sid)["id"]
    project = stack.projects["other"]

    with httpx2.Client(
        base_url=f"{stack.url}/api/environments/{project}",
        headers={"Authorization": f"Bearer {stack.keys['other_project']}"},
        timeout=60,
    ) as theirs:
        seen = theirs.get("/integrations/").json()
        answers = [
            theirs.get(f"/integrations/{mine}/"),
            theirs.get(f"/integrations/{mine}/twilio_phone_numbers/"),
            theirs.delete(f"/integrations/{mine}/"),
        ]
        own = connect(theirs, sid)

    assert mine not in [item["id"] for item in seen["results"]]
    assert [code_of(answer) for answer in answers] == [(404, "not_found", None)] * 3
    assert own.status_code == 201
    assert own.json()["id"] != mine
    assert client.get(f"/integrations/{mine}/").status_code == 200


def test_scopes_are_asked_before_ids(stack: RunningStack, client: httpx2.Client, sid: str) -> None:
    known = connected(client, sid)["id"]
    with stack.client("logs_read") as none, stack.client("integration_read") as reader:
        for number_ in (known, 424242, "odd"):
            assert none.get(f"/integrations/{number_}/").status_code == 403
            assert none.get(f"/integrations/{number_}/twilio_phone_numbers/").status_code == 403
            assert reader.delete(f"/integrations/{number_}/").status_code == 403
        assert none.get("/integrations/").status_code == 403
        assert reader.get(f"/integrations/{known}/").status_code == 200
        assert reader.get("/integrations/").status_code == 200
        assert connect(reader, sid).status_code == 403
        assert reader.get("/integrations/authorize/").status_code == 403


def test_other_methods_are_named(client: httpx2.Client) -> None:
    answer = client.delete("/integrations/authorize/")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert client.put("/integrations/1/").status_code == 405


# numbers ----------------------------------------------------------------------------------------------


def test_all_pages_are_read_in_order_and_shown_without_more(
    client: httpx2.Client, twilio: FakeTwilio, sid: str
) -> None:
    made = connected(client, sid)["id"]

    answer = numbers(client, made)

    wanted = [
        {name: number(place)[name] for name in ("sid", "phone_number", "friendly_name")} for place in range(7)
    ]
    assert answer.status_code == 200
    assert list(answer.json()) == ["phone_numbers", "lastRefreshedAt"]
    assert answer.json()["phone_numbers"] == wanted
    calls = twilio.calls("GET", "IncomingPhoneNumbers")
    assert [call.query.get("Page", ["0"])[0] for call in calls] == ["0", "1", "2"]
    assert calls[0].query["PageSize"] == ["1000"]


def test_the_second_read_comes_from_the_cache(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    made = connected(client, sid)["id"]
    first = numbers(client, made)
    twilio.received.clear()
    twilio.numbers[sid] = []

    second = numbers(client, made)
    as_job = client.get(f"/integrations/{made}/twilio_phone_numbers/", headers={"Prefer": "respond-async"})
    forced = numbers(client, made, force_refresh="TRUE")
    after = numbers(client, made, force_refresh="false")

    assert second.content == first.content == as_job.content
    assert (second.headers["x-cache"], as_job.status_code) == ("hit", 200)
    assert forced.json()["phone_numbers"] == []
    assert after.content == forced.content
    assert len(twilio.received) == 1


def test_misses_at_once_make_one_read(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    made = connected(client, sid)["id"]
    twilio.received.clear()
    twilio.play(Reply(200, {"incoming_phone_numbers": [number(1)], "next_page_uri": None}, delay_s=0.5))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: numbers(client, made), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(twilio.received) == 1


def test_a_new_connect_drops_what_was_cached(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    made = connected(client, sid)["id"]
    numbers(client, made)
    twilio.numbers[sid] = []

    connected(client, sid)

    assert numbers(client, made).json()["phone_numbers"] == []


def test_at_most_fifty_pages_are_read(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    made = connected(client, sid)["id"]
    twilio.numbers[sid] = [number(place) for place in range(200)]
    twilio.received.clear()

    found = numbers(client, made).json()["phone_numbers"]

    assert len(found) == 150
    assert len(twilio.received) == 50


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1/2010-04-01/x.json",
        "//127.0.0.1:1/2010-04-01/x.json",
        "https://evil.example/",
        "/\\evil.example/",
        "http://user@127.0.0.1/",
        "http://[bad/",
        "ftp:///x",
        7,
    ],
)
def test_a_next_page_elsewhere_is_refused(
    client: httpx2.Client, twilio: FakeTwilio, sid: str, uri: object
) -> None:
    made = connected(client, sid)["id"]
    twilio.received.clear()
    twilio.play(Reply(200, {"incoming_phone_numbers": [], "next_page_uri": uri}))

    answer = numbers(client, made)

    assert code_of(answer) == (502, "upstream_bad_response", None)
    assert len(twilio.received) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refused_credentials_are_noted_until_they_work(
    client: httpx2.Client, twilio: FakeTwilio, sid: str, status: int
) -> None:
    made = connected(client, sid)["id"]
    numbers(client, made)
    twilio.received.clear()
    twilio.play(Reply(status, {"code": 20003}))

    answer = numbers(client, made, force_refresh="true")
    noted = client.get(f"/integrations/{made}/").json()["errors"]
    again = numbers(client, made)
    after = client.get(f"/integrations/{made}/").json()["errors"]

    assert code_of(answer) == (400, "integration_auth_failed", None)
    assert answer.json()["type"] == "validation_error"
    assert noted == "AUTH_FAILED"
    assert again.status_code == 200
    assert len(twilio.received) >= 2  # what was cached had been dropped
    assert after == ""


def test_faults_that_pass_are_tried_again(client: httpx2.Client, twilio: FakeTwilio, sid: str) -> None:
    made = connected(client, sid)["id"]
    twilio.received.clear()
    twilio.play(Reply(429, {}, {"Retry-After": "1"}), Reply(drop=True))

    answer = numbers(client, made)

    assert answer.status_code == 200
    assert len(twilio.received) == 2 + 3


@pytest.mark.parametrize(
    ("reply", "tries", "retry_after"),
    [(Reply(503, {}), 3, "5"), (Reply(drop=True), 3, "5"), (Reply(429, {}, {"Retry-After": "40"}), 1, "40")],
)
def test_faults_that_stay_are_told_with_a_time(
    client: httpx2.Client, twilio: FakeTwilio, sid: str, reply: Reply, tries: int, retry_after: str
) -> None:
    made = connected(client, sid)["id"]
    twilio.received.clear()
    twilio.play(*[reply] * tries)

    answer = numbers(client, made)

    assert code_of(answer) == (503, "upstream_unavailable", None)
    assert answer.headers["retry-after"] == retry_after
    assert answer.json()["type"] == "server_error"
    assert len(twilio.received) == tries
    assert client.get(f"/integrations/{made}/").json()["errors"] == ""


@pytest.mark.parametrize(
    "body", [b"", b"nope", [], {}, {"incoming_phone_numbers": {}}, {"incoming_phone_numbers": [1]}]
)
def test_an_answer_that_is_not_twilios_is_a_bad_one(
    client: httpx2.Client, twilio: FakeTwilio, sid: str, body: object
) -> None:
    made = connected(client, sid)["id"]
    twilio.play(Reply(200, body))

    assert code_of(numbers(client, made)) == (502, "upstream_bad_response", None)


def test_an_unreadable_secret_is_shown_and_can_be_replaced(
    stack: RunningStack, client: httpx2.Client, twilio: FakeTwilio, sid: str
) -> None:
    made = connected(client, sid)["id"]
    numbers(client, made)
    other = "AC" + secrets.token_hex(16)
    twilio.add(other, TOKEN)
    copied = connected(client, other)["id"]

    # The sealed text of one row in another one.
    execute(
        stack,
        "UPDATE integrations SET sealed = (SELECT sealed FROM integrations WHERE id = :one) WHERE id = :two",
        one=copied,
        two=made,
    )
    shown = client.get(f"/integrations/{made}/").json()["errors"]
    listed = {
        item["id"]: item["errors"] for item in client.get("/integrations/?limit=1000").json()["results"]
    }
    answer = numbers(client, made)
    again = connected(client, sid)

    assert shown == listed[made] == "SECRET_UNREADABLE"
    assert code_of(answer) == (400, "secret_unreadable", None)
    assert (again["id"], again["errors"]) == (made, "")


def test_other_kinds_have_no_phone_numbers(stack: RunningStack, client: httpx2.Client, sid: str) -> None:
    made = connected(client, sid)["id"]
    execute(stack, "UPDATE integrations SET kind = 'slack' WHERE id = :id", id=made)

    assert code_of(numbers(client, made)) == (400, "invalid_kind", None)


# removing ---------------------------------------------------------------------------------------------


def test_a_removed_integration_is_gone(client: httpx2.Client, sid: str) -> None:
    made = connected(client, sid)["id"]
    numbers(client, made)

    removed = client.delete(f"/integrations/{made}/")

    assert (removed.status_code, removed.content) == (204, b"")
    assert code_of(client.delete(f"/integrations/{made}/")) == (404, "not_found", None)
    assert code_of(client.get(f"/integrations/{made}/")) == (404, "not_found", None)
    assert code_of(numbers(client, made)) == (404, "not_found", None)
    assert connected(client, sid)["id"] > made
