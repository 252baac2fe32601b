"""The running stack keeps to its own OpenAPI document, and no request of any form is a fault of ours."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from api_shim.app import create_app
from api_shim.documents.integrations import INTEGRATION_EXAMPLE
from config.settings import Settings
from tests.e2e.matching import error_faults
from tests.e2e.payloads import SUMMARIZATION, TEXT_REPR, event, text_request
from tests.e2e.trees import make_tree
from tests.fakes.connected import ConnectedServices, connected_services
from tests.running import RunningStack

PROJECT = "/api/environments/{project_id}"
WEBHOOK_EXAMPLE = {"url": "https://hooks.tracegist.invalid/x", "events": ["job.failed"]}
DOCUMENT = create_app(Settings()).openapi()
LABELS = [
    f"{method.upper()} {path}"
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    # Answers 503 while the worker of a queue starts, and is not JSON when it is asked for metrics.
    # A stream of events has no schema; `test_events.py` reads it.
    if path.startswith("/api/") and not path.endswith("/events/")
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ACCOUNT = INTEGRATION_EXAMPLE["config"]
FEW = settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def services() -> Iterator[ConnectedServices]:
    with connected_services() as opened:
        opened.twilio.add(ACCOUNT["account_sid"], ACCOUNT["auth_token"], numbers=2)
        yield opened


@pytest.fixture(scope="module")
def stack_settings(services: ConnectedServices) -> Mapping[str, str]:
    return services.settings()


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def document(stack: RunningStack) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{stack.url}/openapi.json")


def test_document_is_the_one_of_the_code(stack: RunningStack) -> None:
    served = httpx2.get(f"{stack.url}/openapi.json")

    assert served.status_code == 200
    assert served.json() == json.loads(json.dumps(DOCUMENT))
    assert served.json()["openapi"].startswith("3.1")


def test_every_operation_names_scopes_and_errors() -> None:
    for label in LABELS:
        method, path = label.split()
        operation = DOCUMENT["paths"][path][method.lower()]
        assert operation["x-scopes"], label
        assert {"400", "401", "403", "500", "503"} <= set(operation["responses"]), label
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", [])):
            assert {"409", "422"} <= set(operation["responses"]), label
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (label, status)


def test_answers_without_json_promise_none() -> None:
    promised = {
        (method, path): list(responses.get("content", {}))
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        for status, responses in operation["responses"].items()
        if status == "302" or path in ("/metrics", "/docs") or path.endswith(("/events/", "/export/"))
        if status < "400" and status != "202"
    }

    export = ["application/x-ndjson", "text/csv"]
    assert promised == {
        ("get", "/metrics"): ["text/plain"],
        ("get", "/docs"): ["text/html"],
        ("get", f"{PROJECT}/jobs/{{job_id}}/events/"): ["text/event-stream"],
        ("post", f"{PROJECT}/logs/export/"): export,
        ("get", f"{PROJECT}/integrations/authorize/"): [],
        ("get", "/integrations/{kind}/callback"): [],
    }


def _examples() -> list[Any]:
    return [
        pytest.param(path, method, body["example"], id=f"{method} {path}")
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if (body := operation.get("requestBody", {}).get("content", {}).get("application/json"))
    ]


@pytest.mark.parametrize(("path", "method", "example"), _examples())
def test_example_of_the_document_works(
    stack: RunningStack, client: httpx2.Client, path: str, method: str, example: dict[str, Any]
) -> None:
    folder = client.post("/persisted_folder/", json={"type": "pinned"}).json()
    hook = client.post("/webhooks/", json=WEBHOOK_EXAMPLE).json()
    names = {"project_id": stack.projects["main"], "folder_id": folder["id"], "webhook_id": hook["id"]}
    address = path
    for name, value in names.items():
        address = address.replace(f"{{{name}}}", str(value))
    if "{schedule_id}" in address:
        address = address.replace("{schedule_id}", _schedule(client))
    if "/schedules/" in path and "name" in example:  # unique, and the fuzzer sends examples too
        example = {**example, "name": f"{example['name']} {uuid.uuid4()}"}

    headers = {"X-Tracegist-Project": str(stack.projects["main"])}  # for the one route outside of projects

    answer = client.request(method, stack.url + address, json=example, headers=headers)

    assert answer.status_code in (200, 201, 202), answer.text


def _schedule(client: httpx2.Client) -> str:
    """The id of a new schedule."""
    fields = {"kind": "logs.sparkline", "request": {}, "interval_seconds": 3600, "enabled": False}
    made = client.post("/schedules/", json={"name": f"schedule {uuid.uuid4()}", **fields})
    return str(made.json()["id"])


def _things_there(stack: RunningStack) -> dict[str, object]:
    """What the members of addresses may be replaced with."""
    with stack.client() as client:
        job = client.post(TEXT_REPR, json=text_request(), headers={"Prefer": "respond-async"}).json()
        client.get(f"/jobs/{job['id']}/?wait=20")
        folder = client.post("/persisted_folder/", json={"type": "home"}).json()
        integration = client.post("/integrations/", json=INTEGRATION_EXAMPLE).json()
        schedule_id = _schedule(client)
        hook = client.post("/webhooks/", json=WEBHOOK_EXAMPLE).json()
        delivery = client.post(f"/webhooks/{hook['id']}/test/").json()
    return {
        "project_id": stack.projects["main"],
        "job_id": job["id"],
        "folder_id": folder["id"],
        "integration_id": integration["id"],
        "schedule_id": schedule_id,
        "webhook_id": hook["id"],
        "delivery_id": delivery["id"],
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("label", LABELS)
def test_answers_are_as_documented(
    stack: RunningStack, document: OpenApiSchema, label: str, mode: GenerationMode
) -> None:
    known = _things_there(stack)
    headers = {"Authorization": f"Bearer {stack.keys['valid']}"}
    operation = next(found.ok() for found in document.get_all_operations() if found.ok().label == label)

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        # Spoiled addresses are other addresses; here the rest of a request is spoiled.
        case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert list(error_faults(json.loads(response.content))) == []

    check()


# our own ----------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**70,
    -(2**70),
    "",
    " ",
    "x",
    "\ud800",
    "\0",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
]


def _trace() -> dict[str, Any]:
    trace = {
        "id": "t",
        "properties": {"$ai_trace_id": "t", "$ai_span_name": "run", "$ai_error": {"message": "no"}},
    }
    return {"trace": trace, "hierarchy": make_tree(n=4, mark="odd", error_at=2, error='{"message": "no"}')}


def _event() -> dict[str, Any]:
    found = event(id="e")
    tool = {
        "function": {"name": "f", "description": "d", "parameters": {"properties": {"q": {"type": "string"}}}}
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"q": 1}'}}
    found["properties"] |= {
        "$ai_latency": 1.0,
        "$ai_total_cost_usd": 0.1,
        "$ai_is_error": True,
        "$ai_error": {"message": "no"},
        "$ai_tools": [tool],
        "$ai_input": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi"}, {"type": "image", "source": {"data": "eA=="}}],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"q": 1}}]},
            {
                "role": "tool",
                "content": [{"type": "tool_result", "content": [{"type": "text", "text": "ok"}]}],
            },
        ],
        "$ai_output_choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}],
    }
    return found


OPTIONS = {
    "max_length": 5000,
    "truncated": True,
    "truncate_buffer": 100,
    "include_markers": True,
    "collapsed": False,
    "include_hierarchy": True,
    "max_depth": 5,
    "tools_collapse_threshold": 1,
    "include_line_numbers": True,
    "include_metadata": True,
}
GOOD = {
    "text of an event": (TEXT_REPR, {"event_type": "$ai_generation", "data": _event(), "options": OPTIONS}),
    "text of a trace": (TEXT_REPR, {"event_type": "$ai_trace", "data": _trace(), "options": OPTIONS}),
    "summary of an event": (
        SUMMARIZATION,
        {
            "summarize_type": "event",
            "data": {"event": _event()},
            "mode": "minimal",
            "format": "markdown",
            "force_refresh": False,
            "include_text_repr": True,
            "model": "extractive",
            "focus": "errors",
            "on_llm_failure": "error",
        },
    ),
    "summary of a trace": (SUMMARIZATION, {"summarize_type": "trace", "mode": "detailed", "data": _trace()}),
    "batch check": (
        f"{SUMMARIZATION}batch_check/",
        {"trace_ids": ["a", "b"], "mode": "minimal", "model": "x"},
    ),
    "invalidate": (
        f"{SUMMARIZATION}cache/invalidate/",
        {"trace_ids": ["a"], "event_ids": ["b"], "mode": "minimal", "all": False},
    ),
    "folder": ("/persisted_folder/", {"type": "home", "protocol": "x://", "path": "y"}),
    "integration": ("/integrations/", INTEGRATION_EXAMPLE),
}


def _positions(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The address of every member, the whole included."""
    yield path
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        yield from _positions(member, (*path, name))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(value)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = new
    return changed


