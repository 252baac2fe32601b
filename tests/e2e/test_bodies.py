"""What every address does with requests that are odd, too large, hostile, or not for it."""

from __future__ import annotations

import gzip
import json
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.matching import error_faults, matches
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, event, summary_request, text_request
from tests.running import RunningStack

FOLDERS = "/persisted_folder/"
MAX_BYTES = 200_000
MAX_DECODED_BYTES = 1_000_000
POSTS = [
    TEXT_REPR,
    SUMMARIZATION,
    f"{SUMMARIZATION}batch_check/",
    f"{SUMMARIZATION}cache/invalidate/",
    FOLDERS,
]
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
LEAKS = re.compile(
    r"Traceback|\.py\b|sqlalchemy|sqlite|psycopg|redis\.|starlette|fastapi|SELECT |tgp_[0-9A-Za-z]{10}"
)


@pytest.fixture(scope="module")
def stack_settings() -> Mapping[str, str]:
    return {
        "TRACEGIST_MAX_BODY_BYTES": str(MAX_BYTES),
        "TRACEGIST_MAX_DECODED_BODY_BYTES": str(MAX_DECODED_BYTES),
    }


def assert_error(answer: httpx2.Response, status: int, code: str, **members: Any) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(error_faults(body)) == []
    assert matches(body, {"code": code, **members})
    assert not LEAKS.search(answer.text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", answer.headers["x-request-id"])
    assert answer.headers["cache-control"] == "no-store"


# size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", POSTS)
def test_too_large_by_its_declared_length(client: httpx2.Client, path: str) -> None:
    answer = client.post(path, content=b"{" + b" " * MAX_BYTES, headers=JSON)

    assert_error(answer, 413, "request_too_large", type="invalid_request", attr=None)


@pytest.mark.parametrize("path", POSTS)
def test_too_large_while_it_is_read(client: httpx2.Client, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"{"
        for _ in range(30):
            yield b" " * 10_000

    answer = client.post(path, content=pieces(), headers=JSON)

    assert_error(answer, 413, "request_too_large")


def test_declared_length_is_refused_without_reading(stack: RunningStack) -> None:
    where = urlsplit(stack.url)
    head = (
        f"POST /api/environments/{stack.projects['main']}{TEXT_REPR} HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Authorization: Bearer {stack.keys['valid']}\r\nContent-Type: application/json\r\n"
        "Content-Length: 9999999999\r\n\r\n"
    )
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_body_of_just_the_limit_is_read(client: httpx2.Client) -> None:
    body = json.dumps(text_request()).encode()

    answer = client.post(TEXT_REPR, content=body + b" " * (MAX_BYTES - len(body)), headers=JSON)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", [TEXT_REPR, SUMMARIZATION])
def test_key_is_looked_at_before_the_size(stack: RunningStack, path: str) -> None:
    with httpx2.Client(base_url=f"{stack.url}/api/environments/{stack.projects['main']}") as stranger:
        answer = stranger.post(path, content=b" " * (MAX_BYTES + 1))

    assert_error(answer, 401, "not_authenticated")


# encoding ---------------------------------------------------------------------------------------------


def test_gzip_is_opened(client: httpx2.Client) -> None:
    body = gzip.compress(json.dumps(text_request()).encode())

    assert client.post(TEXT_REPR, content=body, headers=GZIP).status_code == 200
    assert (
        client.post(TEXT_REPR, content=body, headers={**GZIP, "Content-Encoding": "GZIP"}).status_code == 200
    )


def test_members_of_a_gzip_body_follow_each_other(client: httpx2.Client) -> None:
    body = json.dumps(text_request()).encode()
    members = gzip.compress(body[:40]) + gzip.compress(b"") + gzip.compress(body[40:]) + b"\0\0"

    assert client.post(TEXT_REPR, content=members, headers=GZIP).status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_gzip_bomb_is_stopped(client: httpx2.Client, path: str) -> None:
    bomb = gzip.compress(b"[" * 100_000_000)

    assert len(bomb) < MAX_BYTES
    assert_error(client.post(path, content=bomb, headers=GZIP), 413, "request_too_large")


def test_gzip_of_just_the_limit_is_read(client: httpx2.Client) -> None:
    body = json.dumps(text_request()).encode()
    body += b" " * (MAX_DECODED_BYTES - len(body))

    assert client.post(TEXT_REPR, content=gzip.compress(body), headers=GZIP).status_code == 200
    answer = client.post(TEXT_REPR, content=gzip.compress(body + b" "), headers=GZIP)
    assert_error(answer, 413, "request_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"\x1f\x8b",
        gzip.compress(b'{"a": 1}')[:-6],
        gzip.compress(b"{}")[:12] + b"\xff" * 20,
        gzip.compress(b"{}") + b"{}",
    ],
    ids=["plain", "header", "cut", "broken", "junk after"],
)
def test_gzip_that_cannot_be_opened(client: httpx2.Client, body: bytes) -> None:
    assert_error(client.post(TEXT_REPR, content=body, headers=GZIP), 400, "parse_error", attr=None)


def test_gzip_of_nothing_is_an_empty_object(client: httpx2.Client) -> None:
    answer = client.post(FOLDERS, content=gzip.compress(b""), headers=GZIP)

    assert_error(answer, 400, "required", attr="type")


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "x"])
def test_other_encodings_are_refused(client: httpx2.Client, encoding: str) -> None:
    answer = client.post(TEXT_REPR, content=b"{}", headers={**JSON, "Content-Encoding": encoding})

    assert_error(answer, 415, "unsupported_media_type")


