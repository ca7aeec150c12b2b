"""Forgetting: a revoked consent is erased whole, and nothing of it comes back.

Its leaves stay, so every root, checkpoint and proof stays valid; what they commit to is gone. Of each event there remain
its place, the party's pseudonym and three digests, by which a replay is known. Only consent events are ever erased: without
a key's revocation a stolen key would live again, and without a dispute footage that somebody objected to would be free.
Two more rules keep an erasure from changing what may be used: a consent is revoked before it is erased, so that whatever
rests on it is taken down first, and all its events go at once, since a grant without its revocation would be in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from assets.consent.admission import Refusal, Rule
from assets.consent.ledger_tables import refusals
from training.consent.canonical import sha256_hex
from training.consent.database import portions
from training.consent.tables import erasures, events


class ErasureError(ValueError):
    """A consent that cannot be erased, or not yet; the message says what to do."""


@dataclass(frozen=True)
class Erased:
    """Digests of erased envelopes, events and consents, as far as asked for."""

    digests: frozenset[str]

    @classmethod
    def among(cls, connection: sa.Connection, envelopes: Mapping[str, Any]) -> Erased:
        """`envelopes` by their digest."""
        asked = {name for digest, envelope in envelopes.items() for name in _digests(digest, envelope)}
        columns = (erasures.c.envelope_sha256, erasures.c.event_id_sha256, erasures.c.consent_id_sha256)
        return cls(
            frozenset(
                row[0]
                for some in portions(asked)
                for column in columns
                for row in connection.execute(sa.select(column).where(column.in_(some)))
            )
        )

    def refusal(self, digest: str, envelope: Any) -> Refusal | None:
        """Names nothing of what was erased."""
        if self.digests and not self.digests.isdisjoint(_digests(digest, envelope)):
            return Refusal(Rule.ERASED, "this was erased, and does not come back; grant under a new consent_id")
        return None


def _digests(digest: str, envelope: Any) -> list[str]:
    """Of the envelope, its event and its consent, as far as it has a shape."""
    body = envelope.get("body") if isinstance(envelope, dict) else None
    names = (body.get("event_id"), body.get("consent_id")) if isinstance(body, dict) else ()
    return [digest, *(sha256_hex(name.encode()) for name in names if isinstance(name, str))]


def erase(connection: sa.Connection, consent_id: str, reason: str, at: str) -> tuple[int, ...]:
    """Erase all events of a consent; returns their places. Doing it again changes nothing. Raises ErasureError."""
    digest = sha256_hex(consent_id.encode())
    done = sa.select(erasures.c.seq).where(erasures.c.consent_id_sha256 == digest).order_by(erasures.c.seq)
    rows = connection.execute(sa.select(events).where(events.c.consent_id == consent_id).order_by(events.c.seq)).all()
    if not rows:
        if places := connection.execute(done).all():
            return tuple(row.seq for row in places)
        raise ErasureError(f"there is no consent {consent_id} in this ledger")
    if standing := {row.party_id for row in rows} - {row.party_id for row in rows if row.type == "revoke"}:
        raise ErasureError(f"{consent_id} of {', '.join(sorted(standing))} is not revoked; revoke it, then erase it")
    connection.execute(
        erasures.insert(),
        [
            {
                "seq": row.seq,
                "erased_at": at,
                "reason": reason,
                "party_id": row.party_id,
                "envelope_sha256": row.envelope_sha256,
                "event_id_sha256": sha256_hex(row.event_id.encode()),
                "consent_id_sha256": digest,
            }
            for row in rows
        ],
    )
    connection.execute(events.delete().where(events.c.consent_id == consent_id))
    connection.execute(refusals.delete().where(refusals.c.consent_id_sha256 == digest))
    return tuple(row.seq for row in rows)


def scrub(engine: sa.Engine) -> None:
    """Have the database let go of erased text.

    SQLite overwrites what is deleted (`secure_delete`); here its write-ahead log, which still has it, is emptied, for which
    readers are waited for. Raises ErasureError when a reader stays; erasing again completes it. PostgreSQL's VACUUM frees the
    rows, but their bytes may lie in free space until they are written over, and in its log and backups as long as
    those are kept: `VACUUM FULL consent_event` rewrites the file.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"VACUUM {events.name}, {refusals.name}"))
        elif connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            raise ErasureError("erased, but a reader keeps the write-ahead log from being emptied; erase once more")
