"""The worked questions of `docs/how-to/questions.md`, and as many more, over the demo's logs.

Every number is counted again here, in plain Python over the file that the logs came from.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import RunningStack

Record = dict[str, Any]
Counted = dict[tuple[Any, ...], float]

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "questions.md"


def _records() -> list[Record]:
    packed = (files("tracegist") / "examples" / "logs.ndjson.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


RECORDS = _records()


@pytest.fixture(scope="module")
def asked(stack: RunningStack) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A function that asks, over the demo's logs, and gives the `result` member's data."""
    lines = "\n".join(map(json.dumps, RECORDS))
    with stack.client() as client:
        stored = client.post(
            "/logs/import/", content=lines.encode(), headers={"Content-Type": "application/x-ndjson"}
        )
        assert stored.json()["accepted"] == len(RECORDS), stored.text

        def ask(question: str) -> dict[str, Any]:
            return _asked(client, question)

        yield ask


def _asked(client: httpx2.Client, question: str) -> dict[str, Any]:
    answer = client.post(
        "/max_tools/create_and_query_insight/", json={"query": question, "insight_type": "sql"}
    )
    assert answer.status_code == 200, answer.text
    message, result, sentence = answer.json()
    assert message["data"]["answer"] == result["data"]["query"]
    assert sentence["data"]["content"]
    assert result["data"]["engine"] == "keyword"
    assert result["data"]["warnings"] == []
    data: dict[str, Any] = result["data"]
    return data


def _day(record: Record) -> str:
    return str(record["timestamp"])[:10]


def _hour(record: Record) -> str:
    return f"{record['timestamp'][:13]}:00:00Z"


def _within(low: str, high: str) -> Callable[[Record], bool]:
    """Both days whole: a bound that is a date is its midnight, so the last day counts up to its start."""
    return lambda record: (
        f"{low}T00" <= record["timestamp"] and record["timestamp"] <= f"{high}T00:00:00.000000Z"
    )


def _count(where: Callable[[Record], bool], *by: Callable[[Record], Any]) -> Counted:
    counted = Counter(tuple(key(record) for key in by) for record in RECORDS if where(record))
    return dict(counted)


KAFKA = _within("2016-12-19", "2016-12-20")
SSH = _within("2017-03-27", "2017-04-01")
WEB = _within("2015-05-19", "2015-05-21")
SPRING = _within("2026-03-01", "2026-03-02")


def _service(record: Record) -> str:
    return str(record["service_name"])


def _severity(record: Record) -> str:
    return str(record["severity_text"])


def _status(record: Record) -> float | None:
    text = record["attributes"].get("http.response.status_code")
    return float(text) if text is not None else None


WORKED: dict[str, Counted] = {
    "how many errors between 2016-12-19 and 2016-12-20": _count(
        lambda r: KAFKA(r) and _severity(r) == "error"
    ),
    "how many warnings by service between 2016-12-19 and 2016-12-20": _count(
        lambda r: KAFKA(r) and _severity(r) == "warn", _service
    ),
    "number of logs by severity between 2017-03-27 and 2017-04-01": _count(SSH, _severity),
    "how many different services in logs between 2017-03-27 and 2017-04-01": {
        (): len({_service(r) for r in RECORDS if SSH(r)})
    },
    'how many messages containing "Failed password" between 2017-03-27 and 2017-04-01': _count(
        lambda r: SSH(r) and "failed password" in r["body"].lower()
    ),
    "how many logs for service sshd between 2017-03-27 and 2017-04-01": _count(
        lambda r: SSH(r) and _service(r) == "sshd"
    ),
    "top 3 services in logs between 2017-03-27 and 2017-04-01": dict(
        sorted(_count(SSH, _service).items(), key=lambda item: (-item[1], item[0]))[:3]
    ),
    "how many logs where http.response.status_code = 404 between 2015-05-19 and 2015-05-21": _count(
        lambda r: WEB(r) and _status(r) == 404
    ),
    'max of "http.response.body.size" in logs between 2015-05-19 and 2015-05-21': {
        (): max(float(r["attributes"].get("http.response.body.size", 0)) for r in RECORDS if WEB(r))
    },
    "number of fatal logs by service between 2026-03-01 and 2026-03-02": _count(
        lambda r: SPRING(r) and _severity(r) == "fatal", _service
    ),
}

MORE: dict[str, Counted] = {
    "how many errors since 2015-01-01": _count(lambda r: _severity(r) == "error"),
    "how many logs since 2015-01-01": _count(lambda r: True),
    "how many critical logs since 2015-01-01": _count(lambda r: _severity(r) == "fatal"),
    "number of errors and warnings by severity since 2015-01-01": _count(
        lambda r: _severity(r) in ("error", "warn"), _severity
    ),
    'average of "http.response.status_code" in logs between 2015-05-19 and 2015-05-21': {
        (): sum(statuses := [s for r in RECORDS if WEB(r) and (s := _status(r)) is not None]) / len(statuses)
    },
    'how many different "client.address" in logs between 2015-05-19 and 2015-05-21': {
        (): len({a for r in RECORDS if WEB(r) and (a := r["attributes"].get("client.address"))})
    },
    'how many logs mentioning "%20" since 2015-01-01': _count(lambda r: "%20" in r["body"]),
    "how many messages for service chpasswd since 2015-01-01": _count(lambda r: _service(r) == "chpasswd"),
    "how many debug logs by service since 2015-01-01": _count(lambda r: _severity(r) == "debug", _service),
    "which severity in logs between 2015-05-19 and 2015-05-21": _count(WEB, _severity),
}


@pytest.mark.parametrize("question", [*WORKED, *MORE])
def test_answer_is_the_count(asked: Callable[[str], dict[str, Any]], question: str) -> None:
    expected = {**WORKED, **MORE}[question] or {(): 0}

    data = asked(question)

    found = {tuple(row[:-1]): row[-1] for row in data["rows"]}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected)
    assert expected != {(): 0} or "how many" in question


def test_hours_are_counted_one_by_one(asked: Callable[[str], dict[str, Any]]) -> None:
    expected = _count(KAFKA, _hour)

    data = asked("logs per hour between 2016-12-19 and 2016-12-20")

    found = {(row[0],): row[-1] for row in data["rows"]}
    assert {key: value for key, value in found.items() if value} == expected
    assert sum(found.values()) == sum(expected.values()) > 0


def test_worked_questions_are_those_of_the_how_to() -> None:
    shown = re.findall(r"^\| `(.+?)` \| (.+?) \|$", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE)

    assert [question for question, _ in shown] == list(WORKED)
    assert [answer for _, answer in shown] == [_told(counted) for counted in WORKED.values()]


def _told(counted: Counted) -> str:
    """The rows as the how-to shows them: by value, the largest first."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    parts = [" ".join([*map(str, key), f"{value:,.0f}"]) for key, value in ordered]
    return ", ".join(parts[:4]) + (", ..." if len(parts) > 4 else "")
