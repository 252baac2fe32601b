"""Every list is paged alike: defaults, caps, links, and a total order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.e2e.payloads import TEXT_REPR, text_request
from tests.fakes.connected import ConnectedServices, connected_services
from tests.running import RunningStack

LISTS = ["/jobs/", "/persisted_folder/", "/integrations/"]
JOBS = 12


@pytest.fixture(scope="module")
def services() -> Iterator[ConnectedServices]:
    with connected_services() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(services: ConnectedServices) -> dict[str, str]:
    return {"TRACEGIST_TWILIO_BASE_URL": services.twilio.url}


@pytest.fixture(scope="module", autouse=True)
def _filled(client: httpx2.Client, services: ConnectedServices) -> None:
    for place in range(3):
        sid = f"AC{place:032x}"
        services.twilio.add(sid, "token")
        account = {"account_sid": sid, "auth_token": "token"}
        connected = client.post("/integrations/", json={"kind": "twilio", "config": account})
        assert connected.status_code == 201
    for kind in ("home", "pinned", "custom_products"):
        assert client.post("/persisted_folder/", json={"type": kind}).status_code == 201
    for _ in range(JOBS):
        answer = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": "respond-async"})
        assert client.get(f"/jobs/{answer.json()['id']}/?wait=20").json()["state"] == "succeeded"


def _pages(client: httpx2.Client, address: str) -> Iterator[dict[str, Any]]:
    following: str | None = address
    while following:
        page = client.get(following).json()
        yield page
        following = page["next"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["", "abc", "0", "-1", "1.5", "٣", " ", "0x10", "1e3", "null"])
def test_odd_limit_is_the_default(client: httpx2.Client, path: str, limit: str) -> None:
    answer = client.get(path, params={"limit": limit})

    assert answer.status_code == 200
    assert len(answer.json()["results"]) == answer.json()["count"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("offset", ["", "abc", "-1", "1.5", "٣"])
def test_odd_offset_is_the_start(client: httpx2.Client, path: str, offset: str) -> None:
    page = client.get(path, params={"limit": 1, "offset": offset}).json()

    assert page["previous"] is None
    assert page["results"] == client.get(path, params={"limit": 1}).json()["results"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("offset", ["1000", str(2**31), str(2**63), str(2**64 + 1), "9" * 400])
def test_offset_past_the_end_is_an_empty_page(client: httpx2.Client, path: str, offset: str) -> None:
    answer = client.get(path, params={"offset": offset})

    assert answer.status_code == 200
    assert answer.json()["results"] == []
    assert answer.json()["next"] is None
    assert answer.json()["count"] >= 3


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["1001", "9" * 30])
def test_large_limit_is_cut(client: httpx2.Client, path: str, limit: str) -> None:
    page = client.get(path, params={"limit": limit, "offset": 1}).json()

    assert parse_qs(urlsplit(page["previous"]).query) == {"limit": ["1000"]}


@pytest.mark.parametrize("path", LISTS)
def test_pages_neither_repeat_nor_lose_rows(client: httpx2.Client, path: str) -> None:
    whole = client.get(path).json()

    pages = list(_pages(client, f"{path}?limit=2"))

    assert [row["id"] for page in pages for row in page["results"]] == [row["id"] for row in whole["results"]]
    assert {page["count"] for page in pages} == {whole["count"]}
    assert list(pages[0]) == ["count", "next", "previous", "results"]


@pytest.mark.parametrize("path", LISTS)
def test_following_and_going_back_meet(client: httpx2.Client, path: str) -> None:
    first = client.get(path, params={"limit": 1}).json()
    second = client.get(first["next"]).json()

    back = client.get(second["previous"]).json()

    assert "offset" not in parse_qs(urlsplit(second["previous"]).query)
    assert back["results"] == first["results"]


def test_links_keep_path_and_other_members(stack: RunningStack, client: httpx2.Client) -> None:
    project = stack.projects["main"]
    path = f"/api/projects/{project}/jobs"

    page = client.get(
        f"{stack.url}{path}",
        params={"limit": 1, "kind": "text_repr", "state": ["succeeded", "failed"], "x": "ä &"},
    ).json()

    link = urlsplit(page["next"])
    assert f"{link.scheme}://{link.netloc}" == stack.url
    assert link.path == path
    assert parse_qs(link.query) == {
        "kind": ["text_repr"],
        "state": ["succeeded", "failed"],
        "x": ["ä &"],
        "limit": ["1"],
        "offset": ["1"],
    }


def test_projects_are_paged_too(stack: RunningStack, client: httpx2.Client) -> None:
    page = client.get(f"{stack.url}/api/projects/", params={"limit": 1}).json()

    assert page["count"] == 2  # the projects of the key's user
    assert [row["id"] for row in page["results"]] == [stack.projects["main"]]
    assert client.get(page["next"]).json()["results"][0]["id"] == stack.projects["flag_off"]


def test_jobs_come_newest_first(client: httpx2.Client) -> None:
    rows = client.get("/jobs/").json()["results"]

    assert [row["created_at"] for row in rows] == sorted((row["created_at"] for row in rows), reverse=True)


def test_folders_come_by_type(client: httpx2.Client) -> None:
    rows = client.get("/persisted_folder/").json()["results"]

    assert [row["type"] for row in rows] == ["custom_products", "home", "pinned"]
