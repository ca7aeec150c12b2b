"""The register of guardians: who may sign for which minor, as verified outside the platform, and until when."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from training.consent.admission import IsGuardian
from training.consent.ledger_tables import guardians
from training.consent.times import time_text


def lookup(connection: sa.Connection) -> IsGuardian:
    """The question that admission asks, answered from the database: the latest entry at that time counts."""

    def is_guardian(minor_id: str, guardian_id: str, at: datetime) -> bool:
        query = (
            sa.select(guardians.c.active)
            .where(
                guardians.c.minor_id == minor_id,
                guardians.c.guardian_id == guardian_id,
                guardians.c.recorded_at <= time_text(at),
            )
            .order_by(guardians.c.id.desc())
            .limit(1)
        )
        return bool(connection.execute(query).scalar())

    return is_guardian


def record(
    connection: sa.Connection, minor_id: str, guardian_id: str, evidence_sha256: str, now: datetime, *, active: bool
) -> None:
    """Enter that a guardianship holds or has ended, unless that is what the register says already."""
    if lookup(connection)(minor_id, guardian_id, now) != active:
        connection.execute(
            guardians.insert().values(
                minor_id=minor_id,
                guardian_id=guardian_id,
                active=active,
                evidence_sha256=evidence_sha256,
                recorded_at=time_text(now),
            )
        )
