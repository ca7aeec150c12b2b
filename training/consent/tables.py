"""The tables of the consent ledger that a decision reads, and what one entry of it commits to.

`consent_leaf` and `consent_subtree` hold hashes and are never erased; `consent_event` holds what is personal and can be
erased, but only once `consent_erasure` says so. Order is `seq`, without gaps. The columns of an event beside its envelope
repeat what is signed, so that it can be found by index. What guards the tables is in `assets.consent.ledger_tables`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from training.consent import merkle
from training.consent.canonical import canonical, parse_strictly
from training.consent.database import BigId
from training.consent.events import Envelope, Event
from training.consent.times import instant, parse_time

metadata = sa.MetaData()
_Digest, _Name, _Time = sa.String(64), sa.String(128), sa.String(20)

TILE = 256  # children of a stored subtree: leaves on level 1, subtrees of the level below above that (as in C2SP tiles)

leaves = sa.Table(
    "consent_leaf",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=False),
    sa.Column("leaf_hash", _Digest, nullable=False),
    sa.Column("recorded_at", _Time, nullable=False),
)
subtrees = sa.Table(
    "consent_subtree",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", BigId, primary_key=True, autoincrement=False),
    sa.Column("hash", _Digest, nullable=False),
)
events = sa.Table(
    "consent_event",
    metadata,
    sa.Column("seq", BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("event_id", _Name, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("party_id", _Name, nullable=False),
    sa.Column("consent_id", _Name),
    sa.Column("dispute_id", _Name),
    sa.Column("key_id", _Name),  # the key that is registered, attested to or revoked
    sa.Column("expires_at", sa.String(27)),  # with microseconds always, so that text sorts as time
    sa.Column("envelope_sha256", _Digest, nullable=False),
    sa.Column("salt", sa.LargeBinary(32), nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.UniqueConstraint("event_id"),
    sa.UniqueConstraint("envelope_sha256"),
    sa.Index("consent_event_by_party", "party_id", "type"),
    info={"erasable": True},
)
for _column in ("consent_id", "dispute_id", "key_id", "expires_at"):
    _present = events.c[_column].is_not(None)
    sa.Index(f"consent_event_by_{_column}", _column, _table=events, sqlite_where=_present, postgresql_where=_present)
erasures = sa.Table(
    "consent_erasure",
    metadata,
    sa.Column("seq", BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("erased_at", _Time, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("party_id", _Name, nullable=False),  # as identity events have it, which stay
    sa.Column("envelope_sha256", _Digest, nullable=False, index=True),
    sa.Column("event_id_sha256", _Digest, nullable=False, index=True),
    sa.Column("consent_id_sha256", _Digest, nullable=False, index=True),
)


def not_erased() -> sa.ColumnElement[bool]:
    """That no erasure of an event is declared, whether its row is gone yet or not."""
    return ~sa.exists().where(erasures.c.seq == events.c.seq)


def of_disputes() -> sa.ColumnElement[bool]:
    """That an event opens or decides a dispute, asked of the index first: beside another bound SQLite would read all."""
    named = events.alias()
    return events.c.seq.in_(sa.select(named.c.seq).where(named.c.dispute_id > ""))


def leaf_of(salt: bytes, recorded_at: str, envelope: Envelope) -> bytes:
    """What commits to an entry: SHA-256(0x00 || SHA-256(salt || recorded_at || canonical body || signature)).

    Salt (32 bytes), time (20) and signature (64) have fixed lengths, so no two entries read the same. The time is
    committed to because the time rules rest on it.
    """
    signed = canonical(envelope["body"]) + bytes.fromhex(envelope["sig"])
    return merkle.leaf_hash(hashlib.sha256(salt + recorded_at.encode("ascii") + signed).digest())


def sortable_time(moment: datetime | str) -> str:
    """A time with exactly six digits of a second, so that text sorts as time."""
    return instant(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_of(row: Any, envelope: Envelope | None = None) -> Event:
    """The event in a row with seq, recorded_at, leaf_hash and envelope, which is parsed unless it is at hand."""
    envelope = envelope or parse_strictly(row.envelope)
    return Event(row.seq, parse_time(row.recorded_at), envelope["body"], envelope["key_id"], row.leaf_hash)
