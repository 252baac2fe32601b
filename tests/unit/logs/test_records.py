"""Severity, fingerprints and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.logs.records import fingerprint, severity, size_of


@pytest.mark.parametrize("number", range(1, 25))
def test_the_number_decides(number: int) -> None:
    levels = ["trace", "debug", "info", "warn", "error", "fatal"]

    assert severity(number, "fatal", '{"level": "fatal"}') == (levels[(number - 1) // 4], number)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("trace", ("trace", 1)),
        ("DEBUG", ("debug", 5)),
        ("Dbug", ("debug", 5)),
        ("info", ("info", 9)),
        ("Information", ("info", 9)),
        ("informational", ("info", 9)),
        ("NOTICE", ("info", 9)),
        ("warn", ("warn", 13)),
        ("Warning", ("warn", 13)),
        ("error", ("error", 17)),
        ("ERR", ("error", 17)),
        ("eror", ("error", 17)),
        ("fatal", ("fatal", 21)),
        ("critical", ("fatal", 21)),
        ("crit", ("fatal", 21)),
        ("alert", ("fatal", 21)),
        ("emerg", ("fatal", 21)),
        ("verbose", ("info", 9)),
        ("", ("info", 9)),
    ],
)
@pytest.mark.parametrize("number", [0, 25, -1, 1000])
def test_without_a_valid_number_the_text_decides(number: int, text: str, level: tuple[str, int]) -> None:
    assert severity(number, text, "") == level


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ('{"level": "ERROR"}', "error"),
        (' {"severity": "crit", "x": 1}', "fatal"),
        ('{"log.level": "warn"}', "warn"),
        ('{"level": "odd", "severity": "debug"}', "debug"),
        ('{"level": 50, "log.level": "trace"}', "trace"),
        ('{"level": "debug", "severity": "error"}', "debug"),
        ('{"deep": {"level": "error"}}', "info"),
        ('["level", "error"]', "info"),
        ('{"level": "error"', "info"),
        ("level: error", "info"),
    ],
)
def test_else_a_level_in_a_json_body(body: str, level: str) -> None:
    assert severity(0, "", body)[0] == level
    assert severity(0, "unknown", body)[0] == level
    assert severity(0, "notice", body)[0] == "info"


@given(st.dictionaries(st.text(), st.text()))
def test_a_fingerprint_does_not_depend_on_order(attributes: dict[str, str]) -> None:
    turned = dict(reversed(attributes.items()))

    assert fingerprint(turned) == fingerprint(attributes)
    assert 0 <= fingerprint(attributes) < 1 << 64


def test_fingerprints_tell_keys_from_values() -> None:
    resources = [{}, {"a": "b"}, {"ab": ""}, {"": "ab"}, {"b": "a"}, {"a": "b", "c": ""}, {"a": "bc"}]

    assert len({fingerprint(resource) for resource in resources}) == len(resources)


@given(st.dictionaries(st.text(), st.text()))
def test_size_is_in_utf8_bytes(attributes: dict[str, str]) -> None:
    assert size_of(attributes) == sum(len((key + value).encode()) for key, value in attributes.items())