# type -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonx",
        "application/vnd.api+json",
        "application/x-ndjson",
        "*/*",
        "json",
    ],
)
@pytest.mark.parametrize("path", POSTS)
def test_other_types_are_refused(client: httpx2.Client, path: str, kind: str) -> None:
    answer = client.post(path, content=b'{"type": "home"}', headers={"Content-Type": kind})

    assert_error(answer, 415, "unsupported_media_type", type="invalid_request", attr=None)
    assert "application/json" in answer.headers["accept-post"]


@pytest.mark.parametrize(
    "kind",
    ["application/json", "APPLICATION/JSON", "application/json; charset=latin-1", "application/json;x", None],
)
def test_json_types_are_read(client: httpx2.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}

    answer = client.post(FOLDERS, content='{"type": "home", "path": "ä"}'.encode(), headers=headers)

    assert answer.status_code == 201
    assert answer.json()["path"] == "ä"


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml;q=1", "nonsense", "", "application/json;q=0"]
)
def test_answers_are_json_whatever_is_accepted(client: httpx2.Client, accept: str) -> None:
    answer = client.post(TEXT_REPR, json=text_request(), headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


# syntax -----------------------------------------------------------------------------------------------

NOT_JSON = {
    "word": b"undefined",
    "form": b"summarize_type=undefined,",
    "cut": b'{"type": "home"',
    "two": b'{"type": "home"}{"type": "pinned"}',
    "two lines": b'{"type": "home"}\n{"type": "pinned"}',
    "trailing comma": b'{"type": "home",}',
    "comment": b'{"type": "home"} // x',
    "single quotes": b"{'type': 'home'}",
    "NaN": b'{"type": "home", "x": NaN}',
    "Infinity": b'{"type": "home", "x": Infinity}',
    "-Infinity": b'{"type": "home", "x": -Infinity}',
    "NaN and surrogate": b'{"type": "home", "x": NaN, "y": "\\ud800"}',
    "not UTF-8": b'{"type": "home", "path": "\xff\xfe"}',
    "latin-1": '{"type": "home", "path": "ä"}'.encode("latin-1"),
    "raw surrogate": b'{"type": "home", "path": "\xed\xa0\x80"}',
    "UTF-16": '{"type": "home"}'.encode("utf-16"),
    "NUL": b"\0",
    "control character": b'{"type": "home", "path": "a\x01b"}',
    "bad escape": b'{"type": "home", "path": "\\x"}',
    "half escape": b'{"type": "home", "path": "\\u12"}',
    "leading zero": b'{"type": "home", "x": 012}',
    "plus": b'{"type": "home", "x": +1}',
    "hex": b'{"type": "home", "x": 0x1}',
    "dot": b'{"type": "home", "x": 1.}',
    "lists 513 deep": b'{"a": ' + b"[" * 512 + b"]" * 512 + b"}",
    "objects 513 deep": b'{"a": ' * 512 + b"{}" + b"}" * 512,
    "50,000 deep": b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "50,000 open": b"[" * 50_000,
    "4,301 digits": b'{"type": "home", "x": ' + b"9" * 4301 + b"}",
}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_a_parse_error(client: httpx2.Client, path: str, name: str) -> None:
    answer = client.post(path, content=NOT_JSON[name], headers=JSON)

    assert_error(answer, 400, "parse_error", type="invalid_request", attr=None)


def test_parse_error_shows_what_works(client: httpx2.Client) -> None:
    answer = client.post(SUMMARIZATION, content=b"summarize_type=undefined,", headers=JSON)

    assert "JSON" in answer.json()["detail"]
    assert '-H "Content-Type: application/json" --data' in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"', b"true", b"1.5e3", b"[{}]"])
@pytest.mark.parametrize("path", POSTS)
def test_other_top_levels_are_no_object(client: httpx2.Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers=JSON)

    assert_error(answer, 400, "invalid_input", type="validation_error", attr=None)


@pytest.mark.parametrize("body", [b"", b"   \n", b"{}"])
def test_empty_body_is_an_empty_object(client: httpx2.Client, body: bytes) -> None:
    assert_error(client.post(FOLDERS, content=body, headers=JSON), 400, "required", attr="type")
    assert_error(client.post(TEXT_REPR, content=body), 400, "required", attr="event_type")
    assert_error(client.post(SUMMARIZATION, content=body), 400, "required", attr="summarize_type")


def test_of_equal_members_the_last_counts(client: httpx2.Client) -> None:
    answer = client.post(
        FOLDERS, content=b'{"type": "x", "path": "a", "path": "b", "type": "home"}', headers=JSON
    )

    assert answer.status_code == 201
    assert (answer.json()["type"], answer.json()["path"]) == ("home", "b")


def test_nesting_at_the_limit_is_read(client: httpx2.Client) -> None:
    deep = b'{"event_type": "$ai_span", "data": {"id": "d", "properties": {"$ai_input_state": %b%b}}}'
    body = deep % (b"[" * 509, b"]" * 509)

    assert client.post(TEXT_REPR, content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize("digits", [19, 20, 400, 4300])
def test_huge_integers_in_the_data_are_no_fault(client: httpx2.Client, digits: int) -> None:
    body = json.dumps(text_request()).replace('"$ai_model"', f'"$ai_latency": {"9" * digits}, "$ai_model"')

    first = client.post(TEXT_REPR, content=body.encode(), headers=JSON)

    assert first.status_code == 200
    assert client.post(TEXT_REPR, content=body.encode(), headers=JSON).content == first.content


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "1" + "0" * 400 + ".5"])
def test_numbers_past_a_double_are_no_fault_of_ours(client: httpx2.Client, number: str) -> None:
    body = json.dumps(text_request()).replace('"$ai_model"', f'"$ai_latency": {number}, "$ai_model"')
    options = json.dumps(text_request()).replace('"data"', f'"options": {{"max_depth": {number}}}, "data"')

    assert client.post(TEXT_REPR, content=body.encode(), headers=JSON).status_code in (200, 400)
    assert client.post(TEXT_REPR, content=options.encode(), headers=JSON).status_code in (200, 400)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "a\\udc00\\ud800b", "\\u0000", "\\ud83d"])
