"""What keeps the ledger as it is: append-only guards on its tables, and the tables that only the platform reads.

A leaf comes before its event, nothing is slipped in behind, and a consent is erased whole or not at all. The tables that a
training process reads are in `training.consent.tables`; importing this module puts the guards on them.
"""

from __future__ import annotations

import sqlalchemy as sa

from assets.database import append_only
from training.consent.database import BigId
from training.consent.tables import TILE, erasures, events, leaves, metadata, subtrees

_Digest = sa.String(64)

append_only(leaves, inserts_if="NEW.seq = (SELECT COALESCE(MAX(seq) + 1, 0) FROM consent_leaf)")
append_only(
    subtrees,  # none before its last child, none twice, none left out
    inserts_if=(
        "NEW.position = (SELECT COALESCE(MAX(position) + 1, 0) FROM consent_subtree WHERE level = NEW.level) AND ("  # noqa: S608
        f"EXISTS (SELECT 1 FROM consent_leaf WHERE NEW.level = 1 AND seq = NEW.position * {TILE} + {TILE - 1}) OR "
        "EXISTS (SELECT 1 FROM consent_subtree "
        f"WHERE level = NEW.level - 1 AND position = NEW.position * {TILE} + {TILE - 1}))"
    ),
)
append_only(
    events,  # a leaf comes first, nothing is slipped in behind, and what was erased stays so
    inserts_if=(
        "EXISTS (SELECT 1 FROM consent_leaf WHERE seq = NEW.seq) "
        "AND NEW.seq > (SELECT COALESCE(MAX(seq), -1) FROM consent_event) "
        "AND NOT EXISTS (SELECT 1 FROM consent_erasure WHERE seq = NEW.seq)"
    ),
    deletes_if=(  # a consent goes whole: without its revocation a grant would come back to life
        "EXISTS (SELECT 1 FROM consent_erasure WHERE seq = OLD.seq) AND NOT EXISTS (SELECT 1 FROM consent_event kept "
        "WHERE kept.consent_id = OLD.consent_id "
        "AND NOT EXISTS (SELECT 1 FROM consent_erasure WHERE seq = kept.seq))"
    ),
)
append_only(
    erasures,  # only events of a consent that its party has revoked, and no identity and no dispute
    inserts_if=(
        "EXISTS (SELECT 1 FROM consent_event e JOIN consent_event r ON r.consent_id = e.consent_id "
        "AND r.party_id = e.party_id AND r.type = 'revoke' "
        "WHERE e.seq = NEW.seq AND e.party_id = NEW.party_id AND e.envelope_sha256 = NEW.envelope_sha256)"
    ),
)

refusals = sa.Table(
    "consent_refusal",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("event_sha256", _Digest, nullable=False),  # of what was received, byte for byte
    sa.Column("rule", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("refused_at", sa.String(20), nullable=False),
    sa.Column("received", sa.Text, nullable=False),  # its beginning, where it was too long
    sa.Column("received_bytes", BigId, nullable=False),  # its whole length
    sa.Column("envelope_sha256", _Digest, index=True),  # null for what has no canonical form
    sa.Column("consent_id_sha256", _Digest, index=True),  # null for what names no consent
    sa.UniqueConstraint("event_sha256", "rule"),
    info={"erasable": True},
)
append_only(
    refusals,
    deletes_if="EXISTS (SELECT 1 FROM consent_erasure WHERE consent_id_sha256 = OLD.consent_id_sha256)",
)

checkpoints = sa.Table(
    "consent_checkpoint",
    metadata,
    sa.Column("size", BigId, primary_key=True, autoincrement=False),
    sa.Column("root", _Digest, nullable=False),
    sa.Column("recorded_at", sa.String(20)),
    sa.Column("key_id", _Digest, nullable=False),
    sa.Column("public_key", _Digest, nullable=False),
    sa.Column("sig", sa.String(128), nullable=False),
)
append_only(checkpoints)
