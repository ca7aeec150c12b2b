"""Instants and the policy's time constants. A time is UTC, written `2026-11-02T08:15:00Z`; a naive time is an error."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

SKEW = timedelta(seconds=300)  # how far honest clocks may differ; expiry is moved earlier by it
HORIZON = timedelta(days=30)  # consent must hold this long: the longest planned run on a snapshot
# what an event may claim of a time: later is a mistake or an attack, not a plan
EARLIEST, MOST_AHEAD = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=36_525)  # a hundred years

_RFC3339_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z")


def parse_time(text: str) -> datetime:
    """An aware UTC datetime; raises ValueError for anything but RFC 3339 with `Z`."""
    if not isinstance(text, str) or not _RFC3339_UTC.fullmatch(text):
        raise ValueError(f"not an RFC 3339 UTC time such as 2026-11-02T08:15:00Z: {text!r}")
    return datetime.fromisoformat(text)


def instant(value: datetime | str) -> datetime:
    """A time given as text or as an aware datetime; raises ValueError for a naive one."""
    if isinstance(value, str):
        return parse_time(value)
    if value.tzinfo is None:
        raise ValueError(f"a time needs a zone: {value!r}")
    return value.astimezone(UTC)


def shifted(moment: datetime, by: timedelta) -> datetime:
    """`moment` moved by so much, at most to an end of the calendar: a ledger may hold times from before they had bounds."""
    try:
        return moment + by
    except OverflowError:
        return (datetime.max if by > timedelta() else datetime.min).replace(tzinfo=UTC)


def time_text(value: datetime) -> str:
    """Whole seconds, rounded down."""
    return instant(value).isoformat(timespec="seconds").replace("+00:00", "Z")


def now_utc() -> datetime:
    return datetime.now(UTC)