def test_surrogates_and_nul_in_the_data_are_accepted(client: httpx2.Client, escape: str) -> None:
    text = json.dumps(text_request()).replace("Paris.", escape)
    summary = json.dumps(summary_request()).replace("Paris.", escape)

    assert client.post(TEXT_REPR, content=text.encode(), headers=JSON).status_code == 200
    assert client.post(SUMMARIZATION, content=summary.encode(), headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("escape", "code"),
    [("\\u0000", "null_characters_not_allowed"), ("\\ud800", "surrogate_characters_not_allowed")],
)
@pytest.mark.parametrize("name", ["path", "protocol"])
def test_surrogates_and_nul_in_stored_text_are_refused(
    client: httpx2.Client, name: str, escape: str, code: str
) -> None:
    body = f'{{"type": "home", "{name}": "a{escape}b"}}'

    assert_error(client.post(FOLDERS, content=body.encode(), headers=JSON), 400, code, attr=name)


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE x; --", "🐈‍⬛", "日本語", "\u202eabc", "a\u2028b", "𝒳", "%s{}$1"]
)
def test_any_unicode_comes_back(client: httpx2.Client, text: str) -> None:
    answer = client.post(FOLDERS, json={"type": "home", "path": text})

    assert answer.status_code == 201
    assert client.get(f"{FOLDERS}{answer.json()['id']}/").json()["path"] == text


