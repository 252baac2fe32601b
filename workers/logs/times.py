"""Instants as microseconds since 1970, as the store gives them, and as answers write them."""

from __future__ import annotations

from datetime import datetime

from jobs.log_dates import EPOCH, ONE_MICROSECOND, iso_z


def instant(micros: int) -> datetime:
    return EPOCH + micros * ONE_MICROSECOND


def utc_text(micros: int) -> str:
    """RFC 3339 with `Z`; microseconds when not zero."""
    return iso_z(instant(micros))
