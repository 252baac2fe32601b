"""Random filters: the SQL finds exactly the records that the plain model finds.

`LOG_FILTER_ROUNDS` multiplies the number of filters.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from jobs.log_filters import parse_filter_group
from jobs.log_models import LogFilters
from tests.fakes.log_model import matches, simple
from tests.integration.logs.drawn import Drawn, as_record
from workers.logs.batches import Batch
from workers.logs.conditions import Binder
from workers.logs.filters import condition
from workers.logs.folding import certain_parts, quoted
from workers.logs.records import Row
from workers.logs.statement import Statement
from workers.logs.store import LogStore

PROJECT = 901
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ROUNDS = int(os.environ.get("LOG_FILTER_ROUNDS", "1"))
FILTERS = 40  # in one statement


@pytest.fixture(scope="module")
def rows(embedded_store: LogStore) -> list[Row]:
    drawn = Drawn(1)
    made = [drawn.row(number, spread_us=3_600_000_000) for number in range(400)]
    embedded_store.insert(PROJECT, Batch.of(PROJECT, b"model"), made)
    return made


def found(store: LogStore, groups: list[object], zone: tzinfo) -> list[set[str]]:
    binder = Binder()
    columns = [
        condition(
            LogFilters(group=parse_filter_group(group, now=NOW, zone=zone, attr="f")), binder, zone=zone
        )
        for group in groups
    ]
    statement = Statement(
        "logs",
        "event_name, " + ", ".join(f"({column})" for column in columns),
        parameters=binder.parameters,
        settings={"max_query_size": 8_000_000},
    )
    read = store.run(PROJECT, statement, deadline_s=60)
    return [{str(row[0]) for row in read if row[index + 1]} for index in range(len(groups))]


@pytest.mark.parametrize("seed", range(10 * ROUNDS))
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Berlin")], ids=str)
def test_random_groups_find_what_the_model_finds(
    embedded_store: LogStore, rows: list[Row], seed: int, zone: tzinfo
) -> None:
    drawn = Drawn(seed)
    groups = [drawn.group() for _ in range(FILTERS // 2)]
    groups += [{"values": [drawn.part()]} for _ in range(FILTERS // 2)]

    answers = found(embedded_store, list(groups), zone)

    for group, answer in zip(groups, answers, strict=True):
        expected = {row[9] for row in rows if matches(as_record(row), group, zone)}
        assert answer == expected, group


def test_ignoring_case_is_simple_folding_for_every_character(
    embedded_store: LogStore, rows: list[Row]
) -> None:
    """Every character that Python gives another case: the engine agrees on all that fold to the same."""
    families: dict[str, list[str]] = {}
    for code in range(0x1C80):  # later ones differ between versions of Unicode
        families.setdefault(simple(chr(code)), []).append(chr(code))
    pairs = [(one, other) for family in families.values() for one in family for other in family]
    binder = Binder()
    columns = ", ".join(
        f"match({binder.text(text)}, {binder.text('(?i)' + quoted(wanted))})"
        for wanted, text in pairs
        if wanted != text
    )
    statement = Statement(
        "logs", columns, parameters=binder.parameters, tail="LIMIT 1", settings={"max_query_size": 8_000_000}
    )

    [answer] = embedded_store.run(PROJECT, statement, deadline_s=60)

    different = [pair for pair in pairs if pair[0] != pair[1]]
    assert [pair for pair, found_it in zip(different, answer, strict=True) if not found_it] == []


def test_the_parts_for_the_index_are_in_the_lower_case_of_every_match(
    embedded_store: LogStore, rows: list[Row]
) -> None:
    """For each character and each other one that folds to it."""
    families: dict[str, list[str]] = {}
    for code in range(1, 0x110000):
        if not 0xD800 <= code < 0xE000:
            families.setdefault(simple(chr(code)), []).append(chr(code))
    pairs = [
        (one, other) for family in families.values() if len(family) > 1 for one in family for other in family
    ]
    terms = [f"xy{one}yx" for one, _ in pairs]
    texts = [f"xy{other}yx" for _, other in pairs]
    binder = Binder()
    lowered = Statement(
        "logs",
        f"arrayMap(t -> lowerUTF8(t), {binder.texts(texts)})",
        parameters=binder.parameters,
        tail="LIMIT 1",
        settings={"max_query_size": 8_000_000},
    )

    [[lower]] = embedded_store.run(PROJECT, lowered, deadline_s=60)

    assert isinstance(lower, list)
    missed = [
        (term, text)
        for term, text in zip(terms, lower, strict=True)
        if any(part not in text for part in certain_parts(term))
    ]
    assert missed == []