@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800", "x" * 5000, "", "'; --", "__class__"])
def test_no_name_of_a_flag_is_a_fault_of_ours(stack: RunningStack, client: httpx2.Client, name: str) -> None:
    body = json.dumps({"feature_flags": {name: True}}).encode()

    answer = client.patch(f"{stack.url}/api/projects/{stack.projects['main']}/", content=body)

    assert answer.status_code in (200, 400)
    assert client.get(f"{stack.url}/api/projects/{stack.projects['main']}/").status_code == 200


def test_odd_ids_of_events_come_back(client: httpx2.Client) -> None:
    for odd in ("\0", "'", 2**70, [1], {"a": None}, True, 1.5):
        body = json.dumps({"event_type": "$ai_span", "data": {**event(), "id": odd}})

        answer = client.post(TEXT_REPR, content=body.encode(), headers=JSON)

        assert answer.status_code == 200
        assert json.loads(answer.content)["metadata"]["event_id"] == odd


def test_lone_surrogates_in_ids_come_back_repaired(client: httpx2.Client) -> None:
    body = json.dumps({"event_type": "$ai_span", "data": {**event(), "id": "a\ud800"}})

    answer = client.post(TEXT_REPR, content=body.encode(), headers=JSON)

    assert answer.status_code == 200
    assert json.loads(answer.content)["metadata"]["event_id"] == "a\ufffd"


# routes and methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/x",
        "/api",
        "/api/",
        "/api/x",
        "/api/environments",
        "/api/environments/",
        "/docs/x",
        "/redoc",
        "/favicon.ico",
    ],
)
def test_unknown_routes_are_not_found(stack: RunningStack, client: httpx2.Client, path: str) -> None:
    assert_error(client.get(stack.url + path), 404, "not_found", type="invalid_request", attr=None)


@pytest.mark.parametrize(
    "path",
    [
        "//jobs/",
        "/jobs//",
        "/llm_analytics//text_repr/",
        "/persisted_folder//",
        "/jobs/x//result/",
        "/nothing/",
    ],
)
def test_empty_segments_and_unknown_rooms_are_not_found(
    stack: RunningStack, client: httpx2.Client, path: str
) -> None:
    answer = client.get(f"{stack.url}/api/environments/{stack.projects['main']}{path}")

    assert_error(answer, 404, "not_found")


def test_empty_first_segment_is_not_found(stack: RunningStack, client: httpx2.Client) -> None:
    project = stack.projects["main"]

    for path in (f"//api/environments/{project}/jobs/", f"/api//environments/{project}/jobs/"):
        assert_error(_raw_get(stack, path), 404, "not_found")


