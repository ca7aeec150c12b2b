"""Who may judge footage: the register of reviewers and of the organisations they work for.

Append-only: a row enrols a reviewer, moves them to another organisation, or retires them, and the latest row of a name
stands. Organisations matter because two people of one organisation are one opinion. What a reviewer judged while they
were active stays, whatever becomes of them afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from assets.database import append_only, engine_with, writing
from training.consent.database import BigId
from training.consent.times import time_text

_metadata = sa.MetaData()
_reviewers = sa.Table(
    "reviewer",
    _metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("reviewer_id", sa.String(128), nullable=False),
    sa.Column("organisation", sa.String(128), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("recorded_at", sa.String(20), nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
)
append_only(_reviewers)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class ReviewError(ValueError):
    """A review, or a change of the register, that cannot be taken; the message says why and what to do."""


@dataclass(frozen=True)
class Entry:
    """One row of the register."""

    reviewer_id: str
    organisation: str
    active: bool
    recorded_at: str
    by: str


def same(name: str | None) -> str:
    """The form in which names of people and organisations are compared: case and surrounding blanks play no part."""
    return (name or "").strip().casefold()


@dataclass(frozen=True)
class Register:
    """The register's rows in order, as the counting rule takes it."""

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Register:
        return cls(tuple(entries))

    def standing(self, at: str | None = None) -> dict[str, Entry]:
        """The latest row of each reviewer, or the latest as of a time (`2026-11-02T08:15:00Z`), by name."""
        return {entry.reviewer_id: entry for entry in self.entries if at is None or entry.recorded_at <= at}

    def active(self, at: str | None = None) -> dict[str, Entry]:
        """Those of `standing` who may judge."""
        return {name: entry for name, entry in self.standing(at).items() if entry.active}

    def knows(self, reviewer_id: str, organisation: str) -> bool:
        """Whether this reviewer was ever enrolled for this organisation."""
        return any(
            entry.active and entry.reviewer_id == reviewer_id and same(entry.organisation) == same(organisation)
            for entry in self.entries
        )

    def judge(self, reviewer_id: str) -> Entry:
        """The row under which this reviewer judges now. Raises ReviewError where they may not."""
        entry = self.standing().get(reviewer_id)
        if entry is None:
            raise ReviewError(
                f"{reviewer_id!r} is no registered reviewer; `rushes review enrol NAME --organisation ORG` registers one"
            )
        if not entry.active:
            raise ReviewError(f"{reviewer_id} is retired as a reviewer; `rushes review enrol` takes them back")
        return entry


def read_register(database_url: str) -> Register:
    with engine_with(database_url, _metadata).connect() as connection:
        return _read(connection)


def _read(connection: sa.Connection) -> Register:
    columns = [_reviewers.c[name] for name in Entry.__dataclass_fields__]
    rows = connection.execute(sa.select(*columns).order_by(_reviewers.c.id))
    return Register.of(Entry(**row._mapping) for row in rows)


def enrol(database_url: str, reviewer_id: str, organisation: str, *, by: str, now: datetime) -> bool:
    """Register a reviewer, or move one to another organisation; False where the register says so already.

    Raises ReviewError for names that are none, or that differ from an enrolled one by their case alone.
    """
    for name in (reviewer_id, organisation):
        if not _NAME.fullmatch(name):
            raise ReviewError(
                f"{name!r} is no name: letters, digits and . _ : -, at most 128, beginning with the first"
            )
    with writing(engine_with(database_url, _metadata)) as connection:
        register = _read(connection)
        standing = register.standing()
        if twin := next((name for name in standing if name != reviewer_id and same(name) == same(reviewer_id)), None):
            raise ReviewError(f"{reviewer_id!r} would be taken for {twin!r}, who is registered; choose another name")
        entry = standing.get(reviewer_id)
        if entry is not None and entry.active and entry.organisation == organisation:
            return False
        _append(connection, register, Entry(reviewer_id, organisation, True, time_text(now), by))
    return True


def retire(database_url: str, reviewer_id: str, *, by: str, now: datetime) -> bool:
    """Let a reviewer judge no more; False where they are retired already. Raises ReviewError for an unknown one."""
    with writing(engine_with(database_url, _metadata)) as connection:
        register = _read(connection)
        entry = register.standing().get(reviewer_id)
        if entry is None:
            raise ReviewError(f"{reviewer_id!r} is no registered reviewer; `rushes review reviewers` lists them")
        if entry.active:
            _append(connection, register, Entry(reviewer_id, entry.organisation, False, time_text(now), by))
    return entry.active


def _append(connection: sa.Connection, register: Register, entry: Entry) -> None:
    if not entry.by.strip():
        raise ReviewError("the register says who changed it: give a name")
    # a clock that was set back does not reorder the register
    recorded_at = max([entry.recorded_at, *(earlier.recorded_at for earlier in register.entries[-1:])])
    row = vars(entry) | {"recorded_at": recorded_at, "by": entry.by.strip()[:128]}
    connection.execute(_reviewers.insert().values(**row))
