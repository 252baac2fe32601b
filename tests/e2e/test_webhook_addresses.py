"""Webhooks as they are by default: private networks are out of reach."""

from __future__ import annotations

import httpx2
import pytest


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.1:8000/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://metadata.google.internal/",
    ],
)
def test_private_address_is_refused(client: httpx2.Client, url: str) -> None:
    refused = client.post("/webhooks/", json={"url": url, "events": ["job.failed"]})

    assert refused.status_code == 400
    assert refused.json()["attr"] == "url"
    assert refused.json()["type"] == "validation_error"


def test_name_that_does_not_resolve_may_come_to_exist(client: httpx2.Client) -> None:
    body = {"url": "https://hooks.tracegist.invalid/x", "events": ["job.failed"]}

    made = client.post("/webhooks/", json=body)
    moved = client.patch(f"/webhooks/{made.json()['id']}/", json={"url": "https://127.0.0.1/"})

    assert made.status_code == 201
    assert (moved.status_code, moved.json()["attr"]) == (400, "url")
    assert client.delete(f"/webhooks/{made.json()['id']}/").status_code == 204
