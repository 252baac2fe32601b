from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cache.keys import SummaryKey, content_fp, fingerprint, text_fp, text_key, variant

VARIANT = {
    "requested_model": "m",
    "base_url": "u",
    "prompt_version": 1,
    "schema_version": 1,
    "sampling": {"temperature": 0},
    "focus": "",
}
KEYS = st.builds(
    SummaryKey,
    project_id=st.integers(0, 99),
    summarize_type=st.sampled_from(["trace", "event"]),
    entity_id=st.text(min_size=1, max_size=20),
    mode=st.sampled_from(["minimal", "detailed"]),
    variant=st.sampled_from(["a" * 16, "b" * 16]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_key_has_the_documented_form() -> None:
    key = SummaryKey(7, "trace", "t-1", "minimal", "0123456789abcdef")

    prefix, name, version, epoch, project, kind, entity, mode, last = key.text(3).split(":")

    assert (prefix, name, version, epoch, project, kind) == ("tg", "sum", "1", "3", "7", "trace")
    assert (len(entity), mode, last) == (32, "minimal", "0123456789abcdef")


@given(KEYS, KEYS)
def test_different_keys_have_different_texts(one: SummaryKey, other: SummaryKey) -> None:
    assert (one.text(0) == other.text(0)) == (one == other)


@given(st.text())
def test_entity_id_never_appears_in_the_text(entity_id: str) -> None:
    text = SummaryKey(1, "trace", entity_id, "minimal", "v").text(0)

    assert text.isascii()
    assert len(text) < 80


def test_every_part_of_the_variant_counts() -> None:
    changed = {
        "requested_model": "n",
        "base_url": "w",
        "prompt_version": 2,
        "schema_version": 2,
        "sampling": {"temperature": 1},
        "focus": "errors",
    }

    variants = {variant(**{**VARIANT, name: value}) for name, value in changed.items()}  # type: ignore[arg-type]

    assert len(variants | {variant(**VARIANT)}) == 7  # type: ignore[arg-type]


def test_order_of_sampling_settings_does_not_count() -> None:
    one = variant(**{**VARIANT, "sampling": {"a": 1, "b": 2}})  # type: ignore[arg-type]
    other = variant(**{**VARIANT, "sampling": {"b": 2, "a": 1}})  # type: ignore[arg-type]

    assert one == other


@given(JSON)
def test_white_space_in_the_json_does_not_count(data: object) -> None:
    spaced = json.loads(json.dumps(data, indent=3))

    assert content_fp(spaced) == content_fp(data)


def test_member_order_and_values_count() -> None:
    values = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": "2"}, [], {}, None, 2**70, "\ud800"]

    assert len({content_fp(value) for value in values}) == len(values)


def test_renderer_version_counts() -> None:
    assert len({text_fp(1, "x"), text_fp(2, "x"), text_fp(1, "y"), text_fp(1, "\udcff")}) == 4


def test_fingerprint_is_short_and_of_both_parts() -> None:
    prints = {fingerprint("a", "v"), fingerprint("b", "v"), fingerprint("a", "w")}

    assert len(prints) == 3
    assert {len(print_) for print_ in prints} == {16}


def test_text_key_separates_what_must_not_share() -> None:
    base = text_key(1, "$ai_span", "e", options={"truncated": True, "n": 1}, data_fp="d")

    same = text_key(1, "$ai_span", "e", options={"n": 1, "truncated": True}, data_fp="d")
    others = {
        text_key(2, "$ai_span", "e", options={"truncated": True, "n": 1}, data_fp="d"),
        text_key(1, "$ai_trace", "e", options={"truncated": True, "n": 1}, data_fp="d"),
        text_key(1, "$ai_span", "f", options={"truncated": True, "n": 1}, data_fp="d"),
        text_key(1, "$ai_span", "e", options={"truncated": False, "n": 1}, data_fp="d"),
        text_key(1, "$ai_span", "e", options={"truncated": True, "n": 1}, data_fp="x"),
    }

    assert same == base
    assert len(others | {base}) == 6
