"""Who made which version champion, when and why: an append-only table that no later move overwrites.

A row for every promotion, every refusal, and every loss of the alias, whoever moved it: a run of the graph, a person, a
withdrawal, or somebody outside, in MLflow's own pages. MLflow shows the last rows on the page of the registered model;
`rushes history` shows all of them. Why the gate decided so is in the verdict that a row names (`decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime

import sqlalchemy as sa

from assets.database import append_only, engine_with, writing
from assets.home import Home
from assets.pages.plots import markdown_table

PROMOTED, REFUSED, DEMOTED = "promoted", "refused", "demoted"
FOUND, OUTSIDE = "found", "moved outside"  # when the history began; and whenever the alias moved without it
NONE = "none"  # where a champion's version would stand
SHOWN = 20  # rows on the page of the registered model
LONGEST = 300  # characters of a reason there; the table has all of it

_metadata = sa.MetaData()
_rows = sa.Table(
    "champion_history",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(20), nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("version", sa.String(16), nullable=False),
    sa.Column("before", sa.String(16), nullable=False),
    sa.Column("after", sa.String(16), nullable=False),
    sa.Column("by", sa.String(256), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(256), nullable=False),
)
append_only(_rows, inserts_if="NEW.number = (SELECT COALESCE(MAX(number), 0) + 1 FROM champion_history)")


@dataclass(frozen=True)
class Event:
    """What happened to a version, and which version was champion before and after it."""

    event: str
    version: str
    before: str
    after: str
    by: str  # `run ID`, `person NAME`, or which part of the platform
    why: str
    verdict: str = ""  # key of the gate's verdict in the store, if it was the gate's
    number: int = 0  # from 1, in order; set by the history
    at: str = ""  # UTC; likewise


def append(home: Home, event: Event) -> bool:
    """Add an event; False if its verdict is there already, as when an interrupted run is finished."""
    with writing(engine_with(home.database_url, _metadata)) as connection:
        if (
            event.verdict
            and connection.execute(sa.select(_rows.c.number).where(_rows.c.verdict == event.verdict)).first()
        ):
            return False
        last = connection.execute(sa.select(sa.func.max(_rows.c.number))).scalar() or 0
        values = {field.name: value for field, value in zip(fields(event), astuple(event), strict=True)}
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        connection.execute(sa.insert(_rows).values(values | {"number": last + 1, "at": at}))
    return True


def events(home: Home, version: str | None = None) -> list[Event]:
    """All events, oldest first; with `version` those about it, and those that took or gave it the alias."""
    with engine_with(home.database_url, _metadata).connect() as connection:
        rows = [Event(**row) for row in connection.execute(sa.select(_rows).order_by(_rows.c.number)).mappings()]
    return [row for row in rows if version is None or version in (row.version, row.before, row.after)]


def champion(home: Home) -> str | None:
    """The version that the last event left as champion, NONE if it left none; None before the first event."""
    last = events(home)[-1:]
    return last[0].after if last else None


def page(events: Sequence[Event]) -> str:
    """The last events in Markdown, newest first."""
    rows = [
        {
            "when (UTC)": event.at.replace("T", " ").rstrip("Z"),
            "what": f"version {event.version} {event.event}",
            "champion": event.after if event.before == event.after else f"{event.before} → {event.after}",
            "by": event.by,
            "why": event.why if len(event.why) <= LONGEST else f"{event.why[:LONGEST]}…",
        }
        for event in reversed(events[-SHOWN:])
    ]
    more = f" The {SHOWN} newest of {len(events)}." if len(events) > SHOWN else ""
    all_of_it = f"`rushes history` shows all of it; nothing of it is ever overwritten.{more}"
    return f"## Who became champion, and why\n\n{markdown_table(rows)}\n\n{all_of_it}"