def _raw_get(stack: RunningStack, path: str, **headers: str) -> httpx2.Response:
    """Without a client that would tidy the address first."""
    where = urlsplit(stack.url)
    lines = {
        "Host": where.netloc,
        "Authorization": f"Bearer {stack.keys['valid']}",
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = top.decode().split("\r\n")
    parsed = [line.split(": ", 1) for line in rest]
    return httpx2.Response(int(first.split()[1]), headers=[(a, b) for a, b in parsed], content=body)


@pytest.mark.parametrize(
    "project",
    [
        "abc",
        "-1",
        "0",
        "01",
        "+1",
        "1.0",
        "1e3",
        "0x1",
        "٣",
        "1%20",
        "1%00",
        "1%2F2",
        "1%27",
        "%22",
        "9223372036854775807",
        "9223372036854775808",
        "9" * 26,
        "9" * 5000,
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "@current",
        "null",
    ],
)
def test_odd_project_ids_are_not_found(stack: RunningStack, client: httpx2.Client, project: str) -> None:
    for prefix in ("environments", "projects"):
        for room in ("jobs/", "persisted_folder/", "persisted_folder"):
            answer = client.get(f"{stack.url}/api/{prefix}/{project}/{room}")
            assert_error(answer, 404, "not_found")


@pytest.mark.parametrize("path", ["/_health", "/_ready", "/metrics", "/openapi.json", "/docs"])
def test_addresses_outside_the_api_take_a_slash_too(stack: RunningStack, path: str) -> None:
    answers = {end: httpx2.get(f"{stack.url}{path}{end}").status_code for end in ("", "/", "//")}

    assert answers == {"": 200, "/": 200, "//": 404}


@pytest.mark.parametrize("prefix", ["environments", "projects"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("room", ["llm_analytics/text_repr", "llm_analytics/summarization"])
def test_both_prefixes_with_and_without_slash(
    stack: RunningStack, client: httpx2.Client, prefix: str, slash: str, room: str
) -> None:
    body = text_request() if room.endswith("repr") else summary_request()

    answer = client.post(f"{stack.url}/api/{prefix}/{stack.projects['main']}/{room}{slash}", json=body)

    assert answer.status_code == 200
    assert answer.history == []


METHODS = [
    (TEXT_REPR, {"POST"}),
    (SUMMARIZATION, {"POST"}),
    (f"{SUMMARIZATION}batch_check/", {"POST"}),
    (f"{SUMMARIZATION}cache/invalidate/", {"POST"}),
    ("/jobs/", {"GET", "HEAD"}),
    ("/jobs/job_1/", {"GET", "HEAD", "DELETE"}),
    ("/jobs/job_1/result/", {"GET", "HEAD"}),
    ("/jobs/job_1/cancel/", {"POST"}),
    (FOLDERS, {"GET", "HEAD", "POST"}),
    (f"{FOLDERS}{uuid.UUID(int=1)}/", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
]


@pytest.mark.parametrize(("path", "allowed"), METHODS)
@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "HEAD"]
)
def test_other_methods_are_not_allowed(
    client: httpx2.Client, path: str, allowed: set[str], method: str
) -> None:
    answer = client.request(method, path)

    if method in allowed:
        assert answer.status_code != 405
    elif method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
    else:
        assert_error(answer, 405, "method_not_allowed", type="invalid_request", attr=None)
    if answer.status_code == 405:
        assert set(re.split(r",\s*", answer.headers["allow"])) == allowed


def test_wrong_method_comes_before_the_key(stack: RunningStack) -> None:
    answer = httpx2.delete(f"{stack.url}/api/environments/1{TEXT_REPR}")

    assert_error(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/jobs/", FOLDERS, "/jobs/job_x/"])
def test_head_is_get_without_the_body(client: httpx2.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)

    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    "name",
    ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"],
)
def test_override_headers_are_ignored(stack: RunningStack, client: httpx2.Client, name: str) -> None:
    value = f"/api/environments/{stack.projects['main']}/jobs/" if name.endswith("URL") else "DELETE"
    created = client.post(FOLDERS, json={"type": "pinned"}).json()

    answer = client.get(f"{FOLDERS}{created['id']}/", headers={name: value})

    assert answer.status_code == 200
    assert answer.json() == created
    assert client.get(f"{FOLDERS}{created['id']}/").status_code == 200


# hosts, ids, keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example:80",
        "localhost:abc",
        "x y",
    ],
)
def test_forged_host_is_refused(client: httpx2.Client, host: str) -> None:
    answer = client.get(FOLDERS, headers={"Host": host})

    assert answer.status_code == 400
    assert "evil" not in answer.text


def test_two_hosts_are_refused(stack: RunningStack) -> None:
    where = urlsplit(stack.url)
    request = (
        f"GET /_health HTTP/1.1\r\nHost: {where.netloc}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=20) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"invalid_host"' in answer


@pytest.mark.parametrize("write", ["{{{}}}", "urn:uuid:{}", "{}%20"])
def test_id_of_a_folder_has_one_form(client: httpx2.Client, write: str) -> None:
    number = client.post(FOLDERS, json={"type": "home"}).json()["id"]

    assert client.get(f"{FOLDERS}{number.upper()}/").status_code == 200
    assert_error(client.get(f"{FOLDERS}{write.format(number)}/"), 404, "not_found")
    assert_error(client.get(f"{FOLDERS}{number.replace('-', '')}/"), 404, "not_found")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:81", "127.0.0.1:9", "[::1]:8000"])
def test_loopback_hosts_are_served(client: httpx2.Client, host: str) -> None:
    assert client.get(FOLDERS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "evil"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-For", "evil.example"),
    ],
)
def test_forwarded_headers_of_strangers_do_not_count(client: httpx2.Client, name: str, value: str) -> None:
    client.post(FOLDERS, json={"type": "home"})
    client.post(FOLDERS, json={"type": "pinned"})

    answer = client.get(FOLDERS, params={"limit": 1}, headers={name: value})

    assert answer.status_code == 200
    assert answer.json()["next"]
    assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("given", ["my-id-12", "A.b_c-d.0123", "x" * 128])
