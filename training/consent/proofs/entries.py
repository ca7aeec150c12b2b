"""Read from the ledger what a person's receipt has to carry: whole entries with their salts, and their paths."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from training.consent.canonical import parse_strictly
from training.consent.event_schema import CONSENT_TYPES, IDENTITY_TYPES, PLATFORM
from training.consent.ledger import Ledger, tree
from training.consent.ledger.tables import erasures, events, leaves

Entry = dict[str, Any]


def consent_entries(ledger: Ledger, consent_id: str, size: int) -> list[Entry]:
    """Entries of one consent among the first `size`, and of the identity of all who signed, in order, with paths into the
    ledger of that size. None where the ledger has no such consent, or it was erased.

    An event of a stranger that names the consent is no event of it: the consent is that of the party that granted it.
    """
    with ledger.engine.connect() as connection:
        named = _rows(connection, size, events.c.consent_id == consent_id, events.c.type.in_(CONSENT_TYPES))
        owner = next((e["envelope"]["body"]["party_id"] for e in named if _type(e) == "grant"), None)
        own = [entry for entry in named if owner in (None, entry["envelope"]["body"]["party_id"])]
        if not own:
            return []
        signers = {PLATFORM, *(entry["envelope"]["body"][who] for entry in own for who in ("party_id", "actor"))}
        identity = _rows(connection, size, events.c.party_id.in_(signers), events.c.type.in_(IDENTITY_TYPES))
        found = sorted([*own, *identity], key=lambda entry: entry["seq"])
        return [
            {**entry, "path": [node.hex() for node in tree.inclusion_proof(connection, entry["seq"], size)]}
            for entry in found
        ]


def _rows(connection: sa.Connection, size: int, *where: sa.ColumnElement[bool]) -> list[Entry]:
    erased = sa.exists().where(erasures.c.seq == events.c.seq)
    query = (
        sa.select(leaves, events.c.salt, events.c.envelope)
        .join(events, events.c.seq == leaves.c.seq)
        .where(leaves.c.seq < size, ~erased, *where)
        .order_by(leaves.c.seq)
    )
    return [
        {
            "seq": row.seq,
            "recorded_at": row.recorded_at,
            "salt": row.salt.hex(),
            "leaf": row.leaf_hash,
            "envelope": parse_strictly(row.envelope),
        }
        for row in connection.execute(query)
    ]


def _type(entry: Entry) -> str:
    return entry["envelope"]["body"]["type"]