def _faults_of_ours(client: httpx2.Client, address: str, bodies: list[Any]) -> list[str]:
    """What was answered otherwise than with success or a 400 in the common form."""

    def ask(body: Any) -> list[str]:
        answer = client.post(address, content=json.dumps(body).encode())
        if answer.status_code == 400:
            return list(error_faults(answer.json()))
        good = answer.status_code in (200, 201)
        return [] if good else [f"{answer.status_code} {answer.text[:200]} for {json.dumps(body)[:2000]}"]

    with ThreadPoolExecutor(4) as pool:
        return [fault for faults in pool.map(ask, bodies) for fault in faults]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", GOOD)
def test_no_value_in_any_position_is_a_fault_of_ours(client: httpx2.Client, name: str) -> None:
    address, good = GOOD[name]
    bodies = [_replaced(good, path, odd) for path in _positions(good) for odd in ODD]

    assert _faults_of_ours(client, address, bodies) == []


@pytest.mark.parametrize("name", GOOD)
def test_good_request_is_good(client: httpx2.Client, name: str) -> None:
    address, good = GOOD[name]

    assert client.post(address, json=good).status_code in (200, 201)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "input",
                    "message",
                    "parts",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = [
    "$ai_input",
    "$ai_output",
    "$ai_output_choices",
    "$ai_tools",
    "$ai_error",
    "$ai_input_state",
    "$ai_span_name",
]
PROPERTIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5)


@settings(FEW, max_examples=60)
@given(
    properties=PROPERTIES,
    kind=st.sampled_from(["$ai_generation", "$ai_span", "$ai_embedding", "$ai_evaluation"]),
)
def test_no_properties_are_a_fault_of_ours(client: httpx2.Client, properties: Any, kind: str) -> None:
    made = {"id": "p", "event": kind, "properties": properties}
    trace = {"trace": {"id": "p"}, "hierarchy": [{"event": made, "children": [{"event": made}]}]}

    faults = [
        *_faults_of_ours(
            client,
            TEXT_REPR,
            [{"event_type": kind, "data": made}, {"event_type": "$ai_trace", "data": trace}],
        ),
        *_faults_of_ours(client, SUMMARIZATION, [{"summarize_type": "trace", "data": trace}]),
    ]

    assert faults == []
