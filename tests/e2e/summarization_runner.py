"""Run a scenario of `tests/data/cases/summarization*.ndjson`: steer the fake provider, ask, compare.

Beside the operators of the shared file, an expectation may hold `prompt` (`contains`, `not_contains`: what
the provider was sent) and `numbered` (every line of it that comes from the trace has its number). `max_ms`
is not checked: a shared machine cannot hold it.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.matching import MISSING, at, error_faults, matches, subset_faults
from tests.e2e.provider import Provider
from tests.e2e.trees import make_tree
from tests.running import RunningStack

FOLDER = Path(__file__).parents[1] / "data" / "cases"
HOME = "/llm_analytics/summarization/"
REQUEST_S = 90
SETTLE_S = 40
CANARIES = (
    "sk-canary-provider-message",
    "sk-test-0123456789abcdef",
    "Traceback",
    "openai.",
    "/site-packages/",
)
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
REFERENCE = re.compile(r"\[L(\d+)(?:-(\d+))?\]")
POINT = re.compile(r"- (?P<text>\S.*?)(?P<refs>(?: \[L\d+(?:-\d+)?\])*)")
QUOTED_LINE = re.compile(r"Line (\d+) says ")

Case = dict[str, Any]


def load_cases(name: str) -> list[Case]:
    lines = (FOLDER / name).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers of one step, and what the provider saw meanwhile."""

    responses: list[httpx2.Response]
    calls: int
    paid: int
    prompts: list[Any]


