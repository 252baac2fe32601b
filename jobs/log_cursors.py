"""The cursor of a log listing: base64 of the last record's time and id.

`checkpoint` rides along so that every page of one listing hands out a live-tail checkpoint that is not newer
than the first page's; cursors without it work.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from jobs.errors import ValidationFailed
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.log_dates import NotADate, iso_z, parse_absolute

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Strictly after this record, in the order of the request."""

    timestamp: datetime
    uuid: uuid.UUID
    checkpoint: datetime | None = None

    def encode(self) -> str:
        members = {"timestamp": iso_z(self.timestamp), "uuid": str(self.uuid)}
        if self.checkpoint is not None:
            members["checkpoint"] = iso_z(self.checkpoint)
        return base64.b64encode(dump_json(members)).decode()


def parse_cursor(value: object, *, attr: str) -> Cursor | None:
    """Read `after`; null is none.

    Raises:
        ValidationFailed: it does not decode, lacks a part, or a part is no time or id.
    """
    if value is None:
        return None
    members = _decoded(value)
    if members is None:
        raise _failed(attr)
    record = parse_record_position(members.get("timestamp"), members.get("uuid"))
    if record is None:
        raise _failed(attr)
    checkpoint = None
    if members.get("checkpoint") is not None:
        checkpoint = _moment(members["checkpoint"])
        if checkpoint is None:
            raise _failed(attr)
    return replace(record, checkpoint=checkpoint)


def parse_record_position(timestamp: object, identity: object) -> Cursor | None:
    """The time and id of a record, or None when one of them is neither."""
    moment = _moment(timestamp)
    if moment is None or not isinstance(identity, str) or not _UUID.fullmatch(identity):
        return None
    return Cursor(moment, uuid.UUID(identity))


def parse_checkpoint(value: object, *, attr: str) -> datetime | None:
    """Read `liveLogsCheckpoint`; a time without a zone is UTC."""
    if value is None:
        return None
    moment = _moment(value)
    if moment is None:
        raise ValidationFailed("liveLogsCheckpoint must be an ISO date and time.", attr=attr)
    return moment


def _decoded(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, str):
        return None
    try:
        members = load_json(base64.b64decode(value.encode(), validate=True))
    except (binascii.Error, UnicodeEncodeError, JsonSyntaxError):
        return None
    return members if isinstance(members, dict) else None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_absolute(value, zone=UTC)
    except NotADate:
        return None


def _failed(attr: str) -> ValidationFailed:
    return ValidationFailed("after is not a cursor; send the nextCursor of an earlier answer.", attr=attr)