def test_request_id_of_the_caller_is_kept(client: httpx2.Client, given: str) -> None:
    assert client.get(FOLDERS, headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 129, "has blank in", "semi;colon", "ümlaut-id", "<script>alert"]
)
def test_odd_request_id_is_replaced(client: httpx2.Client, given: str) -> None:
    headers = {"X-Request-Id": given.encode()}
    answers = [client.get(path, headers=headers) for path in (FOLDERS, "/nothing/")]

    for answer in answers:
        made = answer.headers["x-request-id"]
        assert made != given
        assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", made)
    assert answers[0].headers["x-request-id"] != answers[1].headers["x-request-id"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "not_authenticated"),
        ("", "not_authenticated"),
        ("Basic dXNlcjpwYXNz", "authentication_failed"),
        ("Bearer", "authentication_failed"),
        ("{key}", "authentication_failed"),
        ("Token {key}", "authentication_failed"),
        ("Bearer {key} x", "authentication_failed"),
        ("Bearer {key}, Bearer {key}", "authentication_failed"),
        ("Bearer {key}x", "authentication_failed"),
        ("Bearer {swapped}", "authentication_failed"),
        ("Bearer tgp_", "authentication_failed"),
        ("Bearer ' OR 1=1 --", "authentication_failed"),
        ("Bearer " + "x" * 5000, "authentication_failed"),
    ],
)
def test_what_is_no_key_is_refused(stack: RunningStack, header: str | None, code: str) -> None:
    key = stack.keys["valid"]
    headers = {} if header is None else {"Authorization": header.format(key=key, swapped=key[:-1] + "!")}

    answer = httpx2.get(f"{stack.url}/api/environments/{stack.projects['main']}{FOLDERS}", headers=headers)

    assert_error(answer, 401, code, type="authentication_error", attr=None)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert key not in answer.text


@pytest.mark.parametrize("header", ["bearer {key}", "BEARER {key}", "Bearer   {key}  ", "  Bearer {key}"])
def test_scheme_in_any_case_and_blanks(stack: RunningStack, header: str) -> None:
    authorization = header.format(key=stack.keys["valid"])

    path = f"/api/environments/{stack.projects['main']}{FOLDERS}"
    answer = _raw_get(stack, path, Authorization=authorization)

    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["personal_api_key", "api_key", "key", "token", "access_token"])
def test_key_in_query_or_body_is_not_accepted(stack: RunningStack, name: str) -> None:
    address = f"{stack.url}/api/environments/{stack.projects['main']}{FOLDERS}"
    key = stack.keys["valid"]

    assert_error(httpx2.get(address, params={name: key}), 401, "not_authenticated")
    assert_error(httpx2.post(address, json={name: key, "type": "home"}), 401, "not_authenticated")


@pytest.mark.parametrize("key", ["expired", "revoked", "inactive_user"])
def test_key_that_no_longer_works(stack: RunningStack, key: str) -> None:
    with stack.client(key) as late:
        assert_error(late.get(FOLDERS), 401, "authentication_failed")


def test_scope_is_checked_before_the_object_and_the_body(stack: RunningStack) -> None:
    with stack.client("folder_read") as weak:
        assert_error(weak.post(FOLDERS, content=b"{"), 403, "permission_denied")
        assert_error(weak.delete(f"{FOLDERS}not-an-id/"), 403, "permission_denied")
        assert_error(weak.post(TEXT_REPR, content=b"x" * (MAX_BYTES + 1)), 403, "permission_denied")
        assert weak.get(FOLDERS).status_code == 200


def test_missing_project_comes_before_scope_and_body(stack: RunningStack) -> None:
    with stack.client("no_scopes") as weak:
        for project, status in (("987654321", 404), (str(stack.projects["other"]), 403)):
            answer = weak.post(f"{stack.url}/api/environments/{project}{TEXT_REPR}", content=b"{")
            assert answer.status_code == status


