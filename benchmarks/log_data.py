"""Synthetic log records for the benchmarks: seven days, some 20 services, bodies of about 90 characters.

The same seed gives the same records to every engine. One word of the bodies is rare: one record in 100,000.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

DAYS = 7
START_S = 1_772_323_200  # 2026-03-01T00:00:00Z
RARE = "quetzalcoatlus"
RARE_ONE_IN = 100_000
TEAMS, PARTS = ("checkout", "search", "billing", "auth", "media"), ("api", "worker", "cron", "db")
SERVICES = [f"{team}-{part}" for team in TEAMS for part in PARTS]
SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")
WEIGHTS = (1, 10, 70, 12, 6, 1)
NUMBERS = dict(zip(SEVERITIES, (1, 5, 9, 13, 17, 21), strict=True))
VERBS = ("accepted", "rejected", "retried", "completed", "canceled", "scheduled", "loaded", "stored")
THINGS = ("request", "order", "session", "payment", "document", "message", "upload", "query")


@dataclass(frozen=True, slots=True)
class Record:
    timestamp_us: int
    severity: str
    service: str
    body: str
    attributes: dict[str, str]
    resource: dict[str, str]


def records(count: int, *, seed: int = 1) -> Iterator[Record]:
    """`count` records in order of time."""
    dice = random.Random(seed)
    resources = {service: _resource(service) for service in SERVICES}
    step_us = DAYS * 86_400_000_000 // count
    for place in range(count):
        service = SERVICES[int(dice.random() ** 2 * len(SERVICES))]
        severity = dice.choices(SEVERITIES, WEIGHTS)[0]
        number = dice.getrandbits(32)
        word = RARE if number % RARE_ONE_IN == 7 else dice.choice(THINGS)
        body = (
            f"{word} {number:08x} {dice.choice(VERBS)} by {service} after {number % 2000} ms, "
            f"attempt {number % 5} of 5 for tenant {number % 300}"
        )
        attributes = {
            "http.method": dice.choice(("GET", "POST", "PUT")),
            "http.status_code": str(dice.choice((200, 200, 200, 204, 404, 500))),
            "user.id": str(number % 50_000),
            "duration_ms": str(number % 2000),
        }
        if number % 5:
            attributes["request.id"] = f"{number:08x}{place:08x}"
        at = START_S * 1_000_000 + place * step_us + number % max(1, step_us)
        yield Record(at, severity, service, body, attributes, resources[service])


def _resource(service: str) -> dict[str, str]:
    return {
        "service.name": service,
        "service.version": "1.4.2",
        "host.name": f"node-{len(service) % 7}",
        "k8s.namespace.name": service.split("-")[0],
        "k8s.pod.name": f"{service}-7c9d",
        "deployment.environment": "production",
    }


def otlp(batch: list[Record]) -> bytes:
    """One export request, protobuf, grouped by service as a collector groups it."""
    request = ExportLogsServiceRequest()
    scopes = {}
    for record in batch:
        if record.service not in scopes:
            group = request.resource_logs.add()
            for key, value in record.resource.items():
                group.resource.attributes.add(key=key).value.string_value = value
            scopes[record.service] = group.scope_logs.add()
        entry = scopes[record.service].log_records.add(
            time_unix_nano=record.timestamp_us * 1000, severity_number=NUMBERS[record.severity]
        )
        entry.body.string_value = record.body
        for key, value in record.attributes.items():
            entry.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def batches(count: int, size: int) -> Iterator[list[Record]]:
    """The same records in lists of `size`."""
    batch: list[Record] = []
    for record in records(count):
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
