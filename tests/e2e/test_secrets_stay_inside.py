"""Secrets that go in are found nowhere: no answer, log, metric, database, store, or message.

Canaries are planted in every place that takes a secret, on every path that succeeds or fails, with the most
talkative log. Then everything that the stack keeps is searched, packed and encoded parts too.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest
import redis
import zstandard
from sqlalchemy import make_url

from tests.fakes.connected import ConnectedServices, connected_services
from tests.fakes.http_service import Reply
from tests.fakes.oauth import CLIENT_SECRET, slack_grant
from tests.running import RunningStack

SID = "AC" + "0123456789abcdef" * 2
LOST_SID = "AC" + "fedcba9876543210" * 2
KEY_SID = "SK" + "0123456789abcdef" * 2
ENCRYPTION_KEY = base64.urlsafe_b64encode(b"canary-canary-canary-canary-1234").decode()
ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass
class Planted:
    """Canaries by what they are. `seen` is every answer that the stack gave."""

    secrets: dict[str, str] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)

    def plant(self, name: str) -> str:
        return self.secrets.setdefault(name, f"canary-{name}-{len(self.secrets):04d}")

    def note(self, answer: httpx2.Response) -> httpx2.Response:
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.seen.append(headers.encode() + b"\n\n" + answer.content)
        return answer

    def found_in(self, content: bytes) -> list[str]:
        """Names of the canaries in the content, as they are or encoded."""
        return [
            name for name, secret in self.secrets.items() if any(form in content for form in _forms(secret))
        ]


def _forms(secret: str) -> set[bytes]:
    """Also base64 at each of its three alignments, as within `user:password`."""
    raw = secret.encode()
    encoded = {base64.b64encode(b"\0" * shift + raw)[shift + 1 : -4].rstrip(b"=") for shift in range(3)}
    return {raw, quote(secret).encode(), raw.hex().encode(), *encoded}


def _unpacked(content: bytes) -> Iterator[bytes]:
    """The content, and what is compressed or base64 within it."""
    yield content
    for match in re.finditer(re.escape(ZSTD), content):
        try:
            yield from _unpacked(
                zstandard.ZstdDecompressor().decompressobj().decompress(content[match.start() :])
            )
        except zstandard.ZstdError:
            continue
    for match in re.finditer(rb'"body": ?"([A-Za-z0-9+/=]{16,})"', content):
        yield base64.b64decode(match[1])


@pytest.fixture(scope="module")
def services() -> Iterator[ConnectedServices]:
    with connected_services() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(services: ConnectedServices) -> Mapping[str, str]:
    return services.settings(
        TRACEGIST_LOG_LEVEL="debug", TRACEGIST_LOG_FORMAT="json", TRACEGIST_ENCRYPTION_KEYS=ENCRYPTION_KEY
    )


@pytest.fixture(scope="module")
def planted(stack: RunningStack, services: ConnectedServices) -> Planted:
    """Every path that takes a secret has been walked, well and badly."""
    planted = Planted({"client-secret": CLIENT_SECRET, "encryption-key": ENCRYPTION_KEY})
    with stack.client() as client, httpx2.Client(base_url=stack.url, timeout=60) as browser:
        _walk_twilio(client, services, planted)
        _walk_oauth(client, browser, services, planted)
        for path in ("/integrations/", "/jobs/?limit=1000"):
            listed = planted.note(client.get(path)).json()["results"]
            for item in listed:
                planted.note(client.get(f"{path.split('?')[0]}{item['id']}/"))
                if path.startswith("/jobs"):
                    planted.note(client.get(f"/jobs/{item['id']}/result/"))
        for path in ("/metrics", "/_ready", "/openapi.json"):
            planted.note(browser.get(path))
    return planted


def _walk_twilio(client: httpx2.Client, services: ConnectedServices, planted: Planted) -> None:
    def connect(sid: str, headers: Mapping[str, str] | None = None, **config: str) -> httpx2.Response:
        body = {"kind": "twilio", "config": {"account_sid": sid, **config}}
        return planted.note(client.post("/integrations/", json=body, headers=headers))

    token = planted.plant("twilio-token")
    services.twilio.add(SID, token, numbers=3)
    services.twilio.accounts[SID][KEY_SID] = planted.plant("twilio-api-secret")
    made = connect(SID, auth_token=token).json()["id"]
    planted.note(client.get(f"/integrations/{made}/twilio_phone_numbers/"))
    connect(SID, auth_token=planted.plant("refused-token"))
    connect(SID, auth_token=planted.plant("broken-token") + "\n")
    connect("AC", auth_token=planted.plant("unused-token"))
    connect(SID, api_key_sid=KEY_SID, api_key_secret=planted.plant("twilio-api-secret"))
    services.twilio.play(Reply(200, {"message": token, "sid": SID, "friendly_name": f"x{token}"}))
    connect(SID, auth_token=token)
    services.twilio.play(Reply(200, {"message": token, "sid": token}))
    connect(SID, auth_token=token)
    services.twilio.play(*[Reply(500, token.encode())] * 3)
    connect(SID, auth_token=token)
    job = connect(LOST_SID, {"Prefer": "respond-async"}, auth_token=planted.plant("async-token")).json()["id"]
    planted.note(client.get(f"/jobs/{job}/?wait=20"))
    services.twilio.play(Reply(401, {"message": token}))
    planted.note(client.get(f"/integrations/{made}/twilio_phone_numbers/?force_refresh=true"))


def _walk_oauth(
    client: httpx2.Client, browser: httpx2.Client, services: ConnectedServices, planted: Planted
) -> None:
    def start() -> str:
        """A state is shown to its caller, so it is no canary; it is looked for on its own."""
        answer = client.get("/integrations/authorize/", params={"kind": "slack"})
        return parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]

    def finish(code: str) -> httpx2.Response:
        config = {"code": code, "state": start()}
        return planted.note(client.post("/integrations/", json={"kind": "slack", "config": config}))

    def grant(name: str, **more: object) -> str:
        code = planted.plant(f"{name}-code")
        services.oauth.grants[code] = slack_grant(team=name, token=planted.plant(f"{name}-access"), **more)
        return code

    refresh = planted.plant("refresh")
    more = {"refresh_token": refresh, "id_token": planted.plant("id-token"), "expires_in": 60}
    services.oauth.lives[refresh] = {"ok": False, "error": "invalid_grant", "error_description": refresh}
    finish(grant("kept", **more))
    finish(planted.plant("refused-code"))
    services.oauth.play(Reply(400, {"error": "bad", "error_description": planted.plant("echoed-code")}))
    finish(planted.plant("echoed-code"))
    shown = grant("shown")
    services.oauth.grants[shown]["team"] |= {"name": planted.plant("shown-access")}
    finish(shown)
    removed = finish(grant("removed")).json()["id"]
    planted.note(client.delete(f"/integrations/{removed}/"))
    state = start()
    headers = {"Cookie": f"tg_oauth_state={state}"}
    params = {"code": grant("browser"), "state": state}
    planted.note(browser.get("/integrations/slack/callback", params=params, headers=headers))
    planted.note(browser.get("/integrations/slack/callback", params={**params, "state": start()}))
    deadline = time.monotonic() + 60
    while not services.oauth.calls("POST", "/auth.revoke") or not _refreshed(services):
        assert time.monotonic() < deadline, "tokens were neither refreshed nor revoked"
        time.sleep(0.1)


def _refreshed(services: ConnectedServices) -> bool:
    return any(call.form.get("grant_type") == "refresh_token" for call in services.oauth.received)


def _appended(stack: RunningStack) -> bytes:
    """Every command that changed the embedded store, and every command's arguments."""
    files = sorted((stack.data_dir / "valkey" / "appendonlydir").iterdir())
    return b"".join(file.read_bytes() for file in files)


