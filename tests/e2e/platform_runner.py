"""Run one group of the cases of `tests/data/cases/platform.ndjson` over real HTTP, in file order.

A case is one request and what its answer must look like; later cases of the group may use what earlier
ones saved. `max_ms` is not checked: a shared machine cannot hold it.
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.matching import MISSING, at, error_faults, query_faults, same, schema_faults, subset_faults
from tests.running import RunningStack

CASES = Path(__file__).parents[1] / "data" / "cases" / "platform.ndjson"
CAPABILITIES = {"companion", "fake_oauth", "fake_twilio", "jobs", "offline_llm", "slack"}
REQUEST_S = 90
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")

Case = dict[str, Any]


def load_cases(path: Path = CASES) -> list[Case]:
    # Not `splitlines`, which also splits at U+2028 and the like.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


class PlatformRunner:
    """Runs cases one after the other; `run` returns the faults of a case, each with the case's name."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._http = httpx2.Client(base_url=stack.url, timeout=REQUEST_S)
        self._variables: dict[str, str] = {
            "project": str(stack.projects["main"]),
            "other_project": str(stack.projects["other"]),
            "flag_off_project": str(stack.projects["flag_off"]),
            "missing_project": "987654321",
            "run": uuid.uuid4().hex[:12],
            "uuid": str(uuid.uuid4()),
        }

    def close(self) -> None:
        self._http.close()

    def run(self, case: Case) -> list[str]:
        lacking = set(case.get("needs", ())) - CAPABILITIES
        if lacking:
            return [f"{case['name']}: needs {sorted(lacking)}"]
        case = self._filled(case)
        time.sleep(case.get("pause_s", 0))
        answers = self._answers(case)
        self._save(case.get("save", {}), answers[-1])
        return [f"{case['name']}: {fault}" for fault in _answer_faults(answers, case["expect"])]

    def _answers(self, case: Case) -> list[httpx2.Response]:
        if copies := case.get("parallel"):
            with ThreadPoolExecutor(copies) as pool:
                return [sent.result() for sent in [pool.submit(self._send, case) for _ in range(copies)]]
        if poll := case.get("poll"):
            return [self._poll(case, poll)]
        return [self._send(case) for _ in range(case.get("repeat", 1))]

    def _poll(self, case: Case, poll: Mapping[str, Any]) -> httpx2.Response:
        deadline = time.monotonic() + poll.get("timeout_s", 30)
        while True:
            answer = self._send(case)
            if not any(subset_faults(_body_of(answer), poll["until"])) or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def _send(self, case: Case) -> httpx2.Response:
        headers = dict(case.get("headers", {}))
        if authorization := self._authorization(case.get("auth", "valid")):
            headers["Authorization"] = authorization
        content = _content(case)
        kind = case.get("content_type", "application/json" if content is not None else "")
        if kind:
            headers["Content-Type"] = kind
        return self._http.request(
            case.get("method", "GET"),
            case["path"],
            params=case.get("params"),
            content=content,
            headers=headers,
        )

    def _authorization(self, name: str) -> str | None:
        if name == "none":
            return None
        if name.startswith("raw:"):
            return name.removeprefix("raw:")
        if name == "bad":
            return "Bearer tgp_" + "x" * 54
        return f"Bearer {self._stack.keys[name]}"

    def _save(self, wanted: Mapping[str, str], answer: httpx2.Response) -> None:
        for name, source in wanted.items():
            if source.startswith("header:"):
                self._variables[name] = answer.headers[source.removeprefix("header:")]
            else:
                self._variables[name] = str(at(_body_of(answer), source))

    def _filled(self, value: Any) -> Any:
        """The value with all `{{...}}` replaced."""
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda found: self._value_of(found[1]), value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            return {self._filled(name): self._filled(item) for name, item in value.items()}
        return value

    def _value_of(self, name: str) -> str:
        kind, _, argument = name.partition(":")
        if kind == "long":
            return "x" * int(argument)
        if kind == "key":
            return self._stack.keys[argument]
        return self._variables[name]


def _content(case: Case) -> bytes | None:
    if "raw_body" in case:
        return str(case["raw_body"]).encode()
    if "b64_body" in case:
        return base64.b64decode(case["b64_body"])
    return json.dumps(case["body"]).encode() if "body" in case else None


def _body_of(answer: httpx2.Response) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        return MISSING


# expectations -----------------------------------------------------------------------------------------


def _answer_faults(answers: list[httpx2.Response], expect: Mapping[str, Any]) -> Iterator[str]:
    for answer in answers:
        yield from _one_faults(answer, expect)
        branch = expect.get("by_status", {}).get(str(answer.status_code))
        if branch is not None:
            yield from _one_faults(answer, branch)
    statuses = [answer.status_code for answer in answers]
    if "any_status" in expect and not set(statuses) & set(_listed(expect["any_status"])):
        yield f"none of {statuses} is {expect['any_status']}"
    for path in expect.get("same", ()):
        values = [at(_body_of(answer), path) for answer in answers]
        if any(not same(value, values[0]) for value in values):
            yield f"{path} differs: {values}"


def _one_faults(answer: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
    body = _body_of(answer)
    if "status" in expect and answer.status_code not in _listed(expect["status"]):
        yield f"status {answer.status_code} instead of {expect['status']}: {answer.text[:500]}"
        return
    if answer.status_code >= 400:
        yield from error_faults(body)
    if "json_subset" in expect:
        yield from subset_faults(body, expect["json_subset"])
    if "schema" in expect:
        yield from schema_faults(body, expect["schema"])
    yield from _header_faults(answer, expect)
    for path, value in expect.get("equals", {}).items():
        if not same(at(body, path), value):
            yield f"{path} is {at(body, path)!r} instead of {value!r}"
    for path, value in expect.get("not_equals", {}).items():
        if same(at(body, path), value):
            yield f"{path} is {value!r}"
    for path, wanted in expect.get("query_of", {}).items():
        yield from query_faults(at(body, path), wanted)
    yield from _text_faults(answer, expect)


def _header_faults(answer: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
    for name, pattern in expect.get("headers", {}).items():
        if not re.search(pattern, answer.headers.get(name, "")):
            yield f"header {name} is {answer.headers.get(name)!r}, not like {pattern}"
    for name in expect.get("headers_absent", ()):
        if name in answer.headers:
            yield f"header {name} is there: {answer.headers[name]!r}"
    if "location_query" in expect:
        yield from query_faults(answer.headers.get("location"), expect["location_query"])


def _text_faults(answer: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
    for text in expect.get("body_contains", ()):
        if text not in answer.text:
            yield f"the body lacks {text!r}"
    for text in expect.get("body_not_contains", ()):
        if text in answer.text:
            yield f"the body has {text!r}"
    if "ndjson_len" in expect or "ndjson_subset" in expect:
        rows = [json.loads(line) for line in answer.text.split("\n") if line]
        if "ndjson_len" in expect:
            yield from subset_faults(len(rows), expect["ndjson_len"])
        if "ndjson_subset" in expect:
            yield from subset_faults(rows, expect["ndjson_subset"])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
