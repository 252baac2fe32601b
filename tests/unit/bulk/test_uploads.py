"""Bodies that arrive in pieces: lines, gzip, and the items of one large document."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_shim.item_scanner import ItemScanner
from api_shim.uploads import PIECE_BYTES, Gunzip, Lines
from jobs.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def scanned(raw: bytes, size: int) -> tuple[list[bytes], object]:
    scanner = ItemScanner(max_skeleton_bytes=10_000, max_items=100)
    for piece in pieces(raw, size):
        scanner.feed(piece)
    return [raw[start:end] for start, end in scanner.elements], json.loads(scanner.skeleton)


@given(
    items=st.lists(JSON, min_size=1, max_size=5),
    before=st.dictionaries(st.text(max_size=6).filter(lambda name: name != "items"), JSON, max_size=2),
    size=st.integers(1, 30),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_items_of_any_document_are_found_in_any_pieces(
    items: list[object], before: dict[str, object], size: int, ascii_only: bool, indent: int | None
) -> None:
    document = {**before, "items": items, "defaults": {"items": [1, 2]}}
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")

    elements, skeleton = scanned(raw, size)

    assert [json.loads(element) for element in elements] == items
    assert skeleton == {**document, "items": []}


def test_of_duplicate_lists_the_last_counts() -> None:
    elements, skeleton = scanned(b'{"items":[1,2],"items":[3],"it\\u0065ms":[ 4 , 5 ]}', 7)

    assert [element.strip() for element in elements] == [b"4", b"5"]
    assert skeleton == {"items": []}


def test_list_of_another_name_or_deeper_is_no_list_of_items() -> None:
    elements, skeleton = scanned(b'{"a":"items","other":[1],"b":{"items":[2]},"items":{"items":[3]}}', 100)

    assert elements == []
    assert skeleton == {"a": "items", "other": [1], "b": {"items": [2]}, "items": {"items": [3]}}


def test_document_with_much_besides_its_items_is_refused() -> None:
    scanner = ItemScanner(max_skeleton_bytes=100, max_items=100)

    with pytest.raises(InvalidRequest):
        scanner.feed(b'{"other":"' + b"x" * 200)


@pytest.mark.parametrize("mark", [b"[", b'{"a":'])
def test_document_that_is_nested_too_deep_is_refused_while_it_arrives(mark: bytes) -> None:
    scanner = ItemScanner(max_skeleton_bytes=100, max_items=100)
    scanner.feed(b'{"items":[' + mark * 512)

    with pytest.raises(InvalidRequest, match="deeper"):
        scanner.feed(mark)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines_are_the_same_in_any_pieces(size: int) -> None:
    lines = Lines(10)
    raw = b'{"a":1}\r\n\n  \n' + b"x" * 11 + b"\n0123456789\nlast"

    found = [line for piece in pieces(raw, size) for line in lines.feed(piece)] + list(lines.end())

    assert found == [b'{"a":1}\r', None, b"0123456789", b"last"]


@pytest.mark.timeout(60)  # line by line it takes minutes, in which nobody else is served
def test_millions_of_blank_lines_are_skipped_in_one_go() -> None:
    lines = Lines(10)

    found = [line for _ in range(1024) for line in lines.feed(b"\n" * PIECE_BYTES)]

    assert [*found, *lines.feed(b"{}\n")] == [b"{}"]


@pytest.mark.parametrize("size", [1, 17, 100_000])
def test_gzip_of_several_members_is_opened_in_small_pieces(size: int) -> None:
    raw = random.Random(1).randbytes(5000) + b"\0" * 1_000_000
    opener = Gunzip()

    opened = [
        piece
        for sent in pieces(gzip.compress(raw) + gzip.compress(b"more"), size)
        for piece in opener.open(sent)
    ]

    opener.end()
    assert b"".join(opened) == raw + b"more"
    assert max(map(len, opened)) <= PIECE_BYTES


def test_gzip_that_ends_early_is_refused() -> None:
    opener = Gunzip()
    list(opener.open(gzip.compress(b"text")[:-3]))

    with pytest.raises(InvalidRequest, match="too early"):
        opener.end()


def test_bytes_that_are_no_gzip_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="not valid gzip"):
        list(Gunzip().open(b"plain text"))