class SummarizationRunner:
    """Scenarios share the stack and its circuit breaker: `settle` closes it after each one."""

    def __init__(self, stack: RunningStack, provider: Provider) -> None:
        self._stack = stack
        self._provider = provider
        self._http = stack.client(timeout_s=REQUEST_S)
        self._run = ""
        self._saved: dict[str, Any] = {}

    def close(self) -> None:
        self._http.close()

    def run(self, case: Case) -> list[str]:
        self._run, self._saved = uuid.uuid4().hex[:10], {}
        self._provider.reset()
        self._provider.configure(keep_prompts=1000)
        try:
            return [
                f"{case['id']} step {place}: {fault}"
                for place, step in enumerate(case["steps"])
                for fault in self._step(self._filled(step))
            ]
        finally:
            self.settle()

    def settle(self) -> None:
        """Let good answers outweigh the faults, so that no scenario finds the circuit breaker open."""
        faults = self._provider.stats()["requests"]
        self._provider.reset()
        deadline = time.monotonic() + SETTLE_S
        while self._plain_post().status_code != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the stack does not ask the provider any more")
            time.sleep(0.25)
        for _ in range(min(faults, 12)):
            self._plain_post()

    def _plain_post(self) -> httpx2.Response:
        event = {
            "id": uuid.uuid4().hex,
            "event": "$ai_generation",
            "properties": {"$ai_input": [{"role": "user", "content": "Is it open again?"}]},
        }
        return self._http.post(HOME, json={"summarize_type": "event", "data": {"event": event}})

    def _step(self, step: Mapping[str, Any]) -> list[str]:
        operation = step["op"]
        if operation == "script":
            self._provider.script(*step["steps"])
        elif operation == "fake":
            self._provider.configure(**step["config"])
        elif operation == "sleep":
            time.sleep(step.get("s", step.get("seconds", 0)))
        elif operation == "bulk":
            return self._bulk_step(step)
        elif operation in ("post", "get", "parallel"):
            return self._request_step(step)
        else:
            return [f"unknown operation {operation}"]
        return []

    def _bulk_step(self, step: Mapping[str, Any]) -> list[str]:
        """Send the items made from a template, wait for the end, compare the rows."""
        before = self._provider.stats()
        lines = [
            json.dumps(_numbered(step["template"], number, step["k"])) + "\n" for number in range(step["n"])
        ]
        created = self._http.post(
            f"{HOME}bulk/",
            content="".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        if created.status_code != 202:
            return [f"status {created.status_code} instead of 202: {created.text[:500]}"]
        address = f"/jobs/{created.json()['id']}/"
        job = self._http.get(f"{address}?wait=60").json()
        rows = [json.loads(line) for line in self._http.get(f"{address}results/").text.splitlines()]
        after = self._provider.stats()
        return list(_bulk_faults(job, rows, step["expect"], calls=after["requests"] - before["requests"]))

    def _request_step(self, step: Mapping[str, Any]) -> list[str]:
        before = self._provider.stats()
        copies = step["n"] if step["op"] == "parallel" else 1
        with ThreadPoolExecutor(copies) as pool:
            sent = [pool.submit(self._send, step) for _ in range(copies)]
            responses = [one.result() for one in sent]
        after = self._provider.stats()
        answers = Answers(
            responses,
            after["requests"] - before["requests"],
            after["paid"] - before["paid"],
            after["prompts"][len(before["prompts"]) :],
        )
        if name := step.get("save"):
            self._saved[name] = _body_of(responses[0])
        return list(self._faults(answers, step.get("expect", {})))

    def _send(self, step: Mapping[str, Any]) -> httpx2.Response:
        headers = dict(step.get("headers", {}))
        if key := step.get("auth"):
            headers["Authorization"] = f"Bearer {self._stack.keys[key]}"
        path = step.get("path", "")
        # Absolute: an address of an earlier answer; else relative to the endpoint.
        address = path if path.startswith(("http", "/")) else HOME + path
        if step["op"] == "get":
            return self._http.get(address, headers=headers)
        raw = step.get("raw_body")
        content = json.dumps(step["body"]).encode() if raw is None else str(raw).encode()
        headers = {"Content-Type": "application/json", **headers}
        return self._http.post(address, content=content, headers=headers)

    def _filled(self, value: Any) -> Any:
        """The value with all `{{...}}` and `$tree`s put in."""
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda found: self._value_of(found[1]), value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            if set(value) == {"$tree"}:
                return make_tree(**self._filled(value["$tree"]))
            return {self._filled(name): self._filled(item) for name, item in value.items()}
        return value

    def _value_of(self, name: str) -> str:
        kind, _, argument = name.partition(":")
        if kind == "run":
            return self._run
        if kind == "big":
            words = "The parcel waits at the gate and nobody signs for it. "
            return (words * (int(argument) // len(words) + 1))[: int(argument)]
        if kind == "saved":  # {{saved:a.metadata.job_id}}
            place, _, path = argument.partition(".")
            return str(at(self._saved[place], path))
        raise ValueError(f"unknown placeholder {name}")

    # expectations -------------------------------------------------------------------------------------

    def _faults(self, answers: Answers, expect: Mapping[str, Any]) -> Iterator[str]:
        for response in answers.responses:
            yield from self._response_faults(response, expect)
        for name in ("calls", "paid"):
            if name in expect and not _within(getattr(answers, name), expect[name]):
                yield f"{getattr(answers, name)} {name} instead of {expect[name]}"
        bodies = [_body_of(response) for response in answers.responses]
        for path in expect.get("all_same", ()):
            if any(at(body, path) != at(bodies[0], path) for body in bodies):
                yield f"{path} is not the same everywhere"
        if prompt := expect.get("prompt"):
            sent = json.dumps([_messages(one) for one in answers.prompts], ensure_ascii=False)
            yield from _text_faults(sent, prompt)
        if expect.get("numbered"):
            yield from _unnumbered_lines(answers.prompts)

    def _response_faults(self, response: httpx2.Response, expect: Mapping[str, Any]) -> Iterator[str]:
        body = _body_of(response)
        wanted = expect.get("status", 200)
        if response.status_code not in (wanted if isinstance(wanted, list) else [wanted]):
            yield f"status {response.status_code} instead of {wanted}: {response.text[:500]}"
            return
        if response.status_code >= 400:
            yield from error_faults(body)
            yield from _text_faults(response.text, {"not_contains": CANARIES})
        if "error" in expect:
            yield from subset_faults(body, expect["error"])
        if "subset" in expect:
            yield from subset_faults(body, expect["subset"])
        for name, pattern in expect.get("header", {}).items():
            if pattern is None and name in response.headers:
                yield f"header {name} is there"
            if pattern is not None and not re.search(pattern, response.headers.get(name, "")):
                yield f"header {name} is {response.headers.get(name)!r}, not like {pattern}"
        yield from _text_faults(response.text, expect)
        if response.status_code == 200 and at(body, "summary") is not MISSING:
            yield from _summary_faults(body, expect)
        yield from self._comparison_faults(body, expect)

    def _comparison_faults(self, body: Any, expect: Mapping[str, Any]) -> Iterator[str]:
        for name, equal in (("same_as", True), ("differs_from", False)):
            if name in expect:
                saved = self._saved[expect[name]["save"]]
                for path in expect[name].get("paths", ["summary"]):
                    if (at(body, path) == at(saved, path)) is not equal:
                        yield f"{path}: {name} {expect[name]['save']} does not hold"


def _body_of(response: httpx2.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        return MISSING


def _numbered(template: Any, number: int, distinct: int) -> Any:
    text = json.dumps(template).replace("<<i%k>>", str(number % distinct)).replace("<<i>>", str(number))
    return json.loads(text)


def _bulk_faults(
    job: Mapping[str, Any], rows: list[Any], expect: Mapping[str, Any], *, calls: int
) -> Iterator[str]:
    if job["state"] not in expect.get("states", [job["state"]]):
        yield f"the job is {job['state']}"
    if "calls" in expect and not _within(calls, expect["calls"]):
        yield f"{calls} calls instead of {expect['calls']}"
    if [row["index"] for row in rows] != list(range(job["progress"]["total"])):
        yield f"rows {[row['index'] for row in rows]}"
    statuses = {str(status): count for status, count in Counter(row["status"] for row in rows).items()}
    if statuses != expect.get("row_statuses", statuses):
        yield f"statuses of rows: {statuses}"
    if expect.get("row_md"):
        for row in rows:
            yield from _summary_faults(row["body"], {})


def _messages(request: Mapping[str, Any]) -> list[str]:
    return [str(message.get("content", "")) for message in request.get("messages", ())]


def _unnumbered_lines(prompts: list[Any]) -> Iterator[str]:
    """Every line of the block begins with its number, but for the sampler's own note."""
    for prompt in prompts:
        block = _messages(prompt)[1].split("\n")
        if not re.fullmatch(r"<trace_data_[0-9a-f]{16}>", block[0]) or block[-1] != f"</{block[0][1:]}":
            yield f"the block is not closed as it was opened: {block[0]} {block[-1]}"
        loose = [line for line in block[1:-1] if not re.match(r"L\d+: ?", line)]
        if len(loose) > 1:
            yield f"lines without a number: {loose[:3]}"


def _text_faults(text: str, wanted: Mapping[str, Any]) -> Iterator[str]:
    for part in wanted.get("contains", ()):
        if part not in text:
            yield f"{part!r} is not there"
    for part in wanted.get("not_contains", ()):
        if part in text:
            yield f"{part!r} is there"


# a summary --------------------------------------------------------------------------------------------


def _summary_faults(body: Mapping[str, Any], expect: Mapping[str, Any]) -> Iterator[str]:
    markdown = body["markdown"] if isinstance(body["summary"], dict) else body["summary"]
    structured = body["summary"] if isinstance(body["summary"], dict) else body["structured"]
    sections = _sections(markdown)
    if sections is None:
        yield f"not the documented markdown: {markdown!r}"
        return
    bullets, notes = sections
    if expect.get("structured") and not (isinstance(body["summary"], dict) and "text_repr" in body):
        yield "not the structured shape"
    for name, points in (("bullets", bullets), ("notes", notes)):
        if name in expect and not _within(len(points), expect[name]):
            yield f"{len(points)} {name} instead of {expect[name]}: {markdown}"
    for name in ("model", "cached"):
        if name in expect and body["metadata"][name] != expect[name]:
            yield f"metadata.{name} is {body['metadata'][name]!r}"
    yield from _both_shapes_agree(structured, bullets, notes)
    yield from _reference_faults(body, [*bullets, *notes], expect.get("refs", {}))
    yield from _count_faults(body["metadata"])
    if "quoted" in expect:
        yield from _quote_faults(bullets, expect["quoted"])
    for cite in expect.get("cites", ()):
        yield from _cite_faults(body, [*bullets, *notes], cite)


Points = list[tuple[str, list[tuple[int, int]]]]


def _sections(markdown: str) -> tuple[Points, Points] | None:
    """Bullets and notes of the markdown; None when it is not in the documented form."""
    head, _, tail = markdown.partition("\n\n")
    if not (head.startswith("## Summary\n") and tail.startswith("## Interesting Notes\n")):
        return None
    if markdown.endswith("\n") or "\r" in markdown or "  " in markdown:
        return None
    notes = _points(tail.split("\n")[1:])
    bullets = _points(head.split("\n")[1:])
    if bullets is None or notes is None or not bullets or not notes:
        return None
    return bullets, [] if notes == [("None noted", [])] else notes


def _points(lines: list[str]) -> Points | None:
    found = [POINT.fullmatch(line) for line in lines]
    if not all(found):
        return None
    return [
        (match["text"], [(int(a), int(b or a)) for a, b in REFERENCE.findall(match["refs"])])
        for match in found
        if match
    ]


def _both_shapes_agree(structured: Mapping[str, Any], bullets: Points, notes: Points) -> Iterator[str]:
    for name, points in (("summary_bullets", bullets), ("interesting_notes", notes)):
        told = [
            (point["text"].replace("<", "&lt;"), [tuple(pair) for pair in point["lines"]])
            for point in structured[name]
        ]
        if told != points:
            yield f"{name} of both shapes differ: {told} {points}"
        for point in structured[name]:
            text = ", ".join(f"L{a}" if a == b else f"L{a}-{b}" for a, b in point["lines"])
            if point["line_refs"] != text:
                yield f"line_refs {point['line_refs']!r} and lines {point['lines']} differ"


def _reference_faults(body: Mapping[str, Any], points: Points, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Every reference resolves: in the text when it is there, else at least within its lines."""
    facts = body["metadata"]
    shown = _shown_lines(body)
    for text, pairs in points:
        for start, end in pairs:
            known = shown is None or (start in shown and end in shown)
            if not (1 <= start <= end <= facts["lines_total"] and known):
                yield f"[L{start}-{end}] of {text!r} does not resolve"
        if len(pairs) > 5 or sorted(pairs) != pairs:
            yield f"references of {text!r} are not in order: {pairs}"
    if sum(len(pairs) for _, pairs in points) < wanted.get("min", 0):
        yield f"fewer than {wanted['min']} references"


def _shown_lines(body: Mapping[str, Any]) -> dict[int, str] | None:
    if "text_repr" not in body:
        return None
    found = re.findall(r"^L(\d+): ?(.*)$", body["text_repr"], re.MULTILINE)
    return {int(number): text for number, text in found}


def _count_faults(facts: Mapping[str, Any]) -> Iterator[str]:
    counts = facts["line_refs"]
    parts = ("valid", "repaired", "relocated", "dropped", "unanchored")
    if facts["model"] != "extractive" and counts["total"] != sum(counts[part] for part in parts):
        yield f"line_refs do not add up: {counts}"


def _quote_faults(bullets: Points, share: float) -> Iterator[str]:
    quoting = [(QUOTED_LINE.search(text), pairs) for text, pairs in bullets]
    told = [(int(match[1]), pairs) for match, pairs in quoting if match]
    right = sum(any(a <= number <= b for a, b in pairs) for number, pairs in told)
    if not told or right < share * len(told):
        yield f"only {right} of {len(told)} quoting bullets cite their line"


def _cite_faults(body: Mapping[str, Any], points: Points, cite: Mapping[str, str]) -> Iterator[str]:
    shown = _shown_lines(body) or {}
    for text, pairs in points:
        lines = [shown.get(number, "") for a, b in pairs for number in range(a, b + 1)]
        if cite["text_has"] in text and any(cite["line_has"] in line for line in lines):
            return
    yield f"no point on {cite['text_has']!r} cites a line with {cite['line_has']!r}"


def _within(value: int, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return bool(wanted[0] <= value <= wanted[1])
    return matches(value, wanted)
