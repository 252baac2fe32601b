"""Webhooks over HTTP: make, change, rotate, test; what arrives when a job ends, and for whom."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from tests.e2e.matching import error_faults
from tests.e2e.payloads import TEXT_REPR, text_request
from tests.running import RunningStack

HOOK_KEYS = [
    "id",
    "url",
    "events",
    "kinds",
    "description",
    "enabled",
    "disabled_reason",
    "failing_since",
    "created_at",
    "updated_at",
]
EVENTS = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


@dataclass
class Sink:
    """What arrived, by path: every test has a path of its own."""

    origin: str = ""
    status: int = 200
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def at(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for found, headers, body in list(self.received) if found == path]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.received.append((self.path, headers, body))
            self.send_response(410 if "gone" in self.path else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    sink.origin = f"http://127.0.0.1:{server.server_address[1]}"
    yield sink
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def stack_settings(sink: Sink) -> Mapping[str, str]:
    return {"TRACEGIST_WEBHOOK_ALLOW_PRIVATE": "1"}


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    return "/" + re.sub(r"\W", "-", request.node.name) + f"-{time.time_ns()}"


def _make(client: httpx2.Client, sink: Sink, path: str, **values: Any) -> dict[str, Any]:
    answer = client.post("/webhooks/", json={"url": sink.origin + path, "events": EVENTS, **values})
    assert answer.status_code == 201, answer.text
    hook: dict[str, Any] = answer.json()
    return hook


def _job(client: httpx2.Client, **headers: str) -> str:
    answer = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": "respond-async", **headers})
    return str(answer.json()["id"])


def _until(condition: Callable[[], Any], limit_s: float = 30) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def _deliveries(client: httpx2.Client, hook: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/webhooks/{hook['id']}/deliveries/").json()["results"]
    return found


# messages ---------------------------------------------------------------------------------------------


def test_end_of_a_job_arrives_with_a_signature_that_passes(
    client: httpx2.Client, sink: Sink, path: str
) -> None:
    hook = _make(client, sink, path)
    job_id = _job(client)

    headers, body = _until(lambda: [found for found in sink.at(path) if job_id.encode() in found[1]])[0]
    told = Verifier(hook["secret"]).verify(body.decode(), headers)

    assert told["type"] == "job.succeeded"
    assert list(told["data"]) == ["id", "kind", "state", "partial_failure", "progress", "links"]
    assert (told["data"]["id"], told["data"]["kind"]) == (job_id, "text_repr")
    assert told["data"]["progress"]["done"] == 1
    assert b"France" not in body
    delivery = _until(lambda: [row for row in _deliveries(client, hook) if row["status"] == "succeeded"])[0]
    assert delivery["id"] == headers["webhook-id"]
    assert (delivery["attempts"], delivery["response_code"], delivery["error"]) == (1, 200, None)
    client.delete(f"/webhooks/{hook['id']}/")


@pytest.mark.parametrize("page_name", ["README.md", "docs/webhooks.md"])
def test_page_with_the_ten_lines_is_right(
    client: httpx2.Client, sink: Sink, path: str, page_name: str
) -> None:
    page = (Path(__file__).parents[2] / page_name).read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    hook = _make(client, sink, path)
    client.post(f"/webhooks/{hook['id']}/test/")

    headers, body = _until(lambda: sink.at(path))[0]

    assert names["is_genuine"](hook["secret"], headers, body)
    assert not names["is_genuine"](hook["secret"], headers, body + b" ")
    client.delete(f"/webhooks/{hook['id']}/")


def test_only_what_was_asked_for_is_told(client: httpx2.Client, sink: Sink, path: str) -> None:
    default = _make(client, sink, path + "-default")
    named = _make(client, sink, path + "-named", kinds=["text_repr"])
    others = _make(client, sink, path + "-others", kinds=["summarization"], events=["job.succeeded"])
    failed = _make(client, sink, path + "-failed", events=["job.failed"])
    client.post(TEXT_REPR, json=text_request())
    last = _job(client)
    _until(lambda: [found for found in sink.at(path + "-default") if last.encode() in found[1]])
    _until(lambda: len(sink.at(path + "-named")) >= 2)

    assert len(sink.at(path + "-default")) == 1  # not the job that its caller waited for
    assert len(sink.at(path + "-named")) == 2
    assert sink.at(path + "-others") == sink.at(path + "-failed") == []
    for hook in (default, named, others, failed):
        client.delete(f"/webhooks/{hook['id']}/")


def test_other_projects_hear_nothing(
    stack: RunningStack, client: httpx2.Client, sink: Sink, path: str
) -> None:
    with stack.client("other_project") as foreign:
        home = f"{stack.url}/api/environments/{stack.projects['other']}"
        body = {"url": sink.origin + path + "-theirs", "events": EVENTS}
        theirs = foreign.post(f"{home}/webhooks/", json=body).json()
        ours = _make(client, sink, path)
        _job(client)
        _until(lambda: sink.at(path))

        assert sink.at(path + "-theirs") == []
        assert client.get(f"/webhooks/{theirs['id']}/").status_code == 404
        assert client.get(f"/webhooks/{theirs['id']}/deliveries/").status_code == 404
        assert client.post(f"/webhooks/{theirs['id']}/rotate/").status_code == 404
        assert client.delete(f"/webhooks/{theirs['id']}/").status_code == 404
        assert theirs["id"] not in client.get("/webhooks/").text
        assert foreign.delete(f"{home}/webhooks/{theirs['id']}/").status_code == 204
    client.delete(f"/webhooks/{ours['id']}/")


def test_after_a_rotation_both_secrets_sign(client: httpx2.Client, sink: Sink, path: str) -> None:
    hook = _make(client, sink, path)
    rotated = client.post(f"/webhooks/{hook['id']}/rotate/").json()
    client.post(f"/webhooks/{hook['id']}/test/")

    headers, body = _until(lambda: sink.at(path))[0]

    assert rotated["secret"] != hook["secret"]
    for secret in (hook["secret"], rotated["secret"]):
        assert Verifier(secret).verify(body.decode(), headers)["type"] == "webhook.test"
    client.delete(f"/webhooks/{hook['id']}/")


def test_delivery_can_be_sent_again_under_its_id(client: httpx2.Client, sink: Sink, path: str) -> None:
    hook = _make(client, sink, path)
    sent = client.post(f"/webhooks/{hook['id']}/test/")
    _until(lambda: _deliveries(client, hook)[0]["status"] == "succeeded")
    again = client.post(f"/webhooks/{hook['id']}/deliveries/{sent.json()['id']}/retry/")
    _until(lambda: len(sink.at(path)) == 2)

    assert (sent.status_code, again.status_code) == (202, 202)
    assert [headers["webhook-id"] for headers, _ in sink.at(path)] == [sent.json()["id"]] * 2
    assert client.post(f"/webhooks/{hook['id']}/deliveries/msg_unknown/retry/").status_code == 404
    client.delete(f"/webhooks/{hook['id']}/")


def test_receiver_that_is_gone_is_left_alone_until_it_is_enabled(
    client: httpx2.Client, sink: Sink, path: str
) -> None:
    hook = _make(client, sink, path + "-gone")
    client.post(f"/webhooks/{hook['id']}/test/")
    disabled = _until(
        lambda: (found := client.get(f"/webhooks/{hook['id']}/").json())["enabled"] is False and found
    )
    refused = client.post(f"/webhooks/{hook['id']}/test/")
    enabled = client.patch(f"/webhooks/{hook['id']}/", json={"enabled": True}).json()

    assert disabled["disabled_reason"] == "gone"
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["failing_since"]) == (True, "", None)
    client.delete(f"/webhooks/{hook['id']}/")


# the resource -----------------------------------------------------------------------------------------


def test_secret_is_shown_once(stack: RunningStack, client: httpx2.Client, sink: Sink, path: str) -> None:
    hook = _make(client, sink, path, description=" For the team ")

    shown = client.get(f"/webhooks/{hook['id']}/")
    listed = client.get("/webhooks/")
    changed = client.patch(f"/webhooks/{hook['id']}/", json={"description": "x"})

    assert list(hook) == [*HOOK_KEYS, "secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", hook["secret"])
    assert list(shown.json()) == HOOK_KEYS
    assert hook["secret"] not in shown.text + listed.text + changed.text
    assert hook["description"] == "For the team"
    assert hook["id"] in listed.text
    for file in stack.data_dir.rglob("*"):
        if file.is_file():
            assert hook["secret"].encode() not in file.read_bytes(), file.name
    assert client.delete(f"/webhooks/{hook['id']}/").status_code == 204
    assert client.get(f"/webhooks/{hook['id']}/").status_code == 404


def test_repeat_with_an_idempotency_key_makes_one(client: httpx2.Client, sink: Sink, path: str) -> None:
    body = {"url": sink.origin + path, "events": EVENTS}
    headers = {"Idempotency-Key": f"hook-{time.time_ns()}"}

    first, again = (client.post("/webhooks/", json=body, headers=headers) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    client.delete(f"/webhooks/{first.json()['id']}/")


@pytest.mark.parametrize(
    ("values", "attr", "code"),
    [
        ({"url": None}, "url", "null"),
        ({"url": " "}, "url", "blank"),
        ({"url": 5}, "url", "invalid_input"),
        ({"url": "ftp://hooks.example.com/"}, "url", "invalid_input"),
        ({"url": "https://user:x@hooks.example.com/"}, "url", "invalid_input"),
        ({"url": "https://hooks.example.com/" + "x" * 2048}, "url", "max_length"),
        ({"events": None}, "events", "null"),
        ({"events": "job.failed"}, "events", "invalid_input"),
        ({"events": []}, "events", "min_length"),
        ({"events": ["job.failed", "job.lost"]}, "events__1", "invalid_choice"),
        ({"events": [["job.failed"]]}, "events__0", "invalid_choice"),
        ({"kinds": ["nonsense"]}, "kinds__0", "invalid_choice"),
        ({"kinds": "text_repr"}, "kinds", "invalid_input"),
        ({"description": "x" * 501}, "description", "max_length"),
        ({"description": "\0"}, "description", "null_characters_not_allowed"),
        ({"enabled": "perhaps"}, "enabled", "invalid_input"),
    ],
)
def test_field_that_is_not_acceptable_is_named(
    client: httpx2.Client, values: dict[str, Any], attr: str, code: str
) -> None:
    refused = client.post("/webhooks/", json={"url": "https://127.0.0.1/", "events": EVENTS, **values})

    assert refused.status_code == 400
    assert (refused.json()["attr"], refused.json()["code"]) == (attr, code)
    assert list(error_faults(refused.json())) == []


@pytest.mark.parametrize("missing", ["url", "events"])
def test_required_field_is_named(client: httpx2.Client, missing: str) -> None:
    body = {"url": "https://127.0.0.1/", "events": EVENTS}
    del body[missing]

    refused = client.post("/webhooks/", json=body)

    assert (refused.json()["attr"], refused.json()["code"]) == (missing, "required")


@pytest.mark.parametrize(("key", "reads"), [("wrong_scope", 403), ("llm_write", 403), ("no_scopes", 403)])
def test_scopes_are_needed(stack: RunningStack, key: str, reads: int) -> None:
    with stack.client(key) as weak:
        statuses = {
            weak.get("/webhooks/").status_code,
            weak.post("/webhooks/", json={}).status_code,
            weak.get("/webhooks/wh_x/").status_code,
        }

    assert statuses == {reads}
