"""Recorded traces through `tracegist bulk`: each is answered or says why not, and every reference resolves.

The traces are those of `tests/data/traces`, or of the file that `TEST_CORPUS` names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import running_stack

CORPUS = Path(os.environ.get("TEST_CORPUS") or Path(__file__).parents[1] / "data" / "traces" / "real.ndjson")
LIMIT_S = 900
SHOWN_LINE = re.compile(r"^L0*(\d+): ", re.MULTILINE)
REFERENCE = re.compile(r"\[L(\d+)(?:-(\d+))?\]")

pytestmark = pytest.mark.timeout(LIMIT_S)


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


def requests() -> list[str]:
    """The traces as requests that ask for their text too; a trace without data would be answered as well."""
    with CORPUS.open() as lines:
        records = [json.loads(line) for line in lines]
    return [
        json.dumps(
            {
                "custom_id": f"trace-{number}",
                "data": {"trace": record["trace"], "hierarchy": record["hierarchy"]},
                "include_text_repr": True,
            }
        )
        for number, record in enumerate(records)
    ]


@pytest.mark.parametrize("written_by", ["extractive", "gpt-4.1-mini"])
def test_every_recorded_trace_is_answered_with_references_that_resolve(
    tmp_path: Path, fake: Provider, written_by: str
) -> None:
    lines = requests()
    out = tmp_path / "rows.ndjson"
    with running_stack(
        tmp_path / "stack", {} if written_by == "extractive" else provider_settings(fake)
    ) as stack:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tracegist",
                "bulk",
                "--out",
                str(out),
                "--project",
                str(stack.projects["main"]),
            ],
            env={
                **os.environ,
                "TRACEGIST_URL": stack.url,
                "TRACEGIST_KEY": stack.keys["valid"],
            },
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["index"] for row in rows) == list(range(len(lines))), done.stderr
    failed = [row for row in rows if row["status"] != 200]
    assert all(row["error"]["code"] and row["error"]["detail"] for row in failed)
    assert done.returncode == (1 if failed else 0), done.stderr
    bodies = [row["body"] for row in rows if row["status"] == 200]
    references = [reference for body in bodies for reference in references_of(body)]
    faults = [fault for body in bodies for fault in unresolved(body)]
    told = Counter(row["error"]["code"] for row in failed)
    print(
        f"{len(bodies)} answered, failed {dict(told)}, {len(references)} references, {len(faults)} unresolved"
    )
    assert not faults
    assert len(references) >= len(bodies)
    assert {body["metadata"]["model"] for body in bodies} == {written_by}


def references_of(body: Mapping[str, Any]) -> list[tuple[int, int]]:
    points = body["structured"]["summary_bullets"] + body["structured"]["interesting_notes"]
    return [(start, end) for point in points for start, end in point["lines"]]


def unresolved(body: Mapping[str, Any]) -> list[object]:
    """References, of the structure or of the markdown, whose ends are no lines of the text."""
    shown = {int(number) for number in SHOWN_LINE.findall(body["text_repr"])}
    named = references_of(body)
    written = [(int(start), int(end or start)) for start, end in REFERENCE.findall(body["summary"])]
    return [one for one in [*named, *written] if not set(one) <= shown or one[0] > one[1]]