def test_no_cross_origin_headers(client: httpx2.Client) -> None:
    answer = client.get(FOLDERS, headers={"Origin": "https://evil.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


# field errors of text_repr ----------------------------------------------------------------------------

GOOD_TRACE = {"trace": {"id": "t"}, "hierarchy": []}
FIELD_ERRORS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"data": {}}, "required", "event_type"),
    ({"event_type": None, "data": {}}, "null", "event_type"),
    ({"event_type": "$ai_metric", "data": {}}, "invalid_choice", "event_type"),
    ({"event_type": "$AI_SPAN", "data": {}}, "invalid_choice", "event_type"),
    ({"event_type": 5, "data": {}}, "invalid_choice", "event_type"),
    ({"event_type": ["$ai_span"], "data": {}}, "invalid_choice", "event_type"),
    ({"event_type": "$ai_span"}, "required", "data"),
    ({"event_type": "$ai_span", "data": None}, "null", "data"),
    ({"event_type": "$ai_span", "data": []}, "invalid_input", "data"),
    ({"event_type": "$ai_span", "data": "x"}, "invalid_input", "data"),
    ({"event_type": "$ai_span", "data": {}, "options": None}, "null", "options"),
    ({"event_type": "$ai_span", "data": {}, "options": []}, "invalid_input", "options"),
    ({"event_type": "$ai_span", "data": {"id": "x"}}, "invalid_input", None),
    ({"event_type": "$ai_span", "data": {"properties": {}}}, "invalid_input", None),
    ({"event_type": "$ai_span", "data": {"id": "", "properties": {}}}, "invalid_input", None),
    ({"event_type": "$ai_trace", "data": {}}, "invalid_input", None),
    ({"event_type": "$ai_trace", "data": {"trace": {"id": "t"}}}, "invalid_input", None),
    ({"event_type": "$ai_trace", "data": {"trace": [], "hierarchy": []}}, "invalid_input", None),
    ({"event_type": "$ai_trace", "data": {"trace": {"name": "x"}, "hierarchy": []}}, "invalid_input", None),
    *[
        ({"event_type": "$ai_trace", "data": GOOD_TRACE, "options": {name: value}}, code, f"options__{name}")
        for name in ("max_length", "truncate_buffer", "max_depth", "tools_collapse_threshold")
        for value, code in (
            (None, "null"),
            ("many", "invalid_input"),
            (True, "invalid_input"),
            (1.5, "invalid_input"),
            ([], "invalid_input"),
            ("", "invalid_input"),
            ("1_000", "invalid_input"),
            ("9" * 5000, "invalid_input"),
            (-1, "min_value"),
            ("-1", "min_value"),
        )
    ],
    *[
        ({"event_type": "$ai_trace", "data": GOOD_TRACE, "options": {name: value}}, code, f"options__{name}")
        for name in ("truncated", "include_markers", "collapsed", "include_hierarchy", "include_line_numbers")
        for value, code in (
            (None, "null"),
            (1, "invalid_input"),
            ("yes", "invalid_input"),
            ([], "invalid_input"),
        )
    ],
]


@pytest.mark.parametrize(("body", "code", "attr"), FIELD_ERRORS)
def test_field_error_names_code_and_field(
    client: httpx2.Client, body: dict[str, Any], code: str, attr: str | None
) -> None:
    answer = client.post(TEXT_REPR, json=body)

    assert_error(answer, 400, code, type="validation_error", attr=attr)


@pytest.mark.parametrize("value", [12, 12.0, "12", "+12", " 12 ", 10**30, 0])
@pytest.mark.parametrize("name", ["max_length", "truncate_buffer", "max_depth", "tools_collapse_threshold"])
def test_integers_in_all_their_forms(client: httpx2.Client, name: str, value: object) -> None:
    assert client.post(TEXT_REPR, json=text_request(options={name: value})).status_code == 200


@pytest.mark.parametrize("value", [True, False, "true", "false"])
@pytest.mark.parametrize("name", ["truncated", "include_markers", "collapsed", "include_hierarchy"])
def test_booleans_in_all_their_forms(client: httpx2.Client, name: str, value: object) -> None:
    assert client.post(TEXT_REPR, json=text_request(options={name: value})).status_code == 200


def test_effective_options_share_an_entry(client: httpx2.Client) -> None:
    body = text_request()
    client.post(TEXT_REPR, json=body)

    again = client.post(TEXT_REPR, json={**body, "options": {"truncated": True, "max_length": "4000000"}})
    changed = client.post(TEXT_REPR, json={**body, "options": {"include_line_numbers": True}})

    assert again.headers["x-cache"] == "hit"
    assert "x-cache" not in changed.headers


def test_changed_data_is_never_answered_with_the_old_text(client: httpx2.Client) -> None:
    body = text_request()
    client.post(TEXT_REPR, json=body)
    body["data"]["properties"]["$ai_output_choices"] = "Another answer."

    answer = client.post(TEXT_REPR, json=body)

    assert "x-cache" not in answer.headers
    assert "Another answer." in answer.json()["text"]