def _values(client: redis.Redis) -> Iterator[bytes]:
    """All keys, and values of every type, of a store."""
    for key in client.scan_iter(count=1000):
        yield key
        match client.type(key):
            case b"string":
                yield client.get(key) or b""
            case b"hash":
                yield from (part for pair in client.hgetall(key).items() for part in pair)
            case b"list":
                yield from client.lrange(key, 0, -1)
            case b"zset":
                yield from client.zrange(key, 0, -1)
            case b"set":
                yield from client.smembers(key)
            case b"stream":
                for _, fields in client.xrange(key):
                    yield from (part for pair in fields.items() for part in pair)


def _store_contents(stack: RunningStack) -> Iterator[bytes]:
    if url := stack.environ.get("REDIS_URL"):
        with redis.Redis.from_url(url) as client:
            yield from _values(client)
    else:
        yield _appended(stack)


def _database_dump(stack: RunningStack) -> bytes:
    url = stack.environ.get("DATABASE_URL")
    if url is None:
        with sqlite3.connect(stack.data_dir / "tracegist.db") as connection:
            return "\n".join(connection.iterdump()).encode("utf-8", "surrogateescape")
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run(["pg_dump", address], check=True, capture_output=True, timeout=60).stdout


def test_the_search_finds_what_is_there() -> None:
    planted = Planted({"one": "canary-one-0001"})
    packed = zstandard.compress(b'{"token": "canary-one-0001"}')
    basic = base64.b64encode(b"AC1:canary-one-0001 ")
    message = json.dumps({"body": base64.b64encode(b'["canary-one-0001"]').decode()}).encode()

    for content in (b"x canary-one-0001", b"\0\1" + packed, basic, message):
        assert any(planted.found_in(part) for part in _unpacked(content))
    assert not any(planted.found_in(part) for part in _unpacked(b"canary-two"))


def test_no_answer_holds_a_secret(planted: Planted) -> None:
    assert len(planted.seen) > 40
    assert [name for answer in planted.seen for name in planted.found_in(answer)] == []


def test_no_log_line_holds_a_secret(stack: RunningStack, planted: Planted) -> None:
    log = stack.log.read_bytes()

    assert b"oauth_exchange_refused" in log  # the place where a provider's text is logged
    assert planted.found_in(log) == []


def test_the_database_holds_no_secret(stack: RunningStack, planted: Planted) -> None:
    dump = _database_dump(stack)

    assert b"integrations" in dump
    assert SID.encode() in dump
    assert planted.found_in(dump) == []


def test_store_and_broker_hold_no_secret(stack: RunningStack, planted: Planted) -> None:
    contents = [part for value in _store_contents(stack) for part in _unpacked(value)]

    assert any(b"integrations.connect" in part for part in contents)
    assert [name for part in contents for name in planted.found_in(part)] == []


def test_no_file_of_the_stack_holds_a_secret(stack: RunningStack, planted: Planted) -> None:
    files = [file for file in stack.data_dir.rglob("*") if file.is_file()]

    found = {
        file.name: names
        for file in files
        if (names := [name for part in _unpacked(file.read_bytes()) for name in planted.found_in(part)])
    }

    assert len(files) > 5
    assert found == {}


def test_no_command_line_holds_a_secret(stack: RunningStack, planted: Planted) -> None:
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in stack.children().values()]

    assert len(lines) >= 5
    assert [name for line in lines for name in planted.found_in(line)] == []
