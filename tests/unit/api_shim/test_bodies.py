"""What is said of bodies that are not JSON, at every address."""

from __future__ import annotations

import pytest

from api_shim.bodies import parse_error
from api_shim.preparation import parse
from jobs.errors import InvalidRequest


@pytest.mark.parametrize("raw", [b"{bad", b"", b"{} {}", b'{"query": NaN}', b"\xff"])
def test_body_that_is_not_json_is_told_where_and_what_to_send(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(raw)

    assert caught.value.code == "parse_error"
    assert caught.value.detail.startswith("JSON parse error at character ")
    assert '"Content-Type: application/json" --data @body.json' in caught.value.detail


def test_hint_is_good_for_every_route() -> None:
    shown = parse_error("The JSON is nested too deeply.").detail

    assert not any(name in shown for name in ("summarize_type", "query", "trace"))
