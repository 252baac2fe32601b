"""Uploads that are refused, partly or as a whole, and uploads that come twice."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import ALL_TIME, NDJSON, counted, lines_of, listed, upload
from tests.e2e.matching import error_faults
from tests.running import RunningStack

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
GZIP = {"Content-Encoding": "gzip"}
MIB = 1_048_576


def otlp(*records: Any, service: str = "uploads") -> dict[str, Any]:
    attributes = [{"key": "service.name", "value": {"stringValue": service}}]
    return {
        "resourceLogs": [
            {"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": list(records)}]}
        ]
    }


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"timeUnixNano": "1772323200000000000", "body": {"stringValue": text}, **fields}


@pytest.fixture
def otlp_client(stack: RunningStack) -> Iterator[httpx2.Client]:
    headers = {
        "Authorization": f"Bearer {stack.keys['valid']}",
        "X-Tracegist-Project": str(stack.projects["main"]),
    }
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=90) as opened:
        yield opened


def send(client: httpx2.Client, content: bytes, headers: dict[str, str] = JSON) -> httpx2.Response:
    return client.post("/v1/logs", content=content, headers=headers)


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


# OTLP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/v1/logs", "/v1/logs/", "/i/v1/logs"])
def test_json_is_stored_under_every_address(
    otlp_client: httpx2.Client, client: httpx2.Client, address: str
) -> None:
    body = otlp(said("hello"), service=f"address {address}")

    answer = otlp_client.post(address, json=body)

    assert (answer.status_code, answer.json()) == (200, {})
    found = listed(client, {"dateRange": ALL_TIME, "serviceNames": [f"address {address}"]})
    assert [record["body"] for record in found] == ["hello"]


def test_records_that_are_bad_cost_only_themselves(otlp_client: httpx2.Client, client: httpx2.Client) -> None:
    records = [
        said("good", traceId="zz", spanId="12"),
        said("no time", timeUnixNano="soon"),
        said("too late", timeUnixNano=str(2**64 - 1)),
        "not a record",
        said("x" * (MIB + 1)),
        said("many", attributes=[{"key": f"k{n}", "value": {"intValue": n}} for n in range(513)]),
        said("long key", attributes=[{"key": "k" * 1025, "value": {"intValue": 1}}]),
        said("long value", attributes=[{"key": "k", "value": {"stringValue": "v" * 65_537}}]),
        said("good too"),
    ]

    answer = send(otlp_client, dumped(otlp(*records, service="partly bad")))

    assert answer.status_code == 200
    told = answer.json()["partialSuccess"]
    assert int(told["rejectedLogRecords"]) == 7
    assert told["errorMessage"].startswith("record 1: ")
    found = listed(client, {"dateRange": ALL_TIME, "serviceNames": ["partly bad"], "orderBy": "earliest"})
    assert [record["body"] for record in found] == ["good", "good too"]
    assert found[0]["trace_id"] == "0" * 32


@pytest.mark.parametrize("content", [b"", b"{}", b'{"resourceLogs": []}'], ids=["nothing", "object", "none"])
def test_empty_request_is_a_success(otlp_client: httpx2.Client, content: bytes) -> None:
    answer = send(otlp_client, content)

    assert (answer.status_code, answer.content) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "content",
    [b"[]", b'"text"', b"null", b'{"resourceLogs": [', b"\xff\xfe", b'{"resourceLogs": 7}'],
)
def test_envelope_that_is_no_request_is_refused(otlp_client: httpx2.Client, content: bytes) -> None:
    answer = send(otlp_client, content)

    assert answer.status_code == 400
    assert list(error_faults(answer.json())) == []
    assert answer.json()["message"] == answer.json()["detail"]


def test_broken_protobuf_is_refused_with_a_status_message(otlp_client: httpx2.Client) -> None:
    answer = send(otlp_client, b"\x0a\xff\xff\xff\xff\x0f", PROTOBUF)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.content.startswith(b"\x08\x03\x12")  # code 3, INVALID_ARGUMENT, then the message


def test_form_is_told_by_the_first_byte_when_there_is_no_type(otlp_client: httpx2.Client) -> None:
    untyped = {"Content-Type": ""}

    as_json = send(otlp_client, b" \n" + dumped(otlp(said("no type"))), untyped)
    packed = send(otlp_client, gzip.compress(dumped(otlp(said("no type")))), untyped)
    as_protobuf = send(otlp_client, b"", untyped)

    assert [answer.status_code for answer in (as_json, packed, as_protobuf)] == [200, 200, 200]
    assert as_json.headers["content-type"] == packed.headers["content-type"] == "application/json"
    assert as_protobuf.headers["content-type"] == "application/x-protobuf"


def test_types_and_encodings_that_are_not_known_are_refused(otlp_client: httpx2.Client) -> None:
    text = send(otlp_client, b"{}", {"Content-Type": "text/plain"})
    deflated = send(otlp_client, b"{}", {**JSON, "Content-Encoding": "deflate"})
    with_parameter = send(otlp_client, b"{}", {"Content-Type": "Application/JSON; charset=utf-8"})

    assert [text.status_code, deflated.status_code, with_parameter.status_code] == [415, 415, 200]


def test_gzip_that_is_broken_is_refused(otlp_client: httpx2.Client) -> None:
    whole = gzip.compress(dumped(otlp(said("gzip"))))

    answers = [
        send(otlp_client, content, {**JSON, **GZIP})
        for content in (b"{}", whole[:-9], whole[:20] + b"\0\0\0" + whole[23:], whole + b"junk")
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert send(otlp_client, whole, JSON).status_code == 200  # unpacked without the header, too
    assert (
        send(
            otlp_client, whole[:0] + gzip.compress(b'{"resource') + gzip.compress(b'Logs": []}'), JSON
        ).json()
        == {}
    )


def test_bomb_is_refused_and_costs_no_memory(stack: RunningStack, otlp_client: httpx2.Client) -> None:
    once = gzip.compress(b"\0" * (80 * MIB))
    many = gzip.compress(b"") * 2000 + once
    before = peak_memory(stack)

    answers = [send(otlp_client, content, {**JSON, **GZIP}) for content in (once, many)]

    assert [answer.status_code for answer in answers] == [413, 413]
    assert peak_memory(stack) - before < 40 * MIB


def peak_memory(stack: RunningStack) -> int:
    """Most bytes that the shim ever held."""
    with open(f"/proc/{stack.children()['shim']}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_body_over_the_limit_is_refused(otlp_client: httpx2.Client) -> None:
    answer = send(otlp_client, b" " * (20 * MIB + 1))

    assert answer.status_code == 413


def test_more_than_100_000_records_are_refused_as_a_whole(
    otlp_client: httpx2.Client, client: httpx2.Client
) -> None:
    content = dumped(otlp(*[said("")] * 100_001, service="too many"))

    answer = send(otlp_client, gzip.compress(content, 1))

    assert answer.status_code == 413
    assert counted(client, {"dateRange": ALL_TIME, "serviceNames": ["too many"]}) == 0


def test_key_of_several_projects_names_one(stack: RunningStack, otlp_client: httpx2.Client) -> None:
    del otlp_client.headers["X-Tracegist-Project"]
    foreign = {"X-Tracegist-Project": str(stack.projects["other"])}

    answers = [
        otlp_client.post("/v1/logs", json={}),
        otlp_client.post("/v1/logs", json={}, headers=foreign),
        otlp_client.post("/v1/logs", json={}, headers={"X-Tracegist-Project": "main"}),
        otlp_client.post("/v1/logs?token=" + stack.keys["valid"], json={}, headers={"Authorization": ""}),
    ]

    assert [answer.status_code for answer in answers] == [400, 403, 404, 401]


def test_scope_to_write_is_needed(stack: RunningStack) -> None:
    headers = {
        "Authorization": f"Bearer {stack.keys['logs_read']}",
        "X-Tracegist-Project": str(stack.projects["main"]),
    }

    assert httpx2.post(f"{stack.url}/v1/logs", json={}, headers=headers).status_code == 403
    del headers["X-Tracegist-Project"]
    assert httpx2.post(f"{stack.url}/v1/logs", json={}, headers=headers).status_code == 403
    with stack.client("logs_read") as client:
        assert client.post("/logs/import", content=b"{}", headers=NDJSON).status_code == 403
        assert client.post("/logs/count", json={}).status_code == 200


# NDJSON -------------------------------------------------------------------------------------------


def test_lines_that_are_bad_are_told_one_by_one(client: httpx2.Client) -> None:
    content = (
        b'{"body": "one"}\n\n{broken\n[]\n{"body": "two", "timestamp": "yesterday"}\r\n{"body": "three"}'
    )

    told = upload(client, content)

    assert (told["accepted"], told["rejected"]) == (2, 3)
    assert [error["line"] for error in told["errors"]] == [3, 4, 5]


def test_unknown_keys_are_refused_only_when_that_is_asked_for(client: httpx2.Client) -> None:
    record = {"timestamp": "2026-03-01T00:00:00Z", "body": "b", "service_name": "strictness", "extra": 7}

    strict = upload(client, lines_of([record]), strict="true")
    lenient = upload(client, lines_of([record, record]))

    assert (strict["accepted"], strict["rejected"]) == (0, 1)
    assert lenient["accepted"] == 2
    found = listed(client, {"dateRange": ALL_TIME, "serviceNames": ["strictness"]})
    assert [record["attributes"] for record in found] == [{"extra": "7"}] * 2


@pytest.mark.parametrize(
    ("content", "headers", "params", "status"),
    [
        (b"{}", {"Content-Type": "text/plain"}, {}, 415),
        (b"{}", {"Content-Type": "application/json"}, {}, 415),
        (b"{}", {**NDJSON, "Content-Encoding": "br"}, {}, 415),
        (b"{}", {**NDJSON, **GZIP}, {}, 400),
        (b"{}", NDJSON, {"strict": "perhaps"}, 400),
        (b"{}", NDJSON, {"async": "1"}, 400),
        (bytes(range(128, 256)) * 4, NDJSON, {}, 400),
        (gzip.compress(b" " * (65 * MIB)), NDJSON, {}, 413),
    ],
    ids=["text", "json", "brotli", "no gzip", "strict", "async", "binary", "bomb"],
)
def test_import_that_cannot_be_read_is_refused(
    client: httpx2.Client, content: bytes, headers: dict[str, str], params: dict[str, str], status: int
) -> None:
    answer = client.post("/logs/import", content=content, headers=headers, params=params)

    assert answer.status_code == status, answer.text
    assert list(error_faults(answer.json())) == []
    assert answer.json()["error"] == answer.json()["detail"]


def test_import_as_a_job_stores_the_same(client: httpx2.Client) -> None:
    content = lines_of({"body": f"{number}", "service_name": "as a job"} for number in range(20))

    accepted = client.post("/logs/import?async=true", content=content, headers=NDJSON)
    job = accepted.json()
    ended = client.get(f"/jobs/{job['id']}/?wait=30").json()
    result = client.get(f"/jobs/{job['id']}/result/")

    assert accepted.status_code == 202
    assert (job["kind"], ended["state"]) == ("logs.import", "succeeded")
    assert result.json() == {"accepted": 20, "rejected": 0, "errors": []}
    assert counted(client, {"dateRange": {"date_from": "-1h"}, "serviceNames": ["as a job"]}) == 20


# twice --------------------------------------------------------------------------------------------


def test_same_body_is_stored_once_also_at_the_same_time(client: httpx2.Client) -> None:
    content = lines_of({"body": "again", "service_name": "again"} for _ in range(500))

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda body: upload(client, body), [content] * 4))
    packed = client.post("/logs/import", content=gzip.compress(content), headers={**NDJSON, **GZIP})

    assert [answer["accepted"] for answer in told] == [500] * 4
    assert packed.status_code == 200
    query = {"dateRange": {"date_from": "-1h"}, "serviceNames": ["again"]}
    assert counted(client, query) == len(listed(client, query)) == 500


def test_same_body_is_stored_in_each_project_that_it_is_sent_to(stack: RunningStack) -> None:
    content = lines_of([{"timestamp": "2026-03-01", "body": "shared", "service_name": "shared"}])
    query = {"dateRange": ALL_TIME, "serviceNames": ["shared"]}

    sums = []
    for key in ("valid", "pinned"):
        project = "main" if key == "valid" else "flag_off"
        with httpx2.Client(
            base_url=f"{stack.url}/api/environments/{stack.projects[project]}",
            headers={"Authorization": f"Bearer {stack.keys[key]}"},
        ) as client:
            upload(client, content)
            sums.append(counted(client, query))

    assert sums == [1, 1]


def test_equal_records_of_different_bodies_are_kept(client: httpx2.Client) -> None:
    record = {"timestamp": "2026-03-01", "body": "equal", "service_name": "equal"}

    upload(client, lines_of([record]))
    upload(client, lines_of([record, record]))

    assert counted(client, {"dateRange": ALL_TIME, "serviceNames": ["equal"]}) == 3


def test_double_keeps_its_value(otlp_client: httpx2.Client, client: httpx2.Client) -> None:
    # A protobuf record written byte by byte: log record { time, body: double }.
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    value = bytes([4 << 3 | 1]) + struct.pack("<d", 1e22)
    record = bytes([1 << 3 | 1]) + struct.pack("<Q", 1_772_323_200_000_000_999) + field(5, value)
    service = field(1, field(1, b"service.name") + field(2, field(1, b"double")))
    content = field(1, field(1, service) + field(2, field(2, record)))

    answer = send(otlp_client, content, PROTOBUF)

    assert (answer.status_code, answer.content) == (200, b"")
    found = listed(client, {"dateRange": ALL_TIME, "serviceNames": ["double"]})
    assert [(record["timestamp"], record["body"]) for record in found] == [("2026-03-01T00:00:00Z", "1e+22")]
